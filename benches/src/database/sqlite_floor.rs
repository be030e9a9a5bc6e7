//! Hand-written statements on SQLite.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use sqlx::{
    SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::Floor;
use crate::{Error, row::Row};

const INSERT: &str = "INSERT INTO es_events (position, stream, category, version, event_id, type, recorded_at, metadata, payload) \
                      VALUES (?1, ?2, 'account', ?3, ?4, ?5, ?6, '{}', ?7)";

/// Hand-written statements on the tables of a file. There is one connection, however many clients: SQLite has one
/// writer, and those who wait for the pool wait less than those who poll for the file's lock.
#[derive(Debug)]
pub struct SqliteFloor {
    pool: SqlitePool,
}

impl SqliteFloor {
    pub async fn open(file: &str) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-16384");
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await?;
        Ok(Self { pool })
    }
}

async fn insert(connection: &mut SqliteConnection, row: Row, recorded_at: i64) -> Result<(), Error> {
    sqlx::query(INSERT)
        .bind(row.position)
        .bind(row.stream)
        .bind(row.version)
        .bind(row.id.as_bytes().to_vec())
        .bind(row.event_type)
        .bind(recorded_at)
        .bind(row.payload)
        .execute(connection)
        .await?;
    Ok(())
}

/// Microseconds since 1970.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Floor for SqliteFloor {
    async fn insert_one(&self, row: Row) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        insert(&mut connection, row, now()).await
    }

    async fn insert_many(&self, rows: Vec<Row>) -> Result<(), Error> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let recorded_at = now();
        for row in rows {
            insert(&mut transaction, row, recorded_at).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}
