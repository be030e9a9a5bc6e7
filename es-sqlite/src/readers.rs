//! The connections that read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use es_core::StoreError;
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use crate::{error::store_error, opened_file::OpenedFile, waiting::wait_at_most};

/// A pool of connections that cannot write. A statement sees what was committed when it began, and never waits for the
/// writer.
pub(crate) struct Readers {
    idle: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
    options: SqliteConnectOptions,
    opened: Arc<OpenedFile>,
    count: usize,
    busy_timeout: Duration,
}

/// The use of one reading connection, which is returned to the pool when the guard is dropped. If a statement is still
/// running then, the next user waits for it.
pub(crate) struct ReaderGuard<'a> {
    readers: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

fn closed() -> StoreError {
    StoreError::Refused { reason: "the store was closed; open it again" }
}

impl Readers {
    pub(crate) fn new(
        options: SqliteConnectOptions,
        opened: Arc<OpenedFile>,
        count: usize,
        busy_timeout: Duration,
    ) -> Self {
        Self { idle: Mutex::default(), permits: Semaphore::new(count), options, opened, count, busy_timeout }
    }

    /// Returns a connection for reading. It waits for a free one for as long as the busy timeout.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] after the busy timeout, [`StoreError::Refused`] if the store was closed, and
    /// [`StoreError::Setup`] if the file was replaced.
    pub(crate) async fn get(&self) -> Result<ReaderGuard<'_>, StoreError> {
        let permit = self.permit().await?;
        self.opened.check_now_and_then()?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(ReaderGuard { readers: self, connection: Some(connection), _permit: permit })
    }

    /// Opens a separate connection for code of the application, which may leave it in any state. It is therefore not
    /// returned to the pool.
    ///
    /// # Errors
    /// Returns the errors of [`get`](Self::get).
    pub(crate) async fn lend(&self) -> Result<(SqliteConnection, SemaphorePermit<'_>), StoreError> {
        let permit = self.permit().await?;
        self.opened.check_now_and_then()?;
        Ok((self.open().await?, permit))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        match self.permits.try_acquire() {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::Closed) => Err(closed()),
            Err(TryAcquireError::NoPermits) => match wait_at_most(self.busy_timeout, self.permits.acquire()).await {
                Some(permit) => permit.map_err(|_| closed()),
                None => {
                    let waiting_for =
                        format!("all {} readers of the store were in use for {:?}", self.count, self.busy_timeout);
                    Err(StoreError::Busy { waiting_for, source: None })
                }
            },
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens another connection of the same kind for a separate use.
    pub(crate) async fn open(&self) -> Result<SqliteConnection, StoreError> {
        self.options.connect().await.map_err(store_error)
    }

    /// Closes all connections. Those in use are closed when they are returned.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            connection.close().await.map_err(store_error)?;
        }
        Ok(())
    }
}

impl ReaderGuard<'_> {
    /// Returns the connection.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
    }

    /// Records whether the connection was lost. A lost connection is not returned to the pool.
    pub(crate) fn settle<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::Unavailable { .. })) {
            self.connection = None;
        }
        result
    }
}

impl Drop for ReaderGuard<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.readers.permits.is_closed()) {
            self.readers.idle().push(connection);
        }
    }
}
