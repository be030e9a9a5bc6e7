//! A store in memory with one defect: records.

use std::collections::HashMap;

use async_trait::async_trait;
use es_core::{
    StoreError,
    store::{
        Change, Committed, Condition, DecideRecords, RecordBatch, RecordKey, RecordRange, RecordRead, RecordStore,
        Revision, ScanOrder,
    },
};
use tokio::task::yield_now;

use crate::{defect::Defect, store::BrokenStore};

/// The revision of the first commit that gave a record a value, by key and value.
pub(crate) type FirstRevisions = HashMap<(RecordKey, String), Revision>;

impl BrokenStore {
    async fn a_moment() {
        for _ in 0..Self::MOMENT_YIELDS {
            yield_now().await;
        }
    }

    /// What is told of records: of a value that was there before, the revision of that time.
    fn as_told(&self, mut read: RecordRead) -> RecordRead {
        if self.defect == Defect::ReusesRevisions {
            let mut first = self.shared.first_revisions.lock().unwrap();
            for (key, record) in &mut read.records {
                let place = (key.clone(), record.value.as_str().to_owned());
                record.revision = *first.entry(place).or_insert(record.revision);
            }
        }
        read
    }

    /// A batch that is committed whatever has become of what was read; with a change of each key that passes.
    fn part(batch: &RecordBatch, is_in: impl Fn(usize) -> bool) -> RecordBatch {
        let changes = batch.changes().iter().enumerate().filter(|(number, _)| is_in(*number));
        changes.fold(RecordBatch::new(), |part, (_, (key, change))| match change {
            Change::Put(value) => part.put(key.clone(), value.clone()),
            Change::Touch => part.touch(key.clone()),
            Change::Delete => part.delete(key.clone()),
        })
    }

    fn with_conditions(part: RecordBatch, conditions: impl IntoIterator<Item = (RecordKey, Condition)>) -> RecordBatch {
        conditions.into_iter().fold(part, |part, (key, condition)| part.require(key, condition))
    }

    async fn commit_in_two(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        let half = batch.changes().len() / 2;
        let conditions = batch.conditions().iter().map(|(key, condition)| (key.clone(), *condition));
        self.store.commit(&Self::with_conditions(Self::part(batch, |number| number < half), conditions)).await?;
        Self::a_moment().await;
        self.store.commit(&Self::part(batch, |number| number >= half)).await
    }

    async fn look_and_commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        batch.check()?;
        let keys: Vec<RecordKey> = batch.conditions().keys().chain(batch.changes().keys()).cloned().collect();
        let read = self.store.get(&keys).await?;
        batch.check_against(|key| read.revision(key))?;
        Self::a_moment().await;
        self.store.commit(&Self::part(batch, |_| true)).await
    }

    async fn commit_as_told(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        let mut conditions = Vec::new();
        for (key, condition) in batch.conditions() {
            let read = self.store.get(std::slice::from_ref(key)).await?;
            let told = self.as_told(read.clone()).revision(key);
            conditions.push((
                key.clone(),
                match condition {
                    Condition::At(revision) if told == Some(*revision) => {
                        Condition::At(read.revision(key).unwrap_or(*revision))
                    }
                    other => *other,
                },
            ));
        }
        let mut committed = self.store.commit(&Self::with_conditions(Self::part(batch, |_| true), conditions)).await?;
        let keys: Vec<RecordKey> = batch.changes().keys().take(1).cloned().collect();
        let told = self.as_told(self.store.get(&keys).await?);
        committed.revision = told.records.values().next().map_or(committed.revision, |record| record.revision);
        Ok(committed)
    }
}

#[async_trait]
impl RecordStore for BrokenStore {
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError> {
        let before = self.store.get(keys).await?;
        if self.defect != Defect::ReadsStaleRecords {
            return Ok(self.as_told(before));
        }
        Self::a_moment().await;
        let mut read = self.store.get(keys).await?;
        for (key, record) in &mut read.records {
            if let Some(before) = before.get(key) {
                record.value = before.value.clone();
            }
        }
        Ok(read)
    }

    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError> {
        let mut read = self.store.scan(range, order, limit).await?;
        if let (Defect::SkipsARecordBetweenPages, Some(next)) = (self.defect, &read.next) {
            read.next = self.store.scan(&range.clone().starting_at(next.clone()), order, 1).await?.next;
        }
        Ok(self.as_told(read))
    }

    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        match self.defect {
            Defect::TearsABatchOfRecords if batch.check().is_ok() => self.commit_in_two(batch).await,
            Defect::LooksAtConditionsWithoutHoldingThem => self.look_and_commit(batch).await,
            Defect::ReusesRevisions if batch.check().is_ok() => self.commit_as_told(batch).await,
            _ => self.store.commit(batch).await,
        }
    }

    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError> {
        match self.defect {
            Defect::LocksTheRecordsOfAScopeAlone => {
                let mut read = None;
                self.store
                    .update(scope, &mut |found| {
                        read = Some(found.clone());
                        Ok(RecordBatch::new())
                    })
                    .await?;
                let Some(read) = read else { return Err(StoreError::Refused { reason: "nothing was decided" }) };
                let batch = decide(&read)?;
                Self::a_moment().await;
                // Whatever was added since is not noticed.
                self.store
                    .update(scope, &mut |found| {
                        let is_there = |key: &RecordKey| found.revision(key) == read.revision(key);
                        if read.records.keys().all(is_there) { Ok(batch.clone()) } else { decide(found) }
                    })
                    .await
            }
            _ => self.store.update(scope, &mut |read| decide(&self.as_told(read.clone()))).await,
        }
    }
}
