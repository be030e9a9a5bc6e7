//! Snapshots in memory.

use async_trait::async_trait;

use super::{MemoryStore, lock};
use crate::{
    error::StoreError,
    snapshot_store::{Snapshot, SnapshotStore},
    stream_id::StreamId,
};

#[async_trait]
impl SnapshotStore for MemoryStore {
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError> {
        let key = (stream.clone(), aggregate.to_owned());
        Ok(lock(&self.shared.snapshots).get(&key).cloned())
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        snapshot.check()?;
        let mut snapshots = lock(&self.shared.snapshots);
        let key = (snapshot.stream.clone(), snapshot.aggregate.clone());
        let is_stale = snapshots
            .get(&key)
            .is_some_and(|kept| kept.fingerprint == snapshot.fingerprint && kept.version >= snapshot.version);
        if !is_stale {
            snapshots.insert(key, snapshot.clone());
        }
        Ok(())
    }
}
