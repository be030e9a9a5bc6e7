//! A transaction of the caller's own writes and of appends.

use async_trait::async_trait;
use es_core::{
    Append, Appended, DeadLetter, MessageUnit, NewDeadLetter, OutboxMessage, StoreError, check_append_count, limits,
};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    append::{Commit, append_all_in},
    dead_letters,
    error::store_error,
    outbox,
    queue::together,
    store::{PgStore, Shared},
};

/// Most appends that one [`UnitOfWork`] takes.
pub const MAX_APPENDS_PER_UNIT_OF_WORK: usize = limits::MAX_APPENDS_PER_UNIT;

const SAVEPOINT: &str = include_str!("../sql/savepoint.sql");
const SAVEPOINT_AGAIN: &str = include_str!("../sql/savepoint_again.sql");
const ROLLBACK_TO: &str = include_str!("../sql/rollback_to.sql");

/// A transaction of the caller's own writes and of appends: all of them are stored, or none.
///
/// The appends wait in memory until [`commit`](Self::commit), so that the lock that orders all appends is held for the end of
/// the transaction alone, however long the caller takes before. Dropped without a commit, it is rolled back.
///
/// It is the [`MessageUnit`] of this store as well.
///
/// ```no_run
/// # async fn example(store: es_postgres::PgStore, append: es_core::Append) -> Result<(), Box<dyn std::error::Error>> {
/// let mut unit = store.begin().await?;
/// sqlx::query("INSERT INTO invoices (id) VALUES ($1)").bind(7_i64).execute(unit.connection()).await?;
/// unit.append(append)?;
/// let appended = unit.commit().await?;
/// println!("invoice and events are stored, up to position {}", appended[0].last_position);
/// # Ok(())
/// # }
/// ```
#[must_use = "a unit of work that is dropped is rolled back"]
pub struct UnitOfWork {
    store: PgStore,
    transaction: Transaction<'static, Postgres>,
    appends: Vec<Append>,
    /// How many appends there were at the savepoint.
    savepoint: Option<usize>,
}

impl UnitOfWork {
    pub(crate) fn new(store: PgStore, transaction: Transaction<'static, Postgres>) -> Self {
        Self { store, transaction, appends: Vec::new(), savepoint: None }
    }

    /// The connection, within the transaction, at the isolation level READ COMMITTED. Leave the transaction's end to
    /// [`commit`](Self::commit).
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Adds an append; nothing is sent before [`commit`](Self::commit). A later append may build on the
    /// streams of an earlier one; those in a row that share no stream are one call to the database.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] for a payload over the store's limit, or over [`MAX_APPENDS_PER_UNIT_OF_WORK`].
    pub fn append(&mut self, append: Append) -> Result<(), StoreError> {
        // A handler of messages may do this, though it may not append to the store.
        append.check_payload_limit(self.store.shared.settings.max_payload_bytes)?;
        check_append_count(self.appends.len())?;
        self.appends.push(append);
        Ok(())
    }

    /// Writes a message that is published if this commits.
    ///
    /// # Errors
    /// As of [`Enqueue::enqueue`](es_core::Enqueue::enqueue).
    ///
    /// # Cancel safety
    /// Roll back if the future is dropped: the message may be in the transaction or not.
    pub async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError> {
        outbox::enqueue(&self.store.shared, &mut self.transaction, message).await
    }

    /// Appends everything and commits. Gives the outcomes in the order in which the appends were added.
    ///
    /// # Errors
    /// As [`EventStore::append`](es_core::EventStore::append), for the first append that fails; [`StoreError::Refused`] if the caller
    /// ignored the failure of a statement. Everything is rolled back then, the caller's own writes too. After [`StoreError::Unavailable`] the outcome is unknown.
    ///
    /// # Cancel safety
    /// Dropping the future leaves everything stored or nothing.
    pub async fn commit(mut self) -> Result<Vec<Appended>, StoreError> {
        let mut outcomes = Vec::with_capacity(self.appends.len());
        let mut rest = self.appends.as_slice();
        while !rest.is_empty() {
            let (appends, later) = rest.split_at(together(rest));
            let appends: Vec<&Append> = appends.iter().collect();
            let shared = &self.store.shared;
            outcomes.extend(append_all_in(shared, &mut self.transaction, &appends, Commit::Flushed).await?);
            rest = later;
        }
        self.store.shared.commit(self.transaction).await?;
        if let Some(head) = outcomes.iter().map(|appended| appended.last_position).max() {
            self.store.announce(head);
        }
        Ok(outcomes)
    }

    /// Rolls everything back, and returns when that has happened. Dropping the unit does the same a moment later.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the connection is gone; the server rolls back by itself then.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await.map_err(store_error)
    }
}

impl UnitOfWork {
    /// The store, and the connection within the transaction.
    pub(crate) fn parts(&mut self) -> (&Shared, &mut PgConnection) {
        (&self.store.shared, &mut self.transaction)
    }

    async fn run(&mut self, statements: &'static str) -> Result<(), StoreError> {
        sqlx::raw_sql(statements).execute(&mut *self.transaction).await.map_err(store_error)?;
        Ok(())
    }
}

#[async_trait]
impl MessageUnit for UnitOfWork {
    type Connection = PgConnection;

    fn connection(&mut self) -> &mut PgConnection {
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
        let (shared, connection) = self.parts();
        dead_letters::add(shared, connection, std::slice::from_ref(letter)).await
    }

    async fn resolve_dead_letter(&mut self, letter: &DeadLetter) -> Result<bool, StoreError> {
        let (shared, connection) = self.parts();
        dead_letters::resolve(shared, connection, letter).await
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
