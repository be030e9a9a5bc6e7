//! Saved states of aggregates, to shorten their loading.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{error::StoreError, event::Payload, limits, stream_id::StreamId, version::Version};

/// The state of an aggregate after the events up to a version. It is a cache: losing it costs time alone.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The aggregate's stream.
    pub stream: StreamId,
    /// The version of the last event that the state holds.
    pub version: Version,
    /// The id of that event.
    pub last_event: Uuid,
    /// What the state's type looked like. A snapshot with another fingerprint is ignored.
    pub fingerprint: String,
    /// The state as JSON.
    pub state: Payload,
}

impl Snapshot {
    /// A snapshot.
    pub fn new(stream: StreamId, version: Version, last_event: Uuid, fingerprint: String, state: Payload) -> Self {
        Self { stream, version, last_event, fingerprint, state }
    }

    /// Checks the size. Stores call it before they save.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_SNAPSHOT_BYTES`].
    pub fn check(&self) -> Result<(), StoreError> {
        let bytes = self.state.as_str().len();
        if bytes > limits::MAX_SNAPSHOT_BYTES {
            return Err(StoreError::LimitExceeded {
                what: "bytes of a snapshot",
                limit: limits::MAX_SNAPSHOT_BYTES as u64,
                actual: bytes as u64,
            });
        }
        Ok(())
    }
}

/// Keeps the latest snapshot of each stream.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// The snapshot of a stream, if there is one.
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError>;

    /// Keeps a snapshot in place of an older one of the same stream. One that is not newer than the kept one, and has
    /// the same fingerprint, is dropped.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_SNAPSHOT_BYTES`].
    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: SnapshotStore + ?Sized> SnapshotStore for Arc<S> {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        (**self).load_snapshot(stream).await
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        (**self).save_snapshot(snapshot).await
    }
}
