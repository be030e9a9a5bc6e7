//! The one connection that writes, and the order in which calls use it.

use std::{
    collections::HashSet,
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
    opened_file::OpenedFile,
    shared_commit::Group,
    turns::{Holder, Turn, Turns},
};

pub(crate) const BEGIN_WRITE: &str = include_str!("../sql/begin_write.sql");
const COMMIT: &str = include_str!("../sql/commit.sql");
const ROLLBACK: &str = include_str!("../sql/rollback.sql");

/// The one connection that writes. Waiting calls receive it in the order of their requests, except that appends wait
/// for at most one other call.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) slot: Arc<Mutex<Slot>>,
    /// Where all calls except appends wait. The holder of the lane waits for the slot, or has it.
    pub(crate) lane: Arc<Mutex<()>>,
    pub(crate) turns: Arc<Turns>,
    is_lost: Arc<AtomicBool>,
    busy_timeout: Duration,
}

/// The connection, and what is open on it.
pub(crate) struct Slot {
    /// `None` until it is reopened, after it was lost or after a caller was stopped in the middle of a transaction.
    pub(crate) connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    pub(crate) opened: Arc<OpenedFile>,
    is_closed: bool,
    /// The transaction that several writes share, while it is open.
    pub(crate) group: Option<Group>,
    /// The holders whose shared transaction could not be committed. Each of them runs alone until it has committed
    /// once, so that one that cannot be committed does not make others fail.
    pub(crate) apart: HashSet<Holder>,
}

impl Slot {
    /// Returns whether the driver assumes that the connection is inside a transaction that no caller uses anymore,
    /// because other code has ended it without the driver.
    async fn is_inside_strange_transaction(&mut self) -> bool {
        let expected = usize::from(self.group.is_some());
        let Some(connection) = &mut self.connection else { return false };
        if depth(connection) == expected {
            return false;
        }
        // A rollback may be in progress. This request is answered after it.
        let is_alive = connection.ping().await.is_ok();
        let is_untidy = self.group.as_ref().is_some_and(|group| group.is_untidy);
        !is_alive || depth(connection) < expected || (depth(connection) > expected && !is_untidy)
    }

    /// Reopens the connection if necessary, and checks that the files still exist.
    async fn make_ready(&mut self, is_lost: &AtomicBool) -> Result<(), StoreError> {
        if self.is_closed {
            return Err(StoreError::Refused { reason: "the store was closed; open it again" });
        }
        if is_lost.swap(false, Ordering::Relaxed) || self.is_inside_strange_transaction().await {
            self.lose_connection();
        }
        self.opened.check()?;
        self.tidy().await?;
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await.map_err(store_error)?);
            // The reopened files are the same as before.
            self.opened.check()?;
        }
        Ok(())
    }

    /// Closes the connection. Open transactions are rolled back, and the writes that share them are told.
    pub(crate) fn lose_connection(&mut self) {
        (self.connection, self.group) = (None, None);
    }

    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
    }
}

/// Returns how many nested transactions the driver assumes to be open on a connection.
pub(crate) fn depth(connection: &SqliteConnection) -> usize {
    SqliteTransactionManager::get_transaction_depth(connection)
}

/// Rolls back nested transactions that other code has left open on a connection. Returns whether there were any.
pub(crate) async fn roll_back_to(depth_before: usize, connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let were_any = depth(connection) > depth_before;
    while depth(connection) > depth_before {
        SqliteTransactionManager::rollback(connection).await.map_err(store_error)?;
    }
    Ok(were_any)
}

/// Rolls back everything, including nested transactions, before the next statement.
pub(crate) fn start_rollback(connection: &mut SqliteConnection) {
    // At least once, because the driver may be in a commit whose end was not awaited.
    for _ in 0..depth(connection).max(1) {
        SqliteTransactionManager::start_rollback(connection);
    }
}

/// Where a call waits for the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind all earlier calls.
    Lane,
    /// Before all calls that are still in the lane.
    Ahead,
}

impl Writer {
    pub(crate) fn new(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        opened: Arc<OpenedFile>,
        busy_timeout: Duration,
    ) -> Self {
        let slot = Slot {
            connection: Some(connection),
            options,
            opened,
            is_closed: false,
            group: None,
            apart: HashSet::new(),
        };
        Self {
            slot: Arc::new(Mutex::new(slot)),
            lane: Arc::default(),
            turns: Arc::new(Turns::new()),
            is_lost: Arc::default(),
            busy_timeout,
        }
    }

    /// Waits for the writer, with no open transaction on it: as long as other calls make progress, and then for the
    /// busy timeout.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] after the busy timeout, [`StoreError::Refused`] if the store was closed, and
    /// [`StoreError::Setup`] if the file was replaced.
    pub(crate) async fn lock(&self, holder: impl Into<Holder>) -> Result<WriterGuard, StoreError> {
        let access = self.take(holder.into(), Place::Lane).await?;
        access.alone().await
    }

    /// Waits for the writer on behalf of appends, which may share the open transaction.
    ///
    /// # Errors
    /// Returns the errors of [`lock`](Self::lock).
    pub(crate) async fn for_appends(&self, holder: Holder) -> Result<Access, StoreError> {
        self.take(holder, Place::Ahead).await
    }

    /// Waits for the writer in the lane, for a write that may share the open transaction.
    ///
    /// # Errors
    /// Returns the errors of [`lock`](Self::lock).
    pub(crate) async fn in_lane(&self, holder: Holder) -> Result<Access, StoreError> {
        self.take(holder, Place::Lane).await
    }

    async fn take(&self, holder: Holder, place: Place) -> Result<Access, StoreError> {
        let locking = async {
            let lane = match place {
                Place::Lane => Some(Arc::clone(&self.lane).lock_owned().await),
                Place::Ahead => None,
            };
            (lane, Arc::clone(&self.slot).lock_owned().await)
        };
        let (lane, slot) = self.turns.wait(self.busy_timeout, locking).await?;
        let mut access = self.access(holder, lane, slot);
        let is_ready = match &mut access.slot {
            Some(slot) => slot.make_ready(&self.is_lost).await,
            None => Ok(()),
        };
        access.settle(is_ready)?;
        Ok(access)
    }

    pub(crate) fn access(
        &self,
        holder: Holder,
        lane: Option<OwnedMutexGuard<()>>,
        slot: OwnedMutexGuard<Slot>,
    ) -> Access {
        Access {
            slot: Some(slot),
            _lane: lane,
            turn: self.turns.begin(holder),
            is_lost: Arc::clone(&self.is_lost),
            in_transaction: false,
        }
    }

    /// Closes the connection, after the calls that wait for it now.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let lane = Some(Arc::clone(&self.lane).lock_owned().await);
        let mut access = self.access("closing the store".into(), lane, Arc::clone(&self.slot).lock_owned().await);
        access.commit_group().await;
        let slot = access.slot()?;
        slot.is_closed = true;
        match slot.connection.take() {
            Some(connection) => connection.close().await.map_err(store_error),
            None => Ok(()),
        }
    }
}

/// Access to the writer, for as long as this value lives.
pub(crate) struct Access {
    /// `None` after a [`Transaction`] has taken it. It is released before the lane, so that appends come first.
    pub(crate) slot: Option<OwnedMutexGuard<Slot>>,
    _lane: Option<OwnedMutexGuard<()>>,
    turn: Turn,
    is_lost: Arc<AtomicBool>,
    /// Whether a transaction is open that the store's own statements have begun.
    in_transaction: bool,
}

impl Access {
    pub(crate) fn slot(&mut self) -> Result<&mut Slot, StoreError> {
        self.slot.as_deref_mut().ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
    }

    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.slot()?.connection()
    }

    /// Returns whether there is a transaction that more writes can share.
    pub(crate) fn is_shared(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.group.is_some())
    }

    /// Returns the right to write without an open transaction. A shared transaction is committed first.
    pub(crate) async fn alone(mut self) -> Result<WriterGuard, StoreError> {
        self.commit_group().await;
        Ok(WriterGuard { access: self })
    }

    /// Records whether the connection was lost, and whether nothing could be done with it.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Err(StoreError::Unavailable { .. }) => self.is_lost.store(true, Ordering::Relaxed),
            Err(StoreError::Busy { .. }) => self.turn.was_stuck(),
            _ => {}
        }
        result
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        if let Some(slot) = &mut self.slot {
            if self.in_transaction {
                slot.connection = None;
            }
            slot.roll_back_if_forgotten();
        }
    }
}

/// The right to write, for the store's own statements. Use it only in tasks that are not canceled. If a task is
/// stopped inside a transaction nevertheless, the connection is closed, which rolls back the transaction.
pub(crate) struct WriterGuard {
    access: Access,
}

impl WriterGuard {
    /// Returns the connection, for single statements.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.access.connection()
    }

    /// Begins a transaction in which code of the application may run.
    pub(crate) async fn begin(mut self) -> Result<Transaction, StoreError> {
        let opened = Arc::clone(&self.access.slot()?.opened);
        let slot = self.access.slot.take();
        let connection = slot.map(|slot| OwnedMutexGuard::try_map(slot, |slot| slot.connection.as_mut()));
        let Some(Ok(connection)) = connection else { return Err(store_error(sqlx::Error::WorkerCrashed)) };
        let mut transaction = Transaction { connection, opened, is_open: true, access: self.access };
        let begun =
            SqliteTransactionManager::begin(&mut transaction.connection, Some(BEGIN_WRITE.into_sql_str())).await;
        transaction.is_open = begun.is_ok();
        transaction.settle(begun.map_err(store_error))?;
        Ok(transaction)
    }

    /// Returns the connection, for statements that begin a transaction. Call [`committed`](Self::committed) or
    /// [`rollback`](Self::rollback) afterwards.
    pub(crate) fn for_transaction(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.access.in_transaction = true;
        self.connection()
    }

    /// Records that the transaction was committed by a statement.
    pub(crate) fn committed(&mut self) {
        self.access.in_transaction = false;
    }

    /// Ends the transaction, if one is open. Nothing in it is stored.
    pub(crate) async fn rollback(&mut self) -> Result<(), StoreError> {
        let result = sqlx::query(ROLLBACK).execute(self.connection()?).await.map_err(DatabaseError::from);
        match result {
            Err(error) if !error.is_misplaced() => self.settle(Err(error.into())),
            // Either SQLite has rolled it back automatically, or it was never begun.
            _ => {
                self.access.in_transaction = false;
                Ok(())
            }
        }
    }

    /// Records what a result says about the state of the connection.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.access.settle(result)
    }
}

/// A transaction in which code of the application runs, with its own connection and nested transactions. It is rolled
/// back when it is dropped.
pub(crate) struct Transaction {
    /// Released before the lane.
    connection: OwnedMappedMutexGuard<Slot, SqliteConnection>,
    opened: Arc<OpenedFile>,
    is_open: bool,
    access: Access,
}

impl Transaction {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if a nested transaction was left open, because its intended outcome is unknown.
    /// Returns [`StoreError::Setup`] if the file was replaced in the meantime.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if depth(&self.connection) != 1 {
            return Err(LEFT_OPEN);
        }
        // The transaction may have been open for a long time.
        self.opened.check()?;
        let committed = SqliteTransactionManager::commit(&mut self.connection).await;
        self.is_open = committed.is_err();
        self.settle(committed.map_err(store_error))
    }

    /// Rolls back, including nested transactions, and waits until that is done.
    pub(crate) async fn rollback(mut self) -> Result<(), StoreError> {
        let rolled_back = roll_back_to(0, &mut self.connection).await;
        self.is_open = rolled_back.is_err();
        self.settle(rolled_back)?;
        Ok(())
    }

    /// Records what a result says about the state of the connection.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.access.settle(result)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.is_open {
            start_rollback(&mut self.connection);
        }
    }
}

pub(crate) const LEFT_OPEN: StoreError = StoreError::Refused {
    reason: "a nested transaction was left open on the store's connection; commit it or roll it back",
};

/// Begins a transaction that writes.
pub(crate) async fn begin(writer: &mut WriterGuard) -> Result<&mut SqliteConnection, StoreError> {
    let connection = writer.for_transaction()?;
    sqlx::query(BEGIN_WRITE).execute(&mut *connection).await.map_err(store_error)?;
    Ok(connection)
}

/// Commits the transaction.
pub(crate) async fn commit(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query(COMMIT).execute(connection).await.map_err(store_error)?;
    Ok(())
}
