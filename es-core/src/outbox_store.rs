//! What a store does for messages that are to be published, and are written in the transactions of code that has no events.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    consumer_name::ConsumerName, consumer_store::ConsumerStore, error::StoreError, lease_store::Fence, limits,
    raw_message::RawMessage,
};

/// A message that is to be published once the transaction that wrote it has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxMessage {
    /// Where to: a topic, subject or routing key.
    pub topic: String,
    /// The key within which order is kept; without one, it has no order.
    pub key: Option<String>,
    /// What.
    pub message: RawMessage,
    /// Not to be published before, by the store's clock.
    pub available_at: Option<OffsetDateTime>,
}

impl OutboxMessage {
    /// A message for a topic, without a key, to be published at once.
    pub fn new(topic: impl Into<String>, message: RawMessage) -> Self {
        Self { topic: topic.into(), key: None, message, available_at: None }
    }

    /// The same with a key within which order is kept.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same, not to be published before a time. It takes its place in the order of its key then.
    #[must_use]
    pub fn available_at(mut self, time: OffsetDateTime) -> Self {
        self.available_at = Some(time);
        self
    }

    /// Checks its sizes. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_TOPIC_BYTES`], [`limits::MAX_MESSAGE_KEY_BYTES`] or
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

/// A message as the outbox gives it to whoever publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxEntry {
    /// Its place, for [`OutboxStore::confirm_outbox`].
    pub cursor: OutboxCursor,
    /// When it was written, or, if it had to wait for its time, when that came.
    pub enqueued_at: OffsetDateTime,
    /// What was written.
    pub message: OutboxMessage,
}

impl OutboxEntry {
    /// An entry, as stores give it.
    pub fn new(cursor: OutboxCursor, enqueued_at: OffsetDateTime, message: OutboxMessage) -> Self {
        Self { cursor, enqueued_at, message }
    }
}

/// The place of a message in the outbox; what it holds is the store's own matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxCursor(String);

impl OutboxCursor {
    /// A place, as a store writes it down.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What the store wrote down.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How much waits in the outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Messages that could be published now; counted up to [`limits::MAX_COUNTED_OUTBOX`].
    pub waiting: u64,
    /// When the oldest of them was written.
    pub oldest: Option<OffsetDateTime>,
    /// Messages whose time has not come.
    pub delayed: u64,
    /// Bytes of storage that the outbox takes, with what was published and is not yet cleared away.
    pub bytes: u64,
}

/// The outbox: messages written in the caller's own transactions, to be published by one relay at a time. Object-safe, as
/// [`ConsumerStore`].
///
/// Nothing is skipped, in whatever order transactions commit: a message is given once its transaction has, however late that is.
/// Messages of one key are given in the order in which they were written, as far as their writers saw each other's.
///
/// Who publishes claims the lease of a consumer ([`LeaseStore`](crate::LeaseStore)) and names its fence.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait OutboxStore: ConsumerStore {
    /// The next messages that are not confirmed, in order; none if there are none. The same again until they are confirmed, though a
    /// later read may give more. A batch ends after the message that brings it to [`limits::MAX_PAGE_BYTES`].
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_OUTBOX_PER_READ`].
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError>;

    /// Everything up to and with this place has been published, and is not given again. Of a place that was confirmed
    /// before it does nothing.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if the relay's lease, under the name [`OUTBOX_CONSUMER`], went on to somebody else;
    /// [`StoreError::Refused`] for a place that this outbox never gave.
    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError>;

    /// Clears away what was published, as far as nobody's open transaction is in the way: whole partitions, never row by row. The
    /// relay calls it now and then.
    async fn tidy_outbox(&self) -> Result<(), StoreError>;

    /// How much waits.
    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError>;
}

/// The name under which the relay of the outbox claims its lease and is held.
pub const OUTBOX_CONSUMER: &str = "outbox";

/// The same as a name of a consumer.
///
/// # Errors
/// None: the name is a valid one.
pub fn outbox_consumer() -> Result<ConsumerName, StoreError> {
    Ok(ConsumerName::new(OUTBOX_CONSUMER)?)
}

/// Checks how many messages a read may be asked for. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_OUTBOX_PER_READ`].
pub fn check_outbox_count(count: usize) -> Result<(), StoreError> {
    let (limit, actual) = (limits::MAX_OUTBOX_PER_READ as u64, count as u64);
    if actual > limit {
        return Err(StoreError::LimitExceeded { what: "messages in a read of the outbox", limit, actual });
    }
    Ok(())
}

/// An outbox that the caller's own transactions write to.
#[async_trait]
pub trait Enqueue: Send + Sync {
    /// A connection inside a transaction: `sqlx::PgConnection`, `sqlx::SqliteConnection`, … as the store says.
    type Connection: Send;

    /// Writes a message in the caller's transaction: it is published if that commits, and never if it does not.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] as [`OutboxMessage::check`].
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
