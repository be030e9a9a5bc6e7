//! Which store a service runs on: chosen at run time, by a URL.

use es_core::EventStore;
use es_postgres::PgStore;
use es_sqlite::SqliteStore;

use crate::Error;

pub enum Store {
    Sqlite(SqliteStore),
    Postgres(PgStore),
}

impl Store {
    /// Its log.
    pub fn events(&self) -> &dyn EventStore {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store) => store,
        }
    }
}

pub async fn open(url: &str) -> Result<Store, Error> {
    if let Some(file) = url.strip_prefix("sqlite:") {
        Ok(Store::Sqlite(SqliteStore::open(file).await?))
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(Store::Postgres(PgStore::connect(url).await?))
    } else {
        Err(format!("unknown store {url:?}: use sqlite:FILE or postgres://…").into())
    }
}

/// The same for a store that is to be there already.
pub async fn existing(url: &str) -> Result<Store, Error> {
    if let Some(file) = url.strip_prefix("sqlite:")
        && !std::path::Path::new(file).exists()
    {
        return Err(format!("there is no file {file}: start the service that writes it, or name another").into());
    }
    open(url).await
}
