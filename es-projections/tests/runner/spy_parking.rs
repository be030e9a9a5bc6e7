//! Parked events of the store that is watched.

use async_trait::async_trait;
use es_core::{
    ConsumerName, EventKey, OperatorRequest, ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals,
    ParkingRecord, ParkingStore, Position, StoreError,
};

use crate::spy_store::SpyStore;

#[async_trait]
impl ParkingStore for SpyStore {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        self.check_up().await?;
        self.inner.parked_totals().await
    }

    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError> {
        self.check_up().await?;
        self.inner.parked_queues(consumer, after, limit).await
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        self.check_up().await?;
        self.inner.parked_queue(consumer, key).await
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        self.seen.parked_lookups.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.check_up().await?;
        self.inner.parked_among(consumer, keys).await
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        self.check_up().await?;
        self.inner.parked_events(consumer, key, after, limit).await
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.check_up().await?;
        self.inner.request_retry(consumer, key, edit, request).await
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        self.seen.request_lookups.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.check_up().await?;
        self.inner.retry_requests(consumer).await
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        self.check_up().await?;
        self.inner.note_failed_retry(consumer, key, failure).await
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.check_up().await?;
        self.inner.discard_parked(consumer, key, position, request).await
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        self.check_up().await?;
        self.inner.parking_history(consumer, after, limit).await
    }
}
