use std::{sync::Arc, time::Duration};

use es_core::{EventFilter, StoreError, limits::MAX_FILTER_SELECTORS};
use es_projections::{Backoff, StartFrom, SubscriptionError, SubscriptionState, limits};
use es_testkit::{Fault, Operation, bank::AccountEvent};
use tokio::time::{Instant, timeout};

use crate::{
    support::*,
    watched_store::{WatchedStore, unavailable},
};

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for_and_the_monitor_says_so() {
    let store = WatchedStore::new();
    deposits(&store, 5).await;
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
    let mut subscription = paged(&store, 2).backoff(backoff).subscribe().await.unwrap();
    let monitor = subscription.monitor();
    assert_eq!(take(&mut subscription, 2).await, [1, 2]);
    let outage = 20;
    for n in 0..outage {
        let faults = [Fault::LostRequest, Fault::LostAnswer, Fault::Busy];
        store.inner.plan().fail_next(Operation::Read, faults[n % faults.len()]);
    }
    let waiting = tokio::spawn(async move {
        let given = take(&mut subscription, 3).await;
        (given, subscription)
    });
    settle().await;
    let status = monitor.status();
    let SubscriptionState::WaitingForStore { attempt: 1, next_try_in, failure } = &status.state else {
        panic!("{status}");
    };
    assert!(*next_try_in <= Duration::from_secs(1), "{next_try_in:?}");
    assert!(matches!(*failure.error, StoreError::Unavailable { .. }), "{failure}");
    assert!(status.to_string().starts_with("at 2, waiting for the store, try 2 in "), "{status}");
    assert!(status.to_string().contains("cut on purpose"), "with its cause: {status}");

    let (given, subscription) = waiting.await.unwrap();
    assert_eq!(given, [3, 4, 5]);
    assert_eq!(store.inner.plan().faults(), outage as u64);
    let status = subscription.monitor().status();
    assert!(!matches!(status.state, SubscriptionState::WaitingForStore { .. }), "{status}");
    assert!(status.last_error.is_some(), "what went wrong is still told");
}

#[tokio::test(start_paused = true)]
async fn the_waits_for_a_store_grow_to_the_cap_and_begin_anew_after_it_came_back() {
    let store = WatchedStore::new();
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));
    let mut subscription = builder(&store).backoff(backoff).subscribe().await.unwrap();
    for number in 1..=2 {
        store.seen.read_failures.lock().unwrap().extend((0..10).map(|_| unavailable()));
        deposits(&store, 1).await;
        let start = Instant::now();
        assert!(drop_after(20, subscription.next()).await.is_none());
        let state = subscription.monitor().status().state;
        assert!(matches!(state, SubscriptionState::WaitingForStore { attempt: 1, .. }), "{state}");
        assert_eq!(take(&mut subscription, 1).await, [number]);
        assert!(start.elapsed() <= Duration::from_secs(1 + 2 + 8 * 4), "{:?}", start.elapsed());
        let status = subscription.monitor().status();
        let error = status.last_error.unwrap().to_string();
        assert!(error.contains("connection reset"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_do_not_make_a_store_that_is_away_be_asked_more_often() {
    let store = WatchedStore::new();
    let cap = Duration::from_secs(600);
    let mut subscription = builder(&store).backoff(Backoff::new(cap, cap)).subscribe().await.unwrap();
    let failures = 5;
    store.seen.read_failures.lock().unwrap().extend((0..failures).map(|_| unavailable()));
    deposits(&store, 1).await;
    let start = Instant::now();
    let mut dropped = 0;
    while timeout(Duration::from_millis(100), subscription.next()).await.is_err() {
        dropped += 1;
    }
    assert!(dropped > failures, "{dropped}");
    assert!(start.elapsed() <= failures * cap, "dropped calls do not make it longer");
    // One that is dropped while it reads is made again.
    assert!(store.reads() <= 2 * (failures as usize + 1), "{} reads, {dropped} calls", store.reads());
}

#[tokio::test(start_paused = true)]
async fn any_other_error_of_the_store_is_the_last_item() {
    let store = WatchedStore::new();
    deposits(&store, 4).await;
    let mut subscription = paged(&store, 2).subscribe().await.unwrap();
    let monitor = subscription.monitor();
    assert_eq!(take(&mut subscription, 2).await, [1, 2]);
    store.seen.read_failures.lock().unwrap().push_back(StoreError::Backend { source: "disk full".into() });
    let error = subscription.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, SubscriptionError::Store(cause) if matches!(**cause, StoreError::Backend { .. })));
    assert!(subscription.next().await.is_none());
    assert_eq!(subscription.position(), position(2));
    drop(subscription);
    assert_eq!(monitor.status().to_string(), "at 2, ended: the store failed: the database failed: disk full");
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_a_damaged_event_is_given() {
    let store = WatchedStore::new();
    deposits(&store, 8).await;
    let damaged = || StoreError::Corrupt { position: position(6), problem: "checksum".to_owned() };
    // Pages of 64, 32, 16 and 8 hold it; one of 4 does not, and of those after that 8, 4 and 2 do.
    store.seen.read_failures.lock().unwrap().extend((0..4).map(|_| damaged()));
    let mut subscription = paged(&store, 64).subscribe().await.unwrap();
    assert_eq!(take(&mut subscription, 4).await, [1, 2, 3, 4]);
    store.seen.read_failures.lock().unwrap().extend((0..3).map(|_| damaged()));
    assert_eq!(take(&mut subscription, 1).await, [5]);
    store.seen.read_failures.lock().unwrap().extend((0..2).map(|_| damaged()));
    let error = subscription.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, SubscriptionError::Store(cause) if matches!(**cause, StoreError::Corrupt { .. })));
    assert!(subscription.next().await.is_none());
    assert_eq!(subscription.position(), position(5));
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_an_event_that_cannot_be_read_is_given() {
    let store = WatchedStore::new();
    deposits(&store, 2).await;
    append(&store, "account", "ann", vec![event("Deposited", r#"{"cents":"many"}"#)]).await;
    deposits(&store, 2).await;
    let mut subscription = builder(&store).subscribe_to::<AccountEvent>().await.unwrap();
    for number in 1..=2 {
        assert_eq!(subscription.next().await.unwrap().unwrap().position(), position(number));
    }
    let error = subscription.next().await.unwrap().unwrap_err();
    assert!(matches!(&error, SubscriptionError::Decode(_)), "{error}");
    assert!(error.to_string().contains("position 3"), "{error}");
    assert!(subscription.next().await.is_none());
    assert_eq!(subscription.position(), position(2), "to go on with the event, once the code can read it");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_restored_to_an_earlier_state_ends_the_subscription_instead_of_stalling_it() {
    let store = WatchedStore::new();
    deposits(&store, 5).await;
    let mut subscription = builder(&store).subscribe().await.unwrap();
    take(&mut subscription, 5).await;
    *store.seen.head.lock().unwrap() = Some(position(3));
    let start = Instant::now();
    let error = subscription.next().await.unwrap().unwrap_err();
    let beyond = |error: &SubscriptionError| {
        matches!(error, SubscriptionError::PositionBeyondHead { position: at, head }
            if (*at, *head) == (position(5), position(3)))
    };
    assert!(beyond(&error), "{error}");
    assert!(start.elapsed() <= limits::POLL_INTERVAL, "{:?}", start.elapsed());
    let error = builder(&store).start_from(StartFrom::After(position(5))).subscribe().await.unwrap_err();
    assert!(beyond(&error), "{error}");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_head_is_looked_at_without_delay() {
    let store = WatchedStore::new();
    deposits(&store, 5).await;
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
    let mut subscription = builder(&store).backoff(backoff).subscribe().await.unwrap();
    take(&mut subscription, 5).await;
    *store.seen.head.lock().unwrap() = Some(position(3));
    store.seen.read_failures.lock().unwrap().push_back(unavailable());
    let start = Instant::now();
    let error = subscription.next().await.unwrap().unwrap_err();
    assert!(matches!(error, SubscriptionError::PositionBeyondHead { .. }), "{error}");
    assert!(start.elapsed() < limits::POLL_INTERVAL * 2, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_cannot_begin_says_so_at_once() {
    let store = WatchedStore::new();
    let many = (0..=MAX_FILTER_SELECTORS).fold(EventFilter::all(), |f, n| f.or_category(format!("c{n}")));
    let error = builder(&store).filter(many).subscribe().await.unwrap_err();
    let SubscriptionError::Store(cause) = error else { panic!("{error}") };
    assert!(matches!(*cause, StoreError::LimitExceeded { .. }));

    store.inner.plan().fail_next(Operation::Read, Fault::LostRequest);
    let error = builder(&store).start_from(StartFrom::Now).subscribe().await.unwrap_err();
    let SubscriptionError::Store(cause) = error else { panic!("{error}") };
    assert!(cause.is_transient());
    assert_eq!(Arc::strong_count(&cause), 1);
}
