//! The part of a store that keeps messages to publish, which code without events writes in its own transactions.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    consumer_name::ConsumerName, consumer_store::ConsumerStore, error::StoreError, lease_store::Fence, limits,
    raw_message::RawMessage,
};

/// A message that is published after the transaction that wrote it has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// The destination: a topic, subject, or routing key.
    pub topic: String,
    /// The key whose messages stay in order. A message without a key has no order.
    pub key: Option<String>,
    /// The message.
    pub message: RawMessage,
    /// The time before which the message must not be published, by the store's clock.
    pub available_at: Option<OffsetDateTime>,
}

impl OutboxMessage {
    /// Creates a message for a topic, without a key, that is published immediately.
    pub fn new(topic: impl Into<String>, message: RawMessage) -> Self {
        Self { topic: topic.into(), key: None, message, available_at: None }
    }

    /// Returns the message with a key whose messages stay in order.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Returns the message with a time before which it is not published. It takes its place in the order of its key at
    /// that time.
    #[must_use]
    pub fn available_at(mut self, time: OffsetDateTime) -> Self {
        self.available_at = Some(time);
        self
    }

    /// Checks the sizes. Stores call it.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_TOPIC_BYTES`], [`limits::MAX_MESSAGE_KEY_BYTES`], or
    /// [`limits::MAX_RAW_MESSAGE_BYTES`].
    pub fn check(&self) -> Result<(), StoreError> {
        let sizes = [
            ("bytes of a topic", limits::MAX_TOPIC_BYTES, self.topic.len()),
            ("bytes of a message key", limits::MAX_MESSAGE_KEY_BYTES, self.key.as_ref().map_or(0, String::len)),
        ];
        for (what, limit, actual) in sizes {
            if actual > limit {
                return Err(StoreError::LimitExceeded { what, limit: limit as u64, actual: actual as u64 });
            }
        }
        self.message.check()
    }
}

/// An outbox message as the relay reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// The place of the message, for [`OutboxStore::confirm_outbox`].
    pub cursor: OutboxCursor,
    /// When the message was written, or, for a delayed message, the time from which it may be published.
    pub enqueued_at: OffsetDateTime,
    /// The message.
    pub message: OutboxMessage,
}

impl OutboxEntry {
    /// Creates an entry. Stores return entries in this way.
    pub fn new(cursor: OutboxCursor, enqueued_at: OffsetDateTime, message: OutboxMessage) -> Self {
        Self { cursor, enqueued_at, message }
    }
}

/// The place of a message in the outbox. Only the store interprets its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxCursor(String);

impl OutboxCursor {
    /// Creates a cursor from the store's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the store's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Statistics of the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStats {
    /// The number of messages that could be published now, counted up to [`limits::MAX_COUNTED_OUTBOX`].
    pub waiting: u64,
    /// When the oldest of them was written.
    pub oldest: Option<OffsetDateTime>,
    /// The number of messages that must not be published yet.
    pub delayed: u64,
    /// The size of the outbox's storage in bytes, including published messages that are not removed yet.
    pub bytes: u64,
}

/// The outbox: messages that callers write in their own transactions, and that one relay at a time publishes. The trait
/// is object-safe, like [`ConsumerStore`].
///
/// No message is skipped, in whatever order transactions commit: the outbox returns a message after its transaction has
/// committed, however late that is. Messages of one key are returned in the order in which they were written, as far as
/// their writers saw each other's messages.
///
/// The relay claims the lease of a consumer ([`LeaseStore`](crate::LeaseStore)) and passes its fence.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait OutboxStore: ConsumerStore {
    /// Returns the next unconfirmed messages, in order. It returns the same messages until they are confirmed, although
    /// a later read may return more. A batch ends after the message that reaches [`limits::MAX_PAGE_BYTES`].
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_OUTBOX_PER_READ`].
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Confirms that every message up to and including this place has been published, so that it is not returned again.
    /// It has no effect for a place that was confirmed before.
    ///
    /// # Errors
    /// Returns [`StoreError::LeaseLost`] if the relay's lease, under the name [`OUTBOX_CONSUMER`], has passed to
    /// another process, and [`StoreError::Refused`] for a place that this outbox never returned.
    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError>;

    /// Removes published messages, as far as no open transaction prevents it. It removes whole partitions, never single
    /// rows. The relay calls it regularly.
    async fn tidy_outbox(&self) -> Result<(), StoreError>;

    /// Returns statistics of the outbox.
    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError>;
}

/// The name under which the outbox relay claims its lease and can be suspended.
pub const OUTBOX_CONSUMER: &str = "outbox";

/// Returns [`OUTBOX_CONSUMER`] as a consumer name.
///
/// # Errors
/// Never: the name is valid.
pub fn outbox_consumer() -> Result<ConsumerName, StoreError> {
    Ok(ConsumerName::new(OUTBOX_CONSUMER)?)
}

/// Checks how many messages one read may request. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_OUTBOX_PER_READ`].
pub fn check_outbox_count(count: usize) -> Result<(), StoreError> {
    let (limit, actual) = (limits::MAX_OUTBOX_PER_READ as u64, count as u64);
    if actual > limit {
        return Err(StoreError::LimitExceeded { what: "messages in a read of the outbox", limit, actual });
    }
    Ok(())
}

/// Writes outbox messages in the caller's own transactions.
#[async_trait]
pub trait Enqueue: Send + Sync {
    /// A connection inside a transaction, which depends on the store: `sqlx::PgConnection`, `sqlx::SqliteConnection`,
    /// and so on.
    type Connection: Send;

    /// Writes a message in the caller's transaction. The message is published if the transaction commits, and never
    /// otherwise.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] as [`OutboxMessage::check`] does.
    async fn enqueue(&self, connection: &mut Self::Connection, message: &OutboxMessage) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: OutboxStore + ?Sized> OutboxStore for Arc<S> {
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        (**self).read_outbox(limit).await
    }

    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError> {
        (**self).confirm_outbox(fence, upto).await
    }

    async fn tidy_outbox(&self) -> Result<(), StoreError> {
        (**self).tidy_outbox().await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        (**self).outbox_stats().await
    }
}
