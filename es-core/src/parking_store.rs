//! What a store does for parked events.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    consumer_name::ConsumerName,
    consumer_store::ConsumerStore,
    error::StoreError,
    event_key::EventKey,
    limits,
    operation::OperatorRequest,
    parking::{ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals, ParkingRecord},
    position::Position,
};

/// The parked events of consumers. Object-safe, as [`ConsumerStore`].
///
/// An event is parked, and leaves the queue when it takes effect, with a move of the checkpoint
/// ([`Advance::parking`](crate::Advance::parking)), in one transaction with the read model. This trait has the
/// questions and requests of runners and of operators.
///
/// A queue belongs to one generation of a read model, with all its partitions. A checkpoint that moves back, or a read
/// model that is cleared, takes the events after the new position out of the queue: they come again. A generation that is
/// dropped loses its queue.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait ParkingStore: ConsumerStore {
    /// How much is parked, of every consumer that has parked events, by name.
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError>;

    /// The parked keys of a consumer in the order of their text forms (bytewise), after a key.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError>;

    /// One parked key; `None` if it is not parked.
    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError>;

    /// Which of these keys are parked, in any order.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError>;

    /// The parked events of a key in order, after a position.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError>;

    /// Requests that the process that runs the consumer retries a parked key, if need be with another payload for one
    /// of its events. The request is recorded. Returns whether the key is parked at all.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for an edit without a reason, or of an event that is not in the queue;
    /// [`StoreError::LimitExceeded`] for an edit over [`limits::MAX_PAYLOAD_BYTES`].
    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Returns keys whose retry is requested, the oldest request first; at most [`limits::RETRY_REQUESTS_PER_READ`].
    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError>;

    /// Notes that a key was tried again and failed. It waits until the next request. Of no effect if it is not parked.
    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError>;

    /// Throws away one parked event of a key, or all of them, and records each. Gives how many.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason.
    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError>;

    /// What was done to parked events of a consumer by hand, in order, after a record; 0 starts with the first.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError>;
}

/// Checks how many parked keys, events or records one call may name or read. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
pub fn check_parked_count(count: usize) -> Result<(), StoreError> {
    let limit = limits::MAX_PARKED_PER_READ;
    match count > limit {
        true => Err(StoreError::LimitExceeded {
            what: "parked keys, events or records in one call",
            limit: limit as u64,
            actual: count as u64,
        }),
        false => Ok(()),
    }
}

/// Checks an edit of a parked event: it needs a reason, and its payload is bounded. Stores call it.
///
/// # Errors
/// [`StoreError::Refused`] or [`StoreError::LimitExceeded`].
pub fn check_parked_edit(edit: &ParkedEdit, request: &OperatorRequest) -> Result<(), StoreError> {
    request.check_reason()?;
    let (limit, actual) = (limits::MAX_PAYLOAD_BYTES, edit.payload.as_str().len());
    match actual > limit {
        true => Err(StoreError::LimitExceeded {
            what: "bytes of an edited payload",
            limit: limit as u64,
            actual: actual as u64,
        }),
        false => Ok(()),
    }
}

#[async_trait]
impl<S: ParkingStore + ?Sized> ParkingStore for Arc<S> {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        (**self).parked_totals().await
    }

    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError> {
        (**self).parked_queues(consumer, after, limit).await
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        (**self).parked_queue(consumer, key).await
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        (**self).parked_among(consumer, keys).await
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        (**self).parked_events(consumer, key, after, limit).await
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        (**self).request_retry(consumer, key, edit, request).await
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        (**self).retry_requests(consumer).await
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        (**self).note_failed_retry(consumer, key, failure).await
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        (**self).discard_parked(consumer, key, position, request).await
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        (**self).parking_history(consumer, after, limit).await
    }
}
