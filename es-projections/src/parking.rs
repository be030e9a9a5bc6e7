//! Events of parked keys: they are set aside when their page is applied, and retried on request.

use std::{
    collections::{BTreeSet, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use es_core::{
    Bookmark, DecodeError, EventFilter, EventKey, EventPage, PageSize, Park, ParkFailure, ParkedEvent, Parking,
    Position, ProjectionError, RecordedEvent, StoreError, StreamId, Unpark, is_transient, limits as core_limits,
};
use tokio::time::Instant;

use crate::{
    consumer::catch_panic,
    consumer_state::Place,
    error::{Chain, RunnerError},
    limits,
    page_step::{Step, StepFailure, Steps, is_elsewhere},
    status::ConsumerKind,
    stop::Stop,
};

/// What a consumer's steps know about its parked events.
#[derive(Default)]
pub(crate) struct ParkingCache {
    /// Whether there are any; `None` if that must be looked up. Only the steps of this consumer park events, and steps
    /// in another process also move its checkpoint.
    has_any: Option<bool>,
    /// When retry requests were last checked.
    looked_at: Option<Instant>,
}

impl ParkingCache {
    /// Discards the cached value, because another process may have changed what is parked.
    pub(crate) fn forget(&mut self) {
        self.has_any = None;
    }

    fn is_look_due(&self) -> bool {
        self.looked_at.is_none_or(|at| at.elapsed() >= limits::RETRY_REQUEST_INTERVAL)
    }
}

/// An event that failed too often and is to be parked.
pub(crate) struct Failing {
    pub(crate) event: Position,
    pub(crate) error: Arc<ProjectionError>,
    pub(crate) attempts: u32,
    /// The maximum number of parked keys.
    pub(crate) limit: u64,
}

const SPLIT_STREAM: StoreError = StoreError::Refused {
    reason: "a stream of a view with several partitions is parked; run the view as one partition until it is retried or discarded",
};

/// The result of retrying a parked key.
enum Retry {
    /// None of its events is parked anymore.
    Freed,
    /// Its first event failed again.
    Failed,
    /// There are more events to retry.
    Unfinished,
}

/// Returns whether the event is the cause of a failure, so that events of other keys can continue without it. Failures
/// of the store and transient failures do not count.
pub(crate) fn is_of_the_event(error: &ProjectionError) -> bool {
    if is_transient(error) {
        return false;
    }
    matches!(
        error,
        ProjectionError::Handler { .. }
            | ProjectionError::Document { .. }
            | ProjectionError::Decode(DecodeError::UnknownType { .. } | DecodeError::Payload { .. } | DecodeError::Document { .. })
            // A document or key that cannot be stored.
            | ProjectionError::Store(StoreError::LimitExceeded { .. } | StoreError::InvalidName(_))
    )
}

/// Returns the keys that a consumer's own code determines for an event. If the event cannot be read or the code panics,
/// the key is the stream.
pub(crate) fn keys_or_stream<E>(stream: &StreamId, keys: impl FnOnce() -> Result<Vec<EventKey>, E>) -> Vec<EventKey> {
    match catch_unwind(AssertUnwindSafe(keys)) {
        Ok(Ok(keys)) => keys,
        _ => vec![EventKey::Stream(stream.clone())],
    }
}

impl Steps {
    /// Returns whether the consumer has parked events. Asks the store if that is not cached.
    async fn has_parked(&mut self) -> Result<bool, StoreError> {
        if let Some(known) = self.parking_cache.has_any {
            return Ok(known);
        }
        let has_any = !self.store.parked_queues(&self.queue(), None, 1).await?.is_empty();
        self.parking_cache.has_any = Some(has_any);
        Ok(has_any)
    }

    /// Returns which of some keys are parked.
    async fn parked_among(&self, keys: BTreeSet<EventKey>) -> Result<HashSet<EventKey>, StoreError> {
        let (keys, mut parked): (Vec<_>, _) = (keys.into_iter().collect(), HashSet::new());
        for keys in keys.chunks(core_limits::MAX_PARKED_PER_READ) {
            parked.extend(self.store.parked_among(&self.queue(), keys).await?);
        }
        Ok(parked)
    }

    /// Removes from a page the events that must wait behind parked ones. An event that affects several documents stays
    /// in the page for the documents that are not parked. `after` is the position after which the page begins.
    pub(crate) async fn set_aside(&mut self, after: Position, page: &mut EventPage) -> Result<Parking, StoreError> {
        if page.events.is_empty() || !self.has_parked().await? {
            return Ok(Parking::default());
        }
        let keys: Vec<Vec<EventKey>> = page.events.iter().map(|event| self.consumer.keys(event)).collect();
        let streams = page.events.iter().map(|event| EventKey::Stream(event.stream().clone()));
        let parked = self.parked_among(keys.iter().flatten().cloned().chain(streams).collect()).await?;
        if parked.is_empty() {
            return Ok(Parking::default());
        }
        let is_split = self.is_split_view(after);
        if is_split && parked.iter().any(|key| matches!(key, EventKey::Stream(_))) {
            return Err(SPLIT_STREAM);
        }
        let (mut park, mut keys, end) = (Vec::new(), keys.into_iter(), page.scanned_to);
        page.events.retain(|event| {
            let stream = EventKey::Stream(event.stream().clone());
            let own = keys.next().unwrap_or_default();
            if parked.contains(&stream) {
                park.push(Park::behind(stream, event.position()));
                return false;
            }
            let before = park.len();
            // A document of another partition waits in that partition.
            let own: Vec<EventKey> =
                own.into_iter().filter(|key| !is_split || self.partition_slice.owns(key, end)).collect();
            let waiting = own.iter().filter(|key| parked.contains(key));
            park.extend(waiting.map(|key| Park::behind(key.clone(), event.position())));
            park.len() - before < own.len().max(1)
        });
        tracing::debug!(events = park.len(), "events wait behind parked ones");
        Ok(Parking::of(park))
    }

    /// Parks an event that failed too often.
    ///
    /// # Errors
    /// Returns [`RunnerError::ParkedLimit`] if too many keys are parked.
    pub(crate) async fn park(&mut self, failing: &Failing, stop: &Stop) -> Result<Step, StepFailure> {
        self.forget_place();
        let place = self.find_place().await?;
        self.pace.narrow_to(1);
        let page = self.read(place.scanned).await?;
        let page = self.cut_at_end(page);
        let Some(event) = page.events.first().filter(|event| event.position() == failing.event).cloned() else {
            // The checkpoint has moved.
            self.place = Some(place);
            return Ok(Step::Advanced(place.scanned.position()));
        };
        let mut rest = page;
        let mut parking = self.set_aside(place.scanned.position(), &mut rest).await?;
        let keys = catch_panic(self.consumer.name(), self.consumer.failing_keys(&event)).await?;
        let known: HashSet<EventKey> = parking.park.iter().map(|park| park.key.clone()).collect();
        let is_own = |key: &EventKey| self.partition_slice.has_key(key) && !known.contains(key);
        let fresh: Vec<EventKey> = keys.into_iter().filter(is_own).collect();
        if rest.events.is_empty() || fresh.is_empty() {
            // Another process has parked the key in the meantime.
            return self.apply(place, rest, parking, stop).await;
        }
        let parked = self.store.parked_totals().await?;
        let own = parked.iter().find(|(consumer, _)| *consumer == self.queue()).map_or(0, |(_, totals)| totals.keys);
        if own + fresh.len() as u64 > failing.limit {
            return Err(StepFailure::Fatal(RunnerError::ParkedLimit {
                consumer: self.queue(),
                event: failing.event,
                limit: failing.limit,
                source: Arc::clone(&failing.error),
            }));
        }
        let failure = ParkFailure::new(&Chain(&*failing.error).to_string(), failing.attempts);
        for key in &fresh {
            parking.park.push(Park::failed(key.clone(), failing.event, failure.clone()));
        }
        // A view still writes the documents that did not fail.
        if !fresh.iter().all(|key| matches!(key, EventKey::Document(_))) {
            rest.events.clear();
        }
        let step = self.apply(place, rest, parking, stop).await?;
        self.parking_cache.has_any = Some(true);
        for key in fresh {
            let (position, attempts) = (failing.event.get(), failing.attempts);
            tracing::warn!(%key, position, attempts, error = %Chain(&*failing.error), "event parked");
        }
        Ok(step)
    }

    /// Returns whether this is one of several partitions of a view after a position. An event may then affect documents
    /// of several partitions, which are at different positions. It cannot wait behind its stream to be applied to all
    /// of them together.
    fn is_split_view(&self, after: Position) -> bool {
        self.consumer.kind() == ConsumerKind::View && !self.partition_slice.is_everything_after(after)
    }

    /// Returns the keys of its partition whose retry is requested.
    async fn own_retries(&self, after: Position) -> Result<Vec<EventKey>, StoreError> {
        let mut requested = self.store.retry_requests(&self.queue()).await?;
        let is_split = self.is_split_view(after);
        requested.retain(|key| self.partition_slice.has_key(key) && !(is_split && matches!(key, EventKey::Stream(_))));
        Ok(requested)
    }

    /// Retries parked keys whose retry is requested, up to the limit of one step.
    pub(crate) async fn retry_requested(&mut self, place: Place, stop: &Stop) -> Result<(), StepFailure> {
        if !self.has_parked().await? || !self.parking_cache.is_look_due() {
            return Ok(());
        }
        let mut left = limits::PARKED_EVENTS_PER_STEP;
        for key in self.own_retries(place.scanned.position()).await? {
            if let Retry::Unfinished = self.retry(&key, place, &mut left, stop).await? {
                // The next step continues with this key.
                return Ok(());
            }
        }
        self.parking_cache.looked_at = Some(Instant::now());
        Ok(())
    }

    /// Retries all parked keys whose retry is requested.
    pub(crate) async fn retry_all_requested(&mut self) -> Result<(), StepFailure> {
        self.go_live().await?;
        self.prepare().await?;
        let place = self.find_place().await?;
        let mut left = usize::MAX;
        for key in self.own_retries(place.scanned.position()).await? {
            self.retry(&key, place, &mut left, &Stop::never()).await?;
        }
        self.forget_place();
        Ok(())
    }

    /// Retries the events of a key in order. Each event takes effect and leaves the queue in one transaction.
    async fn retry(
        &mut self,
        key: &EventKey,
        place: Place,
        left: &mut usize,
        stop: &Stop,
    ) -> Result<Retry, StepFailure> {
        loop {
            let limit = limits::PARKED_EVENTS_PER_STEP;
            let events = self.store.parked_events(&self.queue(), key, Position::ZERO, limit).await?;
            if events.is_empty() {
                self.parking_cache.forget();
                tracing::info!(%key, "parked key freed");
                return Ok(Retry::Freed);
            }
            for event in events {
                if *left == 0 || stop.is_requested() {
                    return Ok(Retry::Unfinished);
                }
                *left -= 1;
                let position = event.position;
                match self.retry_event(key, event, place).await {
                    Ok(()) => {}
                    Err(ProjectionError::Store(error)) if is_elsewhere(&error) || error.is_transient() => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        let failure = ParkFailure::new(&Chain(&error).to_string(), 1);
                        self.store.note_failed_retry(&self.queue(), key, &failure).await?;
                        let position = position.get();
                        tracing::warn!(%key, position, error = %Chain(&error), "a parked event failed again");
                        return Ok(Retry::Failed);
                    }
                }
            }
        }
    }

    async fn retry_event(&self, key: &EventKey, parked: ParkedEvent, place: Place) -> Result<(), ProjectionError> {
        let mut event = self.event_at(&parked).await?;
        let seen = Some(Bookmark::of(&event));
        if let Some(edited) = parked.edited {
            event = event.with_payload(edited);
        }
        let mut parking = Parking::default().and_unpark(vec![Unpark { key: key.clone(), position: parked.position }]);
        if let EventKey::Stream(_) = key {
            // The event may have to wait further behind a key of its own.
            let own = self.consumer.keys(&event).into_iter().filter(|own| own != key);
            let behind = self.parked_among(own.collect()).await?;
            parking.park = behind.into_iter().map(|own| Park::behind(own, parked.position)).collect();
        }
        let waits = parking.park.iter().any(|park| !matches!(park.key, EventKey::Document(_)));
        let is_wanted = self.consumer.filter().matches(event.stream(), event.event_type());
        let advance = self.advance(place.stored, place.stored).with_parking(parking).having_seen(seen);
        match is_wanted && !waits {
            true => catch_panic(self.consumer.name(), self.consumer.apply_parked(advance, event)).await,
            false => Ok(self.store.move_checkpoint(&advance).await?),
        }
    }

    async fn event_at(&self, parked: &ParkedEvent) -> Result<RecordedEvent, ProjectionError> {
        let position = parked.position;
        let before = Position::new(position.get().saturating_sub(1));
        let page = self.store.read_all(before, &EventFilter::all(), PageSize::new(1)?).await?;
        let found = page.events.into_iter().next().filter(|event| event.position() == position);
        match (found, parked.event_id) {
            (Some(event), expected) if expected.is_none_or(|expected| expected == event.id()) => Ok(event),
            (found, expected) => {
                let (found, head) = (found.map(|event| event.id()), page.log_end);
                Err(StoreError::LogWentBack { position, expected, found, head }.into())
            }
        }
    }
}
