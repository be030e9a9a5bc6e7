use std::time::Duration;

use es_core::{Advance, ConsumerStore};
use es_projections::{ConsumerOptions, RebuildProgress, Runner, RunnerError, StartFrom, Verification};
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
    use es_core::{DocumentChange, Payload};
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

#[tokio::test(start_paused = true)]
async fn a_rebuild_in_place_is_compared_with_what_was_there_while_this_runner_runs_and_events_come_in() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view_with::<Balance>(pages_of(7)).projection_with(Ledger::new(), pages_of(7));
    let runner = runner.build().unwrap();
    let running = Running::start(&runner);
    for round in 1..=5 {
        for (consumer, rows) in [("balance", 7), ("ledger", round * 20)] {
            deposits(&store, 10).await;
            noise(&store, 3).await;
            let head = position((2 * (round - 1) + 1 + u64::from(consumer == "ledger")) * 13);
            runner.wait_for(consumer, head, Duration::from_secs(9)).await.unwrap();
            let rebuilding = runner.rebuild_in_place(consumer, Verification::MustMatch, |_| {});
            let (compared, ()) = tokio::join!(rebuilding, noise(&store, 0));
            let comparison = compared.unwrap().unwrap();
            assert!(comparison.is_same() && comparison.position <= head, "{comparison}");
            assert!(consumer == "ledger" || comparison.live.rows == rows, "{comparison}");
        }
    }
    deposits(&store, 10).await;
    // Nothing holds the loop at the position of the last comparison any more.
    for consumer in ["balance", "ledger"] {
        runner.wait_for(consumer, position(140), Duration::from_secs(9)).await.unwrap();
    }
    running.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await.len(), 110);
}

#[tokio::test(start_paused = true)]
async fn the_live_consumer_waits_until_a_rebuild_in_place_has_its_snapshot_to_compare() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    deposits(&store, 10).await;
    runner.wait_for("balance", position(10), Duration::from_secs(9)).await.unwrap();
    *store.seen.snapshot_after.lock().unwrap() = Some("late");
    let comparison = runner.rebuild_in_place("balance", Verification::MustMatch, |_| {}).await.unwrap().unwrap();
    assert_eq!(comparison.position, position(11), "{comparison}");
    // Nothing holds it back afterwards.
    runner.wait_for("balance", position(12), Duration::from_secs(9)).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_in_place_shows_what_it_mended_and_is_complete_where_it_had_to_match() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    runner.catch_up().await.unwrap();
    let right = balances(&store).await;
    let spoil = async || {
        let wrong = |key: &str, json: &str| {
            let body = Some(es_core::Payload::from_json(json.to_owned()).unwrap());
            es_core::DocumentChange { key: key.to_owned(), body }
        };
        let at = position(checkpoint(&store, "balance").await.unwrap());
        store
            .save_documents(&Advance::new(&name("balance"), at, at), &[wrong("a0", "[1]"), wrong("ghost", "[]")])
            .await
            .unwrap();
    };
    spoil().await;
    deposits(&store, 7).await;
    let compared = runner.rebuild_in_place("balance", Verification::ShowDifference, |_| {}).await.unwrap();
    let comparison = compared.unwrap();
    assert_eq!((comparison.differing, comparison.position), (2, position(30)));
    assert_eq!((comparison.first[0].key.as_str(), comparison.first[0].live.as_deref()), ("a0", Some("[1]")));
    assert_eq!((comparison.first[1].key.as_str(), comparison.first[1].rebuilt.as_deref()), ("ghost", None));
    assert_eq!(balances(&store).await.iter().map(|(_, cents, _)| cents).sum::<i64>(), 37);

    spoil().await;
    let error = runner.rebuild_in_place("balance", Verification::MustMatch, |_| {}).await.unwrap_err();
    assert!(matches!(&error, RunnerError::ReadModelsDiffer(comparison) if comparison.differing == 2), "{error}");
    assert_eq!(balances(&store).await.len(), right.len());
    assert_eq!(checkpoint(&store, "balance").await, Some(37));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_in_place_that_is_dropped_half_way_holds_nobody() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let builder = Runner::builder(&store).projection_with(Ledger::new(), pages_of(6));
    let runner = builder.build().unwrap();
    runner.catch_up().await.unwrap();
    for polls in 0.. {
        let dropped = drop_after(polls, runner.rebuild_in_place("ledger", Verification::MustMatch, |_| {})).await;
        deposits(&store, 1).await;
        runner.catch_up().await.unwrap();
        assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=21 + polls as u64), "after {polls} polls");
        if let Some(compared) = dropped {
            assert!(compared.unwrap().unwrap().is_same() && polls > 10);
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_in_place_that_another_runner_carries_on_is_complete_and_says_that_it_was_not_compared() {
    let store = SpyStore::default();
    deposits(&store, 50).await;
    let runner = || Runner::builder(&store).projection_with(Ledger::new(), pages_of(10)).build().unwrap();
    let (here, elsewhere) = (runner(), runner());
    here.catch_up().await.unwrap();
    deposits(&store, 5).await;
    let mut rebuilding = std::pin::pin!(here.rebuild_in_place("ledger", Verification::MustMatch, |_| {}));
    while ledger_rows(&store.inner, "ledger").await.len() != 30 {
        assert!(drop_after(1, rebuilding.as_mut()).await.is_none(), "it is done");
    }
    elsewhere.catch_up().await.unwrap();
    let error = rebuilding.await.unwrap_err();
    let expected = (position(50), position(55));
    assert!(
        matches!(&error, RunnerError::NotCompared { before, after, .. } if (*before, *after) == expected),
        "{error}"
    );
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=55));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_in_place_is_compared_wherever_another_loop_of_its_runner_takes_a_turn() {
    for turns in 0..60 {
        let store = SpyStore::default();
        deposits(&store, 14).await;
        noise(&store, 3).await;
        let runner = Runner::builder(&store).projection_with(Ledger::new(), pages_of(7)).build().unwrap();
        runner.catch_up().await.unwrap();
        let running = Running::start(&runner);
        settle().await;
        let wake = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            noise(&store, 1).await;
        };
        let rebuilding = runner.rebuild_in_place("ledger", Verification::MustMatch, |_| {});
        let (compared, ()) = tokio::join!(rebuilding, wake);
        assert_eq!(compared.unwrap().map(|comparison| comparison.position), Some(position(17)), "after {turns} turns");
        running.stop().await.unwrap();
    }
}
