use std::time::Duration;

use es_projections::{Backoff, ConsumerOptions, ConsumerState, FailurePolicy, Runner};
use es_testkit::bank::Balance;
use tokio::time::Instant;

use crate::{spy_store::SpyStore, support::*};

#[tokio::test(start_paused = true)]
async fn shutdown_finishes_the_page_and_begins_no_other() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let trouble = Trouble::gate_before(15);
    let ledger = Ledger::with(trouble.clone());
    let runner = Runner::builder(&store).projection_with(ledger, pages_of(10)).build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let stopping = tokio::spawn(running.stop());
    settle().await;
    assert!(!stopping.is_finished(), "the page is not finished yet");
    trouble.open();
    stopping.await.unwrap().unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20));
    assert_eq!(checkpoint(&store, "ledger").await, Some(20));
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_a_backoff_or_a_poll() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let backoff = Backoff::new(Duration::from_secs(3_600), Duration::from_secs(3_600)).with_factor(1);
    let options = ConsumerOptions::default().on_failure(FailurePolicy::Retry { retries: 900, backoff });
    let ledger = Ledger::with(Trouble::at(2, How::Error));
    let runner = Runner::builder(&store).projection_with(ledger, options).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let status = status_of(&runner, "ledger").await;
    assert!(matches!(status.state, ConsumerState::Retrying { .. }), "{status}");
    let start = Instant::now();
    running.stop().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_a_reactor_finish_its_event_not_its_page_and_repeats_nothing() {
    let store = SpyStore::default();
    deposits(&store, 50).await;
    let mailer = Mailer { time_per_mail: Duration::from_secs(1), ..Mailer::new() };
    let runner = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    let running = Running::start(&runner);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let start = Instant::now();
    running.stop().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(500));
    assert_eq!(mailer.sent(), [1, 2, 3, 4]);
    runner.catch_up().await.unwrap();
    assert_eq!(mailer.sent(), (1..=50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_goes_on_in_the_middle_of_the_page_where_a_run_was_shut_down() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let mailer = Mailer { time_per_mail: Duration::from_secs(1), ..Mailer::new() };
    let runner = Runner::builder(&store).reactor_with(mailer.clone(), pages_of(10)).build().unwrap();
    let running = Running::start(&runner);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    let (caught_up, stopped) = tokio::join!(runner.catch_up(), running.stop());
    caught_up.and(stopped).unwrap();
    assert_eq!(mailer.sent(), (1..=30).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_leaves_no_half_applied_page_and_the_next_one_goes_on() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let trouble = Trouble::gate_before(15);
    let builder = Runner::builder(&store).projection_with(Ledger::with(trouble.clone()), pages_of(10));
    let runner = builder.view_with::<Balance>(pages_of(10)).build().unwrap();
    let run = tokio::time::timeout(Duration::from_secs(1), runner.run(std::future::pending()));
    run.await.unwrap_err();
    settle().await;
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=10));
    assert_eq!(checkpoint(&store, "ledger").await, Some(10));
    assert!(matches!(status_of(&runner, "ledger").await.state, ConsumerState::NotRunning));
    trouble.open();
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=30));
    assert_eq!(status_of(&runner, "ledger").await.moved_by_others, 0);
}

#[tokio::test(start_paused = true)]
async fn a_runner_without_consumers_waits_for_its_shutdown() {
    let runner = Runner::builder(&SpyStore::default()).build().unwrap();
    runner.catch_up().await.unwrap();
    let start = Instant::now();
    runner.run(tokio::time::sleep(Duration::from_secs(9))).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(9));
    assert!(runner.status().await.unwrap().is_empty());
}
