//! Every call about records, through [`FaultyStore::call`].

use async_trait::async_trait;
use es_core::{
    StoreError,
    store::{Committed, DecideRecords, RecordBatch, RecordKey, RecordRange, RecordRead, RecordStore, ScanOrder},
};

use super::{FaultyStore, Operation};

#[async_trait]
impl<S: RecordStore> RecordStore for FaultyStore<S> {
    async fn get(&self, keys: &[RecordKey]) -> Result<RecordRead, StoreError> {
        self.call(Operation::Record, self.store.get(keys)).await
    }

    async fn scan(&self, range: &RecordRange, order: ScanOrder, limit: usize) -> Result<RecordRead, StoreError> {
        self.call(Operation::Record, self.store.scan(range, order, limit)).await
    }

    async fn commit(&self, batch: &RecordBatch) -> Result<Committed, StoreError> {
        self.call(Operation::Record, self.store.commit(batch)).await
    }

    async fn update(&self, scope: &[RecordRange], decide: &mut DecideRecords<'_>) -> Result<Committed, StoreError> {
        self.call(Operation::Record, self.store.update(scope, decide)).await
    }
}
