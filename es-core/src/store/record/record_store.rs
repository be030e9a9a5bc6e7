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
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`].
pub fn check_record_keys(keys: &[RecordKey]) -> Result<(), StoreError> {
    check_limit("keys in one read of records", limits::MAX_RECORDS_PER_READ, keys.len())
}

/// Checks how many records one scan returns. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`], and [`StoreError::Refused`] for 0.
pub fn check_scan_limit(limit: usize) -> Result<(), StoreError> {
    if limit == 0 {
        return Err(StoreError::Refused { reason: "a scan of 0 records; ask for at least 1" });
    }
    check_limit("records in one scan", limits::MAX_RECORDS_PER_READ, limit)
}

/// Checks how many records the scope of an update contains. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_UPDATE`].
pub fn check_scope_size(records: usize) -> Result<(), StoreError> {
    check_limit("records in the scope of an update", limits::MAX_RECORDS_PER_UPDATE, records)
}

/// A closure that an update calls for the batch to commit, with the records of its scope. See [`RecordStore::update`].
pub type DecideRecords<'a> = dyn FnMut(&RecordRead) -> Result<RecordBatch, StoreError> + Send + 'a;

/// Keeps records: small JSON values under ordered keys, each with a revision that is never reused. The trait is
/// object-safe.
///
/// State that coordinates work is kept as records. The rules for that state are written once, above the store. Code
/// that runs often reads records and [commits](Self::commit) under conditions. An operator's action on many records at
/// once is an [update](Self::update).
///
/// ```
/// use es_core::{MemoryStore, Payload, StoreError, store::*};
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let counter = RecordKey::of(["counter", "visits"])?;
/// let first = RecordBatch::new().require(counter.clone(), Condition::Absent);
/// store.commit(&first.put(counter.clone(), Payload::from_json("1")?)).await?;
///
/// // The commit fails if another commit has written the record in between.
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
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Returns those records of these keys that exist, from one snapshot.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`] keys.
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError>;

    /// Returns records of a range in the order of their keys, from one snapshot. The limit is 1 to
    /// [`limits::MAX_RECORDS_PER_READ`]. If the range contains more records, [`next`](RecordRead::next) is the key from
    /// which the next scan continues; see [`RecordRange::starting_at`]. Each scan has its own snapshot.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_READ`], and [`StoreError::Refused`] for a
    /// limit of 0.
    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError>;

    /// Commits a batch: all of its changes, or none if one of its conditions does not hold. Every record that the batch
    /// puts or touches then has the revision of this commit.
    ///
    /// # Errors
    /// - [`StoreError::RecordChanged`] names the lowest key whose condition does not hold, or whose record would be
    ///   touched and does not exist. Read again, and decide again.
    /// - [`StoreError::LimitExceeded`] and [`StoreError::Refused`] as in [`RecordBatch::check`].
    /// - After [`StoreError::Unavailable`], the outcome is unknown. Read the records again.
    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError>;

    /// Reads whole ranges, calls `decide`, and commits the batch that it returns. Until the commit, no other commit
    /// changes, adds, or removes a record in the ranges. An update waits for other commits in the ranges, where
    /// [`commit`](Self::commit) would fail. Use it for rules over many records that change all the time.
    ///
    /// `decide` must depend only on its argument. It may be called again, and only its last result is committed. It
    /// must not wait for anything, because other commits wait for it. The batch may also have conditions and changes
    /// outside of the ranges, which behave as in a commit. Two updates that each write into the other's ranges can
    /// deadlock. The store then restarts one of them.
    ///
    /// # Errors
    /// The error of `decide`, or an error of [`commit`](Self::commit): nothing was changed.
    /// [`StoreError::LimitExceeded`] if the ranges contain more than [`limits::MAX_RECORDS_PER_UPDATE`] records, or if
    /// there are more than [`limits::MAX_RECORDS_PER_READ`] ranges. [`StoreError::Refused`] for a range that [starts
    /// at](RecordRange::starting_at) a key. [`StoreError::Busy`] if other commits do not release the ranges in time.
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
