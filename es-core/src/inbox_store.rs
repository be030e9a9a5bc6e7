//! What a store does so that messages from elsewhere take effect once.

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

/// A transaction in which messages take effect: the handler's own writes, appends, messages to be published, dead letters, and the
/// note of which messages have been handled, all or nothing. Dropped without a commit, it is rolled back.
///
/// Where a store has one writer, as SQLite, a unit holds it from its beginning to its end: keep it short, and give the unit what is
/// to be written. See [`InboxStore::in_handler`].
#[async_trait]
pub trait MessageUnit: Send + Sized {
    /// What handlers write with: `sqlx::PgConnection`, `sqlx::SqliteConnection`, … as the store says.
    type Connection: Send;

    /// The connection, within the transaction.
    fn connection(&mut self) -> &mut Self::Connection;

    /// Adds an append; it is sent with the commit.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] for a payload over the store's limit, or over
    /// [`limits::MAX_APPENDS_PER_UNIT`](crate::limits::MAX_APPENDS_PER_UNIT).
    fn append(&mut self, append: Append) -> Result<(), StoreError>;

    /// Writes a message that is published if this commits.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] as [`OutboxMessage::check`].
    async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError>;

    /// Puts a message aside that cannot be handled, as [`DeadLetterStore::add_dead_letters`](crate::DeadLetterStore).
    ///
    /// # Errors
    /// As [`NewDeadLetter::check`].
    async fn add_dead_letter(&mut self, dead_letter: &NewDeadLetter) -> Result<(), StoreError>;

    /// Takes a dead letter away because its message takes effect in this transaction. Returns whether it was still
    /// there, with the message that was read; if it was not, the caller must not handle it.
    async fn resolve_dead_letter(&mut self, dead_letter: &DeadLetter) -> Result<bool, StoreError>;

    /// Sets the savepoint to which [`rollback_to`](Self::rollback_to) goes back. There is one at a time: the last.
    /// After a failed statement, roll back first.
    async fn savepoint(&mut self) -> Result<(), StoreError>;

    /// Rolls back everything since the [`savepoint`](Self::savepoint), appends too, and whatever a failed statement
    /// broke. The savepoint stays. That the messages are handled stays noted: it was before the savepoint.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a savepoint.
    async fn rollback_to(&mut self) -> Result<(), StoreError>;

    /// Appends everything and commits, and gives the outcomes in order.
    ///
    /// # Errors
    /// As [`EventStore::append`](crate::EventStore::append), for the first append that fails; everything is rolled back then. After
    /// [`StoreError::Unavailable`] the outcome is unknown: the messages are to be given again, and are known then if it happened.
    async fn commit(self) -> Result<Vec<Appended>, StoreError>;

    /// Rolls everything back.
    async fn rollback(self) -> Result<(), StoreError>;
}

/// What a message is known by in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InboxKey<'a> {
    /// Its id.
    pub id: &'a str,
    /// A digest of its content, which tells a message that comes again from another one under the same id.
    pub content: u64,
}

impl<'a> InboxKey<'a> {
    /// The key of a message.
    pub const fn new(id: &'a str, content: u64) -> Self {
        Self { id, content }
    }
}

/// What the inbox knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// It was not handled before.
    New,
    /// It was handled before.
    Known,
    /// Another message was handled under its id: one with other content. This one has not taken effect.
    IdReused,
}

impl Novelty {
    /// Whether the message was not handled before, and no other under its id.
    pub fn is_new(self) -> bool {
        self == Self::New
    }
}

/// Messages on their way into effect.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received<U> {
    /// The transaction.
    pub unit: U,
    /// What is known of each of the messages, in the order asked. Of several with one id the first is new.
    pub novelty: Vec<Novelty>,
}

impl<U> Received<U> {
    /// What stores return.
    pub fn new(unit: U, novelty: Vec<Novelty>) -> Self {
        Self { unit, novelty }
    }

    /// What stores return, from the contents that were handled under these ids before. An id that is missing there is
    /// new, and stands for the first message of the batch that has it.
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

/// What the inbox remembers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InboxStats {
    /// Ids that are remembered, as far as the store knows without counting.
    pub remembered: u64,
    /// Bytes of storage that they take.
    pub bytes: u64,
}

/// The inbox: which messages have taken effect, so that one that comes again does not a second time.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait InboxStore: Send + Sync {
    /// The transaction.
    type Unit: MessageUnit;

    /// Begins a transaction and notes in it that a consumer handles these messages; says which of them are new. It waits
    /// for other transactions that handle one of them at the same moment.
    ///
    /// # Errors
    /// As [`check_inbox_keys`]; [`StoreError::Busy`] if the wait takes too long.
    async fn receive(&self, consumer: &ConsumerName, keys: &[InboxKey<'_>])
    -> Result<Received<Self::Unit>, StoreError>;

    /// Begins a transaction that notes nothing: for a dead letter that is tried again.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the wait for a connection, or for the only writer, takes too long.
    async fn begin_unit(&self) -> Result<Self::Unit, StoreError>;

    /// Forgets the oldest ids, whole partitions at a time, each only when all it holds is older than `keep`. Call it now and
    /// then, a few times within `keep`: an id is remembered for `keep` at least, and for about one and a third times as long at most.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if units are open for too long; nothing was forgotten then, and the next call does it.
    async fn rotate_inbox(&self, keep: Duration) -> Result<(), StoreError>;

    /// What is remembered.
    async fn inbox_stats(&self) -> Result<InboxStats, StoreError>;

    /// Runs a handler that is given a unit of this store. Whatever in it would write to the store past the unit is refused with
    /// [`StoreError::Refused`], where it would wait for the unit or stay though the unit is rolled back. Stores that cannot tell
    /// run it as it is.
    fn in_handler<F>(&self, handler: F) -> impl Future<Output = F::Output> + Send
    where
        Self: Sized,
        F: Future + Send,
    {
        handler
    }
}

/// Checks the ids of messages that are to be received together. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_MESSAGES_PER_UNIT`] ids; [`StoreError::InvalidName`] for an id that is empty, over
/// [`limits::MAX_MESSAGE_ID_BYTES`] or holds a control character.
pub fn check_inbox_keys(keys: &[InboxKey<'_>]) -> Result<(), StoreError> {
    let limit = limits::MAX_MESSAGES_PER_UNIT;
    if keys.len() > limit {
        let (limit, actual) = (limit as u64, keys.len() as u64);
        return Err(StoreError::LimitExceeded { what: "messages in one transaction", limit, actual });
    }
    keys.iter().try_for_each(|key| check_message_id(key.id))
}

/// Checks the id of a message: whoever takes messages in may do so before they are received with others.
///
/// # Errors
/// [`StoreError::InvalidName`] if it is empty, over [`limits::MAX_MESSAGE_ID_BYTES`] or holds a control character.
pub fn check_message_id(id: &str) -> Result<(), StoreError> {
    Ok(check_text("message id", id, limits::MAX_MESSAGE_ID_BYTES)?)
}

/// Checks how many appends a unit takes, before it takes one more. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_APPENDS_PER_UNIT`].
pub fn check_append_count(count: usize) -> Result<(), StoreError> {
    let limit = limits::MAX_APPENDS_PER_UNIT;
    if count >= limit {
        let (limit, actual) = (limit as u64, count as u64 + 1);
        return Err(StoreError::LimitExceeded { what: "appends in a unit of work", limit, actual });
    }
    Ok(())
}
