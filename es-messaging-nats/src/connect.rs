//! How a connection comes about, and what it means if it does not.

use std::{
    error::Error,
    io::{
        self,
        ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof},
    },
    sync::Arc,
    time::Duration,
};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions,
    rustls::{self, AlertDescription, CertificateError, InvalidMessage, crypto::ring},
};
use es_messaging::{BrokerError, with_causes};

use crate::{
    api::{Events, NATS},
    limits,
    options::NatsOptions,
    url::Address,
};

pub(crate) async fn connect(
    address: &Address,
    options: &NatsOptions,
    events: &Arc<Events>,
) -> Result<Client, BrokerError> {
    // Without one that was chosen for the process, the one that is compiled in: the client asks for it, and several may be there.
    let _ = ring::default_provider().install_default();
    let noted = Arc::clone(events);
    let mut connect = ConnectOptions::new()
        .name("es-messaging")
        .require_tls(address.tls)
        .connection_timeout(limits::CONNECT_LIMIT)
        .request_timeout(Some(limits::REQUEST_LIMIT))
        .ping_interval(limits::PING_INTERVAL)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            let noted = Arc::clone(&noted);
            async move { noted.note(event) }
        });
    if let Some((user, password)) = &address.user {
        connect = connect.user_and_password(user.clone(), password.clone());
    }
    if let Some(file) = &options.credentials {
        connect = connect.credentials_file(file).await.map_err(|error| BrokerError::Config {
            what: format!("the file of credentials {}", file.display()),
            reason: error.to_string(),
        })?;
    }
    if let Some(file) = &options.ca {
        connect = connect.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &options.client_certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    connect.connect(address.servers.clone()).await.map_err(|error| meaning(error, address, options))
}

/// The pause before an attempt to connect again: growing, and not the same for all clients.
fn pause(attempt: usize) -> Duration {
    let doubled = u32::try_from(attempt.saturating_sub(1).min(10)).unwrap_or(10);
    let pause = (limits::MIN_RECONNECT_PAUSE * 2_u32.pow(doubled)).min(limits::MAX_RECONNECT_PAUSE);
    // Half of it is left to chance.
    let chance = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    pause.mul_f64(0.5 + chance / 2.0)
}

fn meaning(error: ConnectError, address: &Address, options: &NatsOptions) -> BrokerError {
    let reason = with_causes(&error);
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            let hint = match (&options.credentials, &address.user) {
                (Some(file), _) => format!("the server does not take the credentials of {}", file.display()),
                (None, Some((user, _))) => format!("the server does not take the user {user:?} with this password"),
                (None, None) => {
                    "it asks for credentials: name them as nats://user:password@host or by credentials=FILE".to_owned()
                }
            };
            BrokerError::Denied { broker: NATS, reason: format!("{reason}; {hint}") }
        }
        // That is no answer of a server: the files are read when TLS begins.
        ConnectErrorKind::Tls => BrokerError::Config { what: files(options), reason },
        ConnectErrorKind::ServerParse => BrokerError::Config { what: address.shown.clone(), reason },
        _ => {
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            // A handshake that fails shows itself as an error of reading or writing.
            let handshake = source.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
            if let Some(failed) = handshake {
                let reason = format!("{reason}; {}", advice(failed));
                return BrokerError::Tls { broker: NATS, reason };
            }
            let source = match source.map(io::Error::kind) {
                Some(BrokenPipe | ConnectionReset | UnexpectedEof) => format!("{reason}; {}", cut(options)).into(),
                _ => error.into(),
            };
            BrokerError::Unavailable { broker: NATS, source }
        }
    }
}

/// The files that TLS needs, as an error names them.
fn files(options: &NatsOptions) -> String {
    let (certificate, key) = options.client_certificate.clone().unzip();
    let files: Vec<_> =
        options.ca.iter().chain(&certificate).chain(&key).map(|file| file.display().to_string()).collect();
    if files.is_empty() { "TLS".to_owned() } else { format!("the files for TLS ({})", files.join(", ")) }
}

/// What to do about a handshake that failed.
fn advice(error: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage as Message};
    match error {
        InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "name the authority that the server's certificate comes from by ca=FILE"
        }
        InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "connect by a name that is in the server's certificate"
        }
        InvalidCertificate(_) => "the server needs another certificate",
        AlertReceived(AlertDescription::CertificateRequired) => {
            "the server asks for a client's certificate: name it by `NatsOptions::client_certificate`"
        }
        AlertReceived(_) => {
            "the server does not go on; if it asks for clients' certificates, `NatsOptions::client_certificate` must name one of an \
             authority that it trusts"
        }
        Message(InvalidMessage::InvalidContentType) => {
            "the server has no TLS here: connect by nats://, or give it a `tls` block"
        }
        _ => "server and client have no way of TLS in common",
    }
}

/// Where to look if the connection was cut while it came about: a server that does not like the client's certificate may do that before
/// it has said so.
fn cut(options: &NatsOptions) -> String {
    let certificate = match &options.client_certificate {
        Some((file, _)) => format!("whether it trusts the certificate {}", file.display()),
        None => "whether it asks for a client's certificate (`NatsOptions::client_certificate`)".to_owned(),
    };
    format!("the server has cut the connection, and its log says why; look {certificate}")
}
