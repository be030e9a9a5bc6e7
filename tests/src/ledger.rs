//! A projection with a table of its own, on both databases: one row for each event, by a plain insert that nothing
//! protects from duplicates. What it holds in the end shows what was applied twice, or not at all.

use std::path::Path;

use es_core::{HandlerError, InvalidName, Position, Projection, Recorded, TableNames};
use es_testkit::bank::AccountEvent;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// The ledger on PostgreSQL, in a schema.
#[derive(Debug, Clone)]
pub struct PgLedger {
    schema: String,
    table: String,
}

impl PgLedger {
    /// A ledger with its table in a schema.
    pub fn new(schema: &str) -> Self {
        Self { schema: schema.to_owned(), table: String::new() }
    }
}

/// The ledger on SQLite.
#[derive(Debug, Clone, Default)]
pub struct SqliteLedger {
    table: String,
}

/// The name of both.
pub const LEDGER: &str = "ledger";

impl Projection for PgLedger {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        LEDGER
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        let table = names.table(&format!("{}.{LEDGER}", self.schema))?;
        Ok(Some(Self { schema: self.schema.clone(), table }))
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (position bigint NOT NULL)", self.table);
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let sql = format!("INSERT INTO {} VALUES ($1)", self.table);
        sqlx::query(AssertSqlSafe(sql)).bind(event.position().get() as i64).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

impl Projection for SqliteLedger {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        LEDGER
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table(LEDGER)? }))
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (position INTEGER NOT NULL)", self.table);
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        let sql = format!("INSERT INTO {} VALUES (?)", self.table);
        sqlx::query(AssertSqlSafe(sql)).bind(event.position().get() as i64).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

/// What the ledger in a schema of a server holds, in order.
///
/// # Panics
/// If it cannot be read.
pub async fn postgres_rows(url: &str, schema: &str) -> Vec<i64> {
    let mut connection = PgConnection::connect(url).await.expect("the server accepts connections");
    let sql = format!("SELECT position FROM {schema}.{LEDGER} ORDER BY position");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the ledger")
}

/// What the ledger in a file holds, in order.
///
/// # Panics
/// If it cannot be read.
pub async fn sqlite_rows(file: &Path) -> Vec<i64> {
    let url = format!("sqlite:{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the file opens");
    let sql = format!("SELECT position FROM {LEDGER} ORDER BY position");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the ledger")
}

/// What a ledger holds that has each event once, up to a position.
pub fn every_position_to(head: Position) -> Vec<i64> {
    (1..=head.get() as i64).collect()
}
