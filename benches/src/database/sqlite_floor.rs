//! Hand-written statements on SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::{
    Row as _, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};

use super::{Floor, LARGE_PAGE, PAGE, sqlite_totals::Statements};
use crate::{
    Error,
    account::{AccountEvent, id_of},
    clock::now_nanos,
    models::sums,
    row::Row,
};

const READ_ALL: &str = "SELECT position, version, stream, type, payload FROM es_events ORDER BY position";
const READ_STREAM: &str =
    "SELECT position, version, stream, type, payload FROM es_events WHERE stream = ?1 ORDER BY version";
const READ_PAGE: &str = "SELECT position, version, stream, type, payload FROM es_events WHERE position > ?1 \
                         ORDER BY position LIMIT ?2";
const DROP_CHECKPOINT: &str = "DROP TABLE IF EXISTS floor_checkpoint";
const CREATE_CHECKPOINT: &str = "CREATE TABLE floor_checkpoint AS SELECT 0 AS position";
const MOVE_CHECKPOINT: &str = "UPDATE floor_checkpoint SET position = ?1";

const INSERT: &str = "INSERT INTO es_events (position, stream, category, version, event_id, type, recorded_at, metadata, payload) \
                      VALUES (?1, ?2, 'account', ?3, ?4, ?5, ?6, '{}', ?7)";

/// Hand-written statements on the tables of a file. There is one connection, however many clients: SQLite has one
/// writer, and those who wait for the pool wait less than those who poll for the file's lock.
#[derive(Debug)]
pub struct SqliteFloor {
    pool: SqlitePool,
    totals: Statements,
}

impl SqliteFloor {
    pub async fn open(file: &str) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-16384");
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await?;
        Ok(Self { pool, totals: Statements::new("floor") })
    }
}

/// Reads a row, and gives the position and the account's booking.
fn read(row: &SqliteRow) -> Result<(i64, &str, i64), Error> {
    let (position, _version): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let stream: &str = row.try_get(2)?;
    let event = AccountEvent::from_row(row.try_get(3)?, row.try_get(4)?)?;
    Ok((position, id_of(stream), event.cents()))
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
    i64::try_from(now_nanos() / 1_000).unwrap_or(i64::MAX)
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

    async fn read_streamed(&self, stream: Option<&str>) -> Result<u64, Error> {
        let query = match stream {
            Some(stream) => sqlx::query(READ_STREAM).bind(stream),
            None => sqlx::query(READ_ALL),
        };
        let (mut rows, mut count) = (query.fetch(&self.pool), 0);
        while let Some(row) = rows.try_next().await? {
            std::hint::black_box(read(&row)?);
            count += 1;
        }
        Ok(count)
    }

    async fn read_in_pages(&self) -> Result<u64, Error> {
        let (mut after, mut count) = (0, 0);
        loop {
            let query = sqlx::query(READ_PAGE).bind(after).bind(PAGE as i64);
            let rows = query.fetch_all(&self.pool).await?;
            for row in &rows {
                after = std::hint::black_box(read(row)?).0;
            }
            count += rows.len() as u64;
            if rows.len() < PAGE {
                return Ok(count);
            }
        }
    }

    async fn upsert_each(&self, pages: &[Vec<(String, i64)>]) -> Result<(), Error> {
        sqlx::query(self.totals.drop.clone()).execute(&self.pool).await?;
        sqlx::query(self.totals.create.clone()).execute(&self.pool).await?;
        for page in pages {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for (account, cents) in page {
                let query = sqlx::query(self.totals.upsert_one.clone()).bind(account).bind(cents);
                query.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    async fn keep_sums(&self) -> Result<u64, Error> {
        sqlx::query(self.totals.drop.clone()).execute(&self.pool).await?;
        sqlx::query(self.totals.create.clone()).execute(&self.pool).await?;
        sqlx::query(DROP_CHECKPOINT).execute(&self.pool).await?;
        sqlx::query(CREATE_CHECKPOINT).execute(&self.pool).await?;
        let (mut after, mut count) = (0, 0);
        loop {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let query = sqlx::query(READ_PAGE).bind(after).bind(PAGE as i64);
            let rows = query.fetch_all(&mut *transaction).await?;
            let bookings = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let Some(last) = bookings.last() else { return Ok(count) };
            after = last.0;
            let sums = sums(bookings.iter().map(|&(_, account, cents)| (account, cents)));
            let upsert = sqlx::query(self.totals.upsert_page.clone()).bind(serde_json::to_string(&sums)?);
            upsert.execute(&mut *transaction).await?;
            sqlx::query(MOVE_CHECKPOINT).bind(after).execute(&mut *transaction).await?;
            transaction.commit().await?;
            count += rows.len() as u64;
        }
    }

    async fn load_sums(&self) -> Result<u64, Error> {
        sqlx::query(self.totals.drop.clone()).execute(&self.pool).await?;
        sqlx::query(self.totals.create.clone()).execute(&self.pool).await?;
        let (mut after, mut count, mut sums) = (0, 0, BTreeMap::<String, i64>::new());
        loop {
            let query = sqlx::query(READ_PAGE).bind(after).bind(LARGE_PAGE as i64);
            let rows = query.fetch_all(&self.pool).await?;
            for row in &rows {
                let (position, account, cents) = read(row)?;
                after = position;
                match sums.get_mut(account) {
                    Some(sum) => *sum += cents,
                    None => drop(sums.insert(account.to_owned(), cents)),
                }
            }
            count += rows.len() as u64;
            if rows.len() < LARGE_PAGE {
                break;
            }
        }
        let sums: Vec<(String, i64)> = sums.into_iter().collect();
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for page in sums.chunks(LARGE_PAGE) {
            let page: BTreeMap<&str, i64> = page.iter().map(|(account, cents)| (account.as_str(), *cents)).collect();
            let insert = sqlx::query(self.totals.upsert_page.clone()).bind(serde_json::to_string(&page)?);
            insert.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(count)
    }

    async fn settle(&self) -> Result<(), Error> {
        sqlx::query("PRAGMA optimize").execute(&self.pool).await?;
        Ok(())
    }
}
