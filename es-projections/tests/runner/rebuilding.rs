use std::time::Duration;

use es_projections::{ConsumerOptions, RebuildProgress, Runner, RunnerError, StartFrom};
use es_testkit::bank::Balance;

use crate::{spy_store::SpyStore, support::*};

#[tokio::test(start_paused = true)]
async fn a_read_model_rebuilt_in_place_equals_the_live_one_row_for_row() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view_with::<Balance>(pages_of(7)).projection_with(Ledger::new(), pages_of(7));
    let runner = runner.build().unwrap();
    // Live, in small steps.
    for _ in 0..20 {
        deposits(&store, 5).await;
        noise(&store, 2).await;
        runner.catch_up().await.unwrap();
    }
    let (documents, rows) = (balances(&store).await, ledger_rows(&store.inner, "ledger").await);
    assert_eq!((documents.len(), rows.len()), (5, 100));

    for consumer in ["balance", "ledger"] {
        let mut reports: Vec<RebuildProgress> = Vec::new();
        runner.rebuild(consumer, |progress| reports.push(progress)).await.unwrap();
        let done: Vec<u64> = reports.iter().map(|progress| progress.done).collect();
        assert!(done.is_sorted() && done.len() > 10, "{done:?}");
        assert_eq!((done[0], done.last()), (0, Some(&140)));
        assert!(reports.iter().all(|progress| progress.total == 140 && progress.consumer.as_str() == consumer));
    }
    assert_eq!(balances(&store).await, documents);
    assert_eq!(ledger_rows(&store.inner, "ledger").await, rows);
    assert_eq!(checkpoint(&store, "balance").await, Some(140));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_mends_what_was_wrong() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    runner.catch_up().await.unwrap();
    let right = balances(&store).await;
    // Documents of an older form, and some that should not be there.
    use es_core::{Advance, ConsumerStore, DocumentChange, Payload};
    let wrong = |key: &str| DocumentChange { key: key.to_owned(), body: Some(Payload::from_json("[]").unwrap()) };
    let (at, changes) = (position(30), [wrong("a0"), wrong("ghost")]);
    store.save_documents(&Advance::new(&name("balance"), at, at), &changes).await.unwrap();
    runner.rebuild("balance", |_| {}).await.unwrap();
    assert_eq!(balances(&store).await, right);
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_killed_anywhere_is_completed_by_whoever_runs_next() {
    for polls in 0.. {
        let store = SpyStore::default();
        deposits(&store, 20).await;
        let runner = || {
            let builder = Runner::builder(&store).projection_with(Ledger::new(), pages_of(6));
            builder.view_with::<Balance>(pages_of(6)).build().unwrap()
        };
        let (first, next) = (runner(), runner());
        first.catch_up().await.unwrap();
        let documents = balances(&store).await;
        let ledger = drop_after(polls, first.rebuild("ledger", |_| {})).await;
        let view = drop_after(polls, first.rebuild("balance", |_| {})).await;
        next.catch_up().await.unwrap();
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20), "killed after {polls} polls");
        assert_eq!(balances(&store).await, documents, "killed after {polls} polls");
        if let (Some(ledger), Some(view)) = (ledger, view) {
            ledger.and(view).unwrap();
            assert!(polls > 10, "it was killed in many places");
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_hangs_in_its_third_page_and_is_dropped_goes_on_from_the_second() {
    let store = SpyStore::default();
    deposits(&store, 50).await;
    Runner::builder(&store).projection(Ledger::new()).build().unwrap().catch_up().await.unwrap();
    let stuck = Ledger::with(Trouble::gate_before(25));
    let runner = Runner::builder(&store).projection_with(stuck, pages_of(10)).build().unwrap();
    let rebuilding = tokio::time::timeout(Duration::from_secs(1), runner.rebuild("ledger", |_| {}));
    rebuilding.await.unwrap_err();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20));
    assert_eq!(checkpoint(&store, "ledger").await, Some(20));
    let runner = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=50));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_while_runners_run_here_and_elsewhere_applies_each_event_once() {
    let store = SpyStore::default();
    deposits(&store, 200).await;
    let here = Runner::builder(&store).projection_with(Ledger::new(), pages_of(9)).view::<Balance>().build().unwrap();
    let elsewhere = Runner::builder(&store).projection_with(Ledger::new(), pages_of(7)).build().unwrap();
    let (running, running_elsewhere) = (Running::start(&here), Running::start(&elsewhere));
    settle().await;
    let (rebuilt, ()) = tokio::join!(here.rebuild("ledger", |_| {}), deposits(&store, 100));
    rebuilt.unwrap();
    here.wait_for("ledger", position(300), Duration::from_secs(60)).await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=300));
    running.stop().await.unwrap();
    running_elsewhere.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_begins_where_the_consumer_began_if_that_is_a_position() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let options = ConsumerOptions::default().start_from(StartFrom::After(position(15)));
    let runner = Runner::builder(&store).projection_with(Ledger::new(), options).build().unwrap();
    runner.catch_up().await.unwrap();
    runner.rebuild("ledger", |_| {}).await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(16..=20));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_fails_keeps_what_it_applied_and_says_where_it_stopped() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let trouble = Trouble::none();
    let runner = Runner::builder(&store).projection_with(Ledger::with(trouble), retries(1)).build().unwrap();
    runner.catch_up().await.unwrap();
    let broken = Ledger::with(Trouble::at(12, How::Error));
    let broken = Runner::builder(&store).projection_with(broken, retries(1)).build().unwrap();
    let error = broken.rebuild("ledger", |_| {}).await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { event: Some(event), .. } if event == position(12)), "{error:?}");
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=11));
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_is_what_helps_after_the_log_was_restored_to_an_earlier_state() {
    let (longer, store) = (SpyStore::default(), SpyStore::default());
    deposits(&longer, 9).await;
    deposits(&store, 5).await;
    use es_core::ConsumerStore;
    store.start_checkpoint(&name("balance"), position(9)).await.unwrap();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    assert!(matches!(runner.catch_up().await, Err(RunnerError::CheckpointBeyondHead { .. })));
    runner.rebuild("balance", |_| {}).await.unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(balances(&store).await.len(), 5);
}

#[tokio::test]
async fn a_rebuild_of_nothing_ends_at_once_and_of_an_unknown_name_is_an_error() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let mut last = None;
    runner.rebuild("balance", |progress| last = Some((progress.done, progress.total))).await.unwrap();
    assert_eq!(last, Some((0, 0)));
    let error = runner.rebuild("balances", |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), r#"there is no consumer called "balances"; this runner has balance"#);
}
