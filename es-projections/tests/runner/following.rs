use std::{sync::atomic::Ordering, time::Duration};

use es_projections::{ConsumerState, Runner, limits};
use es_testkit::bank::Balance;
use tokio::time::Instant;

use crate::{spy_store::SpyStore, support::*};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn live_events_are_applied_at_once_by_hints_without_polling() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let runner = Runner::builder(&store).view::<Balance>().projection(Ledger::new()).reactor(mailer.clone()).build();
    let runner = runner.unwrap();
    let running = Running::start(&runner);
    settle().await;
    let start = Instant::now();
    for n in 1..=50 {
        let last = deposit(&store, "ann", 1).await;
        for consumer in ["balance", "ledger", "mailer"] {
            runner.wait_for(consumer, last, LONG).await.unwrap();
        }
        assert_eq!(balances(&store).await, [("ann".to_owned(), n, n as u64)]);
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waited for a clock");
    assert_eq!(mailer.sent().len(), 50);
    assert!(matches!(status_of(&runner, "ledger").await.state, ConsumerState::CaughtUp | ConsumerState::CatchingUp));
    settle().await;
    assert!(matches!(status_of(&runner, "ledger").await.state, ConsumerState::CaughtUp));
    running.stop().await.unwrap();
    assert!(matches!(status_of(&runner, "ledger").await.state, ConsumerState::NotRunning));
}

#[tokio::test(start_paused = true)]
async fn without_hints_live_events_are_found_within_the_poll_interval() {
    let store = SpyStore::default();
    store.seen.is_silent.store(true, Ordering::SeqCst);
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let start = Instant::now();
    let last = deposit(&store, "ann", 1).await;
    runner.wait_for("balance", last, LONG).await.unwrap();
    assert!(start.elapsed() <= limits::POLL_INTERVAL, "{:?}", start.elapsed());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_runner_reads_once_a_poll_interval_and_writes_nothing() {
    let store = SpyStore::default();
    deposits(&store, 3).await;
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let (reads, moves) = (store.count(|seen| &seen.reads), store.count(|seen| &seen.checkpoint_moves));
    tokio::time::sleep(limits::POLL_INTERVAL * 20).await;
    assert!(store.count(|seen| &seen.reads) - reads <= 21);
    assert_eq!(store.count(|seen| &seen.checkpoint_moves), moves);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn unwanted_live_events_count_as_done_at_once_but_the_checkpoint_is_not_saved_for_each() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    for n in 1..=100 {
        noise(&store, 1).await;
        runner.wait_for("balance", position(n), LONG).await.unwrap();
        assert_eq!(status_of(&runner, "balance").await.lag, 0);
    }
    assert_eq!(store.count(|seen| &seen.checkpoint_moves), 0);
    // Soon they are saved all the same, so that other processes and the next start know.
    tokio::time::sleep(limits::SCAN_CHECKPOINT_INTERVAL + limits::POLL_INTERVAL).await;
    assert_eq!(checkpoint(&store, "balance").await, Some(100));
    noise(&store, 1).await;
    settle().await;
    deposit(&store, "ann", 1).await;
    settle().await;
    assert_eq!(checkpoint(&store, "balance").await, Some(102), "a wanted event saves both");
    noise(&store, 1).await;
    settle().await;
    running.stop().await.unwrap();
    assert_eq!(checkpoint(&store, "balance").await, Some(103), "and so does the end");
}

#[tokio::test(start_paused = true)]
async fn many_unwanted_events_save_the_checkpoint_without_waiting() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    noise(&store, limits::SCAN_CHECKPOINT_POSITIONS).await;
    settle().await;
    assert_eq!(checkpoint(&store, "balance").await, Some(limits::SCAN_CHECKPOINT_POSITIONS));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn catch_up_and_run_together_apply_each_event_once() {
    let store = SpyStore::default();
    deposits(&store, 100).await;
    let runner = Runner::builder(&store).projection_with(Ledger::new(), pages_of(3)).build().unwrap();
    let running = Running::start(&runner);
    let (first, second) = tokio::join!(runner.catch_up(), runner.catch_up());
    first.and(second).unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=100));
    assert_eq!(status_of(&runner, "ledger").await.moved_by_others, 0, "they took turns");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn catch_up_sees_what_was_appended_before_it_whatever_a_run_had_read_ahead() {
    let store = SpyStore::default();
    store.seen.is_silent.store(true, Ordering::SeqCst);
    deposits(&store, 10).await;
    let trouble = Trouble::gate_before(5);
    let ledger = Ledger::with(trouble.clone());
    let runner = Runner::builder(&store).projection_with(ledger, pages_of(10)).build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    // The run is in its full page and has looked for the next one; now there is one.
    deposits(&store, 1).await;
    let catching_up = tokio::spawn({
        let runner = runner.clone();
        async move { runner.catch_up().await }
    });
    settle().await;
    trouble.open();
    catching_up.await.unwrap().unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=11));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_status_says_for_how_long_a_handler_has_been_at_its_page() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let trouble = Trouble::gate_before(3);
    let runner = Runner::builder(&store).projection(Ledger::with(trouble.clone())).build().unwrap();
    let running = Running::start(&runner);
    tokio::time::sleep(Duration::from_secs(7)).await;
    let status = status_of(&runner, "ledger").await;
    assert_eq!(status.applying_for, Some(Duration::from_secs(7)));
    assert_eq!(status.to_string(), "ledger (projection): at 0 of 5, lag 5, 0/s, catching up; applying a page for 7.0s");
    trouble.open();
    settle().await;
    let status = status_of(&runner, "ledger").await;
    assert_eq!((status.applying_for, status.lag), (None, 0));
    assert!(status.rate_per_second > 0.0 && status.updated_at.is_some());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_could_take_away_is_not_remembered_as_looked_at() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    deposits(&store, 1).await;
    runner.wait_for("balance", position(1), Duration::from_secs(9)).await.unwrap();
    store.seen.durable_to.store(3, Ordering::SeqCst);
    noise(&store, 5).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Two other events may stand at 4 and 5 after a crash.
    assert_eq!(status_of(&runner, "balance").await.position, position(3));
    store.seen.durable_to.store(0, Ordering::SeqCst);
    runner.wait_for("balance", position(6), Duration::from_secs(9)).await.unwrap();
    running.stop().await.unwrap();
}
