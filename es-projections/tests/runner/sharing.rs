use std::{sync::atomic::Ordering, time::Duration};

use es_core::{StoreError, limits};
use es_projections::{ConsumerOptions, Runner, StartFrom};
use es_testkit::bank::Balance;

use crate::{spy_store::SpyStore, support::*};

const LONG: Duration = Duration::from_secs(60);
const CONSUMERS: [&str; 4] = ["balance", "ledger", "second", "mailer"];

fn four_consumers(store: &SpyStore) -> Runner {
    let second = Ledger { name: "second", ..Ledger::new() };
    let builder = Runner::builder(store).view::<Balance>().projection(Ledger::new()).projection(second);
    builder.reactor(Mailer::new()).build().unwrap()
}

/// Makes live events one by one; gives the number of reads of the log.
async fn live_events(store: &SpyStore, runner: &Runner, count: usize) -> usize {
    let before = store.count(|seen| &seen.reads);
    for _ in 0..count {
        let last = deposit(store, "ann", 1).await;
        for consumer in CONSUMERS {
            runner.wait_for(consumer, last, LONG).await.unwrap();
        }
        settle().await;
    }
    store.count(|seen| &seen.reads) - before
}

async fn assert_all_applied_once(store: &SpyStore, count: u64) {
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=count));
    assert_eq!(ledger_rows(&store.inner, "second").await, once_each(1..=count));
    assert_eq!(balances(store).await.iter().map(|(_, _, events)| events).sum::<u64>(), count);
}

#[tokio::test(start_paused = true)]
async fn a_live_event_is_read_once_for_all_consumers() {
    let store = SpyStore::default();
    let runner = four_consumers(&store);
    let running = Running::start(&runner);
    settle().await;
    let reads = live_events(&store, &runner, 50).await;
    assert_eq!(reads, 50, "for 50 events and 4 consumers");
    assert_all_applied_once(&store, 50).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_durable_is_not_kept_for_others() {
    let store = SpyStore::default();
    let runner = four_consumers(&store);
    let running = Running::start(&runner);
    settle().await;
    live_events(&store, &runner, 1).await;
    store.seen.durable_to.store(1, Ordering::SeqCst);
    let reads = live_events(&store, &runner, 10).await;
    assert_eq!(reads, 10 * CONSUMERS.len(), "each reads for itself what a crash may take");
    assert_all_applied_once(&store, 11).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_page_that_cannot_be_read_for_all_is_read_by_each_for_itself() {
    let store = SpyStore::default();
    let runner = four_consumers(&store);
    let running = Running::start(&runner);
    settle().await;
    let start = tokio::time::Instant::now();
    for _ in 0..3 {
        let damaged = StoreError::Corrupt { position: position(1), problem: "on purpose".to_owned() };
        store.seen.read_failures.lock().unwrap().push_back(damaged);
        live_events(&store, &runner, 1).await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waited for the next poll");
    for consumer in CONSUMERS {
        assert!(status_of(&runner, consumer).await.last_error.is_none(), "{consumer} had no trouble of its own");
    }
    assert_all_applied_once(&store, 3).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn consumers_with_small_pages_and_other_wishes_share_a_page_too() {
    let store = SpyStore::default();
    let options = ConsumerOptions::default().start_from(StartFrom::Beginning);
    let runner = Runner::builder(&store)
        .view_with::<Balance>(pages_of(2))
        .projection_with(Ledger::new(), pages_of(3))
        .reactor_with(Mailer::new(), options)
        .build()
        .unwrap();
    let running = Running::start(&runner);
    settle().await;
    for _ in 0..20 {
        noise(&store, 2).await;
        deposits(&store, 11).await;
        noise(&store, 1).await;
        settle().await;
    }
    let wanted: Vec<u64> = (1..=20 * 14).filter(|position| (3..=13).contains(&((position - 1) % 14 + 1))).collect();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(wanted.clone()));
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), wanted.len() as u64);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_handlers_pages_come_down_to_the_target_time() {
    let store = SpyStore::default();
    deposits(&store, 3_000).await;
    let slow = Ledger { time_per_event: Duration::from_millis(1), ..Ledger::new() };
    let runner = Runner::builder(&store).projection(slow).build().unwrap();
    let start = tokio::time::Instant::now();
    runner.catch_up().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=3_000));
    let first = limits::DEFAULT_PAGE_EVENTS;
    assert_eq!(store.count(|seen| &seen.pages_applied), 1 + (3_000 - first) / 100, "after the first, 100 ms each");
}

#[tokio::test]
async fn a_quick_handlers_pages_grow() {
    let store = SpyStore::default();
    deposits(&store, 15_000).await;
    let runner = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await.len(), 15_000);
    let largest = store.count(|seen| &seen.largest_page);
    assert_eq!(largest, es_projections::limits::MOST_EVENTS_PER_PAGE);
}
