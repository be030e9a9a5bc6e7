//! Saved states of aggregates, which shorten loading.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{error::StoreError, event::Payload, hash::fnv1a, limits, stream_id::StreamId, version::Version};

/// The state of an aggregate after the events up to a version. It is a cache: losing it only costs time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The aggregate's stream.
    pub stream: StreamId,
    /// The name of the aggregate, because several can be built from one stream. See
    /// [`Aggregate::aggregate_name`](crate::Aggregate::aggregate_name).
    pub aggregate: String,
    /// The version of the last event that the state includes.
    pub version: Version,
    /// The ID of that event.
    pub last_event: Uuid,
    /// The fingerprint of the form of the state's type. A snapshot with another fingerprint is ignored.
    pub fingerprint: String,
    /// The state as JSON.
    pub state: Payload,
}

impl Snapshot {
    /// Creates a snapshot of an aggregate. If the name is longer than [`limits::MAX_AGGREGATE_NAME_BYTES`], its end is
    /// replaced with a hash.
    pub fn new(
        stream: StreamId,
        aggregate: &str,
        version: Version,
        last_event: Uuid,
        fingerprint: String,
        state: Payload,
    ) -> Self {
        Self { stream, aggregate: bounded_name(aggregate), version, last_event, fingerprint, state }
    }

    /// Checks the size. Stores call it before they save a snapshot.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_SNAPSHOT_BYTES`].
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

/// Returns the name under which the snapshots of an aggregate are kept.
pub(crate) fn bounded_name(aggregate: &str) -> String {
    const HASH_BYTES: usize = 17;
    if aggregate.len() <= limits::MAX_AGGREGATE_NAME_BYTES {
        return aggregate.to_owned();
    }
    let end = aggregate.floor_char_boundary(limits::MAX_AGGREGATE_NAME_BYTES - HASH_BYTES);
    format!("{}#{:016x}", &aggregate[..end], fnv1a(aggregate))
}

/// Keeps the latest snapshot of each aggregate of each stream.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// Returns the snapshot of an aggregate, if there is one; see [`Snapshot::aggregate`].
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError>;

    /// Saves a snapshot in place of an older one of the same stream and aggregate. A snapshot that is not newer than
    /// the saved one, and has the same fingerprint, is dropped.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_SNAPSHOT_BYTES`].
    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: SnapshotStore + ?Sized> SnapshotStore for Arc<S> {
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError> {
        (**self).load_snapshot(stream, aggregate).await
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        (**self).save_snapshot(snapshot).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_bounded_and_stay_apart() {
        let long = |end: &str| bounded_name(&format!("{}{end}", "é".repeat(limits::MAX_AGGREGATE_NAME_BYTES)));
        assert!(long("a").len() <= limits::MAX_AGGREGATE_NAME_BYTES && long("a") != long("b"));
        assert_eq!(bounded_name("bank::Account"), "bank::Account");
    }
}
