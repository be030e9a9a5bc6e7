//! Records in memory.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, lock};
use crate::{
    error::StoreError,
    limits,
    store::{
        Change, Committed, DecideRecords, Record, RecordBatch, RecordBounds, RecordKey, RecordRange, RecordRead,
        RecordStore, Revision, ScanOrder, check_record_keys, check_scan_limit, check_scope, check_scope_size,
    },
    timestamp::to_stored_precision,
};

#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<RecordKey, Record>);

fn now() -> OffsetDateTime {
    to_stored_precision(OffsetDateTime::now_utc())
}

impl Records {
    fn within(&self, bounds: &RecordBounds) -> impl DoubleEndedIterator<Item = (&RecordKey, &Record)> {
        let RecordBounds { from, to } = bounds;
        let to = to.as_deref();
        // A range of the map panics if it ends before it begins.
        let is_empty = to.is_some_and(|to| to <= from.as_str());
        let range = match is_empty {
            true => (Included(""), Excluded("")),
            false => (Included(from.as_str()), to.map_or(Unbounded, Excluded)),
        };
        self.0.range::<str, _>(range)
    }

    fn scan(&self, bounds: &RecordBounds, order: ScanOrder, limit: usize) -> RecordRead {
        let found = self.within(bounds);
        let found: Vec<_> = match order {
            ScanOrder::Ascending => found.take(limit + 1).collect(),
            ScanOrder::Descending => found.rev().take(limit + 1).collect(),
        };
        let next = found.get(limit).map(|(key, _)| (*key).clone());
        RecordRead::new(cloned(found.into_iter().take(limit)), now(), next)
    }

    fn commit(&mut self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        batch.check_against(|key| self.0.get(key).map(|record| record.revision))?;
        let committed = Committed::new(Revision::generate(), now());
        let revision = committed.revision;
        for (key, change) in batch.changes() {
            match change {
                Change::Put(value) => {
                    self.0.insert(key.clone(), Record::new(value.clone(), revision));
                }
                Change::Touch => {
                    self.0.entry(key.clone()).and_modify(|record| record.revision = revision);
                }
                Change::Delete => {
                    self.0.remove(key);
                }
            }
        }
        Ok(committed)
    }

    /// Returns the records that an update reads.
    fn of_scope(&self, scope: &[RecordBounds]) -> Result<RecordRead, StoreError> {
        let found = scope.iter().flat_map(|bounds| self.within(bounds));
        // One more than the limit is enough to detect that it is exceeded.
        let records = cloned(found.take(limits::MAX_RECORDS_PER_UPDATE + 1));
        check_scope_size(records.len())?;
        Ok(RecordRead::new(records, now(), None))
    }
}

fn cloned<'a>(found: impl Iterator<Item = (&'a RecordKey, &'a Record)>) -> BTreeMap<RecordKey, Record> {
    found.map(|(key, record)| (key.clone(), record.clone())).collect()
}

/// Returns whether two reads saw the same records, with the same revisions.
fn is_same(one: &RecordRead, other: &RecordRead) -> bool {
    let revisions =
        |read: &RecordRead| read.records.iter().map(|(key, record)| (key.clone(), record.revision)).collect::<Vec<_>>();
    revisions(one) == revisions(other)
}

#[async_trait]
impl RecordStore for MemoryStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError> {
        check_record_keys(keys)?;
        let records = lock(&self.shared.records);
        let found = keys.iter().filter_map(|key| records.0.get_key_value(key));
        Ok(RecordRead::new(cloned(found), now(), None))
    }

    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError> {
        check_scan_limit(limit)?;
        Ok(lock(&self.shared.records).scan(&range.bounds(order), order, limit))
    }

    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        batch.check()?;
        lock(&self.shared.records).commit(batch)
    }

    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError> {
        let scope = check_scope(scope)?;
        let mut read = lock(&self.shared.records).of_scope(&scope)?;
        loop {
            // No lock is held while the caller's code runs. If the scope changes in the meantime, the update decides
            // again.
            let batch = decide(&read)?;
            batch.check()?;
            let mut records = lock(&self.shared.records);
            let found = records.of_scope(&scope)?;
            if is_same(&found, &read) {
                return records.commit(&batch);
            }
            read = found;
        }
    }
}
