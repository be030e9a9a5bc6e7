//! The connections that read.

use std::sync::{Mutex, PoisonError};

use es_core::StoreError;
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::store_error;

/// A few connections that cannot write. They see what was committed when their statement began, and never wait for
/// the writer.
pub(crate) struct Readers {
    idle: Mutex<Vec<SqliteConnection>>,
    permits: Semaphore,
    options: SqliteConnectOptions,
}

/// The use of one reading connection. It goes back when dropped; a statement that still runs then is waited for by the
/// next user.
pub(crate) struct ReaderGuard<'a> {
    readers: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Readers {
    pub(crate) fn new(options: SqliteConnectOptions, count: usize) -> Self {
        Self { idle: Mutex::default(), permits: Semaphore::new(count), options }
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the store was closed.
    pub(crate) async fn get(&self) -> Result<ReaderGuard<'_>, StoreError> {
        let Ok(permit) = self.permits.acquire().await else {
            return Err(StoreError::Refused { reason: "the store was closed; open it again" });
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        Ok(ReaderGuard { readers: self, connection: Some(connection), _permit: permit })
    }

    /// Another connection of the same kind, for a use of its own.
    pub(crate) async fn open(&self) -> Result<SqliteConnection, StoreError> {
        self.options.connect().await.map_err(store_error)
    }

    /// Closes all connections; those in use when they come back.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            connection.close().await.map_err(store_error)?;
        }
        Ok(())
    }
}

impl ReaderGuard<'_> {
    /// The connection.
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection.as_mut().ok_or_else(|| store_error(sqlx::Error::WorkerCrashed))
    }

    /// Notes whether the connection was lost: such a one does not go back.
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
            self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
