//! A projection on PostgreSQL.

use es_core::{HandlerError, InvalidName, Projection, Recorded, TableNames};
use sqlx::{PgConnection, SqlStr};

use super::sql;
use crate::{
    account::AccountEvent,
    models::{Totals, Writing, bookings, sums},
};

/// The table `totals_NAME` of a schema: the balance of each account.
pub struct PostgresTotals {
    schema: String,
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
    pub fn new(schema: &str, name: &str) -> Self {
        Self::on(&format!("{schema}.totals_{name}"))
    }

    fn on(table: &str) -> Self {
        let on_conflict = "ON CONFLICT (account) DO UPDATE SET cents = t.cents + excluded.cents";
        Self {
            create: sql(format!(
                "CREATE TABLE IF NOT EXISTS {table} (account text COLLATE \"C\" PRIMARY KEY, cents bigint NOT NULL)"
            )),
            upsert_one: sql(format!("INSERT INTO {table} AS t VALUES ($1, $2) {on_conflict}")),
            upsert_page: sql(format!(
                "INSERT INTO {table} AS t SELECT * FROM unnest($1::text[], $2::bigint[]) {on_conflict}"
            )),
            drop: sql(format!("DROP TABLE IF EXISTS {table}")),
            clear: sql(format!("DELETE FROM {table}")),
        }
    }
}

impl PostgresTotals {
    pub fn new(schema: &str, totals: Totals) -> Self {
        Self { schema: schema.to_owned(), statements: Statements::new(schema, &totals.name), totals }
    }
}

impl Projection for PostgresTotals {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.totals.name
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        let table = names.table(&format!("{}.totals_{}", self.schema, self.totals.name))?;
        let (schema, totals) = (self.schema.clone(), self.totals.clone());
        Ok(Some(Self { schema, totals, statements: Statements::on(&table) }))
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::query(self.statements.create.clone()).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let statement = self.statements.upsert_one.clone();
        sqlx::query(statement).bind(event.stream().id()).bind(event.event.cents()).execute(connection).await?;
        Ok(())
    }

    async fn apply_page(
        &self,
        connection: &mut PgConnection,
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
                let (accounts, cents): (Vec<&str>, Vec<i64>) = sums(bookings(events)).into_iter().unzip();
                let statement = self.statements.upsert_page.clone();
                sqlx::query(statement).bind(accounts).bind(cents).execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::query(self.statements.clear.clone()).execute(connection).await?;
        Ok(())
    }
}
