//! What operators do to consumers, while they run and while they do not.

use std::{sync::atomic::Ordering, time::Duration};

use es_core::{ConsumerStore, ConsumerStoreExt, ControlStore, OperatorRequest, StoreError};
use es_projections::{ConsumerOptions, ConsumerState, FailurePolicy, Retried, Runner, RunnerError, limits};
use es_testkit::bank::Balance;
use tokio::time::sleep;

use super::{spy_store::SpyStore, support::*};

fn request() -> OperatorRequest {
    OperatorRequest::by("ann").unwrap().because("the server is moved").unwrap()
}

fn all(store: &SpyStore, mailer: &Mailer) -> Runner {
    Runner::builder(store).view::<Balance>().projection(Ledger::new()).reactor(mailer.clone()).build().unwrap()
}

#[track_caller]
fn cannot_move(error: RunnerError, words: &str) {
    let RunnerError::Store(store_error) = &error else { panic!("{error}") };
    assert!(matches!(**store_error, StoreError::CannotMove { .. }), "{store_error}");
    assert!(store_error.to_string().contains(words), "{store_error}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_consumer_waits_in_every_process_until_it_is_resumed_and_says_by_whom() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let (runner, elsewhere) = (all(&store, &mailer), all(&store, &mailer));
    let running = Running::start(&runner);
    let last = deposit(&store, "ann", 1).await;
    runner.wait_for("balance", last, Duration::from_secs(5)).await.unwrap();
    // In another process.
    assert!(elsewhere.pause("balance", &request()).await.unwrap());
    assert!(!elsewhere.pause("balance", &request()).await.unwrap(), "paused twice");
    sleep(limits::CONTROL_INTERVAL + limits::POLL_INTERVAL).await;
    let next = deposit(&store, "ann", 1).await;
    runner.wait_for("ledger", next, Duration::from_secs(5)).await.unwrap();
    let waited = runner.wait_for("balance", next, Duration::from_secs(60)).await.unwrap_err();
    assert!(waited.to_string().contains("paused by ann"), "{waited}");
    for runner in [&runner, &elsewhere] {
        let status = status_of(runner, "balance").await;
        assert!(
            matches!(&status.state, ConsumerState::Paused { by, why: Some(why), .. } if by == "ann" && why == "the server is moved"),
            "{status}"
        );
        assert_eq!((status.position, status.silent_for), (last, None));
    }
    let error = elsewhere.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::Suspended { suspension, .. } if suspension.by == "ann"), "{error}");
    assert!(error.to_string().contains("balance was paused by ann"), "{error}");
    assert!(matches!(elsewhere.rebuild("balance", |_| {}).await.unwrap_err(), RunnerError::Suspended { .. }));
    assert_eq!(checkpoint(&store, "balance").await, Some(last.get()));
    assert!(elsewhere.resume("balance", &request()).await.unwrap());
    assert!(!elsewhere.resume("balance", &request()).await.unwrap(), "resumed twice");
    runner.wait_for("balance", next, limits::CONTROL_INTERVAL * 2).await.unwrap();
    running.stop().await.unwrap();
    let told: Vec<_> = runner.operations(Some("balance"), None, 10).await.unwrap();
    assert_eq!(told.iter().map(|it| it.what.kind.as_str()).collect::<Vec<_>>(), ["resume", "pause"]);
    assert!(told[1].to_string().ends_with("ann: pause balance (the server is moved)"), "{}", told[1]);
}

#[tokio::test(start_paused = true)]
async fn which_consumers_are_suspended_is_looked_up_once_for_all() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let running = Running::start(&all(&store, &mailer));
    settle().await;
    let before = store.count(|seen| &seen.suspension_reads);
    sleep(limits::CONTROL_INTERVAL * 10).await;
    let reads = store.count(|seen| &seen.suspension_reads) - before;
    assert!((9..=11).contains(&reads), "{reads} in 10 intervals");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disabled_consumer_starts_nowhere_and_needs_a_reason() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let runner = all(&store, &mailer);
    let bare = runner.disable("mailer", &OperatorRequest::by("ann").unwrap()).await.unwrap_err();
    assert!(matches!(&bare, RunnerError::Store(error) if matches!(**error, StoreError::Refused { .. })), "{bare}");
    runner.disable("mailer", &request()).await.unwrap();
    runner.pause("mailer", &request()).await.unwrap();
    deposits(&store, 3).await;
    let running = Running::start(&runner);
    runner.wait_for("balance", position(3), Duration::from_secs(5)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    runner.resume("mailer", &request()).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert!(matches!(status_of(&runner, "mailer").await.state, ConsumerState::Disabled { .. }));
    assert!(mailer.sent().is_empty());
    runner.enable("mailer", &request()).await.unwrap();
    runner.wait_for("mailer", position(3), Duration::from_secs(1)).await.unwrap();
    assert_eq!(mailer.sent(), [1, 2, 3]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_starts_while_the_store_is_away_keeps_paused_consumers_paused() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let runner = all(&store, &mailer);
    runner.pause("mailer", &request()).await.unwrap();
    deposits(&store, 3).await;
    store.seen.is_down.store(true, Ordering::SeqCst);
    let other = all(&store, &mailer);
    let running = Running::start(&other);
    sleep(Duration::from_secs(60)).await;
    store.seen.is_down.store(false, Ordering::SeqCst);
    assert!(matches!(status_of(&other, "balance").await.state, ConsumerState::WaitingForStore { .. }));
    other.wait_for("balance", position(3), Duration::from_secs(60)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert!(mailer.sent().is_empty());
    // What was known before the store went away is still held to.
    store.seen.is_down.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(60)).await;
    store.seen.is_down.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(60)).await;
    assert!(mailer.sent().is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reset_while_it_runs_makes_a_reactor_react_again_and_a_skip_leaves_out() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let runner = all(&store, &mailer);
    let running = Running::start(&runner);
    deposits(&store, 5).await;
    runner.wait_for("mailer", position(5), Duration::from_secs(5)).await.unwrap();
    assert_eq!(runner.reset("mailer", position(3), &request()).await.unwrap(), position(5));
    let last = deposit(&store, "ann", 1).await;
    sleep(limits::CHECKPOINT_CHECK_INTERVAL * 2).await;
    assert_eq!(mailer.sent(), [1, 2, 3, 4, 5, 4, 5, 6]);
    runner.pause("mailer", &request()).await.unwrap();
    // A step may be under way.
    settle().await;
    deposits(&store, 3).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(runner.skip("mailer", position(8), &request()).await.unwrap(), last);
    runner.resume("mailer", &request()).await.unwrap();
    runner.wait_for("mailer", position(9), Duration::from_secs(5)).await.unwrap();
    assert_eq!(mailer.sent(), [1, 2, 3, 4, 5, 4, 5, 6, 9]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_of_a_page_loses_the_page_and_no_event() {
    let (store, trouble) = (SpyStore::default(), Trouble::gate_before(4));
    deposits(&store, 5).await;
    let mailer = Mailer::with(trouble.clone());
    let runner = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let elsewhere = Runner::builder(&store).reactor(Mailer::new()).build().unwrap();
    // It has reacted to three, and saved none.
    elsewhere.skip("mailer", position(2), &request()).await.unwrap();
    trouble.open();
    runner.wait_for("mailer", position(5), Duration::from_secs(9)).await.unwrap();
    assert_eq!(mailer.sent(), [1, 2, 3, 4, 5, 3, 4, 5]);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_goes_only_where_that_makes_sense() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let runner = all(&store, &mailer);
    deposits(&store, 5).await;
    runner.catch_up().await.unwrap();
    cannot_move(runner.skip("mailer", position(6), &request()).await.unwrap_err(), "the log does not reach that far");
    cannot_move(runner.skip("mailer", position(4), &request()).await.unwrap_err(), "reset it or rebuild it");
    cannot_move(runner.reset("mailer", position(6), &request()).await.unwrap_err(), "the log does not reach that far");
    for consumer in ["balance", "ledger"] {
        cannot_move(runner.reset(consumer, position(2), &request()).await.unwrap_err(), "rebuild it");
        cannot_move(runner.reset(consumer, position(0), &request()).await.unwrap_err(), "rebuild it");
    }
    let unknown = runner.reset("nobody", position(0), &request()).await.unwrap_err();
    assert!(matches!(unknown, RunnerError::UnknownConsumer { .. }), "{unknown}");
    for result in [runner.pause("nobody", &request()).await, runner.enable("nobody", &request()).await] {
        assert!(matches!(result, Err(RunnerError::UnknownConsumer { .. })), "{result:?}");
    }
    assert_eq!(runner.operations(None, None, 10).await.unwrap(), []);
    // For whom it does no harm.
    assert_eq!(runner.reset_idempotent("ledger", position(3), &request()).await.unwrap(), position(5));
    runner.catch_up().await.unwrap();
    let rows = ledger_rows(&store.inner, "ledger").await;
    assert_eq!(rows.values().copied().collect::<Vec<_>>(), [1, 1, 1, 2, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_override_moves_the_checkpoint_of_the_live_generation() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    deposits(&store, 3).await;
    runner.catch_up().await.unwrap();
    let options = es_projections::RebuildOptions::by("ann");
    runner.rebuild_beside("balance", options, |_| {}).await.unwrap();
    deposits(&store, 2).await;
    assert_eq!(runner.skip("balance", position(5), &request()).await.unwrap(), position(3));
    let found = store.checkpoints().await.unwrap();
    let found: Vec<_> = found.iter().map(|it| (it.consumer.as_str(), it.position.get())).collect();
    assert_eq!(found, [("balance", 3), ("balance@2", 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_whose_code_is_gone_is_an_orphan_until_it_is_retired() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    let before = all(&store, &mailer);
    deposits(&store, 3).await;
    before.catch_up().await.unwrap();
    before.rebuild_beside("balance", es_projections::RebuildOptions::by("ann"), |_| {}).await.unwrap();
    let now = Runner::builder(&store).reactor(mailer.clone()).build().unwrap();
    let orphans = now.orphans().await.unwrap();
    assert_eq!(orphans.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["balance", "ledger"]);
    assert!(orphans[0].to_string().contains("not in this runner; at 3, last moved"), "{}", orphans[0]);
    // It can be suspended from here, wherever it runs.
    now.pause("balance", &request()).await.unwrap();
    let here = now.retire("mailer", &request()).await.unwrap_err();
    assert!(matches!(here, RunnerError::StillHere { .. }), "{here}");
    let unknown = now.retire("nobody", &request()).await.unwrap_err();
    assert!(matches!(unknown, RunnerError::UnknownConsumer { .. }), "{unknown}");
    for consumer in ["balance", "ledger"] {
        now.retire(consumer, &request()).await.unwrap();
    }
    assert_eq!(now.orphans().await.unwrap(), []);
    assert_eq!(store.suspensions().await.unwrap(), []);
    assert_eq!(store.view::<Balance>().get("a0").await.unwrap(), None);
    assert_eq!(now.operations(Some("balance"), None, 1).await.unwrap()[0].what.kind.as_str(), "retire");
    // Whose code comes back begins anew.
    all(&store, &mailer).catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=3));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_starts_when_the_one_before_it_has_caught_up() {
    let (store, trouble, mailer) = (SpyStore::default(), Trouble::gate_before(3), Mailer::new());
    deposits(&store, 5).await;
    let after = ConsumerOptions::default().start_after("ledger");
    let builder = Runner::builder(&store).reactor_with(mailer.clone(), after);
    let runner = builder.projection(Ledger::with(trouble.clone())).build().unwrap();
    let running = Running::start(&runner);
    sleep(Duration::from_secs(30)).await;
    let state = status_of(&runner, "mailer").await.state;
    assert!(matches!(&state, ConsumerState::WaitingForOther { consumer } if consumer.as_str() == "ledger"), "{state}");
    assert!(mailer.sent().is_empty());
    trouble.open();
    runner.wait_for("mailer", position(5), Duration::from_secs(5)).await.unwrap();
    // Once is enough.
    runner.pause("ledger", &request()).await.unwrap();
    let last = deposit(&store, "ann", 1).await;
    runner.wait_for("mailer", last, Duration::from_secs(5)).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_keeps_the_order_and_does_not_start_who_waits_for_a_failure() {
    let (store, trouble, mailer) = (SpyStore::default(), Trouble::at(3, How::Error), Mailer::new());
    deposits(&store, 5).await;
    let after = ConsumerOptions::default().start_after("ledger");
    let stop = ConsumerOptions::default().on_failure(FailurePolicy::Stop);
    let builder = Runner::builder(&store).reactor_with(mailer.clone(), after);
    let runner = builder.projection_with(Ledger::with(trouble.clone()), stop).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::NotStarted { after, .. } if after.as_str() == "ledger"), "{error}");
    assert!(mailer.sent().is_empty());
    trouble.mend();
    runner.catch_up().await.unwrap();
    assert_eq!(mailer.sent(), [1, 2, 3, 4, 5]);
}

#[test]
fn an_order_of_starting_that_cannot_be_kept_is_refused() {
    let store = SpyStore::default();
    let after = |name| ConsumerOptions::default().start_after(name);
    for (ledger, mailer) in [("nobody", "ledger"), ("mailer", "ledger"), ("ledger", "ledger")] {
        let builder = Runner::builder(&store).projection_with(Ledger::new(), after(ledger));
        let error = builder.reactor_with(Mailer::new(), after(mailer)).build().unwrap_err();
        assert!(matches!(error, RunnerError::StartOrder { .. }), "{ledger}, {mailer}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn rebuilds_and_going_back_are_in_the_log_of_operations() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    deposits(&store, 3).await;
    runner.catch_up().await.unwrap();
    runner.rebuild_beside("balance", es_projections::RebuildOptions::by("ann"), |_| {}).await.unwrap();
    runner.roll_back("balance", "bob").await.unwrap();
    let told = runner.operations(Some("balance"), None, 10).await.unwrap();
    let told: Vec<_> =
        told.iter().map(|it| (it.what.kind.as_str(), it.what.consumer.as_str(), it.what.request.author())).collect();
    assert_eq!(
        told,
        [
            ("rolled-back", "balance", "bob"),
            ("rebuild-accepted", "balance@2", "ann"),
            ("rebuild-started", "balance@2", "ann")
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_parked_events_and_partitions_is_in_the_log_of_operations() {
    let (store, mailer) = (SpyStore::default(), Mailer::with(Trouble::at(2, How::Error)));
    deposits(&store, 9).await;
    let options = pages_of(5).on_failure(FailurePolicy::park_after(0));
    let runner = Runner::builder(&store).reactor_with(mailer.clone(), options).build().unwrap();
    runner.catch_up().await.unwrap();
    let (key, request) =
        ("stream:account/a1".parse().unwrap(), OperatorRequest::by("ann").unwrap().because("a test").unwrap());
    let time = Duration::from_secs(60);
    assert!(matches!(runner.retry_parked("mailer", &key, &request, time).await.unwrap(), Retried::StillParked(_)));
    assert_eq!(runner.discard_parked("mailer", &key, None, &request).await.unwrap(), 2);
    runner.repartition("mailer", 4, &request).await.unwrap();
    let told = runner.operations(Some("mailer"), None, 10).await.unwrap();
    let told: Vec<_> = told.iter().map(|told| (told.what.kind.as_str(), told.what.request.reason())).collect();
    assert_eq!(told, ["repartition", "parked-discard", "parked-retry"].map(|kind| (kind, Some("a test"))));
}
