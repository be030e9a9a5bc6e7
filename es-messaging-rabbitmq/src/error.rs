//! What the client library says, in the words of `es-messaging`.

use std::io;

use es_messaging::BrokerError;
use lapin::{Error, ErrorKind};

use crate::BROKER;

pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
/// The virtual host is not there, or not for this user.
const NOT_ALLOWED: u16 = 530;

/// Nobody answers.
pub(crate) fn unavailable(reason: impl Into<es_core::BoxError>) -> BrokerError {
    BrokerError::Unavailable { broker: BROKER, source: reason.into() }
}

/// The server's code for what it refuses, if it does.
pub(crate) fn code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}

/// What the server says.
pub(crate) fn reason(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(refusal) => refusal.get_message().to_string(),
        _ => error.to_string(),
    }
}

/// Something that was asked of the server about `what` failed.
pub(crate) fn of_order(error: Error, what: &str) -> BrokerError {
    let (broker, reason) = (BROKER, reason(&error));
    match code(&error) {
        Some(ACCESS_REFUSED | NOT_ALLOWED) => BrokerError::Denied { broker, reason },
        Some(NOT_FOUND) => {
            let reason = format!("{reason}; declare it first");
            BrokerError::Missing { broker, what: what.to_owned(), reason }
        }
        Some(PRECONDITION_FAILED) => {
            let reason = format!("{reason}; use the settings it has, or remove it and declare it again");
            BrokerError::Missing { broker, what: what.to_owned(), reason }
        }
        _ => unavailable(error),
    }
}

/// The server ended a member's channel. What it did not like there, such as an acknowledgement that came too late or twice, ends with the
/// channel; whether the queue is still there, the next one finds out.
pub(crate) fn of_receiving(error: Error, what: &str) -> BrokerError {
    match code(&error) {
        Some(PRECONDITION_FAILED) => unavailable(error),
        _ => of_order(error, what),
    }
}

/// Connecting to a virtual host failed.
pub(crate) fn of_connecting(error: Error, is_tls: bool, vhost: &str) -> BrokerError {
    let broker = BROKER;
    if code(&error) == Some(NOT_ALLOWED) {
        let reason =
            format!("{}; the URL names the virtual host {vhost:?}, after the host and a slash", reason(&error));
        return BrokerError::Denied { broker, reason };
    }
    match error.kind() {
        ErrorKind::IOError(cause) if is_tls && is_about_tls(cause) => {
            BrokerError::Tls { broker, reason: cause.to_string() }
        }
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) if !is_tls => {
            let reason =
                "it does not speak plain AMQP; if this is its port for TLS, the URL begins with amqps://".to_owned();
            BrokerError::Tls { broker, reason }
        }
        _ => of_order(error, "the connection"),
    }
}

fn is_about_tls(cause: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut};
    let passes = matches!(cause.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | NotFound | TimedOut);
    let text = cause.to_string().to_lowercase();
    let said = ["certificate", "tls", "alert", "handshake", "corrupt message", "unknownissuer"];
    !passes && (cause.kind() == io::ErrorKind::InvalidData || said.iter().any(|word| text.contains(word)))
}
