use std::time::Duration;

use es_core::{DecodeError, ProjectionError};
use es_projections::{ConsumerOptions, ConsumerState, FailurePolicy, HandlerPanic, Runner, RunnerError};
use es_testkit::bank::Balance;

use crate::{spy_store::SpyStore, support::*};

fn stop_at_once() -> ConsumerOptions {
    ConsumerOptions::default().on_failure(FailurePolicy::Stop)
}

/// Takes apart the error of a consumer that stopped.
fn stopped(error: RunnerError) -> (String, Option<u64>, u32, std::sync::Arc<ProjectionError>) {
    let RunnerError::Consumer { consumer, event, attempts, source } = error else { panic!("{error:?}") };
    (consumer.as_str().to_owned(), event.map(|event| event.get()), attempts, source)
}

#[tokio::test(start_paused = true)]
async fn the_events_before_a_failing_one_take_effect_and_it_is_named_however_it_fails() {
    for how in [How::Error, How::UnnamedError, How::Panic] {
        for failing in [1, 2, 37, 63, 64] {
            let store = SpyStore::default();
            deposits(&store, 64).await;
            let trouble = Trouble::at(failing, how);
            let ledger = Ledger::with(trouble.clone());
            let runner = Runner::builder(&store).projection_with(ledger, stop_at_once()).build().unwrap();
            let error = runner.catch_up().await.unwrap_err();
            let (consumer, event, attempts, _) = stopped(error);
            assert_eq!((consumer.as_str(), event, attempts), ("ledger", Some(failing), 1), "{how:?}");
            assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..failing), "{how:?}");
            assert_eq!(checkpoint(&store, "ledger").await, Some(failing - 1));

            let status = status_of(&runner, "ledger").await;
            assert!(matches!(status.state, ConsumerState::Stopped { .. }));
            let failure = status.last_error.unwrap();
            assert_eq!(failure.event, Some(position(failing)));
            assert!(trouble.tries() <= 8, "{how:?} at {failing}: tried {} times", trouble.tries());

            trouble.mend();
            runner.catch_up().await.unwrap();
            assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=64), "{how:?}");
            assert!(matches!(status_of(&runner, "ledger").await.state, ConsumerState::NotRunning));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_event_is_tried_again_with_growing_waits_and_then_the_consumer_stops() {
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let trouble = Trouble::at(4, How::Error);
    let runner = Runner::builder(&store).projection_with(Ledger::with(trouble.clone()), retries(5)).build().unwrap();
    let start = tokio::time::Instant::now();
    let (_, event, attempts, source) = stopped(runner.catch_up().await.unwrap_err());
    assert_eq!((event, attempts), (Some(4), 6));
    assert!(matches!(&*source, ProjectionError::Handler { .. }));
    // At most 10 + 20 + 40 + 40 + 40 ms, and not all of the five at random near zero.
    let waited = start.elapsed();
    assert!(Duration::from_millis(2) < waited && waited <= Duration::from_millis(155), "{waited:?}");
    // Once or twice in a larger page, until it was alone.
    assert!((7..=8).contains(&trouble.tries()), "{}", trouble.tries());
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=3));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_goes_away_is_survived_and_remembered() {
    let store = SpyStore::default();
    deposits(&store, 10).await;
    let trouble = Trouble::at(4, How::Error);
    let options = ConsumerOptions::default().on_failure(FailurePolicy::retry(20));
    let runner = Runner::builder(&store).projection_with(Ledger::with(trouble.clone()), options).build().unwrap();
    let running = Running::start(&runner);
    let retrying = loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let status = status_of(&runner, "ledger").await;
        if let ConsumerState::Retrying { attempt: 3.., .. } = status.state {
            break status;
        }
    };
    let said = retrying.to_string();
    assert!(said.starts_with("ledger (projection): at 3 of 10, lag 7"), "{said}");
    assert!(said.contains("trying again in") && said.contains("failed at the event at position 4"), "{said}");
    assert!(said.ends_with("no room"), "the cause is the end of the line: {said}");
    trouble.mend();
    runner.wait_for("ledger", position(10), Duration::from_secs(60)).await.unwrap();
    settle().await;
    let status = status_of(&runner, "ledger").await;
    assert!(matches!(status.state, ConsumerState::CaughtUp));
    assert_eq!(status.last_error.unwrap().event, Some(position(4)));
    running.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=10));
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_is_reported_while_the_others_go_on_and_by_the_result_at_the_end() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 5).await;
    let runner = Runner::builder(&store)
        .projection_with(Ledger::with(Trouble::at(2, How::Panic)), retries(2))
        .view::<Balance>()
        .reactor(mailer.clone())
        .build()
        .unwrap();
    let running = Running::start(&runner);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = status_of(&runner, "ledger").await;
    assert!(matches!(&status.state, ConsumerState::Stopped { error: RunnerError::Consumer { attempts: 3, .. } }));
    let said = status.to_string();
    assert!(said.contains("stopped: ledger stopped at the event at position 2 after 3 attempt(s)"), "{said}");
    assert!(said.ends_with("the handler panicked: lost my head at 2"), "{said}");

    let last = deposit(&store, "ann", 7).await;
    runner.wait_for("balance", last, Duration::from_secs(5)).await.unwrap();
    runner.wait_for("mailer", last, Duration::from_secs(5)).await.unwrap();
    assert_eq!(mailer.sent(), [1, 2, 3, 4, 5, 6]);

    let (consumer, event, _, source) = stopped(running.stop().await.unwrap_err());
    assert_eq!((consumer.as_str(), event), ("ledger", Some(2)));
    let ProjectionError::Handler { source, .. } = &*source else { panic!("{source:?}") };
    assert_eq!(source.downcast_ref::<HandlerPanic>().unwrap().message(), "lost my head at 2");
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each([1]));
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_when_every_consumer_has_stopped() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let ledger = Ledger::with(Trouble::at(2, How::Error));
    let runner = Runner::builder(&store).projection_with(ledger, stop_at_once()).build().unwrap();
    let error = runner.run(std::future::pending()).await.unwrap_err();
    assert_eq!(stopped(error).1, Some(2));
}

#[tokio::test(start_paused = true)]
async fn catch_up_brings_the_others_to_the_head_and_gives_the_first_failure() {
    let store = SpyStore::default();
    deposits(&store, 30).await;
    let other = Ledger { name: "other", ..Ledger::with(Trouble::at(3, How::Error)) };
    let runner = Runner::builder(&store)
        .view::<Balance>()
        .projection_with(Ledger::with(Trouble::at(9, How::Error)), retries(3))
        .projection_with(other, stop_at_once())
        .reactor(Mailer::new())
        .build()
        .unwrap();
    let (consumer, event, ..) = stopped(runner.catch_up().await.unwrap_err());
    assert_eq!((consumer.as_str(), event), ("ledger", Some(9)));
    assert_eq!(checkpoint(&store, "balance").await, Some(30));
    assert_eq!(checkpoint(&store, "mailer").await, Some(30));
    assert_eq!(checkpoint(&store, "other").await, Some(2));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_isolated_for_every_kind_of_consumer() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 8).await;
    let bad = unreadable(&store).await;
    deposits(&store, 8).await;
    let runner = Runner::builder(&store)
        .view_with::<Balance>(stop_at_once())
        .projection_with(Ledger::new(), stop_at_once())
        .reactor_with(mailer.clone(), stop_at_once())
        .build()
        .unwrap();
    let (_, event, _, source) = stopped(runner.catch_up().await.unwrap_err());
    assert_eq!(event, Some(bad.get()));
    assert!(matches!(&*source, ProjectionError::Decode(DecodeError::Payload { .. })));
    for consumer in ["balance", "ledger", "mailer"] {
        assert_eq!(checkpoint(&store, consumer).await, Some(8), "{consumer}");
        assert_eq!(status_of(&runner, consumer).await.last_error.unwrap().event, Some(bad));
    }
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 8);
    assert_eq!(mailer.sent(), (1..=8).collect::<Vec<_>>());
}

mod fragile {
    use es_core::{DocumentAction, Recorded, View};
    use es_testkit::bank::AccountEvent;
    use serde::{Deserialize, Serialize};

    /// A sum that cannot bear 666; `MENDED` is the next release of it.
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Sum<const MENDED: bool> {
        pub(crate) cents: i64,
    }

    impl<const MENDED: bool> View for Sum<MENDED> {
        const NAME: &'static str = "sum";
        type Event = AccountEvent;

        fn keys(_: &Recorded<AccountEvent>) -> Vec<String> {
            vec!["all".to_owned()]
        }

        fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
            if let AccountEvent::Deposited { cents } = event.event {
                assert!(MENDED || cents != 666, "the beast");
                self.cents += cents;
            }
            DocumentAction::Keep
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_panics_goes_on_with_the_event_once_its_code_is_mended() {
    use es_core::ConsumerStoreExt;
    use fragile::Sum;
    let store = SpyStore::default();
    for cents in [1, 2, 3, 666, 4, 5] {
        deposit(&store, "ann", cents).await;
    }
    let broken = Runner::builder(&store).view::<Sum<false>>().build().unwrap();
    let (_, event, attempts, _) = stopped(broken.catch_up().await.unwrap_err());
    assert_eq!((event, attempts), (Some(4), 11));
    assert_eq!(store.view::<Sum<true>>().get("all").await.unwrap(), Some(Sum { cents: 6 }));
    Runner::builder(&store).view::<Sum<true>>().build().unwrap().catch_up().await.unwrap();
    assert_eq!(store.view::<Sum<true>>().get("all").await.unwrap(), Some(Sum { cents: 681 }));
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_pages_grow_back_to_their_size() {
    let store = SpyStore::default();
    deposits(&store, 2_000).await;
    let trouble = Trouble::at(100, How::Error);
    let ledger = Ledger::with(trouble.clone());
    let runner = Runner::builder(&store).projection_with(ledger, retries(1)).build().unwrap();
    runner.catch_up().await.unwrap_err();
    trouble.mend();
    let before = store.count(|seen| &seen.pages_applied);
    runner.catch_up().await.unwrap();
    let pages = store.count(|seen| &seen.pages_applied) - before;
    assert!((3..=13).contains(&pages), "{pages} pages");
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=2_000));
}
