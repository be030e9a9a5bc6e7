//! Parked events in memory.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Log, MemoryStore, lock};
use crate::{
    consumer_name::ConsumerName,
    error::StoreError,
    event_key::EventKey,
    limits,
    operation::OperatorRequest,
    parking::{
        ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals, Parking, ParkingAction, ParkingRecord,
        RetryRequest,
    },
    parking_store::{ParkingStore, check_parked_count, check_parked_edit},
    position::Position,
    timestamp::to_stored_precision,
};

/// The queues of all consumers, and the operators' actions on them.
#[derive(Debug, Default)]
pub(super) struct Parked {
    /// By consumer, then by the text form of the key.
    queues: HashMap<ConsumerName, BTreeMap<String, Queue>>,
    history: Vec<ParkingRecord>,
}

#[derive(Debug)]
struct Queue {
    about: ParkedQueue,
    events: BTreeMap<Position, ParkedEvent>,
}

impl Queue {
    fn report(&self) -> ParkedQueue {
        ParkedQueue { events: self.events.len() as u64, ..self.about.clone() }
    }
}

fn now() -> OffsetDateTime {
    to_stored_precision(OffsetDateTime::now_utc())
}

impl Parked {
    /// Checks whether [`apply`](Self::apply) can make all of its changes.
    pub(super) fn check(&self, consumer: &ConsumerName, parking: &Parking) -> Result<(), StoreError> {
        let queues = self.queues.get(consumer);
        let queue = |key: &EventKey| queues.and_then(|queues| queues.get(&key.to_string()));
        let is_opened = |key: &EventKey| parking.park.iter().any(|park| park.key == *key && park.failure.is_some());
        let lost = parking.park.iter().map(|park| &park.key).find(|key| queue(key).is_none() && !is_opened(key));
        let gone = parking
            .unpark
            .iter()
            .find(|gone| !queue(&gone.key).is_some_and(|queue| queue.events.contains_key(&gone.position)));
        match lost.or(gone.map(|gone| &gone.key)) {
            Some(key) => Err(StoreError::ParkingChanged { consumer: consumer.clone(), key: key.clone() }),
            None => Ok(()),
        }
    }

    /// Changes the queues of a consumer, after [`check`](Self::check).
    pub(super) fn apply(&mut self, log: &Log, consumer: &ConsumerName, parking: &Parking) {
        if parking.is_empty() {
            return;
        }
        let queues = self.queues.entry(consumer.clone()).or_default();
        // A failed event opens a queue, wherever it is in the list.
        for park in &parking.park {
            if let Some(failure) = &park.failure {
                let open =
                    || Queue { about: ParkedQueue::new(park.key.clone(), 0, failure, now()), events: BTreeMap::new() };
                queues.entry(park.key.to_string()).or_insert_with(open);
            }
        }
        for park in &parking.park {
            if let Some(queue) = queues.get_mut(&park.key.to_string()) {
                let parked = ParkedEvent::new(park.position, now(), None).at_event(log.id_at(park.position));
                queue.events.entry(park.position).or_insert(parked);
            }
        }
        for gone in &parking.unpark {
            if let Some(queue) = queues.get_mut(&gone.key.to_string()) {
                queue.events.remove(&gone.position);
            }
        }
        queues.retain(|_, queue| !queue.events.is_empty());
    }

    /// Removes the events after a position, because they will be delivered again.
    pub(super) fn forget_after(&mut self, consumer: &ConsumerName, position: Position) {
        let Some(queues) = self.queues.get_mut(consumer) else { return };
        for queue in queues.values_mut() {
            queue.events.retain(|&parked, _| parked <= position);
        }
        queues.retain(|_, queue| !queue.events.is_empty());
    }

    /// Removes all parked events of a consumer, in all of its generations.
    pub(super) fn remove(&mut self, base: &ConsumerName) {
        self.queues.retain(|consumer, _| consumer.base() != *base);
    }

    fn queue(&self, consumer: &ConsumerName, key: &EventKey) -> Option<&Queue> {
        self.queues.get(consumer)?.get(&key.to_string())
    }

    fn queue_mut(&mut self, consumer: &ConsumerName, key: &EventKey) -> Option<&mut Queue> {
        self.queues.get_mut(consumer)?.get_mut(&key.to_string())
    }

    fn record(
        &mut self,
        consumer: &ConsumerName,
        key: &EventKey,
        action: ParkingAction,
        request: &OperatorRequest,
    ) -> &mut ParkingRecord {
        let id = self.history.len() as u64 + 1;
        let mut record = ParkingRecord::new(id, now(), consumer.clone(), key.clone(), action);
        (record.by, record.reason) = (request.author().to_owned(), request.reason().map(str::to_owned));
        self.history.push(record);
        let last = self.history.len() - 1;
        &mut self.history[last]
    }
}

#[async_trait]
impl ParkingStore for MemoryStore {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        let consumers = lock(&self.shared.consumers);
        let mut all: Vec<_> = consumers
            .parked
            .queues
            .iter()
            .filter(|(_, queues)| !queues.is_empty())
            .map(|(consumer, queues)| {
                let events = queues.values().map(|queue| queue.events.len() as u64).sum();
                (consumer.clone(), ParkedTotals { keys: queues.len() as u64, events })
            })
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }

    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError> {
        check_parked_count(limit)?;
        let consumers = lock(&self.shared.consumers);
        let after = after.map(EventKey::to_string).unwrap_or_default();
        let queues = consumers.parked.queues.get(consumer).into_iter().flatten();
        Ok(queues.filter(|(key, _)| **key > after).take(limit).map(|(_, queue)| queue.report()).collect())
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        Ok(lock(&self.shared.consumers).parked.queue(consumer, key).map(Queue::report))
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        check_parked_count(keys.len())?;
        let consumers = lock(&self.shared.consumers);
        Ok(keys.iter().filter(|key| consumers.parked.queue(consumer, key).is_some()).cloned().collect())
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        check_parked_count(limit)?;
        let consumers = lock(&self.shared.consumers);
        let Some(queue) = consumers.parked.queue(consumer, key) else { return Ok(Vec::new()) };
        Ok(queue.events.values().filter(|event| event.position > after).take(limit).cloned().collect())
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        edit.map_or(Ok(()), |edit| check_parked_edit(edit, request))?;
        let mut consumers = lock(&self.shared.consumers);
        let Some(queue) = consumers.parked.queue_mut(consumer, key) else { return Ok(false) };
        if let Some(edit) = edit {
            let Some(event) = queue.events.get_mut(&edit.position) else {
                return Err(StoreError::Refused {
                    reason: "the event that is to be edited is not parked under this key",
                });
            };
            event.edited = Some(edit.payload.clone());
        }
        let retry = RetryRequest::new(request.author().to_owned(), now(), request.reason().map(str::to_owned));
        queue.about.retry.get_or_insert(retry);
        if let Some(edit) = edit {
            let record = consumers.parked.record(consumer, key, ParkingAction::Edit, request);
            (record.position, record.payload) = (Some(edit.position), Some(edit.payload.clone()));
        }
        consumers.parked.record(consumer, key, ParkingAction::Retry, request);
        Ok(true)
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        let consumers = lock(&self.shared.consumers);
        let queues = consumers.parked.queues.get(consumer).into_iter().flatten();
        let mut requested: Vec<_> =
            queues.filter_map(|(_, queue)| Some((queue.about.retry.as_ref()?.at, queue.about.key.clone()))).collect();
        requested.sort();
        Ok(requested.into_iter().take(limits::RETRY_REQUESTS_PER_READ).map(|(_, key)| key).collect())
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        if let Some(queue) = lock(&self.shared.consumers).parked.queue_mut(consumer, key) {
            let about = &mut queue.about;
            about.last_error = failure.error.clone();
            about.attempts = about.attempts.saturating_add(failure.attempts);
            (about.tried_at, about.retry) = (now(), None);
        }
        Ok(())
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        request.check_reason()?;
        let mut consumers = lock(&self.shared.consumers);
        let Some(queue) = consumers.parked.queue_mut(consumer, key) else { return Ok(0) };
        let is_meant = |parked: &Position| position.is_none_or(|position| position == *parked);
        let positions: Vec<Position> = queue.events.keys().copied().filter(is_meant).collect();
        queue.events.retain(|parked, _| !is_meant(parked));
        if let Some(queues) = consumers.parked.queues.get_mut(consumer) {
            queues.retain(|_, queue| !queue.events.is_empty());
        }
        for &position in &positions {
            consumers.parked.record(consumer, key, ParkingAction::Discard, request).position = Some(position);
        }
        Ok(positions.len() as u64)
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        check_parked_count(limit)?;
        let consumers = lock(&self.shared.consumers);
        let records = consumers.parked.history.iter();
        let wanted = records.filter(|record| record.consumer == *consumer && record.id > after);
        Ok(wanted.take(limit).cloned().collect())
    }
}
