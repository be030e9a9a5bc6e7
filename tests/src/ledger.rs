//! A projection with a table of its own, on both databases: one row for each event, by a plain insert that nothing
//! protects from duplicates. What it holds in the end shows what was applied twice, or not at all.

use es_core::{HandlerError, Projection, Recorded};
use es_testkit::bank::AccountEvent;
use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection};

/// The ledger on PostgreSQL, in a schema.
#[derive(Debug, Clone)]
pub struct PgLedger {
    /// The schema of its table.
    pub schema: String,
}

/// The ledger on SQLite.
#[derive(Debug, Clone, Copy)]
pub struct SqliteLedger;

/// The name of both.
pub const LEDGER: &str = "ledger";

impl Projection for PgLedger {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        LEDGER
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {}.ledger (position bigint NOT NULL)", self.schema);
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let sql = format!("INSERT INTO {}.ledger VALUES ($1)", self.schema);
        sqlx::query(AssertSqlSafe(sql)).bind(event.position().get() as i64).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}.ledger", self.schema))).execute(connection).await?;
        Ok(())
    }
}

impl Projection for SqliteLedger {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        LEDGER
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query("CREATE TABLE IF NOT EXISTS ledger (position INTEGER NOT NULL)").execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO ledger VALUES (?)").bind(event.position().get() as i64).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query("DELETE FROM ledger").execute(connection).await?;
        Ok(())
    }
}
