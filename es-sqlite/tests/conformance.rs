//! The conformance suite on SQLite.

mod common;

use std::sync::Mutex;

use common::{SqliteLedger, TempFolder};
use es_core::{HandlerError, Projection, Recorded};
use es_sqlite::{SqliteConnection, SqliteOptions, SqliteStore, Synchronous, UnitOfWork, sqlx};
use es_testkit::{LedgerRow, OpenTransaction, StoreHarness, bank::AccountEvent};

/// Gives each test stores in folders of its own.
struct SqliteHarness {
    options: fn(SqliteOptions) -> SqliteOptions,
    folders: Mutex<Vec<TempFolder>>,
}

impl SqliteHarness {
    fn new(options: fn(SqliteOptions) -> SqliteOptions) -> Self {
        Self { options, folders: Mutex::default() }
    }

    async fn open(&self, path: &std::path::Path) -> SqliteStore {
        let options = (self.options)(SqliteOptions::new(path));
        options.busy_timeout(std::time::Duration::from_secs(60)).open().await.expect("the store opens")
    }
}

impl StoreHarness for SqliteHarness {
    type Store = SqliteStore;
    type Unit = UnitOfWork;
    type Ledger = SqliteLedger;
    type Transaction = Open;

    const CONCURRENT_TRANSACTIONS: bool = false;

    async fn fresh(&self) -> SqliteStore {
        let folder = TempFolder::new();
        let store = self.open(&folder.file()).await;
        self.folders.lock().unwrap().push(folder);
        store
    }

    async fn reopened(&self, store: &SqliteStore) -> SqliteStore {
        self.open(store.path()).await
    }

    async fn begin(&self, store: &SqliteStore) -> Open {
        Open(store.begin().await.unwrap())
    }

    fn ledger(&self, name: &str) -> SqliteLedger {
        SqliteLedger::new(name)
    }

    async fn failing_statement(&self, connection: &mut SqliteConnection) {
        assert!(sqlx::raw_sql("INSERT INTO es_inbox_ring (partition) VALUES (9)").execute(connection).await.is_err());
    }

    async fn ledger_rows(&self, store: &SqliteStore, name: &str) -> Vec<LedgerRow> {
        SqliteLedger::new(name).rows(store).await
    }
}

/// A unit of work.
struct Open(es_sqlite::UnitOfWork);

impl OpenTransaction for Open {
    type Connection = SqliteConnection;

    fn connection(&mut self) -> &mut SqliteConnection {
        self.0.connection()
    }

    async fn commit(self) {
        self.0.commit().await.unwrap();
    }

    async fn rollback(self) {
        self.0.rollback().await.unwrap();
    }
}

/// As it is opened by default.
mod full {
    use super::*;
    es_testkit::conformance!(SqliteHarness::new(|options| options));
}

/// With one reader, without a flush for each commit, and with an inline projection in the transaction of each append that
/// writes and then fails: nobody may notice.
mod inline {
    use super::*;
    es_testkit::conformance!(SqliteHarness::new(|options| {
        options
            .synchronous(Synchronous::Normal)
            .readers(1)
            .inline_projection(AlwaysFailing(SqliteLedger::new("failing")))
    }));
}

struct AlwaysFailing(SqliteLedger);

impl Projection for AlwaysFailing {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.0.name()
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        self.0.prepare(connection).await
    }

    async fn apply(
        &self,
        connection: &mut SqliteConnection,
        event: &Recorded<AccountEvent>,
    ) -> Result<(), HandlerError> {
        self.0.apply(connection, event).await?;
        Err(std::io::Error::other("it fails, on purpose").into())
    }

    async fn clear(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        self.0.clear(connection).await
    }
}
