//! The outbox as writers see it.

use es_core::{Enqueue, OutboxMessage, RawMessage, StoreError};
use time::OffsetDateTime;

use crate::{cloud_events::STRUCTURED_CONTENT_TYPE, error::MalformedMessage, message::Message};

/// Writes messages in the caller's own transactions, for code that has no events: they are published by an
/// [`OutboxRelay`](crate::OutboxRelay) if the transaction commits, and never if it does not.
///
/// The connection is the store's: of a transaction that the caller has begun and will commit.
///
/// ```
/// use es_core::Enqueue;
/// use es_messaging::{Message, Outbox};
///
/// async fn note_paid<S: Enqueue>(
///     outbox: &Outbox<S>,
///     transaction: &mut S::Connection,
///     invoice: u64,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     // Your own writes in the same transaction; then:
///     let message = Message::builder("invoice.paid", "/billing")
///         .key(format!("invoice/{invoice}"))
///         .json(&serde_json::json!({ "invoice": invoice }))?
///         .build()?;
///     outbox.enqueue(transaction, "invoices.paid", &message).await?;
///     // And your commit.
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Outbox<S> {
    store: S,
}

/// Why a message was not written to the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// It says that its content is JSON, and it is not.
    #[error("{0}")]
    Message(#[from] MalformedMessage),
    /// The store refused or failed; see [`StoreError`].
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl<S: Enqueue> Outbox<S> {
    /// The outbox of a store.
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Writes a message for a topic in the caller's transaction. Its order is that of its key.
    ///
    /// # Errors
    /// [`EnqueueError`]; the transaction may not be usable then.
    ///
    /// # Cancel safety
    /// Dropped, it has written the message or not: roll the transaction back.
    pub async fn enqueue(
        &self,
        connection: &mut S::Connection,
        topic: &str,
        message: &Message,
    ) -> Result<(), EnqueueError> {
        Ok(self.store.enqueue(connection, &to_outbox(topic, message)?).await?)
    }

    /// The same, not to be published before a time, by the store's clock.
    ///
    /// # Errors
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_at(
        &self,
        connection: &mut S::Connection,
        topic: &str,
        message: &Message,
        available_at: OffsetDateTime,
    ) -> Result<(), EnqueueError> {
        let message = to_outbox(topic, message)?.available_at(available_at);
        Ok(self.store.enqueue(connection, &message).await?)
    }
}

/// A message as the outbox keeps it: for whoever calls [`Enqueue::enqueue`] by themselves.
///
/// # Errors
/// [`MalformedMessage::Content`] if it says that its content is JSON, and it is not.
pub fn to_outbox(topic: &str, message: &Message) -> Result<OutboxMessage, MalformedMessage> {
    let raw = RawMessage::new(STRUCTURED_CONTENT_TYPE, message.to_structured()?);
    let raw = OutboxMessage::new(topic, raw);
    Ok(match message.key() {
        Some(key) => raw.with_key(key),
        None => raw,
    })
}
