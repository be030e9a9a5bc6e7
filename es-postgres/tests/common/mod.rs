//! What the tests of this crate share: the server, and a schema for each store.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{sync::Mutex, time::Duration};

use es_core::{Append, EventType, ExpectedVersion, NewEvent, Payload, StreamId};
use es_postgres::{
    PgConnection, PgOptions, PgStore,
    sqlx::{self, AssertSqlSafe, Connection},
};

/// The URL of the throwaway server, for its superuser.
pub(crate) fn url() -> String {
    of_environment("ES_TEST_POSTGRES_URL")
}

/// The same through PgBouncer in transaction mode.
pub(crate) fn pgbouncer_url() -> String {
    of_environment("ES_TEST_PGBOUNCER_URL")
}

fn of_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `cargo xtask test`, which starts the servers that tests need")
    })
}

/// A schema that no other test uses; dropped with this value.
pub(crate) struct Schema {
    pub(crate) name: String,
}

impl Schema {
    pub(crate) fn new() -> Self {
        Self { name: format!("t_{}", uuid::Uuid::now_v7().simple()) }
    }

    /// Options for a store in this schema, with few connections: many tests share the server.
    pub(crate) fn options(&self) -> PgOptions {
        self.options_at(url())
    }

    pub(crate) fn options_at(&self, url: String) -> PgOptions {
        PgOptions::new(url).schema(&self.name).max_connections(4)
    }

    pub(crate) async fn store(&self) -> PgStore {
        self.options().connect().await.unwrap()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let sql = format!("SET lock_timeout = '1s'; DROP SCHEMA IF EXISTS \"{}\" CASCADE", self.name);
        // A runtime of its own: a value may be dropped where nothing can be awaited. The server is thrown away soon, so a
        // failure does no harm.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url()).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                connection.close().await
            })
        });
        let _: Result<Result<(), sqlx::Error>, _> = thread.join();
    }
}

/// A schema for each store that a test asks for.
#[derive(Default)]
pub(crate) struct Schemas {
    all: Mutex<Vec<Schema>>,
}

impl Schemas {
    pub(crate) fn add(&self) -> String {
        let schema = Schema::new();
        let name = schema.name.clone();
        self.all.lock().unwrap().push(schema);
        name
    }
}

/// A connection of the superuser's, beside the store's.
pub(crate) async fn connection() -> PgConnection {
    PgConnection::connect(&url()).await.unwrap()
}

/// Runs SQL of a test's own making.
pub(crate) async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    let sql = sql.into();
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(connection).await {
        panic!("{sql}: {error}");
    }
}

/// The number that a query gives.
pub(crate) async fn number(connection: &mut PgConnection, sql: impl Into<String>) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(connection).await.unwrap()
}

pub(crate) fn stream(id: &str) -> StreamId {
    StreamId::new("account", id).unwrap()
}

pub(crate) fn deposited(cents: i64) -> NewEvent {
    NewEvent::new(EventType::new("Deposited").unwrap(), Payload::from_json(format!(r#"{{"cents":{cents}}}"#)).unwrap())
}

/// An append of one event to a stream, whatever its version.
pub(crate) fn deposit(id: &str) -> Append {
    append_to(id, ExpectedVersion::Any)
}

pub(crate) fn append_to(id: &str, expected: ExpectedVersion) -> Append {
    Append::to(stream(id), expected, vec![deposited(1)]).build().unwrap()
}

/// Waits until somebody waits for the lock that orders the appends: the moment in which the test goes on.
pub(crate) async fn somebody_waits(schema: &Schema) {
    let sql = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = '{}'::regnamespace",
        schema.name
    );
    let mut admin = connection().await;
    let waits = async { while number(&mut admin, sql.clone()).await == 0 {} };
    tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap();
}
