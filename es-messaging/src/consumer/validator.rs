//! Validation of received messages.

use crate::message::Message;

/// Checks messages before their handlers receive them.
pub trait MessageValidator: Send + Sync + 'static {
    /// Checks a message.
    ///
    /// # Errors
    /// Returns [`Invalid`]. The message then becomes a dead letter of
    /// [`DeadReason::Schema`](es_core::DeadReason::Schema), without retries.
    fn validate(&self, message: &Message) -> Result<(), Invalid>;
}

/// The reason why a message violates its schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl<F> MessageValidator for F
where
    F: Fn(&Message) -> Result<(), Invalid> + Send + Sync + 'static,
{
    fn validate(&self, message: &Message) -> Result<(), Invalid> {
        self(message)
    }
}
