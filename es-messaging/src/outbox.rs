//! The outbox, as writers use it.

use es_core::{Enqueue, OutboxMessage, RawMessage, StoreError};
use time::OffsetDateTime;

use crate::{cloud_events::STRUCTURED_CONTENT_TYPE, error::MalformedMessage, message::Message};

/// Writes messages in the caller's own transactions, for code that has no events. An
/// [`OutboxRelay`](crate::OutboxRelay) publishes the messages if the transaction commits, and never otherwise.
///
/// The connection is that of the store, in a transaction that the caller has begun and will commit.
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

/// The reason why a message was not written to the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// The declared content type is JSON, but the content is not.
    #[error("{0}")]
    Message(#[from] MalformedMessage),
    /// The store refused or failed; see [`StoreError`].
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl<S: Enqueue> Outbox<S> {
    /// Returns the outbox of a store.
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Writes a message for a topic in the caller's transaction. Messages of the same key are published in order.
    ///
    /// # Errors
    /// Returns [`EnqueueError`]. The transaction may then be unusable.
    ///
    /// # Cancel safety
    /// If the future is dropped, the message may be written or not: roll the transaction back.
    pub async fn enqueue(
        &self,
        connection: &mut S::Connection,
        topic: &str,
        message: &Message,
    ) -> Result<(), EnqueueError> {
        Ok(self.store.enqueue(connection, &to_outbox(topic, message)?).await?)
    }

    /// Like [`enqueue`](Self::enqueue), but the message is not published before a time, by the store's clock.
    ///
    /// # Errors
    /// Same as [`enqueue`](Self::enqueue).
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

/// Converts a message to the form in which the outbox stores it, for code that calls [`Enqueue::enqueue`] directly.
///
/// # Errors
/// Returns [`MalformedMessage::Content`] if the declared content type is JSON but the content is not.
pub fn to_outbox(topic: &str, message: &Message) -> Result<OutboxMessage, MalformedMessage> {
    let raw = RawMessage::new(STRUCTURED_CONTENT_TYPE, message.to_structured()?);
    let raw = OutboxMessage::new(topic, raw);
    Ok(match message.key() {
        Some(key) => raw.with_key(key),
        None => raw,
    })
}
