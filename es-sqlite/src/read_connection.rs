//! Connections with which the application reads.

use std::ops::{Deref, DerefMut};

use es_core::StoreError;
use sqlx::SqliteConnection;
use tokio::sync::SemaphorePermit;

use crate::store::SqliteStore;

/// A connection to the store's file for the application's own SELECT statements. It cannot write, and is closed when it
/// is dropped.
#[derive(Debug)]
pub struct ReadConnection<'a> {
    connection: SqliteConnection,
    _permit: SemaphorePermit<'a>,
}

impl SqliteStore {
    /// Returns a connection for the application's own SELECT statements on the tables of projections, the documents of
    /// views, or the log. Each statement sees what was committed when it began, or when the caller's `BEGIN` took
    /// effect. The connection never waits for the writer.
    ///
    /// The connection counts as one of the store's readers ([`SqliteOptions::readers`](crate::SqliteOptions::readers)),
    /// so drop it soon.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("es-sqlite-doc-{}-read", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let store = es_sqlite::SqliteStore::open(folder.join("read.db")).await?;
    /// let mut reading = store.read_connection().await?;
    /// let events: i64 =
    ///     es_sqlite::sqlx::query_scalar("SELECT count(*) FROM es_events").fetch_one(&mut *reading).await?;
    /// assert_eq!(events, 0);
    /// # drop(reading); store.close().await?; std::fs::remove_dir_all(&folder)?; Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if all readers are in use for longer than the busy timeout, and
    /// [`StoreError::Refused`] if the store was closed.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it has no effect until it returns.
    pub async fn read_connection(&self) -> Result<ReadConnection<'_>, StoreError> {
        let (connection, permit) = self.shared.readers.lend().await?;
        Ok(ReadConnection { connection, _permit: permit })
    }
}

impl Deref for ReadConnection<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for ReadConnection<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}
