//! The errors of brokers, publishers, and consumers.

use std::time::Duration;

use es_core::{BoxError, ConsumerName, DeadReason, InvalidName};

/// The reason why a broker, or a connection to it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The URL or a setting is invalid. Correct it.
    #[error("{what} cannot be used: {reason}")]
    Config {
        /// The setting; a URL is shown without its password.
        what: String,
        /// What is wrong, and what would be valid.
        reason: String,
    },
    /// The broker rejects the credentials or their permissions. Correct the credentials, or the permissions on the
    /// broker.
    #[error("{broker} refuses access: {reason}")]
    Denied {
        /// The broker.
        broker: &'static str,
        /// The message of the broker.
        reason: String,
    },
    /// An exchange, queue, stream, topic, or group does not exist or has different settings. Declare it
    /// ([`Broker::declare`](crate::Broker::declare)), or correct its name.
    #[error("{what} is not as it should be on {broker}: {reason}")]
    Missing {
        /// The broker.
        broker: &'static str,
        /// What does not match.
        what: String,
        /// What is missing or different, and what to do.
        reason: String,
    },
    /// The two sides do not agree on TLS: one side does not use it, or there is an unknown authority, a wrong name, or
    /// a missing client certificate.
    #[error(
        "no TLS connection to {broker}: {reason}; look at the scheme and the port of the URL, and at the certificates"
    )]
    Tls {
        /// The broker.
        broker: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The broker does not support a feature.
    #[error("{broker} has no {what}")]
    Unsupported {
        /// The broker.
        broker: &'static str,
        /// The feature.
        what: String,
    },
    /// The connection was lost, or the broker does not answer. Try again: the failure passes, or an operator fixes it.
    #[error("{broker} does not answer")]
    Unavailable {
        /// The broker.
        broker: &'static str,
        /// The error of the client.
        source: BoxError,
    },
    /// This side closed the connection.
    #[error("the connection was closed")]
    Closed,
}

impl BrokerError {
    /// Returns whether a retry may succeed without any change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// The reason why a message was not published, as far as known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker did not confirm the message. The broker may have it nevertheless. Publish it again under the same ID.
    #[error("{broker} did not confirm the message")]
    Unconfirmed {
        /// The broker.
        broker: &'static str,
        /// The error of the client.
        source: BoxError,
    },
    /// The broker asks the publisher to wait.
    #[error("{broker} takes no more messages for now")]
    Throttled {
        /// The broker.
        broker: &'static str,
        /// How long the broker asks to wait, if it states that.
        after: Option<Duration>,
    },
    /// The broker will never accept this message.
    #[error("{broker} refuses the message: {reason}")]
    Refused {
        /// The broker.
        broker: &'static str,
        /// The kind of refusal.
        kind: DeadReason,
        /// The message of the broker.
        reason: String,
    },
    /// The message was not tried, because an earlier message of its key was not published.
    #[error("an earlier message of the same key was not published")]
    Behind,
}

impl PublishError {
    /// Returns whether the message should be published again unchanged.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// The reason why bytes from a broker are not a valid message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedMessage {
    /// A required attribute is missing or empty.
    #[error("the message has no {attribute}")]
    MissingAttribute {
        /// The attribute.
        attribute: &'static str,
    },
    /// An attribute violates the CloudEvents specification.
    #[error("the attribute {attribute} is wrong: {reason}")]
    Attribute {
        /// The attribute.
        attribute: String,
        /// What is wrong.
        reason: String,
    },
    /// The content cannot be decoded as its declared type.
    #[error("the message cannot be read: {reason}")]
    Content {
        /// What is wrong.
        reason: String,
    },
    /// The body is a batch of CloudEvents.
    #[error("a batch of CloudEvents cannot be read: its sender has to send each event as a message of its own")]
    Batch,
    /// The body is a CloudEvent in structured mode, in a format other than JSON.
    #[error(
        "the format {media_type} cannot be read: its sender has to use application/cloudevents+json or binary mode"
    )]
    Format {
        /// The content type.
        media_type: String,
    },
}

/// The reason why a consumer of messages could not be built, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The name is not a valid consumer name.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// The consumer has no handlers. Add one.
    #[error("{name} has no handlers; add one for each type of message that it wants")]
    NoHandlers {
        /// The consumer.
        name: ConsumerName,
    },
    /// Two handlers have the same message type, or a type is both handled and ignored. Name each type once.
    #[error("{name} has the type {message_type:?} twice, in handlers or among the ignored types; name it once")]
    DuplicateType {
        /// The consumer.
        name: ConsumerName,
        /// The type.
        message_type: String,
    },
    /// The broker cannot be used, and waiting will not change that.
    #[error("{name} cannot receive")]
    Broker {
        /// The consumer.
        name: ConsumerName,
        /// What is wrong.
        source: BrokerError,
    },
}
