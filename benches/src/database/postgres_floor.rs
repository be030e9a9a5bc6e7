//! Hand-written statements on PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::{
    PgPool, Row as _, SqlStr,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use uuid::Uuid;

use super::{Floor, LARGE_PAGE, PAGE, postgres_totals::Statements, sql};
use crate::{
    Error,
    account::{AccountEvent, id_of},
    models::sums,
    row::Row,
};

/// Hand-written statements on the tables of a schema.
#[derive(Debug)]
pub struct PostgresFloor {
    pool: PgPool,
    insert_one: SqlStr,
    insert_many: SqlStr,
    read_all: SqlStr,
    read_stream: SqlStr,
    read_page: SqlStr,
    settle: SqlStr,
    totals: Statements,
    checkpoint: [SqlStr; 3],
}

impl PostgresFloor {
    /// Opens all connections, so that no measurement has to.
    pub async fn connect(url: &str, schema: &str, connections: usize) -> Result<Self, Error> {
        // The store's triggers reject all statements except its own. A floor measures the database without them.
        let options = url.parse::<PgConnectOptions>()?.options([("session_replication_role", "replica")]);
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(connections)?)
            .test_before_acquire(false)
            .connect_with(options)
            .await?;
        let mut held = Vec::new();
        for _ in 0..connections {
            held.push(pool.acquire().await?);
        }
        Ok(Self {
            pool,
            insert_one: sql(format!(
                "INSERT INTO {schema}.events (position, version, recorded_at, event_id, payload_bytes, category, stream, \
                                              type, metadata, payload) \
                 VALUES ($1, $2, now(), $3, $4, 'account', $5, $6, '{{}}', $7::json)"
            )),
            insert_many: sql(format!(
                "INSERT INTO {schema}.events (position, version, recorded_at, event_id, payload_bytes, category, stream, \
                                              type, metadata, payload) \
                 SELECT r.position, r.version, now(), r.id, r.bytes, 'account', r.stream, r.type, '{{}}', r.payload::json \
                 FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::integer[], $5::text[], $6::text[], $7::text[]) \
                      AS r (position, version, id, bytes, stream, type, payload)"
            )),
            read_all: sql(format!("SELECT {COLUMNS} FROM {schema}.events ORDER BY position")),
            read_stream: sql(format!("SELECT {COLUMNS} FROM {schema}.events WHERE stream = $1 ORDER BY version")),
            read_page: sql(format!(
                "SELECT {COLUMNS} FROM {schema}.events WHERE position > $1 ORDER BY position LIMIT $2"
            )),
            settle: sql(format!("VACUUM ANALYZE {schema}.events")),
            totals: Statements::new(schema, "floor"),
            checkpoint: [
                sql(format!("DROP TABLE IF EXISTS {schema}.floor_checkpoint")),
                sql(format!("CREATE TABLE {schema}.floor_checkpoint AS SELECT 0::bigint AS position")),
                sql(format!("UPDATE {schema}.floor_checkpoint SET position = $1")),
            ],
        })
    }
}

/// What a program needs of an event.
const COLUMNS: &str = "position, version, stream, type, payload";

/// Reads a row, and gives the position and the account's booking.
fn read(row: &PgRow) -> Result<(i64, &str, i64), Error> {
    let (position, _version): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let stream: &str = row.try_get(2)?;
    let payload = row.try_get_raw(4)?;
    let event = AccountEvent::from_row(row.try_get(3)?, payload.as_str()?)?;
    Ok((position, id_of(stream), event.cents()))
}

fn bytes(row: &Row) -> i32 {
    i32::try_from(row.payload.len()).unwrap_or(i32::MAX)
}

#[async_trait]
impl Floor for PostgresFloor {
    async fn insert_one(&self, row: Row) -> Result<(), Error> {
        sqlx::query(self.insert_one.clone())
            .bind(row.position)
            .bind(row.version)
            .bind(row.id)
            .bind(bytes(&row))
            .bind(row.stream)
            .bind(row.event_type)
            .bind(row.payload)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn insert_many(&self, rows: Vec<Row>) -> Result<(), Error> {
        sqlx::query(self.insert_many.clone())
            .bind(rows.iter().map(|row| row.position).collect::<Vec<i64>>())
            .bind(rows.iter().map(|row| row.version).collect::<Vec<i64>>())
            .bind(rows.iter().map(|row| row.id).collect::<Vec<Uuid>>())
            .bind(rows.iter().map(bytes).collect::<Vec<i32>>())
            .bind(rows.iter().map(|row| row.stream.as_str()).collect::<Vec<&str>>())
            .bind(rows.iter().map(|row| row.event_type).collect::<Vec<&str>>())
            .bind(rows.iter().map(|row| row.payload.as_str()).collect::<Vec<&str>>())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn read_streamed(&self, stream: Option<&str>) -> Result<u64, Error> {
        let query = match stream {
            Some(stream) => sqlx::query(self.read_stream.clone()).bind(stream),
            None => sqlx::query(self.read_all.clone()),
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
            let query = sqlx::query(self.read_page.clone()).bind(after).bind(PAGE as i64);
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
            let mut transaction = self.pool.begin().await?;
            for (account, cents) in page {
                let query = sqlx::query(self.totals.upsert_one.clone()).bind(account).bind(cents);
                query.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
        Ok(())
    }

    async fn keep_sums(&self) -> Result<u64, Error> {
        let [drop, create, update] = &self.checkpoint;
        sqlx::query(self.totals.drop.clone()).execute(&self.pool).await?;
        sqlx::query(self.totals.create.clone()).execute(&self.pool).await?;
        sqlx::query(drop.clone()).execute(&self.pool).await?;
        sqlx::query(create.clone()).execute(&self.pool).await?;
        let (mut after, mut count) = (0, 0);
        loop {
            let mut transaction = self.pool.begin().await?;
            let query = sqlx::query(self.read_page.clone()).bind(after).bind(PAGE as i64);
            let rows = query.fetch_all(&mut *transaction).await?;
            let bookings = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
            let Some(last) = bookings.last() else { return Ok(count) };
            after = last.0;
            let sums = sums(bookings.iter().map(|&(_, account, cents)| (account, cents)));
            let (accounts, cents): (Vec<&str>, Vec<i64>) = sums.into_iter().unzip();
            let upsert = sqlx::query(self.totals.upsert_page.clone()).bind(accounts).bind(cents);
            upsert.execute(&mut *transaction).await?;
            sqlx::query(update.clone()).bind(after).execute(&mut *transaction).await?;
            transaction.commit().await?;
            count += rows.len() as u64;
        }
    }

    async fn load_sums(&self) -> Result<u64, Error> {
        sqlx::query(self.totals.drop.clone()).execute(&self.pool).await?;
        sqlx::query(self.totals.create.clone()).execute(&self.pool).await?;
        let (mut after, mut count, mut sums) = (0, 0, BTreeMap::<String, i64>::new());
        loop {
            let query = sqlx::query(self.read_page.clone()).bind(after).bind(LARGE_PAGE as i64);
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
        let mut transaction = self.pool.begin().await?;
        for page in sums.chunks(LARGE_PAGE) {
            let (accounts, cents): (Vec<&str>, Vec<i64>) =
                page.iter().map(|(account, cents)| (account.as_str(), *cents)).unzip();
            let insert = sqlx::query(self.totals.upsert_page.clone()).bind(accounts).bind(cents);
            insert.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(count)
    }

    async fn settle(&self) -> Result<(), Error> {
        sqlx::query(self.settle.clone()).execute(&self.pool).await?;
        Ok(())
    }
}
