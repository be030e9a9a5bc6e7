use std::{sync::atomic::Ordering, time::Duration};

use es_projections::{SubscriptionState, limits};
use es_testkit::SeededRng;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Instant, timeout};

use crate::{support::*, watched_store::WatchedStore};

#[tokio::test(start_paused = true)]
async fn a_dropped_next_loses_nothing() {
    let random = SeededRng::from_env();
    let store = WatchedStore::new();
    deposits(&store, 200).await;
    let mut subscription = paged(&store, 3).subscribe().await.unwrap();
    let (mut given, mut dropped) = (Vec::new(), 0);
    while given.len() < 200 {
        let polls = 1 + random.below(4);
        match drop_after(polls, subscription.next()).await {
            Some(next) => given.push(next.unwrap().unwrap().position().get()),
            None => dropped += 1,
        }
    }
    assert_eq!(given, (1..=200).collect::<Vec<_>>());
    assert!(dropped > 10, "{dropped}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_next_lets_go_of_the_read_that_was_under_way() {
    let store = WatchedStore::new();
    deposits(&store, 3).await;
    let mut subscription = builder(&store).subscribe().await.unwrap();
    assert!(drop_after(2, subscription.next()).await.is_none());
    assert_eq!((store.reads(), store.reads_under_way()), (1, 0));
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn calls_shorter_than_the_poll_interval_still_come_to_a_poll() {
    let store = WatchedStore::new();
    store.seen.is_silent.store(true, Ordering::SeqCst);
    let mut subscription = builder(&store).subscribe().await.unwrap();
    assert_nothing_comes(&mut subscription).await;
    deposits(&store, 1).await;
    let start = Instant::now();
    while timeout(limits::POLL_INTERVAL / 10, subscription.next()).await.is_err() {
        assert!(start.elapsed() <= limits::POLL_INTERVAL * 2, "nothing has come");
    }
    assert!(start.elapsed() <= limits::POLL_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn a_hint_whose_read_was_dropped_is_not_forgotten() {
    let store = WatchedStore::new();
    deposits(&store, 1).await;
    let mut subscription = builder(&store).subscribe().await.unwrap();
    take(&mut subscription, 1).await;
    let start = Instant::now();
    {
        let mut next = Box::pin(subscription.next());
        assert!(poll_once(next.as_mut()).await.is_pending());
        let before = store.reads();
        deposits(&store, 1).await;
        assert!(poll_once(next.as_mut()).await.is_pending());
        assert_eq!((store.reads(), store.reads_under_way()), (before + 1, 1), "the hint was heard");
    }
    assert_eq!(take(&mut subscription, 1).await, [2]);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_stream_too_borrowed_or_of_its_own() {
    let store = WatchedStore::new();
    deposits(&store, 10).await;
    let mut subscription = paged(&store, 4).subscribe().await.unwrap();
    let monitor = subscription.monitor();
    let first: Vec<_> = subscription.stream().take(3).try_collect().await.unwrap();
    assert_eq!(first.iter().map(|event| event.position().get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(subscription.position(), position(3));

    let mut stream = subscription.into_stream();
    for number in 4..=10 {
        assert_eq!(stream.next().await.unwrap().unwrap().position(), position(number));
    }
    assert!(timeout(Duration::from_secs(1), stream.next()).await.is_err());
    assert_eq!(monitor.status().to_string(), "at 10, caught up");
    drop(stream);
    assert!(matches!(monitor.status().state, SubscriptionState::Dropped));
}
