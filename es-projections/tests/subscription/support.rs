//! What the tests speak about: a log of account events and others, and subscribers to it.

use std::{fmt::Debug, pin::Pin, task::Poll, time::Duration};

use es_core::{
    Append, EventFilter, EventStore, EventType, ExpectedVersion, NewEvent, PageSize, Payload, Position, RecordedEvent,
    StreamId,
};
use es_projections::{Subscription, SubscriptionBuilder};
use tokio::time::timeout;

use crate::watched_store::WatchedStore;

pub(crate) fn event(event_type: &str, json: &str) -> NewEvent {
    NewEvent::new(EventType::new(event_type).unwrap(), Payload::from_json(json).unwrap())
}

/// Appends events to a stream, whatever the network; gives the position of the last one.
pub(crate) async fn append(store: &WatchedStore, category: &str, id: &str, events: Vec<NewEvent>) -> Position {
    let stream = StreamId::new(category, id).unwrap();
    let append = Append::to(stream, ExpectedVersion::Any, events).build().unwrap();
    loop {
        match store.append(&append).await {
            Ok(appended) => return appended.last_position,
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
}

/// Deposits one cent, `count` times.
pub(crate) async fn deposits(store: &WatchedStore, count: u64) -> Position {
    let mut last = Position::ZERO;
    for n in 0..count {
        last = append(store, "account", &format!("a{}", n % 7), vec![event("Deposited", r#"{"cents":1}"#)]).await;
    }
    last
}

/// Appends events that no subscriber of accounts wants.
pub(crate) async fn noise(store: &WatchedStore, count: u64) -> Position {
    let mut last = Position::ZERO;
    for _ in 0..count {
        last = append(store, "weather", "here", vec![event("Rained", "{}")]).await;
    }
    last
}

pub(crate) fn accounts() -> EventFilter {
    EventFilter::all().or_category("account")
}

pub(crate) fn position(number: u64) -> Position {
    Position::new(number)
}

pub(crate) fn builder(store: &WatchedStore) -> SubscriptionBuilder {
    Subscription::builder(store)
}

/// With pages of so many events.
pub(crate) fn paged(store: &WatchedStore, events: usize) -> SubscriptionBuilder {
    builder(store).page_size(PageSize::new(events).unwrap())
}

/// The positions of the next events, which must come within a minute of the test's time.
pub(crate) async fn take(subscription: &mut Subscription<RecordedEvent>, count: usize) -> Vec<u64> {
    let mut positions = Vec::with_capacity(count);
    for _ in 0..count {
        let next = timeout(Duration::from_secs(60), subscription.next()).await;
        let next = next.unwrap_or_else(|_| panic!("after {positions:?} nothing comes: {subscription:?}"));
        positions.push(next.expect("it goes on").expect("no error").position().get());
    }
    positions
}

/// Nothing comes for as long as it takes to poll and to try again several times.
pub(crate) async fn assert_nothing_comes<T: Debug + Send + Sync + 'static>(subscription: &mut Subscription<T>) {
    let next = timeout(Duration::from_secs(60), subscription.next()).await;
    assert!(next.is_err(), "it gave {next:?}");
}

/// Lets everybody else go on until they wait for time or for this test.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Polls a future so many times, then drops it; its output if it was ready by then.
pub(crate) async fn drop_after<T>(polls: u64, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_once(future.as_mut()).await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}
