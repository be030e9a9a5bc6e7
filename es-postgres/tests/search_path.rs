//! Where the tables of projections are, if their names say no schema.

mod common;

use common::{Schema, connection, execute, number, pgbouncer_url, url};
use es_core::{HandlerError, InvalidName, Projection, ProjectionStore, Projector, Recorded, TableNames};
use es_postgres::{
    PgConnection, PgOptions, PgStore,
    sqlx::{self, AssertSqlSafe, postgres::PgConnectOptions},
};
use es_testkit::bank::AccountEvent;

/// Counts events in a table whose name says no schema.
struct Counter {
    table: String,
}

impl Projection for Counter {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "counter"
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table(&self.table)? }))
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (position bigint PRIMARY KEY)", self.table);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let sql = format!("INSERT INTO {} VALUES ({})", self.table, event.position());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::raw_sql(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

/// Prepares and clears the projection, and says in which schemas its table and its view are now.
async fn schemas_of(store: &PgStore, table: &str) -> Vec<String> {
    let projector = Projector::new(Counter { table: table.to_owned() }).unwrap();
    store.prepare_projection(&projector).await.unwrap();
    store.clear_projection(&projector).await.unwrap();
    let sql = "SELECT c.relnamespace::regnamespace::text FROM pg_class c WHERE c.relname IN ($1, $1 || '_g1') \
               AND c.relkind IN ('r', 'v') ORDER BY 1";
    sqlx::query_scalar(sql).bind(table).fetch_all(&mut connection().await).await.unwrap()
}

#[tokio::test]
async fn a_table_without_a_schema_is_in_the_stores_own() {
    in_the_stores_own(url(), false).await;
}

#[tokio::test]
async fn a_table_without_a_schema_is_in_the_stores_own_behind_a_pooler_too() {
    in_the_stores_own(pgbouncer_url(), true).await;
}

async fn in_the_stores_own(at: String, pgbouncer: bool) {
    let schema = Schema::new();
    let store = schema.options_at(at).pgbouncer(pgbouncer).connect().await.unwrap();
    let table = schema.name.replace("t_", "c_");
    assert_eq!(schemas_of(&store, &table).await, [schema.name.as_str(), &schema.name]);
    // What was in the path before still is, behind it.
    let mut unit = store.begin().await.unwrap();
    let path: String = sqlx::query_scalar("SELECT current_setting('search_path')")
        .persistent(false)
        .fetch_one(unit.connection())
        .await
        .unwrap();
    assert_eq!(path, format!("\"{}\", \"$user\", public", schema.name));
    unit.rollback().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn a_search_path_that_the_caller_chose_is_left_alone() {
    let (schema, own) = (Schema::new(), Schema::new());
    execute(&mut connection().await, format!("CREATE SCHEMA {}", own.name)).await;
    let options = url().parse::<PgConnectOptions>().unwrap().options([("search_path", own.name.as_str())]);
    let store = PgOptions::from_connect_options(options).schema(&schema.name).connect().await.unwrap();
    let table = schema.name.replace("t_", "c_");
    assert_eq!(schemas_of(&store, &table).await, [own.name.as_str(), &own.name]);
    let in_store = format!(
        "SELECT count(*) FROM pg_class WHERE relname LIKE '{table}%' AND relnamespace = '{}'::regnamespace",
        schema.name
    );
    assert_eq!(number(&mut connection().await, in_store).await, 0);
    store.close().await;
}
