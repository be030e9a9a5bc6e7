use std::time::Duration;

use es_projections::{StartFrom, SubscriptionState};
use tokio::time::timeout;

use crate::{
    support::*,
    watched_store::{WatchedStore, unavailable},
};

#[tokio::test(start_paused = true)]
async fn an_event_that_a_crash_may_take_away_is_not_given_before_it_is_durable() {
    let store = WatchedStore::new();
    deposits(&store, 3).await;
    store.seen.durable_to.send_replace(2);
    let mut subscription = builder(&store).subscribe().await.unwrap();
    assert_nothing_comes(&mut subscription).await;
    assert_eq!(subscription.position(), position(0));
    store.seen.durable_to.send_replace(3);
    assert_eq!(take(&mut subscription, 3).await, [1, 2, 3]);
    assert!(store.seen.waits_for_durability.lock().unwrap().iter().all(|&position| position == 3));
}

#[tokio::test(start_paused = true)]
async fn the_position_does_not_pass_what_a_crash_may_take_away_though_it_is_not_wanted() {
    let store = WatchedStore::new();
    noise(&store, 3).await;
    store.seen.durable_to.send_replace(2);
    let mut subscription = builder(&store).filter(accounts()).subscribe().await.unwrap();
    assert_nothing_comes(&mut subscription).await;
    assert_eq!(subscription.position(), position(0), "other events may come to stand at 3");
    store.seen.durable_to.send_replace(3);
    assert_nothing_comes(&mut subscription).await;
    assert_eq!(subscription.position(), position(3));
}

#[tokio::test(start_paused = true)]
async fn a_page_is_read_again_if_it_is_not_known_to_have_become_durable() {
    let store = WatchedStore::new();
    deposits(&store, 1).await;
    store.seen.durable_to.send_replace(0);
    store.seen.wait_failures.lock().unwrap().push_back(unavailable());
    let mut subscription = builder(&store).subscribe().await.unwrap();
    assert_nothing_comes(&mut subscription).await;
    assert!(subscription.monitor().status().last_error.is_some());
    assert_eq!(store.reads(), 2, "the crash may have been, and another event may stand there");
    store.seen.durable_to.send_replace(1);
    assert_eq!(take(&mut subscription, 1).await, [1]);
    assert!(matches!(subscription.monitor().status().state, SubscriptionState::CatchingUp));
}

#[tokio::test(start_paused = true)]
async fn now_begins_after_what_is_durable() {
    let store = WatchedStore::new();
    deposits(&store, 5).await;
    store.seen.durable_to.send_replace(4);
    let subscribing = builder(&store).start_from(StartFrom::Now).subscribe();
    assert!(timeout(Duration::from_secs(1), subscribing).await.is_err(), "the event at 5 may become another one");
    store.seen.durable_to.send_replace(5);
    let subscription = builder(&store).start_from(StartFrom::Now).subscribe().await.unwrap();
    assert_eq!(subscription.position(), position(5));
}
