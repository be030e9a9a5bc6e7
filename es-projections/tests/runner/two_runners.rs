use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use es_core::{Advance, LeaseStore};
use es_projections::{Runner, RunnerError, limits};
use es_testkit::bank::Balance;
use tokio::sync::Semaphore;

use crate::{spy_store::SpyStore, support::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_runners_with_the_same_consumers_apply_each_event_once() {
    let store = SpyStore::default();
    let builder = || {
        let builder = Runner::builder(&store).view_with::<Balance>(pages_of(3));
        builder.projection_with(Ledger::new(), pages_of(3)).build().unwrap()
    };
    let (first, second) = (builder(), builder());
    let (running_first, running_second) = (Running::start(&first), Running::start(&second));
    deposits(&store, 1_000).await;
    for runner in [&first, &second] {
        for consumer in ["balance", "ledger"] {
            runner.wait_for(consumer, position(1_000), Duration::from_secs(60)).await.unwrap();
        }
    }
    running_first.stop().await.unwrap();
    running_second.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=1_000));
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 1_000);
}

/// As if all leases had run out, and somebody else had claimed them.
async fn take_all_leases_away(store: &SpyStore) {
    for (_, holder) in store.leases().await.unwrap() {
        store.deregister(&holder.owner).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_page_that_another_runner_overtook_is_dropped_and_the_status_says_so() {
    let (slow_store, gate) = (SpyStore::default(), Arc::new(Semaphore::new(0)));
    deposits(&slow_store, 10).await;
    let fast_store = SpyStore { inner: slow_store.inner.clone(), ..SpyStore::default() };
    *slow_store.seen.documents_gate.lock().unwrap() = Some(Arc::clone(&gate));
    let slow = Runner::builder(&slow_store).view::<Balance>().build().unwrap();
    let fast = Runner::builder(&fast_store).view::<Balance>().build().unwrap();
    let running = Running::start(&slow);
    settle().await;
    // The slow one holds documents from before these pages, and somebody else has its lease meanwhile.
    take_all_leases_away(&fast_store).await;
    fast.catch_up().await.unwrap();
    deposits(&fast_store, 5).await;
    fast.catch_up().await.unwrap();
    gate.close();
    slow.wait_for("balance", position(15), Duration::from_secs(60)).await.unwrap();
    assert_eq!(balances(&slow_store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 15);
    let status = status_of(&slow, "balance").await;
    assert_eq!(status.moved_by_others, 1);
    assert!(status.last_error.is_none(), "it is no error");
    assert!(status.to_string().contains("another runner moved the checkpoint once"), "{status}");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_overridden_checkpoint_is_followed_back_and_forth() {
    use es_core::ConsumerStore;
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 10).await;
    let runner = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    runner.catch_up().await.unwrap();
    store.move_checkpoint(&Advance::new(&name("mailer"), position(10), position(7))).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(mailer.sent(), (1..=10).chain(8..=10).collect::<Vec<_>>());

    let running = Running::start(&runner);
    settle().await;
    store.move_checkpoint(&Advance::new(&name("mailer"), position(10), position(9))).await.unwrap();
    let last = deposit(&store, "ann", 1).await;
    runner.wait_for("mailer", last, Duration::from_secs(60)).await.unwrap();
    settle().await;
    assert_eq!(checkpoint(&store, "mailer").await, Some(11));
    assert!(mailer.sent().ends_with(&[10, 11]), "{:?}", mailer.sent());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_runner_notices_within_seconds_that_a_rebuild_elsewhere_was_killed() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let idle = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    let running = Running::start(&idle);
    settle().await;
    let stuck = Ledger::with(Trouble::gate_before(15));
    let killed = Runner::builder(&store).projection_with(stuck, pages_of(10)).build().unwrap();
    tokio::time::timeout(Duration::from_millis(1), killed.rebuild("ledger", |_| {})).await.unwrap_err();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, [].into(), "it was emptied, and then killed");
    tokio::time::sleep(limits::CHECKPOINT_CHECK_INTERVAL + 2 * limits::POLL_INTERVAL).await;
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=30));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_runner_notices_within_seconds_that_the_log_was_restored_to_an_earlier_state() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let runner = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    store.seen.head.store(20, Ordering::SeqCst);
    tokio::time::sleep(limits::CHECKPOINT_CHECK_INTERVAL + 2 * limits::POLL_INTERVAL).await;
    let error = running.ended().await.unwrap_err();
    assert!(matches!(error, RunnerError::CheckpointBeyondHead { .. }), "{error:?}");
}
