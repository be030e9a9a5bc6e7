//! Calls about parked events, through [`FaultyStore::call`].

use async_trait::async_trait;
use es_core::{
    ConsumerName, EventKey, OperatorRequest, ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals,
    ParkingRecord, ParkingStore, Position, StoreError,
};

use super::{FaultyStore, Operation};

#[async_trait]
impl<S: ParkingStore> ParkingStore for FaultyStore<S> {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        self.call(Operation::Parking, self.store.parked_totals()).await
    }

    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError> {
        self.call(Operation::Parking, self.store.parked_queues(consumer, after, limit)).await
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        self.call(Operation::Parking, self.store.parked_queue(consumer, key)).await
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        self.call(Operation::Parking, self.store.parked_among(consumer, keys)).await
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        self.call(Operation::Parking, self.store.parked_events(consumer, key, after, limit)).await
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.call(Operation::Parking, self.store.request_retry(consumer, key, edit, request)).await
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        self.call(Operation::Parking, self.store.retry_requests(consumer)).await
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        self.call(Operation::Parking, self.store.note_failed_retry(consumer, key, failure)).await
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.call(Operation::Parking, self.store.discard_parked(consumer, key, position, request)).await
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        self.call(Operation::Parking, self.store.parking_history(consumer, after, limit)).await
    }
}
