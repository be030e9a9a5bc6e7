//! The part of a store that keeps parked events.

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

/// The parked events of consumers. The trait is object-safe, like [`ConsumerStore`].
///
/// Events are parked, and leave the queue when they take effect, with a move of the checkpoint
/// ([`Advance::parking`](crate::Advance::parking)), in one transaction with the read model. This trait contains the
/// queries and requests of runners and operators.
///
/// A queue belongs to one generation of a read model, with all of its partitions. If a checkpoint moves back, or a read
/// model is cleared, the events after the new position leave the queue, because they are delivered again. If a
/// generation is dropped, its queue is deleted.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait ParkingStore: ConsumerStore {
    /// Returns the totals of every consumer that has parked events, ordered by name.
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError>;

    /// Returns the parked keys of a consumer after a key, in the order of their text forms (bytewise).
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError>;

    /// Returns the queue of one key, or `None` if the key is not parked.
    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError>;

    /// Returns which of these keys are parked, in any order.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError>;

    /// Returns the parked events of a key after a position, in order.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError>;

    /// Requests that the process that runs the consumer retries a parked key, optionally with another payload for one
    /// of its events. The request is recorded. Returns whether the key is parked.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] for an edit without a reason, or of an event that is not in the queue, and
    /// [`StoreError::LimitExceeded`] for an edit over [`limits::MAX_PAYLOAD_BYTES`].
    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Returns the keys whose retry is requested, oldest request first, at most [`limits::RETRY_REQUESTS_PER_READ`].
    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError>;

    /// Records that a retry of a key failed. The key waits until the next request. It has no effect if the key is not
    /// parked.
    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError>;

    /// Discards one parked event of a key, or all of them, and records each. Returns the number of discarded events.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a reason.
    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError>;

    /// Returns the operators' actions on parked events of a consumer after a record, in order. 0 starts with the first
    /// record.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError>;
}

/// Checks how many parked keys, events, or records one call may name or read. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PARKED_PER_READ`].
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

/// Checks an edit of a parked event: it requires a reason, and the size of its payload is limited. Stores call it.
///
/// # Errors
/// Returns [`StoreError::Refused`] or [`StoreError::LimitExceeded`].
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
