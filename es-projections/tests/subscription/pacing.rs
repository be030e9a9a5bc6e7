use std::time::Duration;

use es_core::limits::{DEFAULT_PAGE_EVENTS, MAX_EVENTS_PER_APPEND, MAX_SCAN_POSITIONS};
use es_projections::{StartFrom, SubscriptionState};

use crate::{support::*, watched_store::WatchedStore};

#[tokio::test(start_paused = true)]
async fn a_page_is_read_only_when_the_one_before_was_taken_and_more_is_asked_for() {
    let store = WatchedStore::new();
    deposits(&store, 100).await;
    let mut subscription = paged(&store, 10).subscribe().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.reads(), 0, "nobody has asked yet");
    for taken in 1..=100_usize {
        assert_eq!(take(&mut subscription, 1).await, [taken as u64]);
        assert_eq!(store.reads(), taken.div_ceil(10));
        // A slow subscriber, while others write.
        deposits(&store, 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(store.reads(), taken.div_ceil(10));
    }
    assert_eq!(store.largest_page(), 10);
    assert_eq!(take(&mut subscription, 100).await, (101..=200).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn no_page_is_larger_than_the_usual_one_unless_the_subscriber_says_so() {
    let store = WatchedStore::new();
    let events = (0..2_500).map(|_| event("Deposited", r#"{"cents":1}"#)).collect();
    append(&store, "account", "ann", events).await;
    let mut subscription = builder(&store).subscribe().await.unwrap();
    take(&mut subscription, 2_500).await;
    assert_eq!(store.largest_page(), DEFAULT_PAGE_EVENTS);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_matches_nothing_still_advances_and_is_not_looked_for_again() {
    let store = WatchedStore::new();
    noise(&store, 100).await;
    let mut subscription = builder(&store).filter(accounts()).subscribe().await.unwrap();
    assert_nothing_comes(&mut subscription).await;
    assert_eq!(subscription.position(), position(100));
    let status = subscription.monitor().status();
    assert_eq!(status.delivered, None);
    assert!(matches!(status.state, SubscriptionState::CaughtUp));
    assert_eq!(status.to_string(), "at 100, caught up");

    let resumed = StartFrom::After(subscription.position());
    let mut resumed = builder(&store).filter(accounts()).start_from(resumed).subscribe().await.unwrap();
    deposits(&store, 1).await;
    assert_eq!(take(&mut resumed, 1).await, [101]);
    assert_eq!(take(&mut subscription, 1).await, [101]);
}

#[tokio::test(start_paused = true)]
async fn the_position_moves_with_each_event_and_past_what_is_not_wanted() {
    let store = WatchedStore::new();
    noise(&store, 2).await;
    deposits(&store, 1).await;
    noise(&store, 3).await;
    deposits(&store, 1).await;
    noise(&store, 2).await;
    let mut subscription = builder(&store).filter(accounts()).subscribe().await.unwrap();
    let monitor = subscription.monitor();
    let mut seen = vec![(None, subscription.position().get())];
    for _ in 0..2 {
        take(&mut subscription, 1).await;
        let status = monitor.status();
        assert_eq!(status.position, subscription.position());
        seen.push((status.delivered.map(|position| position.get()), status.position.get()));
    }
    // After the last one of the page, as far as the page looked.
    assert_eq!(seen, [(None, 0), (Some(3), 3), (Some(7), 9)]);
}

#[tokio::test(start_paused = true)]
async fn a_rare_event_is_found_behind_more_than_one_read_looks_at() {
    let store = WatchedStore::new();
    let count = MAX_SCAN_POSITIONS as usize + MAX_EVENTS_PER_APPEND;
    for _ in 0..count / MAX_EVENTS_PER_APPEND {
        let events = (0..MAX_EVENTS_PER_APPEND).map(|_| event("Rained", "{}")).collect();
        append(&store, "weather", "here", events).await;
    }
    deposits(&store, 1).await;
    let mut subscription = builder(&store).filter(accounts()).subscribe().await.unwrap();
    assert_eq!(take(&mut subscription, 1).await, [count as u64 + 1]);
    assert_eq!(store.reads(), 2);
}
