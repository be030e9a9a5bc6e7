//! Payloads that are too large for a broker.

use async_trait::async_trait;
use es_core::{BlobStore, StoreError, check_blob};
use time::OffsetDateTime;

use crate::{error::store_error, rows::get, store::PgStore};

#[async_trait]
impl BlobStore for PgStore {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_blob(name, bytes)?;
        let query = self.shared.query(&self.shared.statements.put_blob).bind(name.to_owned()).bind(bytes.to_vec());
        let mut session = self.shared.session().await?;
        let done = query.execute(&mut *session).await.map_err(store_error)?;
        session.finish().await?;
        match done.rows_affected() {
            0 => Err(StoreError::Refused {
                reason: "other bytes are kept under this name; give each payload a name of its own",
            }),
            _ => Ok(()),
        }
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.blob).bind(name.to_owned())).await?;
        rows.first().map(|row| get(row, 0)).transpose()
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        let mut session = self.shared.session().await?;
        let query = self.shared.query(&self.shared.statements.drop_blobs).bind(time);
        let done = query.execute(&mut *session).await.map_err(store_error)?;
        session.finish().await?;
        Ok(done.rows_affected())
    }
}
