//! Which store the bank runs on: chosen at run time, by a URL.

use std::sync::Arc;

use es_core::{MemoryStore, Repository, RunnerStore, SnapshotStore};
use es_postgres::PgStore;
use es_projections::Runner;
use es_sqlite::SqliteStore;

use crate::{Error, account::Account, balance::Balance};

/// What the bank needs of a store.
pub trait BankStore: RunnerStore + SnapshotStore {}

impl<S: RunnerStore + SnapshotStore> BankStore for S {}

/// The bank's wiring: a store, the accounts in it, and the runner of its read model.
pub struct Bank {
    pub store: Arc<dyn BankStore>,
    pub accounts: Repository<Account>,
    pub runner: Runner,
}

impl Bank {
    pub async fn open(url: &str) -> Result<Self, Error> {
        let store = open_store(url).await?;
        let accounts = Repository::new(&store).with_snapshots(&store, SNAPSHOT_EVERY);
        let runner = Runner::builder(&store).view::<Balance>().build()?;
        Ok(Self { store, accounts, runner })
    }
}

/// Loading an account reads at most this many events after its latest snapshot.
const SNAPSHOT_EVERY: std::num::NonZeroU64 = std::num::NonZeroU64::new(100).unwrap();

async fn open_store(url: &str) -> Result<Arc<dyn BankStore>, Error> {
    if url == "memory:" {
        Ok(Arc::new(MemoryStore::new()))
    } else if let Some(file) = url.strip_prefix("sqlite:") {
        Ok(Arc::new(SqliteStore::open(file).await?))
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Arc::new(PgStore::connect(url).await?))
    } else {
        Err(format!("unknown store {url:?}: use sqlite:FILE, postgres://… or memory:").into())
    }
}
