//! The contract of a store of records.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    batch::RecordBatch,
    check_limit,
    key::RecordKey,
    range::{RecordRange, ScanOrder},
    read::{Committed, RecordRead},
};
use crate::{error::StoreError, limits};

/// Checks how many keys one call reads. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`].
pub fn check_record_keys(keys: &[RecordKey]) -> Result<(), StoreError> {
    check_limit("keys in one read of records", limits::MAX_RECORDS_PER_READ, keys.len())
}

/// Checks how many records one scan returns. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`]; [`StoreError::Refused`] for 0.
pub fn check_scan_limit(limit: usize) -> Result<(), StoreError> {
    if limit == 0 {
        return Err(StoreError::Refused { reason: "a scan of 0 records; ask for at least 1" });
    }
    check_limit("records in one scan", limits::MAX_RECORDS_PER_READ, limit)
}

/// Checks how many records the scope of an update holds. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_UPDATE`].
pub fn check_scope_size(records: usize) -> Result<(), StoreError> {
    check_limit("records in the scope of an update", limits::MAX_RECORDS_PER_UPDATE, records)
}

/// What an update asks for the batch to commit: a closure over the records of its scope. See [`RecordStore::update`].
pub type DecideRecords<'a> = dyn FnMut(&RecordRead) -> Result<RecordBatch, StoreError> + Send + 'a;

/// Keeps records: small JSON values under ordered keys, each with a revision that is never used again. Object-safe.
///
/// State that coordinates work is kept as records, and the rules about it are written once, above the store. What runs
/// often reads and [commits](Self::commit) under conditions; what operators do, over many records at once, is an
/// [update](Self::update).
///
/// ```
/// use es_core::{MemoryStore, Payload, StoreError, store::*};
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let counter = RecordKey::of(["counter", "visits"])?;
/// let first = RecordBatch::new().require(counter.clone(), Condition::Absent);
/// store.commit(&first.put(counter.clone(), Payload::from_json("1")?)).await?;
///
/// // Nobody else has written the record in between, or the commit fails.
/// let read = store.get(&[counter.clone()]).await?;
/// let seen = read.revision(&counter).ok_or("no counter")?;
/// let second = RecordBatch::new().require(counter.clone(), Condition::At(seen));
/// let second = second.put(counter.clone(), Payload::from_json("2")?);
/// let committed = store.commit(&second).await?;
/// assert!(matches!(store.commit(&second).await, Err(StoreError::RecordChanged { .. })));
/// assert_eq!(store.get(&[counter.clone()]).await?.revision(&counter), Some(committed.revision));
/// # Ok(()) }
/// ```
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Returns the records of these keys that exist, of one snapshot.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`] keys.
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError>;

    /// Returns records of a range in the order of their keys, 1 to [`limits::MAX_RECORDS_PER_READ`] of them, of one
    /// snapshot. If the range holds more, [`next`](RecordRead::next) is the key from which the next scan continues; see
    /// [`RecordRange::starting_at`]. Each scan is a snapshot of its own.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`]; [`StoreError::Refused`] for a limit of 0.
    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError>;

    /// Commits a batch: all its changes, or none if one of its conditions does not hold. Every record that it puts or
    /// touches has the revision of this commit afterwards.
    ///
    /// # Errors
    /// [`StoreError::RecordChanged`] names the lowest key whose condition does not hold, or whose record is to be
    /// touched and does not exist: read again, and decide again. [`StoreError::LimitExceeded`] and
    /// [`StoreError::Refused`] as of [`RecordBatch::check`]. After [`StoreError::Unavailable`] the outcome is unknown:
    /// read the records again.
    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError>;

    /// Reads whole ranges so that no other commit changes, adds or removes a record in them until this one, asks
    /// `decide` what to do, and commits that. It waits for those who work in the ranges, where [`commit`](Self::commit)
    /// would fail, so it is for rules over many records that others change all the time.
    ///
    /// `decide` depends on nothing but what it is given: it may be called again, and only what it said last is
    /// committed. It must not wait for anything, since others wait for it. The batch may also have conditions and
    /// changes outside of the ranges, which are as in a commit. An update that writes outside of its own ranges can
    /// meet another one that does so in the opposite way; the store then starts one of them again.
    ///
    /// # Errors
    /// Those of `decide`, and those of [`commit`](Self::commit): nothing was changed. [`StoreError::LimitExceeded`] if
    /// the ranges hold more than [`limits::MAX_RECORDS_PER_UPDATE`] records, or if there are more than
    /// [`limits::MAX_RECORDS_PER_READ`] ranges; [`StoreError::Refused`] for a range that [starts
    /// at](RecordRange::starting_at) a key; [`StoreError::Busy`] if others do not let go of the ranges in time.
    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError>;
}

#[async_trait]
impl<S: RecordStore + ?Sized> RecordStore for Arc<S> {
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError> {
        (**self).get(keys).await
    }

    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError> {
        (**self).scan(range, order, limit).await
    }

    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        (**self).commit(batch).await
    }

    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError> {
        (**self).update(scope, decide).await
    }
}
