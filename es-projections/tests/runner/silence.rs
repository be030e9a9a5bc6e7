//! A consumer that does not advance says why, within seconds.

use std::{sync::atomic::Ordering, time::Duration};

use es_core::{DatabaseBlocker, DatabaseWait};
use es_projections::{ConsumerOptions, ConsumerState, FailurePolicy, Runner, RunnerError, Verdict, limits};
use tokio::time::{Instant, sleep};

use super::{spy_store::SpyStore, support::*};

const LIMIT: Duration = Duration::from_secs(20);

fn stops_after(limit: Duration) -> ConsumerOptions {
    ConsumerOptions::default().handler_timeout(limit).on_failure(FailurePolicy::Stop)
}

/// A session of the database that keeps others waiting.
fn wait() -> DatabaseWait {
    let blocker = DatabaseBlocker::new(
        4711,
        "psql".to_owned(),
        "UPDATE balances".to_owned(),
        "idle in transaction".to_owned(),
        None,
    );
    DatabaseWait::new(12, "INSERT INTO balances".to_owned(), vec![blocker])
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_returns_fails_at_its_time_limit_and_holds_nothing() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let (forever, mailer) = (Trouble::gate_before(4), Mailer::with(Trouble::gate_before(4)));
    let builder = Runner::builder(&store).projection_with(Ledger::with(forever.clone()), stops_after(LIMIT));
    let runner = builder.reactor_with(mailer.clone(), stops_after(LIMIT)).build().unwrap();
    let start = Instant::now();
    let running = Running::start(&runner);
    sleep(Duration::from_secs(5)).await;
    for status in runner.status().await.unwrap() {
        assert!(status.applying_for.is_some_and(|time| time >= Duration::from_secs(4)), "{status}");
        assert!(status.to_string().contains("applying a page for 5"), "{status}");
    }
    let error = running.ended().await.unwrap_err();
    for status in runner.status().await.unwrap() {
        let ConsumerState::Stopped { error: RunnerError::Consumer { event, attempts, .. } } = &status.state else {
            panic!("{status}")
        };
        assert_eq!((*event, *attempts), (Some(position(4)), 1), "{status}");
        assert!(status.to_string().contains("did not return within 20s"), "{status}");
        // Everything before it took effect.
        assert_eq!(status.position, position(3));
    }
    assert!(matches!(error, RunnerError::Consumer { .. }), "{error}");
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=3));
    assert_eq!(mailer.sent(), [1, 2, 3]);
    assert!(start.elapsed() < LIMIT * 4, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_a_large_page_few_parts_are_given_their_time_before_the_event_is_found() {
    let store = SpyStore::default();
    deposits(&store, 700).await;
    let ledger = Ledger::with(Trouble::gate_before(700));
    let runner = Runner::builder(&store).projection_with(ledger, stops_after(LIMIT)).build().unwrap();
    let start = Instant::now();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { event: Some(event), .. } if event == position(700)), "{error}");
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=699));
    assert!(start.elapsed() <= LIMIT * 9, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_somebody_in_the_database_says_for_whom_and_is_given_the_time() {
    let (store, trouble) = (SpyStore::default(), Trouble::gate_before(4));
    deposits(&store, 5).await;
    let ledger = Ledger::with(trouble.clone());
    let runner =
        Runner::builder(&store).projection_with(ledger, stops_after(LIMIT)).reactor(Mailer::new()).build().unwrap();
    store.seen.waits.lock().unwrap().push(wait());
    let running = Running::start(&runner);
    sleep(Duration::from_secs(5)).await;
    let status = status_of(&runner, "ledger").await;
    let ConsumerState::WaitingOnDatabase { waits } = &status.state else { panic!("{status}") };
    assert_eq!(waits.as_slice(), [wait()]);
    for words in [
        "process 12 waits with \"INSERT INTO balances\"",
        "process 4711 (psql), idle in transaction",
        "UPDATE balances",
    ] {
        assert!(status.to_string().contains(words), "{status}");
    }
    // Who advances does not wait.
    assert!(matches!(status_of(&runner, "mailer").await.state, ConsumerState::CaughtUp));
    let health = runner.health().await.unwrap();
    assert_eq!(health.verdict, Verdict::Degraded, "{health}");
    // What waits for others is not the handler's fault.
    sleep(LIMIT * 3).await;
    let health = runner.health().await.unwrap();
    assert_eq!(health.verdict, Verdict::Stalled, "{health}");
    assert!(health.to_string().starts_with("stalled: ledger is waiting on the database"), "{health}");
    store.seen.waits.lock().unwrap().clear();
    trouble.open();
    runner.wait_for("ledger", position(5), Duration::from_secs(1)).await.unwrap();
    assert!(matches!(status_of(&runner, "ledger").await.state, ConsumerState::CatchingUp | ConsumerState::CaughtUp));
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_unexpectedly_is_started_again() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 5).await;
    store.seen.panics.store(3, Ordering::SeqCst);
    let runner = Runner::builder(&store).projection(Ledger::new()).reactor(mailer.clone()).build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let states: Vec<_> = runner.status().await.unwrap().into_iter().map(|status| status.state).collect();
    assert!(
        matches!(&states[0], ConsumerState::Restarting { attempt: 1, problem, .. } if problem == "the store lost its head"),
        "{}",
        states[0]
    );
    assert_eq!(runner.health().await.unwrap().verdict, Verdict::Degraded);
    for consumer in ["ledger", "mailer"] {
        runner.wait_for(consumer, position(5), Duration::from_secs(60)).await.unwrap();
    }
    running.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=5));
    assert_eq!(mailer.sent(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_again_and_again_stops_and_the_others_go_on() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    store.seen.panics.store(usize::MAX, Ordering::SeqCst);
    let error = runner.run(std::future::pending()).await.unwrap_err();
    let RunnerError::TaskEnded { restarts, problem, .. } = &error else { panic!("{error}") };
    assert_eq!((*restarts, problem.as_str()), (limits::TASK_RESTARTS, "the store lost its head"));
    assert_eq!(store.count(|seen| &seen.reads), limits::TASK_RESTARTS as usize + 1);
    let health = runner.health().await.unwrap();
    assert_eq!(health.verdict, Verdict::Stalled, "{health}");
    assert!(health.to_string().contains("ledger is stopped: the task of ledger ended unexpectedly"), "{health}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_a_silence_that_shows() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<es_testkit::bank::Balance>().build().unwrap();
    *store.seen.documents_gate.lock().unwrap() = Some(std::sync::Arc::new(tokio::sync::Semaphore::new(0)));
    deposits(&store, 1).await;
    let _running = Running::start(&runner);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(runner.health().await.unwrap().verdict, Verdict::Ready);
    sleep(limits::STALLED_AFTER).await;
    let health = runner.health().await.unwrap();
    assert_eq!(health.verdict, Verdict::Stalled, "{health}");
    assert!(health.to_string().contains("no heartbeat for 3"), "{health}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_runner_is_ready_and_one_that_does_not_run_is_not() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).projection(Ledger::new()).reactor(Mailer::new()).build().unwrap();
    let health = runner.health().await.unwrap();
    assert_eq!(health.to_string(), "degraded: ledger is not running; mailer is not running");
    let running = Running::start(&runner);
    for _ in 0..30 {
        sleep(Duration::from_secs(10)).await;
        assert_eq!(runner.health().await.unwrap().to_string(), "ready");
    }
    running.stop().await.unwrap();
}
