//! Hand-written statements on PostgreSQL.

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr, SqlStr, postgres::PgPoolOptions};
use uuid::Uuid;

use super::Floor;
use crate::{Error, row::Row};

/// Hand-written statements on the tables of a schema.
#[derive(Debug)]
pub struct PostgresFloor {
    pool: PgPool,
    insert_one: SqlStr,
    insert_many: SqlStr,
}

impl PostgresFloor {
    /// Opens all connections, so that no measurement has to.
    pub async fn connect(url: &str, schema: &str, connections: usize) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(connections)?)
            .test_before_acquire(false)
            .connect(url)
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
        })
    }
}

/// A statement of ours; nothing in it comes from outside but the name of the schema, which is ours too.
pub fn sql(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
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
}
