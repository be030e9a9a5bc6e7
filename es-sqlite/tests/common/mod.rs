//! What the tests of this crate share: folders of their own, events, a ledger.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use es_core::{
    Append, AppendBuilder, Appended, EventStore, EventType, ExpectedVersion, HandlerError, InvalidName, NewEvent,
    Payload, Projection, Recorded, StoreError, StreamId, TableNames,
};
use es_sqlite::{
    SqliteConnection, SqliteStore,
    sqlx::{self, AssertSqlSafe, ConnectOptions, Row, sqlite::SqliteConnectOptions},
};
use es_testkit::{LedgerRow, bank::AccountEvent};

/// A folder of a test's own, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct TempFolder(PathBuf);

impl TempFolder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("es-sqlite-test-{}-{number}-{}", std::process::id(), uuid::Uuid::now_v7().simple());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a temporary folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("test.db")
    }

    pub(crate) async fn store(&self) -> SqliteStore {
        SqliteStore::open(self.file()).await.expect("the store opens")
    }

    /// A connection as an application would have it, with nothing of ours.
    pub(crate) async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.file()).create_if_missing(true);
        options.connect().await.expect("the file opens")
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn account(id: &str) -> StreamId {
    StreamId::new("account", id).unwrap()
}

pub(crate) fn event_of(event_type: &str, payload: &str) -> NewEvent {
    NewEvent::new(EventType::new(event_type).unwrap(), Payload::from_json(payload).unwrap())
}

pub(crate) fn deposited(cents: i64) -> NewEvent {
    event_of("Deposited", &format!(r#"{{"cents":{cents}}}"#))
}

pub(crate) fn opened() -> NewEvent {
    event_of("Opened", r#"{"owner":"ann"}"#)
}

pub(crate) fn to(id: &str, events: Vec<NewEvent>) -> AppendBuilder {
    Append::to(account(id), ExpectedVersion::Any, events)
}

pub(crate) async fn append(store: &SqliteStore, id: &str, events: Vec<NewEvent>) -> Result<Appended, StoreError> {
    store.append(&to(id, events).build()?).await
}

/// A projection that writes one row for each event.
#[derive(Debug, Clone)]
pub(crate) struct SqliteLedger {
    pub(crate) name: String,
    table: String,
}

impl SqliteLedger {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), table: format!("ledger_{name}") }
    }

    pub(crate) async fn rows(&self, store: &SqliteStore) -> Vec<LedgerRow> {
        let mut connection = connect(store.path()).await;
        let exists = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = ?").bind(&self.table);
        if exists.fetch_optional(&mut connection).await.unwrap().is_none() {
            return Vec::new();
        }
        let sql = format!("SELECT position, stream, type, cents FROM {} ORDER BY position", self.table);
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
        let to_row = |row: &sqlx::sqlite::SqliteRow| LedgerRow {
            position: row.get::<i64, _>(0) as u64,
            stream: row.get(1),
            event_type: row.get(2),
            cents: row.get(3),
        };
        rows.iter().map(to_row).collect()
    }
}

pub(crate) async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.expect("the file opens")
}

impl Projection for SqliteLedger {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.name
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { name: self.name.clone(), table: names.table(&format!("ledger_{}", self.name))? }))
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (position INTEGER, stream TEXT, type TEXT, cents INTEGER)",
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
        let row = LedgerRow::of(event);
        let sql = format!("INSERT INTO {} VALUES (?, ?, ?, ?)", self.table);
        sqlx::query(AssertSqlSafe(sql))
            .bind(row.position as i64)
            .bind(row.stream)
            .bind(row.event_type)
            .bind(row.cents)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}
