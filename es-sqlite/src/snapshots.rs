//! Saved states of aggregates.

use async_trait::async_trait;
use es_core::{Payload, Snapshot, SnapshotStore, StoreError, StreamId, Version};
use sqlx::Row;
use uuid::Uuid;

use crate::{
    error::{store_error, to_stored},
    handler_scope::refuse_in_handler,
    store::SqliteStore,
};

const LOAD: &str = include_str!("../sql/snapshot_load.sql");
const SAVE: &str = include_str!("../sql/snapshot_save.sql");

#[async_trait]
impl SnapshotStore for SqliteStore {
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let row = sqlx::query(LOAD).bind(stream.as_str()).bind(aggregate).fetch_optional(reader.connection()?).await;
        let Some(row) = reader.settle(row.map_err(store_error))? else { return Ok(None) };
        let version: i64 = row.try_get("version").map_err(store_error)?;
        let last_event: &[u8] = row.try_get("last_event").map_err(store_error)?;
        let fingerprint: String = row.try_get("fingerprint").map_err(store_error)?;
        let state: &str = row.try_get("state").map_err(store_error)?;
        // A snapshot is a cache, so an invalid one is treated as missing.
        let (Ok(version), Ok(last_event)) = (u64::try_from(version), Uuid::from_slice(last_event)) else {
            return Ok(None);
        };
        let state = Payload::trusted(state);
        Ok(Some(Snapshot::new(stream.clone(), aggregate, Version::new(version), last_event, fingerprint, state)))
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        snapshot.check()?;
        refuse_in_handler(&self.shared.file)?;
        let query = sqlx::query(SAVE)
            .bind(snapshot.stream.as_str())
            .bind(snapshot.aggregate.clone())
            .bind(to_stored("a version", snapshot.version.get())?)
            .bind(snapshot.last_event.as_bytes().to_vec())
            .bind(snapshot.fingerprint.clone())
            .bind(snapshot.state.as_str().to_owned());
        let mut writer = self.shared.writer.lock("a snapshot").await?;
        let saved = query.execute(writer.connection()?).await.map_err(store_error);
        writer.settle(saved)?;
        Ok(())
    }
}
