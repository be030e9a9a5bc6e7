//! Checkpoints: moved by compare-and-set.

use std::collections::HashSet;

use es_core::{Advance, ConsumerName, ConsumerStore, Position, StoreError, limits};

use super::support::*;
use crate::harness::StoreHarness;

pub(super) fn consumer(name: &str) -> ConsumerName {
    ok(ConsumerName::new(name))
}

pub(super) fn at(position: u64) -> Position {
    Position::new(position)
}

pub(super) async fn position_of<S: ConsumerStore>(store: &S, consumer: &ConsumerName) -> Option<u64> {
    ok(store.checkpoint(consumer).await).map(|checkpoint| checkpoint.position.get())
}

#[track_caller]
pub(super) fn assert_moved<T: std::fmt::Debug>(result: Result<T, StoreError>, believed: u64, is: u64) {
    match result {
        Err(StoreError::CheckpointMoved { expected, actual, .. }) if expected == at(believed) && actual == at(is) => {}
        other => panic!("expected CheckpointMoved from {believed}, at {is}; got {other:?}"),
    }
}

/// A consumer starts once: starting it again gives the checkpoint that it has.
pub async fn a_consumer_starts_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    assert_eq!(ok(store.checkpoint(&name).await), None);
    let started = ok(patiently!(store.start_checkpoint(&name, at(7))));
    assert_eq!((started.consumer.clone(), started.position), (name.clone(), at(7)));
    let other = harness.reopened(&store).await;
    let again = ok(patiently!(other.start_checkpoint(&name, at(3))));
    assert_eq!(again, started);
    assert_eq!(ok(store.checkpoint(&name).await), Some(started));
    assert_eq!(ok(store.checkpoint(&consumer("balance")).await), None);
}

/// A checkpoint moves from where its mover believes it to be, forwards or back; otherwise nothing changes.
pub async fn a_checkpoint_moves_only_from_where_it_is<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    let go = async |from, to| patiently!(store.move_checkpoint(&Advance::new(&name, at(from), at(to))));
    assert_moved(go(5, 6).await, 5, 0);
    assert_eq!(position_of(&store, &name).await.unwrap_or(0), 0, "a refused move started the consumer");
    ok(go(0, 10).await);
    assert_moved(go(0, 11).await, 0, 10);
    assert_moved(go(9, 11).await, 9, 10);
    assert_eq!(position_of(&store, &name).await, Some(10));
    ok(go(10, 120).await);
    ok(go(120, 4).await);
    ok(go(4, 4).await);
    ok(go(4, u64::from(u32::MAX) + 1).await);
    let other = harness.reopened(&store).await;
    assert_eq!(position_of(&other, &name).await, Some(u64::from(u32::MAX) + 1));
}

/// All checkpoints are listed, by name, each with its own position.
pub async fn checkpoints_are_listed_by_name<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    assert_eq!(ok(store.checkpoints().await), []);
    let longest = "z".repeat(limits::MAX_CONSUMER_NAME_BYTES);
    for (name, position) in [("b", 2), ("a_1", 1), (longest.as_str(), 4), ("a10", 3), ("select", 5)] {
        ok(patiently!(store.start_checkpoint(&consumer(name), at(position))));
    }
    let listed = ok(store.checkpoints().await);
    let listed: Vec<_> = listed.iter().map(|found| (found.consumer.as_str(), found.position.get())).collect();
    assert_eq!(listed, [("a10", 3), ("a_1", 1), ("b", 2), ("select", 5), (longest.as_str(), 4)]);
}

/// Of movers from the same position at the same time one gets through; the others learn where the checkpoint is.
pub async fn of_concurrent_moves_one_wins<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let name = consumer("balances");
    let mut from = 0;
    for _ in 0..5 {
        let results = together(8, |number| {
            let (store, name) = (stores[number % 2].clone(), name.clone());
            let to = from + 1 + number as u64;
            async move { (to, patiently!(store.move_checkpoint(&Advance::new(&name, at(from), at(to))))) }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
        assert_eq!(won.len(), 1, "{} movers from {from} got through", won.len());
        let to = won[0].0;
        lost.into_iter().for_each(|(_, result)| assert_moved(result, from, to));
        assert_eq!(position_of(&store, &name).await, Some(to));
        from = to;
    }
}

/// Of starters at the same time all get the same checkpoint.
pub async fn concurrent_starts_agree<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let positions = together(8, |number| {
        let store = stores[number % 2].clone();
        async move {
            let start = at(1 + number as u64);
            ok(patiently!(store.start_checkpoint(&consumer("balances"), start))).position
        }
    })
    .await;
    assert_eq!(positions.iter().collect::<HashSet<_>>().len(), 1, "{positions:?}");
}
