//! SQLite: a store in a file.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use es_core::RunnerStore;
use es_projections::Runner;
use es_sqlite::SqliteStore;
use sqlx::{Connection, Row as _, SqliteConnection};

use super::{Database, Floor, Place, sqlite_floor::SqliteFloor, sqlite_totals::SqliteTotals};
use crate::{
    Error,
    models::{Balance, Model},
};

/// Files in a folder of their own, which is removed with the value.
#[derive(Debug)]
pub struct Sqlite {
    folder: PathBuf,
    files: AtomicU32,
}

impl Sqlite {
    /// Makes the folder, where `TMPDIR` says.
    pub fn new() -> Result<Self, Error> {
        let folder = std::env::temp_dir().join(format!("es-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, files: AtomicU32::new(0) })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // Nobody could act on a failure here.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn create(&self) -> Result<Place, Error> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("{number}.db"));
        SqliteStore::open(&file).await?.close().await?;
        Ok(Place(file.to_string_lossy().into_owned()))
    }

    async fn open(&self, place: &Place) -> Result<Arc<dyn RunnerStore>, Error> {
        Ok(Arc::new(SqliteStore::open(&place.0).await?))
    }

    async fn runner(&self, place: &Place, model: Model) -> Result<(Arc<dyn RunnerStore>, Runner), Error> {
        let store = SqliteStore::open(&place.0).await?;
        let runner = match model {
            Model::View => Runner::builder(&store).view::<Balance>().build()?,
            Model::Totals(totals) => Runner::builder(&store).projection(SqliteTotals::new(totals)).build()?,
        };
        Ok((Arc::new(store), runner))
    }

    async fn floor(&self, place: &Place, _connections: usize) -> Result<Arc<dyn Floor>, Error> {
        Ok(Arc::new(SqliteFloor::open(&place.0).await?))
    }

    async fn discard(&self, place: Place) -> Result<(), Error> {
        for ending in ["", "-wal", "-shm"] {
            // The last two are there only while the file is open.
            let _ = std::fs::remove_file(format!("{}{ending}", place.0));
        }
        Ok(())
    }

    async fn description(&self) -> Result<Vec<(String, String)>, Error> {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await?;
        let row = sqlx::query("SELECT sqlite_version()").fetch_one(&mut connection).await?;
        Ok(vec![
            ("SQLite".to_owned(), row.try_get(0)?),
            ("journal_mode".to_owned(), "wal".to_owned()),
            ("synchronous".to_owned(), "full".to_owned()),
        ])
    }
}
