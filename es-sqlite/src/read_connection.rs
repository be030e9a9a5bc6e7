//! A connection that the application reads with.

use std::ops::{Deref, DerefMut};

use es_core::StoreError;
use sqlx::SqliteConnection;
use tokio::sync::SemaphorePermit;

use crate::store::SqliteStore;

/// A connection to the store's file for the application's own SELECTs. It cannot write, and is closed when dropped.
#[derive(Debug)]
pub struct ReadConnection<'a> {
    connection: SqliteConnection,
    _permit: SemaphorePermit<'a>,
}

impl SqliteStore {
    /// Lends a connection for SELECTs of the application's own: on tables of projections, on views' documents, on the
    /// log. It sees what is committed when a statement begins, or when the caller's `BEGIN` does, and never waits for
    /// the writer.
    ///
    /// It counts as one of the store's readers ([`SqliteOptions::readers`](crate::SqliteOptions::readers)), so return
    /// it soon.
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
    /// [`StoreError::Busy`] if all readers are in use for longer than the busy timeout; [`StoreError::Refused`] if the
    /// store was closed.
    ///
    /// # Cancel safety
    /// Safe: nothing has happened yet.
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
