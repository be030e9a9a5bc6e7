//! Payloads that are too large for a broker.

use async_trait::async_trait;
use es_core::{BlobStore, StoreError, check_blob, timestamp::unix_micros};
use sqlx::Row;
use time::OffsetDateTime;

use crate::{error::store_error, projections::now, store::SqliteStore};

const PUT: &str = include_str!("../sql/blob_put.sql");
const GET: &str = include_str!("../sql/blob.sql");
const DROP: &str = include_str!("../sql/blobs_drop.sql");

#[async_trait]
impl BlobStore for SqliteStore {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_blob(name, bytes)?;
        let (name, bytes) = (name.to_owned(), bytes.to_vec());
        let changed = self.write_in_task(move |writer| {
            Box::pin(async move {
                let put = sqlx::query(PUT).bind(name).bind(bytes).bind(now());
                Ok(put.execute(writer.connection()?).await.map_err(store_error)?.rows_affected())
            })
        });
        match changed.await? {
            0 => Err(StoreError::Refused {
                reason: "other bytes are kept under this name; give each payload a name of its own",
            }),
            _ => Ok(()),
        }
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.rows(sqlx::query(GET).bind(name)).await?;
        rows.first().map(|row| row.try_get("bytes").map_err(store_error)).transpose()
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let drop = sqlx::query(DROP).bind(unix_micros(time));
                Ok(drop.execute(writer.connection()?).await.map_err(store_error)?.rows_affected())
            })
        })
        .await
    }
}
