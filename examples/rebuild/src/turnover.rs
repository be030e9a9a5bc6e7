//! The read model: how much went in and out of each account. Its first version, and the next one.

use std::path::Path;

use es_core::{HandlerError, InvalidName, Projection, Recorded, TableNames};
use es_sqlite::{
    SqliteConnection,
    sqlx::{self, AssertSqlSafe, Column, Connection, Row, sqlite::SqliteConnectOptions},
};

use crate::{Error, account::AccountEvent};

/// The name of the projection, and of the table that readers use.
pub const TURNOVER: &str = "turnover";

/// Version 1: the sums.
#[derive(Default)]
pub struct Turnover {
    /// The table of one generation: `turnover_g1`, `turnover_g2` … Readers use `turnover`, which stands for the live one.
    table: String,
}

impl Projection for Turnover {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        TURNOVER
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table(TURNOVER)? }))
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (account TEXT PRIMARY KEY, cents INTEGER)", self.table);
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        let (AccountEvent::Deposited { cents } | AccountEvent::Withdrawn { cents }) = event.event;
        let sql = format!(
            "INSERT INTO {} (account, cents) VALUES (?, ?) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents",
            self.table
        );
        sqlx::query(AssertSqlSafe(sql)).bind(event.stream().id()).bind(cents).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

/// Version 2: the sums, and how many bookings made them.
#[derive(Default)]
pub struct TurnoverWithCounts {
    table: String,
}

impl Projection for TurnoverWithCounts {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        TURNOVER
    }

    fn version(&self) -> u32 {
        2
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table(TURNOVER)? }))
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (account TEXT PRIMARY KEY, cents INTEGER, bookings INTEGER)",
            self.table
        );
        sqlx::query(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        let (AccountEvent::Deposited { cents } | AccountEvent::Withdrawn { cents }) = event.event;
        let sql = format!(
            "INSERT INTO {} (account, cents, bookings) VALUES (?, ?, 1)
             ON CONFLICT DO UPDATE SET cents = cents + excluded.cents, bookings = bookings + 1",
            self.table
        );
        sqlx::query(AssertSqlSafe(sql)).bind(event.stream().id()).bind(cents).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

/// What a reader sees, who knows nothing of generations.
pub async fn print_table(file: &Path) -> Result<(), Error> {
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await?;
    for row in sqlx::query("SELECT * FROM turnover ORDER BY account").fetch_all(&mut connection).await? {
        let mut line = format!("   {}", row.try_get::<String, _>("account")?);
        for column in row.columns().iter().skip(1) {
            line.push_str(&format!("  {} {}", column.name(), row.try_get::<i64, _>(column.ordinal())?));
        }
        say!("{line}");
    }
    connection.close().await?;
    Ok(())
}
