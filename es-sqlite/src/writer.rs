//! The one connection that writes, and who may use it.

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

/// The one connection that writes. Each that waits for it gets it in the order of asking, but appends wait for no more
/// than one of the others.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) slot: Arc<Mutex<Slot>>,
    /// Where all but appends wait. The one that holds it waits for the slot, or has it.
    pub(crate) lane: Arc<Mutex<()>>,
    pub(crate) turns: Arc<Turns>,
    is_lost: Arc<AtomicBool>,
    busy_timeout: Duration,
}

/// The connection, and what is open on it.
pub(crate) struct Slot {
    /// `None` until it is opened again: after it was lost, or after somebody was stopped in the middle of a transaction.
    pub(crate) connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    pub(crate) opened: Arc<OpenedFile>,
    is_closed: bool,
    /// The transaction that several writes share, while it is open.
    pub(crate) group: Option<Group>,
    /// Those whose shared transaction could not be committed. Each is by itself until it has committed once, so that
    /// one that cannot be committed fails no others.
    pub(crate) apart: HashSet<Holder>,
}

impl Slot {
    /// Whether the driver believes the connection to be inside a transaction that nobody has any more: somebody else's
    /// code has ended it behind the driver's back.
    async fn is_inside_strange_transaction(&mut self) -> bool {
        let expected = usize::from(self.group.is_some());
        let Some(connection) = &mut self.connection else { return false };
        if depth(connection) == expected {
            return false;
        }
        // A rollback may be on its way; what is asked for now is answered after it.
        let is_alive = connection.ping().await.is_ok();
        let is_untidy = self.group.as_ref().is_some_and(|group| group.is_untidy);
        !is_alive || depth(connection) < expected || (depth(connection) > expected && !is_untidy)
    }

    /// Opens the connection again where that is needed, and checks that there is something to write to.
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
            // What was opened now is what was open before.
            self.opened.check()?;
        }
        Ok(())
    }

    /// Closes the connection; what was open on it is rolled back, and those who share it learn that.
    pub(crate) fn lose_connection(&mut self) {
        (self.connection, self.group) = (None, None);
    }

    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
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

/// Rolls everything back, nested transactions too, before the next statement.
pub(crate) fn start_rollback(connection: &mut SqliteConnection) {
    // Once at least: the driver may be at a commit whose end nobody has waited for.
    for _ in 0..depth(connection).max(1) {
        SqliteTransactionManager::start_rollback(connection);
    }
}

/// Where a call waits for the writer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind all that have asked before.
    Lane,
    /// Before all that are still in the lane.
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

    /// Waits for the writer, with nothing open on it: as long as others get something done, and then for the busy timeout.
    ///
    /// # Errors
    /// [`StoreError::Busy`] after the busy timeout; [`StoreError::Refused`] if the store was closed;
    /// [`StoreError::Setup`] if the file was replaced.
    pub(crate) async fn lock(&self, holder: impl Into<Holder>) -> Result<WriterGuard, StoreError> {
        let access = self.take(holder.into(), Place::Lane).await?;
        access.alone().await
    }

    /// Waits for the writer on behalf of appends, which may share what is open on it.
    ///
    /// # Errors
    /// As of [`lock`](Self::lock).
    pub(crate) async fn for_appends(&self, holder: Holder) -> Result<Access, StoreError> {
        self.take(holder, Place::Ahead).await
    }

    /// Waits for the writer in the lane, for a write that may share what is open on it.
    ///
    /// # Errors
    /// As of [`lock`](Self::lock).
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

    /// Closes the connection, after those who wait for it now.
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

/// The writer, for as long as this lives.
pub(crate) struct Access {
    /// `None` once a [`Transaction`] has it. Given back before the lane, so that appends come first.
    pub(crate) slot: Option<OwnedMutexGuard<Slot>>,
    _lane: Option<OwnedMutexGuard<()>>,
    turn: Turn,
    is_lost: Arc<AtomicBool>,
    /// Whether a transaction is open that statements of the store's own have begun.
    in_transaction: bool,
}

impl Access {
    pub(crate) fn slot(&mut self) -> Result<&mut Slot, StoreError> {
        self.slot.as_deref_mut().ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
    }

    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.slot()?.connection()
    }

    /// Whether there is a transaction that more writes can share.
    pub(crate) fn is_shared(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.group.is_some())
    }

    /// The right to write with nothing open: what others share is committed first.
    pub(crate) async fn alone(mut self) -> Result<WriterGuard, StoreError> {
        self.commit_group().await;
        Ok(WriterGuard { access: self })
    }

    /// Notes whether the connection was lost, and whether nothing could be done with it.
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

/// The right to write, for the store's own statements. Only for tasks that nobody cancels: where one is stopped inside
/// a transaction after all, the connection is closed, and the transaction rolled back with it.
pub(crate) struct WriterGuard {
    access: Access,
}

impl WriterGuard {
    /// The connection, for single statements.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.access.connection()
    }

    /// Begins a transaction in which other people's code may run.
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

    /// The connection, for statements that begin a transaction. To be followed by [`committed`](Self::committed) or
    /// [`rollback`](Self::rollback).
    pub(crate) fn for_transaction(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.access.in_transaction = true;
        self.connection()
    }

    /// The transaction was committed by a statement of its own.
    pub(crate) fn committed(&mut self) {
        self.access.in_transaction = false;
    }

    /// Ends the transaction, if one is open; nothing in it is stored.
    pub(crate) async fn rollback(&mut self) -> Result<(), StoreError> {
        let result = sqlx::query(ROLLBACK).execute(self.connection()?).await.map_err(DatabaseError::from);
        match result {
            Err(error) if !error.is_misplaced() => self.settle(Err(error.into())),
            // Or SQLite has rolled it back by itself, or it was never begun.
            _ => {
                self.access.in_transaction = false;
                Ok(())
            }
        }
    }

    /// Notes what an outcome says about the connection.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.access.settle(result)
    }
}

/// A transaction in which other people's code runs, with the connection and nested transactions of its own. Rolled back
/// when it is dropped.
pub(crate) struct Transaction {
    /// Given back before the lane.
    connection: OwnedMappedMutexGuard<Slot, SqliteConnection>,
    opened: Arc<OpenedFile>,
    is_open: bool,
    access: Access,
}

impl Transaction {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Commits.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if a nested transaction was left open, since it is not known what was meant with it;
    /// [`StoreError::Setup`] if the file was replaced meanwhile.
    pub(crate) async fn commit(mut self) -> Result<(), StoreError> {
        if depth(&self.connection) != 1 {
            return Err(LEFT_OPEN);
        }
        // It may have been open for long.
        self.opened.check()?;
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

    /// Notes what an outcome says about the connection.
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

/// Ends it.
pub(crate) async fn commit(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query(COMMIT).execute(connection).await.map_err(store_error)?;
    Ok(())
}
