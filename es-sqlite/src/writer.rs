//! The one connection that writes, and who may use it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::StoreError;
use sqlx::{
    ConnectOptions, Connection, SqlSafeStr, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteTransactionManager},
};
use sqlx_core::transaction::TransactionManager;
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use crate::{
    error::{DatabaseError, store_error},
    waiting::wait_at_most,
};

pub(crate) const BEGIN_WRITE: &str = include_str!("../sql/begin_write.sql");
const COMMIT: &str = include_str!("../sql/commit.sql");
const ROLLBACK: &str = include_str!("../sql/rollback.sql");

/// The one connection that writes. Whoever waits for it gets it in the order of asking.
pub(crate) struct Writer {
    slot: Arc<Mutex<Slot>>,
    is_lost: Arc<AtomicBool>,
    busy_timeout: Duration,
}

struct Slot {
    /// `None` until it is opened again: after it was lost, or after somebody was stopped in the middle of a transaction.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    is_closed: bool,
}

impl Slot {
    /// Whether the driver believes the connection to be inside a transaction that nobody has any more: somebody else's
    /// code has ended it behind the driver's back.
    async fn is_inside_transaction(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        if depth(connection) == 0 {
            return false;
        }
        // A rollback may be on its way; what is asked for now is answered after it.
        connection.ping().await.is_err() || depth(connection) > 0
    }
}

/// How many transactions, one in the other, the driver believes to be open on a connection.
pub(crate) fn depth(connection: &SqliteConnection) -> usize {
    SqliteTransactionManager::get_transaction_depth(connection)
}

/// Rolls back nested transactions that somebody else's code has left open on a connection. Whether there were any.
pub(crate) async fn roll_back_to(depth_before: usize, connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let were_any = depth(connection) > depth_before;
    while depth(connection) > depth_before {
        SqliteTransactionManager::rollback(connection).await.map_err(store_error)?;
    }
    Ok(were_any)
}

impl Writer {
    pub(crate) fn new(connection: SqliteConnection, options: SqliteConnectOptions, busy_timeout: Duration) -> Self {
        let slot = Slot { connection: Some(connection), options, is_closed: false };
        Self { slot: Arc::new(Mutex::new(slot)), is_lost: Arc::default(), busy_timeout }
    }

    /// Waits for the writer, for as long as the busy timeout.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after the busy timeout; [`StoreError::Refused`] if the store was closed.
    pub(crate) async fn lock(&self) -> Result<WriterGuard, StoreError> {
        let locking = Arc::clone(&self.slot).lock_owned();
        let Some(mut slot) = wait_at_most(self.busy_timeout, locking).await else {
            let waiting_for = format!(
                "the store's only writer was in use by this process for {:?} (a unit of work, the page of a projection, \
                 or many appends)",
                self.busy_timeout
            );
            return Err(StoreError::Busy { waiting_for, source: None });
        };
        if slot.is_closed {
            return Err(StoreError::Refused { reason: "the store was closed; open it again" });
        }
        if self.is_lost.swap(false, Ordering::Relaxed) || slot.is_inside_transaction().await {
            slot.connection = None;
        }
        if slot.connection.is_none() {
            slot.connection = Some(slot.options.connect().await.map_err(store_error)?);
        }
        Ok(WriterGuard { slot: Some(slot), is_lost: Arc::clone(&self.is_lost), in_transaction: false })
    }

    /// Closes the connection, after those who wait for it now.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let mut slot = self.slot.lock().await;
        slot.is_closed = true;
        match slot.connection.take() {
            Some(connection) => connection.close().await.map_err(store_error),
            None => Ok(()),
        }
    }
}

/// An error after which the connection is opened again, because it is lost or its state is not known.
fn is_loss(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

/// The right to write, for the store's own statements. Only for tasks that nobody cancels: where one is stopped inside
/// a transaction after all, the connection is closed, and the transaction rolled back with it.
pub(crate) struct WriterGuard {
    /// `None` once a [`Transaction`] has it.
    slot: Option<OwnedMutexGuard<Slot>>,
    is_lost: Arc<AtomicBool>,
    in_transaction: bool,
}

impl WriterGuard {
    /// The connection, for single statements.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        let connection = self.slot.as_mut().and_then(|slot| slot.connection.as_mut());
        connection.ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
    }

    /// Begins a transaction in which other people's code may run.
    pub(crate) async fn begin(mut self) -> Result<Transaction, StoreError> {
        let connection = self.slot.take().map(|slot| OwnedMutexGuard::try_map(slot, |slot| slot.connection.as_mut()));
        let Some(Ok(connection)) = connection else { return Err(store_error(sqlx::Error::WorkerCrashed)) };
        let mut transaction = Transaction { connection, is_lost: Arc::clone(&self.is_lost), is_open: true };
        let begun =
            SqliteTransactionManager::begin(&mut transaction.connection, Some(BEGIN_WRITE.into_sql_str())).await;
        transaction.is_open = begun.is_ok();
        transaction.settle(begun.map_err(store_error))?;
        Ok(transaction)
    }

    /// The connection, for statements that begin a transaction. To be followed by [`committed`](Self::committed) or
    /// [`rollback`](Self::rollback).
    pub(crate) fn for_transaction(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.in_transaction = true;
        self.connection()
    }

    /// The transaction was committed by a statement of its own.
    pub(crate) fn committed(&mut self) {
        self.in_transaction = false;
    }

    /// Ends the transaction, if one is open; nothing in it is stored.
    pub(crate) async fn rollback(&mut self) -> Result<(), StoreError> {
        let result = sqlx::query(ROLLBACK).execute(self.connection()?).await.map_err(DatabaseError::from);
        match result {
            Err(error) if !error.is_misplaced() => self.settle(Err(error.into())),
            // Or SQLite has rolled it back by itself, or it was never begun.
            _ => {
                self.in_transaction = false;
                Ok(())
            }
        }
    }

    /// Notes whether the connection was lost.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(is_loss) {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.as_mut().filter(|_| self.in_transaction) {
            slot.connection = None;
        }
    }
}

/// A transaction in which other people's code runs, with the connection and nested transactions of its own. Rolled back
/// when it is dropped.
pub(crate) struct Transaction {
    connection: OwnedMappedMutexGuard<Slot, SqliteConnection>,
    is_lost: Arc<AtomicBool>,
    is_open: bool,
}

impl Transaction {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Commits.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if a nested transaction was left open, since it is not known what was meant with it.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if depth(&self.connection) != 1 {
            return Err(StoreError::Refused {
                reason: "a nested transaction was left open on the store's connection; commit it or roll it back",
            });
        }
        let committed = SqliteTransactionManager::commit(&mut self.connection).await;
        self.is_open = committed.is_err();
        self.settle(committed.map_err(store_error))
    }

    /// Rolls back, nested transactions too, and returns when that has happened.
    pub(crate) async fn rollback(mut self) -> Result<(), StoreError> {
        let rolled_back = roll_back_to(0, &mut self.connection).await;
        self.is_open = rolled_back.is_err();
        self.settle(rolled_back)?;
        Ok(())
    }

    /// Notes whether the connection was lost.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(is_loss) {
            self.is_lost.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.is_open {
            // Nested transactions that were left open included. Once at least: the driver may be at a commit whose end
            // nobody has waited for. It is done before the next statement.
            for _ in 0..depth(&self.connection).max(1) {
                SqliteTransactionManager::start_rollback(&mut self.connection);
            }
        }
    }
}
/// Begins a transaction that writes.
pub(crate) async fn begin(writer: &mut WriterGuard) -> Result<&mut SqliteConnection, StoreError> {
    let connection = writer.for_transaction()?;
    sqlx::query(BEGIN_WRITE).execute(&mut *connection).await.map_err(store_error)?;
    Ok(connection)
}

/// Ends it.
pub(crate) async fn commit(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query(COMMIT).execute(connection).await.map_err(store_error)?;
    Ok(())
}
