//! Every promise of a store, kept by this one.

mod common;

use common::{Schemas, connection, execute, pgbouncer_url, url};
use es_core::{HandlerError, InvalidName, Projection, Recorded, TableNames};
use es_postgres::{
    PgConnection, PgOptions, PgStore, UnitOfWork,
    sqlx::{self, AssertSqlSafe, Row},
};
use es_testkit::{LedgerRow, OpenTransaction, StoreHarness, bank::AccountEvent};

/// Gives the suite stores, each in a schema of its own, and its ledgers a schema beside them.
struct PgHarness {
    schemas: Schemas,
    ledgers: String,
    way: Way,
}

/// How the stores under test reach the server and commit.
#[derive(Clone, Copy, Default)]
struct Way {
    pgbouncer: bool,
    pipelined: bool,
}

impl PgHarness {
    async fn new(way: Way) -> Self {
        let schemas = Schemas::default();
        let ledgers = schemas.add();
        execute(&mut connection().await, format!("CREATE SCHEMA {ledgers}")).await;
        Self { schemas, ledgers, way }
    }

    async fn open(&self, schema: &str) -> PgStore {
        let Way { pgbouncer, pipelined } = self.way;
        let url = if pgbouncer { pgbouncer_url() } else { url() };
        let options = PgOptions::new(url).schema(schema).max_connections(4);
        options.pgbouncer(pgbouncer).pipelined(pipelined).connect().await.unwrap()
    }
}

impl StoreHarness for PgHarness {
    type Store = PgStore;
    type Unit = UnitOfWork;
    type Ledger = Ledger;
    type Transaction = Open;

    const CONCURRENT_TRANSACTIONS: bool = true;

    async fn fresh(&self) -> PgStore {
        self.open(&self.schemas.add()).await
    }

    async fn reopened(&self, store: &PgStore) -> PgStore {
        self.open(store.schema()).await
    }

    async fn begin(&self, store: &PgStore) -> Open {
        Open(store.begin().await.unwrap())
    }

    fn ledger(&self, name: &str) -> Ledger {
        Ledger { name: name.to_owned(), table: format!("{}.ledger_{name}", self.ledgers) }
    }

    async fn failing_statement(&self, connection: &mut PgConnection) {
        assert!(sqlx::raw_sql("SELECT 1 / 0").execute(connection).await.is_err());
    }

    async fn ledger_rows(&self, _: &PgStore, name: &str) -> Vec<LedgerRow> {
        let table = self.ledger(name).table;
        let sql = format!("SELECT position, stream, event_type, cents FROM {table} ORDER BY position");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection().await).await.unwrap();
        rows.iter()
            .map(|row| LedgerRow {
                position: row.get::<i64, _>(0).unsigned_abs(),
                stream: row.get(1),
                event_type: row.get(2),
                cents: row.get(3),
            })
            .collect()
    }
}

/// A unit of work.
struct Open(UnitOfWork);

impl OpenTransaction for Open {
    type Connection = PgConnection;

    fn connection(&mut self) -> &mut PgConnection {
        self.0.connection()
    }

    async fn commit(self) {
        self.0.commit().await.unwrap();
    }

    async fn rollback(self) {
        self.0.rollback().await.unwrap();
    }
}

/// One row for each event, without a key that could hide a second one.
struct Ledger {
    name: String,
    table: String,
}

impl Projection for Ledger {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.name
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { name: self.name.clone(), table: names.table(&self.table)? }))
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (position bigint, stream text, event_type text, cents bigint)",
            self.table
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let row = LedgerRow::of(event);
        sqlx::query(AssertSqlSafe(format!("INSERT INTO {} VALUES ($1, $2, $3, $4)", self.table)))
            // One text for all connections behind PgBouncer.
            .persistent(false)
            .bind(i64::try_from(row.position)?)
            .bind(row.stream)
            .bind(row.event_type)
            .bind(row.cents)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::raw_sql(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

/// By connections of its own.
mod direct {
    use super::{PgHarness, Way};
    es_testkit::conformance!(PgHarness::new(Way::default()).await);
}

/// By connections of its own, where appends are acknowledged after a flush that comes after their commit.
mod pipelined {
    use super::{PgHarness, Way};
    es_testkit::conformance!(PgHarness::new(Way { pipelined: true, ..Way::default() }).await);
}

/// By connections that change with each transaction.
mod through_pgbouncer {
    use super::{PgHarness, Way};
    es_testkit::conformance!(PgHarness::new(Way { pgbouncer: true, ..Way::default() }).await);
}
