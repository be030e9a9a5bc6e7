//! Appends and their outcomes.

use std::{collections::HashSet, hash::Hash};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    bookmark::Bookmark,
    error::{InvalidName, StoreError},
    event::{NewEvent, RecordedEvent},
    expected_version::ExpectedVersion,
    limits,
    metadata::Metadata,
    name::check_text,
    position::Position,
    request_digest::RequestDigest,
    stream_id::StreamId,
    timestamp::is_storable,
    version::Version,
};

/// A key under which an append takes effect once. If the same append is sent again with the same key, even years later,
/// it returns the outcome of the first. Any other append with that key is refused (see [`RequestDigest`]). The key is
/// unique in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Creates a key after checking the text.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if the text is empty, longer than [`limits::MAX_IDEMPOTENCY_KEY_BYTES`], or contains a
    /// control character.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidName> {
        let key = key.into();
        check_text("idempotency key", &key, limits::MAX_IDEMPOTENCY_KEY_BYTES)?;
        Ok(Self(key))
    }

    /// Returns the text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The events that are appended to one stream, with the expected version. Without events it is a guard: the expectation
/// must hold, but nothing is written.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamAppend {
    stream: StreamId,
    expected: ExpectedVersion,
    decided_after: Option<Uuid>,
    events: Vec<NewEvent>,
}

impl StreamAppend {
    /// Creates the part of an append that concerns one stream.
    pub fn new(stream: StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> Self {
        Self { stream, expected, decided_after: None, events }
    }

    /// Also expects the last event of the stream to have this ID. `None` adds no expectation.
    #[must_use]
    pub fn decided_after(mut self, last_event: Option<Uuid>) -> Self {
        self.decided_after = last_event;
        self
    }

    /// Returns the stream.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Returns the expected version.
    pub fn expected(&self) -> ExpectedVersion {
        self.expected
    }

    /// Returns the expected ID of the stream's last event, if there is one.
    pub fn expected_last_event(&self) -> Option<Uuid> {
        self.decided_after
    }

    /// Returns the events, in order.
    pub fn events(&self) -> &[NewEvent] {
        &self.events
    }
}

/// One atomic append to one or several streams.
///
/// A value of this type satisfies all rules that can be checked without a store: it has at least one event, it contains
/// no stream and no event ID twice, and every count and size is within [`limits`].
///
/// ```
/// use es_core::{Append, EventType, ExpectedVersion, NewEvent, Payload, StreamId};
/// let event = || Ok::<_, Box<dyn std::error::Error>>(NewEvent::new(EventType::new("Opened")?, Payload::from_json("{}")?));
/// let append = Append::to(StreamId::new("account", "ann")?, ExpectedVersion::NoStream, vec![event()?])
///     .and(StreamId::new("account", "bob")?, ExpectedVersion::NoStream, vec![event()?])
///     .build()?;
/// assert_eq!(append.event_count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    streams: Vec<StreamAppend>,
    keyed: Option<(IdempotencyKey, RequestDigest)>,
    event_count: usize,
    largest_payload_bytes: usize,
}

impl Append {
    /// Starts an append with one stream.
    pub fn to(stream: StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> AppendBuilder {
        Self::builder().and(stream, expected, events)
    }

    /// Starts an append without streams.
    pub fn builder() -> AppendBuilder {
        AppendBuilder { streams: Vec::new(), idempotency_key: None, request: None }
    }

    /// Returns the streams, in the order in which their events get positions.
    pub fn streams(&self) -> &[StreamAppend] {
        &self.streams
    }

    /// Returns the key under which the append takes effect once.
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.keyed.as_ref().map(|(key, _)| key)
    }

    /// Returns the digest of what is requested under the idempotency key, or `None` without a key.
    pub fn request(&self) -> Option<RequestDigest> {
        self.keyed.as_ref().map(|(_, request)| *request)
    }

    /// Returns the number of events over all streams, which is at least 1.
    pub fn event_count(&self) -> usize {
        self.event_count
    }

    /// Returns the ID of the last event, in the order of positions.
    pub fn last_event_id(&self) -> Option<Uuid> {
        self.streams.iter().rev().find_map(|part| part.events.last()).map(NewEvent::id)
    }

    /// Returns every event with its stream, in the order of positions.
    pub fn events(&self) -> impl Iterator<Item = (&StreamId, &NewEvent)> {
        self.streams.iter().flat_map(|part| part.events.iter().map(move |event| (&part.stream, event)))
    }

    /// Returns the events as they were recorded, given the outcome of the append. A caller that acts on the events does
    /// not need to read them back.
    pub fn recorded(&self, appended: &Appended) -> Vec<RecordedEvent> {
        let mut events = Vec::with_capacity(self.event_count);
        for part in &self.streams {
            let Some(place) = appended.stream(&part.stream) else { continue };
            for (offset, event) in (0..).zip(&part.events) {
                let (version, position) =
                    (place.first_version.advanced_by(offset), place.first_position.advanced_by(offset));
                events.push(event.clone().recorded(part.stream.clone(), version, position, appended.recorded_at));
            }
        }
        events
    }

    /// Checks the largest payload against a store's setting.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] if the payload is larger.
    pub fn check_payload_limit(&self, max_bytes: usize) -> Result<(), StoreError> {
        check_limit("bytes of an event's payload", max_bytes, self.largest_payload_bytes)
    }
}

/// Builds an [`Append`] step by step.
#[derive(Debug, Clone)]
#[must_use = "an append does nothing until it is built and given to a store"]
pub struct AppendBuilder {
    streams: Vec<StreamAppend>,
    idempotency_key: Option<IdempotencyKey>,
    request: Option<RequestDigest>,
}

impl AppendBuilder {
    /// Adds a stream.
    pub fn and(self, stream: StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> Self {
        self.and_stream(StreamAppend::new(stream, expected, events))
    }

    /// Adds a stream with all of its expectations.
    pub fn and_stream(mut self, part: StreamAppend) -> Self {
        self.streams.push(part);
        self
    }

    /// Makes the append take effect once under this key. The key is then bound to the content of the append, and is
    /// refused for any other content.
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Binds the key to this request instead of the content, which may differ in the next attempt.
    pub(crate) fn request(mut self, request: RequestDigest) -> Self {
        self.request = Some(request);
        self
    }

    /// Checks all parts and returns the append.
    ///
    /// # Errors
    /// - [`StoreError::Refused`] if there are no events, if a stream or an event ID occurs twice, or if a time is
    ///   outside the range that every store can keep.
    /// - [`StoreError::LimitExceeded`] over [`limits::MAX_STREAMS_PER_APPEND`], [`limits::MAX_EVENTS_PER_APPEND`], or
    ///   [`limits::MAX_APPEND_BYTES`].
    /// - [`StoreError::InvalidName`] for unusable metadata.
    pub fn build(self) -> Result<Append, StoreError> {
        let Self { streams, idempotency_key, request } = self;
        check_limit("streams in an append", limits::MAX_STREAMS_PER_APPEND, streams.len())?;
        let event_count = streams.iter().map(|part| part.events.len()).sum();
        check_limit("events in an append", limits::MAX_EVENTS_PER_APPEND, event_count)?;
        if event_count == 0 {
            return Err(StoreError::Refused { reason: "the append has no events; leave it out" });
        }
        if has_repeats(streams.len(), streams.iter().map(|part| &part.stream)) {
            return Err(StoreError::Refused {
                reason: "the append names the same stream twice; put all its events into one part",
            });
        }
        let events = || streams.iter().flat_map(|part| &part.events);
        if has_repeats(event_count, events().map(NewEvent::id)) {
            return Err(StoreError::Refused {
                reason: "the append holds the same event id twice; give each event its own",
            });
        }
        let (mut bytes, mut largest_payload_bytes) = (0, 0);
        let mut checked: Option<(&Metadata, usize)> = None;
        for event in events() {
            // The events of one command share their metadata.
            let metadata_bytes = match checked {
                Some((metadata, bytes)) if metadata.is_shared_with(event.metadata()) => bytes,
                _ => event.metadata().check()?,
            };
            checked = Some((event.metadata(), metadata_bytes));
            if event.occurred_at().is_some_and(|time| !is_storable(time)) {
                return Err(StoreError::Refused {
                    reason: "an event occurred before the year -4712 or after 9999, by UTC, and not every store keeps \
                             such a time; put it into the payload",
                });
            }
            let payload_bytes = event.payload().as_str().len();
            bytes += payload_bytes + metadata_bytes;
            largest_payload_bytes = largest_payload_bytes.max(payload_bytes);
        }
        check_limit("bytes in an append", limits::MAX_APPEND_BYTES, bytes)?;
        let keyed = idempotency_key.map(|key| {
            let request = request.unwrap_or_else(|| RequestDigest::of_append(&streams));
            (key, request)
        });
        Ok(Append { streams, keyed, event_count, largest_payload_bytes })
    }
}

/// Returns whether an item occurs twice.
fn has_repeats<T: Eq + Hash>(count: usize, items: impl Iterator<Item = T>) -> bool {
    if count < 2 {
        return false;
    }
    let mut seen = HashSet::with_capacity(count);
    !items.into_iter().all(|item| seen.insert(item))
}

fn check_limit(what: &'static str, limit: usize, actual: usize) -> Result<(), StoreError> {
    if actual > limit {
        return Err(StoreError::LimitExceeded { what, limit: limit as u64, actual: actual as u64 });
    }
    Ok(())
}

/// The places of the events that were appended to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedStream {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first new event.
    pub first_version: Version,
    /// The version of the last new event, and therefore of the stream after the append.
    pub last_version: Version,
    /// The position of the first new event. The others follow without gaps.
    pub first_position: Position,
}

/// The outcome of an append. The events have consecutive positions, in the order of the append.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The streams that received events, in the order of the append.
    pub streams: Vec<AppendedStream>,
    /// The position of the first event.
    pub first_position: Position,
    /// The position of the last event. Pass it to a reader that must see its own writes.
    pub last_position: Position,
    /// The ID of the last event, if the store reports it.
    pub last_event_id: Option<Uuid>,
    /// When the append was recorded, by the store's clock.
    pub recorded_at: OffsetDateTime,
    /// Whether the events had already been stored by an earlier call with the same event IDs or the same key. If so,
    /// this is the outcome of that call.
    pub repeated: bool,
    /// The digest of what was requested under the append's idempotency key, if it had one.
    pub request: Option<RequestDigest>,
}

impl Appended {
    /// Creates an outcome. Stores report outcomes in this way.
    ///
    /// # Panics
    /// Never: an empty list of streams results in positions of zero.
    pub fn new(streams: Vec<AppendedStream>, recorded_at: OffsetDateTime, repeated: bool) -> Self {
        let first_position = streams.first().map_or(Position::ZERO, |part| part.first_position);
        let last_position = streams.last().map_or(Position::ZERO, |part| {
            part.first_position.advanced_by(part.last_version.get() - part.first_version.get())
        });
        Self { streams, first_position, last_position, last_event_id: None, recorded_at, repeated, request: None }
    }

    /// Returns the outcome of an append whose idempotency key is bound to this request.
    #[must_use]
    pub fn with_request(mut self, request: Option<RequestDigest>) -> Self {
        self.request = request;
        self
    }

    /// Returns the outcome with the ID of its last event.
    #[must_use]
    pub fn ending_with(mut self, event_id: Option<Uuid>) -> Self {
        self.last_event_id = event_id;
        self
    }

    /// Returns the bookmark of the last event. Pass it to a reader that must see its own writes, such as
    /// `Runner::wait_for`. If the log went back and the append was lost, the reader gets an error, instead of seeing
    /// other events at the same position.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark::from_parts(self.last_position, self.last_event_id)
    }

    /// Returns the places of the events of one stream, if it received any.
    pub fn stream(&self, stream: &StreamId) -> Option<&AppendedStream> {
        self.streams.iter().find(|part| part.stream == *stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventType, Payload};

    fn event() -> NewEvent {
        NewEvent::new(EventType::new("Opened").unwrap(), Payload::trusted("{}"))
    }

    fn stream(id: &str) -> StreamId {
        StreamId::new("account", id).unwrap()
    }

    #[test]
    fn an_append_without_events_is_refused_even_if_it_guards_a_stream() {
        for builder in [Append::builder(), Append::to(stream("a"), ExpectedVersion::Any, vec![])] {
            assert!(matches!(builder.build(), Err(StoreError::Refused { .. })));
        }
    }

    #[test]
    fn the_same_stream_or_the_same_event_id_twice_is_refused() {
        let twice = Append::to(stream("a"), ExpectedVersion::Any, vec![event()]);
        let same_stream = twice.clone().and(stream("a"), ExpectedVersion::Any, vec![event()]).build();
        assert!(matches!(same_stream, Err(StoreError::Refused { reason }) if reason.contains("stream")));
        let same_event = event();
        let same_id = Append::to(stream("a"), ExpectedVersion::Any, vec![same_event.clone(), same_event]).build();
        assert!(matches!(same_id, Err(StoreError::Refused { reason }) if reason.contains("event id")));
    }

    #[test]
    fn every_limit_of_an_append_is_reached_and_not_passed() {
        let many = |count| Append::to(stream("a"), ExpectedVersion::Any, (0..count).map(|_| event()).collect()).build();
        assert!(many(limits::MAX_EVENTS_PER_APPEND).is_ok());
        assert!(matches!(
            many(limits::MAX_EVENTS_PER_APPEND + 1),
            Err(StoreError::LimitExceeded { limit: 10_000, .. })
        ));

        let streams = |count| {
            (0..count)
                .fold(Append::builder(), |b, n| b.and(stream(&n.to_string()), ExpectedVersion::Any, vec![event()]))
                .build()
        };
        assert!(streams(limits::MAX_STREAMS_PER_APPEND).is_ok());
        assert!(matches!(streams(limits::MAX_STREAMS_PER_APPEND + 1), Err(StoreError::LimitExceeded { .. })));

        let sized = |bytes: usize| {
            let payload = Payload::trusted(format!("\"{}\"", "x".repeat(bytes - 2)));
            Append::to(stream("a"), ExpectedVersion::Any, vec![NewEvent::new(EventType::new("T").unwrap(), payload)])
                .build()
        };
        let limit = limits::MAX_PAYLOAD_BYTES;
        assert!(sized(limit).unwrap().check_payload_limit(limit).is_ok());
        assert!(matches!(
            sized(limit + 1).unwrap().check_payload_limit(limit),
            Err(StoreError::LimitExceeded { actual: 1_048_577, .. })
        ));
        assert!(matches!(sized(limits::MAX_APPEND_BYTES), Err(StoreError::LimitExceeded { .. })));
    }
}
