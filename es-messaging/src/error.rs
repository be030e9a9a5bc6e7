//! What can go wrong between here and a broker.

use std::time::Duration;

use es_core::{BoxError, ConsumerName, DeadReason, InvalidName};

/// Why a broker, or a connection to one, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The URL or a setting is wrong; correct it.
    #[error("{what} cannot be used: {reason}")]
    Config {
        /// Which setting; a URL without its password.
        what: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// The broker refuses the credentials, or what they may do; correct them or the broker's permissions.
    #[error("{broker} refuses access: {reason}")]
    Denied {
        /// Which broker.
        broker: &'static str,
        /// What it says.
        reason: String,
    },
    /// An exchange, queue, stream, topic or group is not there, or is there with other settings. Declare it
    /// ([`Broker::declare`](crate::Broker::declare)), or correct its name.
    #[error("{what} is not as it should be on {broker}: {reason}")]
    Missing {
        /// Which broker.
        broker: &'static str,
        /// Which thing.
        what: String,
        /// What is missing or different, and what to do.
        reason: String,
    },
    /// The two sides do not agree on TLS: one without it, an unknown authority, a wrong name, a missing client certificate.
    #[error(
        "no TLS connection to {broker}: {reason}; look at the scheme and the port of the URL, and at the certificates"
    )]
    Tls {
        /// Which broker.
        broker: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The broker has no such feature.
    #[error("{broker} has no {what}")]
    Unsupported {
        /// Which broker.
        broker: &'static str,
        /// Which feature.
        what: String,
    },
    /// The connection was lost, or nobody answers. It passes, or somebody mends it: try again.
    #[error("{broker} does not answer")]
    Unavailable {
        /// Which broker.
        broker: &'static str,
        /// What the client says.
        source: BoxError,
    },
    /// It was closed by this side.
    #[error("the connection was closed")]
    Closed,
}

impl BrokerError {
    /// Whether trying again may help without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Why a message was not published, as far as one knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker did not confirm it. It may be there nevertheless: publish it again, under the same id.
    #[error("{broker} did not confirm the message")]
    Unconfirmed {
        /// Which broker.
        broker: &'static str,
        /// What the client says.
        source: BoxError,
    },
    /// The broker asks for patience.
    #[error("{broker} takes no more messages for now")]
    Throttled {
        /// Which broker.
        broker: &'static str,
        /// How long it asks to wait, if it says so.
        after: Option<Duration>,
    },
    /// The broker will never take this message.
    #[error("{broker} refuses the message: {reason}")]
    Refused {
        /// Which broker.
        broker: &'static str,
        /// What kind of refusal.
        kind: DeadReason,
        /// What it says.
        reason: String,
    },
    /// It was not tried, because an earlier message of its key was not published.
    #[error("an earlier message of the same key was not published")]
    Behind,
}

impl PublishError {
    /// Whether the message is to be published again, as it is.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// Why bytes from a broker are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedMessage {
    /// An attribute that every message has is not there, or empty.
    #[error("the message has no {attribute}")]
    MissingAttribute {
        /// Which one.
        attribute: &'static str,
    },
    /// An attribute is not as CloudEvents has it.
    #[error("the attribute {attribute} is wrong: {reason}")]
    Attribute {
        /// Which one.
        attribute: String,
        /// What is wrong.
        reason: String,
    },
    /// The content cannot be read as what it says it is.
    #[error("the message cannot be read: {reason}")]
    Content {
        /// What is wrong.
        reason: String,
    },
    /// It is a batch of CloudEvents.
    #[error("a batch of CloudEvents cannot be read: its sender has to send each event as a message of its own")]
    Batch,
    /// It is a CloudEvent in structured mode, and not in JSON.
    #[error(
        "the format {media_type} cannot be read: its sender has to use application/cloudevents+json or binary mode"
    )]
    Format {
        /// Its content type.
        media_type: String,
    },
}

/// Why a consumer of messages could not be put together, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// Its name cannot be used.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// It has nothing to do: give it a handler.
    #[error("{name} has no handlers; add one for each type of message that it wants")]
    NoHandlers {
        /// Which consumer.
        name: ConsumerName,
    },
    /// Two handlers take messages of one type, or it is both handled and ignored: say it once.
    #[error("{name} has the type {message_type:?} twice, in handlers or among the ignored types; name it once")]
    DuplicateType {
        /// Which consumer.
        name: ConsumerName,
        /// The type.
        message_type: String,
    },
    /// The broker cannot be used, and time will not mend that.
    #[error("{name} cannot receive")]
    Broker {
        /// Which consumer.
        name: ConsumerName,
        /// What is wrong.
        source: BrokerError,
    },
}
