//! What cases are made of: short ways to make events, to send appends and to read everything back.

use std::{fmt::Debug, future::Future, panic::resume_unwind, sync::Arc};

use es_core::{
    Append, Appended, EventFilter, EventStore, EventType, ExpectedVersion, IdempotencyKey, NewEvent, PageSize, Payload,
    Position, ProjectionError, RecordedEvent, StoreError, StreamId, Version,
};
use tokio::sync::Barrier;

pub(super) use es_core::ExpectedVersion::{Any, Exact, Exists, NoStream};

/// How often a call is tried again that found the store busy.
pub(super) const BUSY_RETRIES: usize = 10_000;

/// Calls again and again while the store is busy.
macro_rules! patiently {
    ($call:expr) => {{
        let mut retries_left = $crate::conformance::support::BUSY_RETRIES;
        loop {
            match $call.await {
                Err(error) if retries_left > 0 && $crate::conformance::support::MayBeBusy::is_busy(&error) => {
                    retries_left -= 1;
                    tokio::task::yield_now().await;
                }
                result => break result,
            }
        }
    }};
}
pub(super) use patiently;

/// The value, or a panic with the error.
#[track_caller]
pub(super) fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("expected success, got {error:?}"),
    }
}

/// The value, or a panic that says what is missing.
#[track_caller]
pub(super) fn some<T>(value: Option<T>, what: &str) -> T {
    match value {
        Some(value) => value,
        None => panic!("expected {what}, got nothing"),
    }
}

/// The name under which cases keep snapshots.
pub(super) const AGGREGATE: &str = "bank::Account";

/// The stream of an account.
pub(super) fn stream(id: &str) -> StreamId {
    ok(StreamId::new("account", id))
}

/// A stream of another category.
pub(super) fn stream_in(category: &str, id: &str) -> StreamId {
    ok(StreamId::new(category, id))
}

pub(super) fn event(event_type: &str, json: &str) -> NewEvent {
    NewEvent::new(ok(EventType::new(event_type)), ok(Payload::from_json(json)))
}

pub(super) fn opened(owner: &str) -> NewEvent {
    event("Opened", &format!(r#"{{"owner":"{owner}"}}"#))
}

pub(super) fn deposited(cents: i64) -> NewEvent {
    event("Deposited", &format!(r#"{{"cents":{cents}}}"#))
}

/// Events that differ from one another: deposits of 1, 2, 3 … cents.
pub(super) fn deposits(count: usize) -> Vec<NewEvent> {
    (1..).take(count).map(deposited).collect()
}

/// An event whose payload has exactly this many bytes.
pub(super) fn event_of_bytes(bytes: usize) -> NewEvent {
    let text = "x".repeat(bytes.saturating_sub(2));
    NewEvent::new(ok(EventType::new("Noted")), Payload::trusted(format!("\"{text}\"")))
}

pub(super) fn append_to(stream: &StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> Append {
    ok(Append::to(stream.clone(), expected, events).build())
}

pub(super) fn append_under(key: &str, stream: &StreamId, expected: ExpectedVersion, events: Vec<NewEvent>) -> Append {
    ok(Append::to(stream.clone(), expected, events).idempotency_key(key_of(key)).build())
}

pub(super) fn key_of(key: &str) -> IdempotencyKey {
    ok(IdempotencyKey::new(key))
}

pub(super) fn page_of(events: usize) -> PageSize {
    ok(PageSize::new(events))
}

pub(super) fn exactly(version: u64) -> ExpectedVersion {
    Exact(Version::new(version))
}

/// Sends an append, again and again while the store is busy.
pub(super) async fn send<S: EventStore>(store: &S, append: &Append) -> Result<Appended, StoreError> {
    patiently!(store.append(append))
}

/// An error that may say: nothing happened, try again.
pub(super) trait MayBeBusy {
    fn is_busy(&self) -> bool;
}

impl MayBeBusy for StoreError {
    fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

impl MayBeBusy for ProjectionError {
    fn is_busy(&self) -> bool {
        matches!(self, Self::Store(StoreError::Busy { .. }))
    }
}

/// Appends to one stream, which must succeed.
pub(super) async fn append<S: EventStore>(store: &S, stream: &StreamId, events: Vec<NewEvent>) -> Appended {
    ok(send(store, &append_to(stream, Any, events)).await)
}

/// Every event of the log, page by page.
pub(super) async fn whole_log<S: EventStore>(store: &S) -> Vec<RecordedEvent> {
    log_after(store, Position::ZERO, &EventFilter::all(), PageSize::default()).await
}

/// Every event after a position that passes a filter, page by page.
pub(super) async fn log_after<S: EventStore>(
    store: &S,
    mut after: Position,
    filter: &EventFilter,
    size: PageSize,
) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    loop {
        let page = ok(store.read_all(after, filter, size).await);
        assert!(page.events.len() <= size.get(), "a page of {} events for {size:?}", page.events.len());
        events.extend(page.events);
        assert!(page.scanned_to >= after, "scanned_to {} went back behind {after}", page.scanned_to);
        if page.scanned_to == after {
            return events;
        }
        after = page.scanned_to;
    }
}

/// Every event of one stream, page by page.
pub(super) async fn whole_stream<S: EventStore>(store: &S, stream: &StreamId) -> Vec<RecordedEvent> {
    stream_pages(store, stream, PageSize::default()).await
}

pub(super) async fn stream_pages<S: EventStore>(store: &S, stream: &StreamId, size: PageSize) -> Vec<RecordedEvent> {
    let (mut events, mut after) = (Vec::new(), Version::ZERO);
    loop {
        let page = ok(store.read_stream(stream, after, size).await);
        assert!(page.events.len() <= size.get(), "a page of {} events for {size:?}", page.events.len());
        let last = page.events.last().map(|event| event.version());
        events.extend(page.events);
        match last {
            Some(version) if !page.is_last => after = version,
            None if !page.is_last => panic!("a page of {stream} that is empty and not the last"),
            _ => return events,
        }
    }
}

pub(super) async fn version_of<S: EventStore>(store: &S, stream: &StreamId) -> u64 {
    whole_stream(store, stream).await.last().map_or(0, |event| event.version().get())
}

pub(super) async fn head_of<S: EventStore>(store: &S) -> u64 {
    ok(store.head().await).get()
}

/// The log is gapless from position 1 to the head, and so is each of its streams.
pub(super) async fn assert_whole<S: EventStore>(store: &S) -> Vec<RecordedEvent> {
    let log = whole_log(store).await;
    let positions: Vec<u64> = log.iter().map(|event| event.position().get()).collect();
    assert_eq!(positions, (1..=log.len() as u64).collect::<Vec<_>>(), "the log has gaps or repeats");
    assert_eq!(head_of(store).await, log.len() as u64, "the head is not the last event's position");
    let mut versions = std::collections::HashMap::new();
    for event in &log {
        let version = versions.entry(event.stream().clone()).or_insert(0);
        *version += 1;
        assert_eq!(event.version().get(), *version, "versions of {} have gaps or repeats", event.stream());
    }
    log
}

/// Runs `count` tasks that start together, and gives their results in order. A panic in one is passed on.
pub(super) async fn together<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (start, work) = (Arc::clone(&start), task(number));
            tokio::spawn(async move {
                start.wait().await;
                work.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(count);
    for task in tasks {
        match task.await {
            Ok(result) => results.push(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(error) => panic!("a task was stopped: {error}"),
            },
        }
    }
    results
}

/// The result is a conflict on this stream at this version.
#[track_caller]
pub(super) fn assert_conflict<T: Debug>(result: Result<T, StoreError>, on: &StreamId, at: u64) {
    match result {
        Err(StoreError::Conflict { stream, actual, .. }) if stream == *on && actual.get() == at => {}
        other => panic!("expected a conflict on {on} at version {at}, got {other:?}"),
    }
}

#[track_caller]
pub(super) fn assert_id_reused<T: Debug>(result: Result<T, StoreError>, why: &str) {
    assert!(matches!(result, Err(StoreError::IdReused { .. })), "{why}: expected IdReused, got {result:?}");
}

#[track_caller]
pub(super) fn assert_limit<T: Debug>(result: Result<T, StoreError>, limit: usize, actual: usize) {
    match result {
        Err(StoreError::LimitExceeded { limit: l, actual: a, .. }) if l == limit as u64 && a == actual as u64 => {}
        other => panic!("expected LimitExceeded {{ limit: {limit}, actual: {actual} }}, got {other:?}"),
    }
}

/// The second outcome is the first one, told again.
#[track_caller]
pub(super) fn assert_repeated(first: &Appended, again: &Appended) {
    let mut expected = first.clone();
    expected.repeated = true;
    assert_eq!(*again, expected, "a repeated append gives the original outcome");
}
