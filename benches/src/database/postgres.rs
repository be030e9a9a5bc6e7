//! PostgreSQL: a store in a schema.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use es_core::RunnerStore;
use es_postgres::{PgOptions, PgStore};
use es_projections::Runner;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};

use super::{Database, Floor, Place, postgres_floor::PostgresFloor, postgres_totals::PostgresTotals};
use crate::{
    Error,
    models::{Balance, Model},
};

/// A PostgreSQL server; each place is a schema.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    is_pipelined: bool,
    schemas: AtomicU32,
}

impl Postgres {
    pub fn new(url: String, is_pipelined: bool) -> Self {
        Self { url, is_pipelined, schemas: AtomicU32::new(0) }
    }

    /// Opens the store with its default settings, but for the mode of commits.
    async fn open_store(&self, place: &Place) -> Result<PgStore, Error> {
        let options = PgOptions::new(&self.url).schema(&place.0).pipelined(self.is_pipelined);
        Ok(options.connect().await?)
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}

/// Settings that decide what a commit costs, or how much is cached.
const SETTINGS: [&str; 8] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "commit_delay",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
];

#[async_trait]
impl Database for Postgres {
    async fn create(&self) -> Result<Place, Error> {
        let number = self.schemas.fetch_add(1, Ordering::Relaxed);
        let place = Place(format!("bench_{}_{number}", std::process::id()));
        self.open_store(&place).await?.close().await;
        Ok(place)
    }

    async fn open(&self, place: &Place) -> Result<Arc<dyn RunnerStore>, Error> {
        Ok(Arc::new(self.open_store(place).await?))
    }

    async fn runner(&self, place: &Place, model: Model) -> Result<(Arc<dyn RunnerStore>, Runner), Error> {
        let store = self.open_store(place).await?;
        let runner = match model {
            Model::View => Runner::builder(&store).view::<Balance>().build()?,
            Model::Totals(totals) => {
                Runner::builder(&store).projection(PostgresTotals::new(&place.0, totals)).build()?
            }
        };
        Ok((Arc::new(store), runner))
    }

    async fn floor(&self, place: &Place, connections: usize) -> Result<Arc<dyn Floor>, Error> {
        Ok(Arc::new(PostgresFloor::connect(&self.url, &place.0, connections).await?))
    }

    async fn discard(&self, place: Place) -> Result<(), Error> {
        let sql = format!("DROP SCHEMA {} CASCADE", place.0);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connect().await?).await?;
        Ok(())
    }

    async fn description(&self) -> Result<Vec<(String, String)>, Error> {
        let mut connection = self.connect().await?;
        let mut lines = Vec::new();
        for setting in ["server_version"].iter().chain(&SETTINGS) {
            let row = sqlx::query("SELECT current_setting($1)").bind(*setting).fetch_one(&mut connection).await?;
            lines.push(((*setting).to_owned(), row.try_get(0)?));
        }
        Ok(lines)
    }
}
