//! A connection that the application reads with.

use std::ops::{Deref, DerefMut};

use es_core::StoreError;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, Transaction};

use crate::store::{BEGIN, PgStore};

/// Begins a transaction that sees one state of the database from its first statement on, and cannot write.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// One of the store's connections, lent for the application's own SELECTs, in a transaction that cannot write. All its
/// statements see the same state of the database. It goes back when dropped.
#[derive(Debug)]
pub struct ReadConnection(Transaction<'static, Postgres>);

impl PgStore {
    /// Lends a connection for SELECTs of the application's own: on tables of projections, on views' documents, on the
    /// log.
    ///
    /// Return it soon: the store has as many connections as
    /// [`PgOptions::max_connections`](crate::PgOptions::max_connections) says, and its own calls wait for one.
    ///
    /// ```no_run
    /// # async fn doc(store: es_postgres::PgStore) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut reading = store.read_connection().await?;
    /// let open: i64 = es_postgres::sqlx::query_scalar("SELECT count(*) FROM orders WHERE is_open")
    ///     .fetch_one(&mut *reading)
    ///     .await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Busy`] or [`StoreError::Unavailable`] without a connection.
    ///
    /// # Cancel safety
    /// Safe: nothing has happened yet.
    pub async fn read_connection(&self) -> Result<ReadConnection, StoreError> {
        // What else stands in the statement holds for this transaction too.
        let begin = self.shared.begin.as_str().replacen(BEGIN, BEGIN_READING, 1);
        Ok(ReadConnection(self.shared.begin(AssertSqlSafe(begin).into_sql_str()).await?))
    }
}

impl Deref for ReadConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for ReadConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
