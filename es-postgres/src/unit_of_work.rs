//! A transaction of the caller's own writes and of appends.

use es_core::{Append, Appended, OutboxMessage, StoreError};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::{
    append::{Commit, append_in, check},
    error::store_error,
    outbox,
    store::PgStore,
};

/// Most appends that one [`UnitOfWork`] takes.
pub const MAX_APPENDS_PER_UNIT_OF_WORK: usize = 1_000;

/// A transaction of the caller's own writes and of appends: all of them are stored, or none.
///
/// The appends wait in memory until [`commit`](Self::commit), so that the lock that orders all appends is held for the end of
/// the transaction alone, however long the caller takes before. Dropped without a commit, it is rolled back.
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
}

impl UnitOfWork {
    pub(crate) fn new(store: PgStore, transaction: Transaction<'static, Postgres>) -> Self {
        Self { store, transaction, appends: Vec::new() }
    }

    /// The connection, within the transaction, at the isolation level READ COMMITTED. Leave the transaction's end to
    /// [`commit`](Self::commit).
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Adds an append; nothing is sent before [`commit`](Self::commit). A later append may build on the
    /// streams of an earlier one.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] for a payload over the store's limit, or over [`MAX_APPENDS_PER_UNIT_OF_WORK`].
    pub fn append(&mut self, append: Append) -> Result<(), StoreError> {
        check(&self.store.shared, &append)?;
        if self.appends.len() >= MAX_APPENDS_PER_UNIT_OF_WORK {
            return Err(StoreError::LimitExceeded {
                what: "appends in a unit of work",
                limit: MAX_APPENDS_PER_UNIT_OF_WORK as u64,
                actual: self.appends.len() as u64 + 1,
            });
        }
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
        for append in &self.appends {
            outcomes.push(append_in(&self.store.shared, &mut self.transaction, append, Commit::Flushed).await?);
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

impl std::fmt::Debug for UnitOfWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitOfWork").field("appends", &self.appends.len()).finish_non_exhaustive()
    }
}
