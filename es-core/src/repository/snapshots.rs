//! When and how a repository saves the states of its aggregates.

use std::{num::NonZeroU64, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::Loaded;
use crate::{
    aggregate::Aggregate,
    codec::{outline::outline_of, read_back::encode_readable, redact::without_content},
    error::EncodeError,
    event::Payload,
    hash::fnv1a,
    snapshot_store::{Snapshot, SnapshotStore, bounded_name},
    stream_id::StreamId,
    version::Version,
};

/// The policy "every N events", with functions that write and read states of `A`.
pub(super) struct Snapshots<A> {
    store: Arc<dyn SnapshotStore>,
    every: NonZeroU64,
    aggregate: String,
    fingerprint: String,
    encode: fn(&A) -> Result<Payload, EncodeError>,
    decode: fn(&str) -> Result<A, serde_json::Error>,
}

impl<A> Clone for Snapshots<A> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            aggregate: self.aggregate.clone(),
            fingerprint: self.fingerprint.clone(),
            ..*self
        }
    }
}

impl<A: Aggregate> Snapshots<A> {
    pub(super) fn new(store: Arc<dyn SnapshotStore>, every: NonZeroU64) -> Self
    where
        A: Serialize + DeserializeOwned,
    {
        Self {
            store,
            every,
            aggregate: bounded_name(A::aggregate_name()),
            fingerprint: fingerprint::<A>(),
            encode: |state| encode_readable("snapshot", state),
            decode: |json| serde_json::from_str(json),
        }
    }

    /// Returns the saved state of a stream, if it has the current form. A problem with a snapshot is ignored, because
    /// the events exist.
    pub(super) async fn load(&self, stream: &StreamId) -> Option<Loaded<A>> {
        let snapshot = match self.store.load_snapshot(stream, &self.aggregate).await {
            Ok(snapshot) => snapshot?,
            Err(error) => {
                tracing::warn!(%stream, %error, "the snapshot was not read; the events are");
                return None;
            }
        };
        if snapshot.fingerprint != self.fingerprint {
            tracing::debug!(%stream, "the snapshot is of another form of the state; the events are read");
            return None;
        }
        match (self.decode)(snapshot.state.as_str()) {
            Ok(state) => Some(Loaded {
                state: Arc::new(state),
                version: snapshot.version,
                last_event: Some(snapshot.last_event),
                source_bytes: snapshot.state.as_str().len(),
            }),
            Err(error) => {
                let error = without_content(&error);
                tracing::warn!(%stream, %error, "the snapshot does not fit the state; the events are read");
                None
            }
        }
    }

    /// Saves the state if it has passed a multiple of N events since `before`. A failure only makes the next load
    /// slower, so it is logged: the command itself is done.
    pub(super) async fn save_if_due(&self, stream: &StreamId, before: Version, loaded: &Loaded<A>) {
        let every = self.every.get();
        let is_due = loaded.version.get() / every > before.get() / every;
        let Some(last_event) = loaded.last_event.filter(|_| is_due) else { return };
        let state = match (self.encode)(&loaded.state) {
            Ok(state) => state,
            Err(error) => {
                tracing::warn!(%stream, %error, "the state cannot be written as a snapshot");
                return;
            }
        };
        let (aggregate, fingerprint) = (&self.aggregate, self.fingerprint.clone());
        let snapshot = Snapshot::new(stream.clone(), aggregate, loaded.version, last_event, fingerprint, state);
        if let Err(error) = self.store.save_snapshot(&snapshot).await {
            tracing::warn!(%stream, %error, "the snapshot was not saved");
        }
    }
}

/// Returns the form of the state's type with all of its parts, and the version that its author increases.
fn fingerprint<A: Aggregate + DeserializeOwned>() -> String {
    format!("{}:{:016x}", A::STATE_VERSION, fnv1a(&outline_of::<A>()))
}
