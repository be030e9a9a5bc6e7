//! Messages are checked on the way in.

use crate::message::Message;

/// Checks messages before their handlers see them.
pub trait MessageValidator: Send + Sync + 'static {
    /// Checks one message.
    ///
    /// # Errors
    /// [`Invalid`]: the message becomes a dead letter of [`DeadReason::Schema`](es_core::DeadReason::Schema), without retries.
    fn validate(&self, message: &Message) -> Result<(), Invalid>;
}

/// Why a message breaks its schema.
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
