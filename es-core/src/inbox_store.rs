//! The part of a store that makes messages from other systems take effect once.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;

use crate::{
    append::{Append, Appended},
    consumer_name::ConsumerName,
    dead_letter::{DeadLetter, NewDeadLetter},
    error::StoreError,
    limits,
    name::check_text,
    outbox_store::OutboxMessage,
};

/// A transaction in which messages take effect. It contains the handler's own writes, appends, messages to publish,
/// dead letters, and the record of which messages have been handled. Either all of them are committed, or none. If the
/// unit is dropped without a commit, it is rolled back.
///
/// If a store has only one writer, as SQLite does, a unit occupies the writer from its beginning to its end. Keep it
/// short, and write through the unit. See [`InboxStore::in_handler`].
#[async_trait]
pub trait MessageUnit: Send + Sized {
    /// The connection that handlers write with, which depends on the store: `sqlx::PgConnection`,
    /// `sqlx::SqliteConnection`, and so on.
    type Connection: Send;

    /// Returns the connection, within the transaction.
    fn connection(&mut self) -> &mut Self::Connection;

    /// Adds an append, which is sent with the commit.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] for a payload over the store's limit, or for more than
    /// [`limits::MAX_APPENDS_PER_UNIT`](crate::limits::MAX_APPENDS_PER_UNIT) appends.
    fn append(&mut self, append: Append) -> Result<(), StoreError>;

    /// Writes a message that is published if this transaction commits.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] as [`OutboxMessage::check`] does.
    async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError>;

    /// Stores a message that cannot be handled, like [`DeadLetterStore::add_dead_letters`](crate::DeadLetterStore).
    ///
    /// # Errors
    /// Returns the errors of [`NewDeadLetter::check`].
    async fn add_dead_letter(&mut self, dead_letter: &NewDeadLetter) -> Result<(), StoreError>;

    /// Removes a dead letter because its message takes effect in this transaction. Returns whether it still existed
    /// with the message that was read. If not, the caller must not handle the message.
    async fn resolve_dead_letter(&mut self, dead_letter: &DeadLetter) -> Result<bool, StoreError>;

    /// Sets the savepoint to which [`rollback_to`](Self::rollback_to) rolls back. There is only one savepoint at a
    /// time: the last. After a failed statement, roll back before you set a new one.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Rolls back everything since the [`savepoint`](Self::savepoint), including appends, and clears the error state of
    /// a failed statement. The savepoint stays. The record that the messages are handled is kept, because it was
    /// written before the savepoint.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a savepoint.
    async fn rollback_to(&mut self) -> Result<(), StoreError>;

    /// Appends everything, commits, and returns the outcomes in order.
    ///
    /// # Errors
    /// Returns the error of [`EventStore::append`](crate::EventStore::append) for the first append that fails. In this
    /// case everything is rolled back. After [`StoreError::Unavailable`], the outcome is unknown. The messages must be
    /// delivered again, and are recognized if the commit succeeded.
    async fn commit(self) -> Result<Vec<Appended>, StoreError>;

    /// Rolls back everything.
    async fn rollback(self) -> Result<(), StoreError>;
}

/// The key of a message in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InboxKey<'a> {
    /// The ID of the message.
    pub id: &'a str,
    /// A digest of the content. It distinguishes a repeated message from another one with the same ID.
    pub content: u64,
}

impl<'a> InboxKey<'a> {
    /// Creates the key of a message.
    pub const fn new(id: &'a str, content: u64) -> Self {
        Self { id, content }
    }
}

/// What the inbox knows about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// The message was not handled before.
    New,
    /// The message was handled before.
    Known,
    /// Another message, with other content, was handled under the same ID. This message has not taken effect.
    IdReused,
}

impl Novelty {
    /// Returns whether neither the message nor another one with its ID was handled before.
    pub fn is_new(self) -> bool {
        self == Self::New
    }
}

/// Received messages, and the transaction in which they take effect.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<U> {
    /// The transaction.
    pub unit: U,
    /// What the inbox knows about each message, in the order of the request. Of several messages with one ID, the first
    /// is new.
    pub novelty: Vec<Novelty>,
}

impl<U> Received<U> {
    /// Creates the result of a receive. Stores call it.
    pub fn new(unit: U, novelty: Vec<Novelty>) -> Self {
        Self { unit, novelty }
    }

    /// Creates the result of a receive from the contents that were handled under these IDs before. An ID that is
    /// missing in `handled` is new, for the first message of the batch that has it. Stores call it.
    pub fn compared(unit: U, keys: &[InboxKey<'_>], handled: &HashMap<String, u64>) -> Self {
        let mut first = HashMap::new();
        let novelty = keys.iter().map(|key| {
            let before = handled.get(key.id).or_else(|| first.get(key.id)).copied();
            match before {
                None => {
                    first.insert(key.id, key.content);
                    Novelty::New
                }
                Some(content) if content == key.content => Novelty::Known,
                Some(_) => Novelty::IdReused,
            }
        });
        let novelty = novelty.collect();
        Self { unit, novelty }
    }
}

/// Statistics of the inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxStats {
    /// The number of remembered IDs, as far as the store knows it without counting.
    pub remembered: u64,
    /// The size of their storage, in bytes.
    pub bytes: u64,
}

/// The inbox: the record of handled messages, so that a message that is delivered again does not take effect twice.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait InboxStore: Send + Sync {
    /// The transaction.
    type Unit: MessageUnit;

    /// Begins a transaction and records in it that a consumer handles these messages. Returns which of them are new.
    /// The call waits for other open transactions that handle one of the same messages.
    ///
    /// # Errors
    /// Returns the errors of [`check_inbox_keys`], and [`StoreError::Busy`] if the wait takes too long.
    async fn receive(&self, consumer: &ConsumerName, keys: &[InboxKey<'_>])
    -> Result<Received<Self::Unit>, StoreError>;

    /// Begins a transaction that records no messages. Use it to retry a dead letter.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if the wait for a connection, or for the only writer, takes too long.
    async fn begin_unit(&self) -> Result<Self::Unit, StoreError>;

    /// Deletes the oldest IDs. It deletes whole partitions at a time, each only when all of its content is older than
    /// `keep`. Call it regularly, several times within `keep`. An ID is remembered for at least `keep`, and for at most
    /// about one and a third times as long.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if units are open for too long. In this case nothing was deleted, and the next call
    /// tries again.
    async fn rotate_inbox(&self, keep: Duration) -> Result<(), StoreError>;

    /// Returns statistics of the inbox.
    async fn inbox_stats(&self) -> Result<InboxStats, StoreError>;

    /// Runs a handler that has a unit of this store. Writes to the store outside the unit are refused with
    /// [`StoreError::Refused`], because they would wait for the unit, or would be kept although the unit is rolled
    /// back. Stores that cannot detect such writes run the handler unchanged.
    fn in_handler<F>(&self, handler: F) -> impl Future<Output = F::Output> + Send
    where
        Self: Sized,
        F: Future + Send,
    {
        handler
    }
}

/// Checks the IDs of messages that are received together. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_MESSAGES_PER_UNIT`] IDs, and [`StoreError::InvalidName`]
/// for an ID that is empty, longer than [`limits::MAX_MESSAGE_ID_BYTES`], or contains a control character.
pub fn check_inbox_keys(keys: &[InboxKey<'_>]) -> Result<(), StoreError> {
    let limit = limits::MAX_MESSAGES_PER_UNIT;
    if keys.len() > limit {
        let (limit, actual) = (limit as u64, keys.len() as u64);
        return Err(StoreError::LimitExceeded { what: "messages in one transaction", limit, actual });
    }
    keys.iter().try_for_each(|key| check_message_id(key.id))
}

/// Checks the ID of a message. A receiver can call it before it receives the message together with others.
///
/// # Errors
/// Returns [`StoreError::InvalidName`] if the ID is empty, longer than [`limits::MAX_MESSAGE_ID_BYTES`], or contains a
/// control character.
pub fn check_message_id(id: &str) -> Result<(), StoreError> {
    Ok(check_text("message id", id, limits::MAX_MESSAGE_ID_BYTES)?)
}

/// Checks the number of appends in a unit before another one is added. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_APPENDS_PER_UNIT`].
pub fn check_append_count(count: usize) -> Result<(), StoreError> {
    let limit = limits::MAX_APPENDS_PER_UNIT;
    if count >= limit {
        let (limit, actual) = (limit as u64, count as u64 + 1);
        return Err(StoreError::LimitExceeded { what: "appends in a unit of work", limit, actual });
    }
    Ok(())
}
