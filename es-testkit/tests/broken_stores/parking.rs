//! A store in memory with one defect: parked events.

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, ConsumerStore, EventKey, OperatorRequest, Park, ParkFailure, ParkedEdit, ParkedEvent,
    ParkedQueue, ParkedTotals, Parking, ParkingAction, ParkingRecord, ParkingStore, Position, StoreError,
};

use crate::{defect::Defect, store::BrokenStore};

impl BrokenStore {
    /// The move of a checkpoint, with what a defect makes of its parked events.
    pub(crate) async fn parked(&self, advance: &Advance) -> Result<Advance, StoreError> {
        let mut advance = advance.clone();
        match self.defect {
            Defect::ForgetsToPark => advance.parking.park.clear(),
            Defect::ParksBehindNothing => {
                for park in &mut advance.parking.park {
                    park.failure.get_or_insert(ParkFailure::new("behind nothing", 0));
                }
            }
            Defect::AppliesParkedEventsTwice => {
                let mut there = Vec::new();
                for gone in advance.parking.unpark {
                    let parked = self.store.parked_events(&advance.consumer, &gone.key, Position::ZERO, 1_000).await?;
                    if parked.iter().any(|event| event.position == gone.position) {
                        there.push(gone);
                    }
                }
                advance.parking.unpark = there;
            }
            Defect::ParksThoughRefused if !advance.parking.park.is_empty() => {
                let at = self.position_of(&advance.consumer).await?;
                let parking = std::mem::take(&mut advance.parking);
                self.store.move_checkpoint(&Advance::new(&advance.consumer, at, at).with_parking(parking)).await?;
            }
            _ => {}
        }
        Ok(advance)
    }

    /// What is parked, for a defect that keeps it.
    pub(crate) async fn all_parked(&self, consumer: &ConsumerName) -> Result<Vec<Park>, StoreError> {
        let mut all = Vec::new();
        if self.defect == Defect::KeepsWhatIsParked {
            for queue in self.store.parked_queues(consumer, None, 1_000).await? {
                for event in self.store.parked_events(consumer, &queue.key, Position::ZERO, 1_000).await? {
                    let failure = ParkFailure::new(&queue.first_error, queue.attempts);
                    all.push(Park::failed(queue.key.clone(), event.position, failure));
                }
            }
        }
        Ok(all)
    }

    pub(crate) async fn keep_parked(&self, consumer: &ConsumerName, parked: Vec<Park>) -> Result<(), StoreError> {
        if parked.is_empty() {
            return Ok(());
        }
        let at = self.position_of(consumer).await?;
        self.store.move_checkpoint(&Advance::new(consumer, at, at).with_parking(Parking::of(parked))).await
    }
}

#[async_trait]
impl ParkingStore for BrokenStore {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        self.store.parked_totals().await
    }

    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError> {
        self.store.parked_queues(consumer, after, limit).await
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        self.store.parked_queue(consumer, key).await
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        self.store.parked_among(consumer, keys).await
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        let mut events = self.store.parked_events(consumer, key, after, limit).await?;
        if self.defect == Defect::ListsTheLatestFirst {
            events.reverse();
        }
        Ok(events)
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.store.request_retry(consumer, key, edit, request).await
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        self.store.retry_requests(consumer).await
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        self.store.note_failed_retry(consumer, key, failure).await
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.store.discard_parked(consumer, key, position, request).await
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        let mut records = self.store.parking_history(consumer, after, limit).await?;
        if self.defect == Defect::DiscardsWithoutARecord {
            records.retain(|record| record.action != ParkingAction::Discard);
        }
        Ok(records)
    }
}
