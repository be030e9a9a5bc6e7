//! A transaction for the caller's own writes and for appends.

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

/// The maximum number of appends in one [`UnitOfWork`].
pub const MAX_APPENDS_PER_UNIT_OF_WORK: usize = limits::MAX_APPENDS_PER_UNIT;

const SAVEPOINT: &str = include_str!("../sql/savepoint.sql");
const SAVEPOINT_AGAIN: &str = include_str!("../sql/savepoint_again.sql");
const ROLLBACK_TO: &str = include_str!("../sql/rollback_to.sql");

/// A transaction for the caller's own writes and for appends: all of them are stored, or none.
///
/// The appends wait in memory until [`commit`](Self::commit), so that the ordering lock is held only at the end of the
/// transaction, however long the caller takes before. If the unit is dropped without a commit, it is rolled back.
///
/// It is also the [`MessageUnit`] of this store.
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
    /// The number of appends at the savepoint.
    savepoint: Option<usize>,
}

impl UnitOfWork {
    pub(crate) fn new(store: PgStore, transaction: Transaction<'static, Postgres>) -> Self {
        Self { store, transaction, appends: Vec::new(), savepoint: None }
    }

    /// Returns the connection in the transaction, at the isolation level READ COMMITTED. Only [`commit`](Self::commit)
    /// may end the transaction.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Adds an append, which is sent by [`commit`](Self::commit). A later append can build on the streams of an earlier
    /// one. Consecutive appends without a common stream are sent in one call to the database.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] if a payload exceeds the store's limit, or if there are more than
    /// [`MAX_APPENDS_PER_UNIT_OF_WORK`] appends.
    pub fn append(&mut self, append: Append) -> Result<(), StoreError> {
        // A message handler may do this, although it may not append to the store directly.
        append.check_payload_limit(self.store.shared.settings.max_payload_bytes)?;
        check_append_count(self.appends.len())?;
        self.appends.push(append);
        Ok(())
    }

    /// Writes a message that is published if this unit commits.
    ///
    /// # Errors
    /// Returns the same errors as [`Enqueue::enqueue`](es_core::Enqueue::enqueue).
    ///
    /// # Cancel safety
    /// If the future is dropped, roll back: the transaction may or may not contain the message.
    pub async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError> {
        outbox::enqueue(&self.store.shared, &mut self.transaction, message).await
    }

    /// Sends all appends and commits. Returns the outcomes in the order in which the appends were added.
    ///
    /// # Errors
    /// Returns the same errors as [`EventStore::append`](es_core::EventStore::append), for the first append that fails.
    /// Returns [`StoreError::Refused`] if the caller ignored the failure of a statement. After an error, everything is
    /// rolled back, including the caller's own writes. After [`StoreError::Unavailable`], the outcome is unknown.
    ///
    /// # Cancel safety
    /// If the future is dropped, either everything is stored or nothing.
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

    /// Rolls everything back, and returns when that is done. Dropping the unit has the same effect a moment later.
    ///
    /// # Errors
    /// Returns [`StoreError::Unavailable`] if the connection is lost. The server then rolls back on its own.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await.map_err(store_error)
    }
}

impl UnitOfWork {
    /// Returns the store, and the connection in the transaction.
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
