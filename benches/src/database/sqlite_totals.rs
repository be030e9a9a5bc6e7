//! A projection on SQLite.

use es_core::{HandlerError, InvalidName, Projection, Recorded, TableNames};
use sqlx::{SqlStr, SqliteConnection};

use super::sql;
use crate::{
    account::AccountEvent,
    models::{Totals, Writing, bookings, sums},
};

/// The table `totals_NAME` of a file: the balance of each account.
pub struct SqliteTotals {
    totals: Totals,
    statements: Statements,
}

/// Its statements, which the floors use too.
#[derive(Debug)]
pub struct Statements {
    pub create: SqlStr,
    pub upsert_one: SqlStr,
    pub upsert_page: SqlStr,
    pub drop: SqlStr,
    clear: SqlStr,
}

impl Statements {
    pub fn new(name: &str) -> Self {
        Self::on(&format!("totals_{name}"))
    }

    fn on(table: &str) -> Self {
        let on_conflict = "ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents";
        Self {
            create: sql(format!(
                "CREATE TABLE IF NOT EXISTS {table} (account TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT, WITHOUT ROWID"
            )),
            upsert_one: sql(format!("INSERT INTO {table} VALUES (?1, ?2) {on_conflict}")),
            upsert_page: sql(format!(
                "INSERT INTO {table} SELECT key, value FROM json_each(?1) WHERE true {on_conflict}"
            )),
            drop: sql(format!("DROP TABLE IF EXISTS {table}")),
            clear: sql(format!("DELETE FROM {table}")),
        }
    }
}

impl SqliteTotals {
    pub fn new(totals: Totals) -> Self {
        Self { statements: Statements::new(&totals.name), totals }
    }
}

impl Projection for SqliteTotals {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.totals.name
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        let table = names.table(&format!("totals_{}", self.totals.name))?;
        Ok(Some(Self { totals: self.totals.clone(), statements: Statements::on(&table) }))
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(self.statements.create.clone()).execute(connection).await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        let statement = self.statements.upsert_one.clone();
        sqlx::query(statement).bind(event.stream().id()).bind(event.event.cents()).execute(connection).await?;
        Ok(())
    }

    async fn apply_page(
        &self,
        connection: &mut SqliteConnection,
        events: &[Recorded<AccountEvent>],
    ) -> Result<(), HandlerError> {
        if let (Some(observer), Some(last)) = (&self.totals.observer, events.last()) {
            observer.note_start(last.position().get());
        }
        match self.totals.writing {
            Writing::Nothing => {}
            Writing::EventByEvent => {
                for event in events {
                    self.apply(connection, event).await?;
                }
            }
            Writing::PageByPage => {
                let document = serde_json::to_string(&sums(bookings(events)))?;
                sqlx::query(self.statements.upsert_page.clone()).bind(document).execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(self.statements.clear.clone()).execute(connection).await?;
        Ok(())
    }
}
