//! Appends and the caller's own writes in one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use es_core::{
    Append, Appended, DeadLetter, MessageUnit, NewDeadLetter, OutboxMessage, StoreError, check_append_count,
};
use sqlx::SqliteConnection;

use crate::{
    append::{Prepared, Within, append_batch},
    dead_letters,
    error::{DatabaseError, store_error},
    outbox,
    queue::together,
    store::Shared,
    writer::{Transaction, roll_back_to},
};

const TAKE_WRITE_LOCK: &str = include_str!("../sql/take_write_lock.sql");
const BEGIN: &str = include_str!("../sql/begin_read.sql");
const ROLLBACK: &str = include_str!("../sql/rollback.sql");
const SAVEPOINT: &str = include_str!("../sql/savepoint.sql");
const SAVEPOINT_AGAIN: &str = include_str!("../sql/savepoint_again.sql");
const ROLLBACK_TO: &str = include_str!("../sql/rollback_to.sql");

/// The caller's own writes and appends, in one transaction: [`commit`](Self::commit) stores all of them, or none.
/// Dropping the unit rolls back.
///
/// It is also the [`MessageUnit`] of this store. It holds the store's only writer from its beginning to its end.
/// Messages are therefore handled one unit after the other, and all other writes wait, for as long as the busy timeout.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("es-sqlite-doc-{}-unit", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("shop.db");
/// use es_core::{Append, EventType, ExpectedVersion, NewEvent, Payload, StreamId};
/// use es_sqlite::{SqliteStore, sqlx};
///
/// let store = SqliteStore::open(&path).await?;
/// let mut work = store.begin().await?;
/// sqlx::query("CREATE TABLE seats (name TEXT PRIMARY KEY)").execute(work.connection()).await?;
/// sqlx::query("INSERT INTO seats VALUES (?)").bind("12A").execute(work.connection()).await?;
/// let booked = NewEvent::new(EventType::new("Booked")?, Payload::from_json(r#"{"seat":"12A"}"#)?);
/// work.append(Append::to(StreamId::new("booking", "1")?, ExpectedVersion::NoStream, vec![booked]).build()?)?;
/// let appended = work.commit().await?;
/// assert_eq!(appended[0].last_position.get(), 1);
/// # store.close().await?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(()) }
/// ```
#[must_use = "a unit of work that is dropped is rolled back"]
pub struct UnitOfWork {
    shared: Arc<Shared>,
    pub(crate) transaction: Transaction,
    appends: Vec<Prepared>,
    /// The number of appends at the savepoint.
    savepoint: Option<usize>,
}

impl UnitOfWork {
    pub(crate) fn new(shared: Arc<Shared>, transaction: Transaction) -> Self {
        Self { shared, transaction, appends: Vec::new(), savepoint: None }
    }

    /// Returns the connection, inside the transaction. Do not end the transaction through it. Nested transactions are
    /// allowed.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        self.transaction.connection()
    }

    /// Adds an append. [`commit`](Self::commit) checks it against the store and stores it, in the order in which
    /// appends were added. A later append may build on the streams of an earlier one. Consecutive appends that share no
    /// stream are stored with one statement.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] for a payload over the store's limit, or for more than
    /// [`limits::MAX_APPENDS_PER_UNIT`](es_core::limits::MAX_APPENDS_PER_UNIT) appends.
    pub fn append(&mut self, append: Append) -> Result<(), StoreError> {
        check_append_count(self.appends.len())?;
        self.appends.push(Prepared::new(&append, self.shared.max_payload_bytes)?);
        Ok(())
    }

    /// Stores everything, or nothing. Returns one outcome for each append.
    ///
    /// # Errors
    /// Returns the error of [`EventStore::append`](es_core::EventStore::append) for the first append that is refused.
    /// In this case nothing was stored, neither the other appends nor the caller's own writes.
    ///
    /// # Cancel safety
    /// If the future is dropped, either everything is stored or nothing.
    pub async fn commit(self) -> Result<Vec<Appended>, StoreError> {
        let Self { shared, mut transaction, appends, .. } = self;
        let mut outcomes = Vec::with_capacity(appends.len());
        let mut head = None;
        let mut rest = appends.as_slice();
        while !rest.is_empty() {
            let (some, later) = rest.split_at(together(rest.iter()));
            let some: Vec<&Prepared> = some.iter().collect();
            let batch = append_batch(&shared, transaction.connection(), &some, Within::Callers).await;
            let batch = transaction.settle(batch)?;
            for outcome in batch.outcomes {
                outcomes.push(transaction.settle(outcome)?);
            }
            head = batch.head.or(head);
            rest = later;
        }
        transaction.commit().await?;
        if let Some(head) = head {
            shared.wakeups.notify(head);
        }
        Ok(outcomes)
    }
}

impl UnitOfWork {
    /// Writes a message that is published if this unit commits.
    ///
    /// # Errors
    /// Returns the errors of [`Enqueue::enqueue`](es_core::Enqueue::enqueue).
    ///
    /// # Cancel safety
    /// If the future is dropped, roll back: the message may or may not be in the transaction.
    pub async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError> {
        let enqueued = outbox::enqueue(self.transaction.connection(), message).await;
        self.transaction.settle(enqueued)
    }

    /// Rolls back everything, and waits until that is done. Dropping the unit does the same a moment later.
    ///
    /// # Errors
    /// Returns [`StoreError::Unavailable`] if the connection is lost. In this case nothing is stored either.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }

    async fn run(&mut self, statements: &'static str) -> Result<(), StoreError> {
        let done = sqlx::raw_sql(statements).execute(self.transaction.connection()).await;
        self.transaction.settle(done.map_err(store_error))?;
        Ok(())
    }
}

#[async_trait]
impl MessageUnit for UnitOfWork {
    type Connection = SqliteConnection;

    fn connection(&mut self) -> &mut SqliteConnection {
        self.connection()
    }

    fn append(&mut self, append: Append) -> Result<(), StoreError> {
        self.append(append)
    }

    async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError> {
        self.enqueue(message).await
    }

    async fn add_dead_letter(&mut self, letter: &NewDeadLetter) -> Result<(), StoreError> {
        letter.check()?;
        let added = dead_letters::add(self.transaction.connection(), letter).await;
        self.transaction.settle(added)
    }

    async fn resolve_dead_letter(&mut self, letter: &DeadLetter) -> Result<bool, StoreError> {
        let resolved = dead_letters::resolve(self.transaction.connection(), letter).await;
        self.transaction.settle(resolved)
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.run(if self.savepoint.is_some() { SAVEPOINT_AGAIN } else { SAVEPOINT }).await?;
        self.savepoint = Some(self.appends.len());
        Ok(())
    }

    async fn rollback_to(&mut self) -> Result<(), StoreError> {
        let Some(appends) = self.savepoint else {
            return Err(StoreError::Refused {
                reason: "this unit has no savepoint: call savepoint before rollback_to",
            });
        };
        // Roll back nested transactions that were left open since, because the driver counts them.
        roll_back_to(1, self.transaction.connection()).await?;
        self.run(ROLLBACK_TO).await?;
        self.appends.truncate(appends);
        Ok(())
    }

    async fn commit(self) -> Result<Vec<Appended>, StoreError> {
        self.commit().await
    }

    async fn rollback(self) -> Result<(), StoreError> {
        self.rollback().await
    }
}

impl std::fmt::Debug for UnitOfWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitOfWork").field("appends", &self.appends.len()).finish_non_exhaustive()
    }
}

/// Appends in a transaction that holds the write lock. Also returns the new head, if there is one.
async fn append_one(
    shared: &Shared,
    connection: &mut SqliteConnection,
    prepared: &Prepared,
) -> Result<(Appended, Option<es_core::Position>), StoreError> {
    let mut batch = append_batch(shared, connection, &[prepared], Within::Callers).await?;
    match batch.outcomes.pop() {
        Some(outcome) => Ok((outcome?, batch.head)),
        None => Err(StoreError::Refused { reason: "an append without an outcome" }),
    }
}

/// Appends in a transaction of the caller.
pub(crate) async fn append_in(
    shared: &Shared,
    connection: &mut SqliteConnection,
    append: &Append,
) -> Result<Appended, StoreError> {
    let prepared = Prepared::new(append, shared.max_payload_bytes)?;
    refuse_outside_transaction(connection).await?;
    match sqlx::query(TAKE_WRITE_LOCK).execute(&mut *connection).await.map_err(DatabaseError::from) {
        Ok(_) => {}
        Err(error) if error.is_stale_snapshot() => {
            return Err(StoreError::Refused {
                reason: "the transaction has read before somebody else wrote, so it cannot write any more; begin it with \
                         BEGIN IMMEDIATE, and run it again",
            });
        }
        Err(error) => return Err(error.into()),
    }
    let (appended, _) = append_one(shared, connection, &prepared).await?;
    Ok(appended)
}

/// SQLite shows whether there is a transaction by refusing to begin another one.
async fn refuse_outside_transaction(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    match sqlx::query(BEGIN).execute(&mut *connection).await.map_err(DatabaseError::from) {
        Err(error) if error.is_misplaced() => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => {
            sqlx::query(ROLLBACK).execute(connection).await.map_err(store_error)?;
            Err(StoreError::Refused {
                reason: "append_in was called outside a transaction; begin one with BEGIN IMMEDIATE, or use `append`",
            })
        }
    }
}
