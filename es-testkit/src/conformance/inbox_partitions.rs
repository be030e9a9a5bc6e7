//! The inbox in the long run: old ids are forgotten, and nothing takes effect twice while that happens.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use es_core::{ConsumerName, InboxStore, MessageUnit};

use super::{checkpoints::consumer, inbox::receive, support::*};
use crate::harness::StoreHarness;

/// How long ids are kept: three partitions of a moment each.
const KEEP: Duration = Duration::from_millis(600);

async fn handle<S: InboxStore>(store: &S, consumer: &ConsumerName, id: &str) -> bool {
    let (unit, is_new) = receive(store, consumer, &[id]).await;
    ok(unit.commit().await);
    is_new[0]
}

/// Whether an id is new, without noting it.
async fn is_new<S: InboxStore>(store: &S, consumer: &ConsumerName, id: &str) -> bool {
    let (unit, is_new) = receive(store, consumer, &[id]).await;
    ok(unit.rollback().await);
    is_new[0]
}

async fn rotate<S: InboxStore>(store: &S, keep: Duration) {
    ok(patiently!(store.rotate_inbox(keep)));
}

/// An id is kept for so long at least, whatever else is forgotten; whole partitions are forgotten in time.
pub async fn old_ids_are_forgotten_and_young_ones_kept<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (shop, other) = (consumer("shop"), consumer("other"));
    assert_eq!(ok(store.inbox_stats().await).remembered, 0);
    // Nothing is forgotten before its time, however often it is asked for.
    assert!(handle(&store, &shop, "first").await);
    assert!(handle(&store, &other, "first").await);
    for _ in 0..10 {
        rotate(&store, Duration::from_secs(3_600)).await;
    }
    assert!(!is_new(&store, &shop, "first").await);

    let start = Instant::now();
    let mut young = Vec::new();
    while !is_new(&store, &shop, "first").await {
        assert!(start.elapsed() < KEEP * 50, "nothing is ever forgotten");
        let id = format!("young {}", young.len());
        let noted_at = Instant::now();
        assert!(handle(&store, &shop, &id).await);
        young.push((id, noted_at));
        rotate(&store, KEEP).await;
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() >= KEEP / 2, "forgotten after {:?}", start.elapsed());
    assert!(is_new(&store, &other, "first").await, "a whole partition is forgotten, of all consumers");
    let ids: Vec<&str> = young.iter().rev().take(100).map(|(id, _)| id.as_str()).collect();
    let (unit, are_new) = receive(&store, &shop, &ids).await;
    ok(unit.rollback().await);
    for ((id, noted_at), is_new) in young.iter().rev().zip(are_new) {
        assert!(!is_new || noted_at.elapsed() >= KEEP, "{id} was forgotten after {:?}", noted_at.elapsed());
    }
    // What is kept for no time is forgotten at once.
    rotate(&store, Duration::ZERO).await;
    assert!(is_new(&store, &shop, ids[0]).await);
    assert!(handle(&store, &shop, ids[0]).await);
    assert!(!handle(&store, &shop, ids[0]).await);
}

/// Several handle the same messages while partitions are opened and closed under them: each message takes effect once.
pub async fn no_message_is_handled_twice_while_partitions_turn<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let start = Instant::now();
    let handled: Arc<Mutex<HashMap<usize, Instant>>> = Arc::default();
    let tasks = together(4, |task| {
        let (store, handled) = (if task % 2 == 0 { store.clone() } else { other.clone() }, Arc::clone(&handled));
        async move {
            let shop = consumer("shop");
            for number in 0.. {
                if start.elapsed() > KEEP {
                    break;
                }
                if task == 3 {
                    rotate(&store, KEEP).await;
                } else if handle(&store, &shop, &format!("message {number}")).await {
                    let now = Instant::now();
                    let mut handled = handled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let earlier = handled.insert(number, now);
                    // On a very slow machine it may have been forgotten rightly.
                    let too_soon = earlier.is_some_and(|earlier| now - earlier < KEEP);
                    assert!(!too_soon, "message {number} was handled twice");
                }
                tokio::task::yield_now().await;
            }
        }
    });
    tasks.await;
    let handled = handled.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = handled.len();
    assert!(count > 0 && (0..count).all(|number| handled.contains_key(&number)), "messages were left out");
}
