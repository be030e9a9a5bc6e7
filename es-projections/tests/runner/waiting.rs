use std::time::Duration;

use es_projections::{ConsumerState, Runner, RunnerError, limits};
use es_testkit::bank::Balance;
use tokio::time::Instant;

use crate::{spy_store::SpyStore, support::*};

#[tokio::test(start_paused = true)]
async fn wait_for_returns_when_the_position_is_reached_without_asking_the_store() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    settle().await;
    let asked = store.count(|seen| &seen.checkpoint_reads);
    let start = Instant::now();
    let waiting = tokio::spawn({
        let runner = runner.clone();
        async move { runner.wait_for("balance", position(3), Duration::from_secs(60)).await }
    });
    settle().await;
    assert!(!waiting.is_finished());
    deposits(&store, 3).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(balances(&store).await.len(), 3, "what was waited for can be read");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(store.count(|seen| &seen.checkpoint_reads), asked);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn wait_for_times_out_with_how_far_the_consumer_came_and_why_not_further() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let ledger = Ledger::with(Trouble::at(3, How::Error));
    let runner = Runner::builder(&store).projection_with(ledger, retries(0)).view::<Balance>().build().unwrap();
    let running = Running::start(&runner);
    let error = runner.wait_for("ledger", position(5), Duration::from_secs(3)).await.unwrap_err();
    let RunnerError::WaitTimeout { reached, waited, state, .. } = &error else { panic!("{error:?}") };
    assert_eq!((reached.get(), *waited), (2, Duration::from_secs(3)));
    assert!(matches!(**state, ConsumerState::Stopped { .. }));
    let said = error.to_string();
    assert!(
        said.starts_with("ledger has reached 2, not 5, after 3s; it is stopped:") && said.ends_with("no room"),
        "{said}"
    );
    let error = runner.wait_for("balance", position(6), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&error, RunnerError::WaitTimeout { reached, .. } if *reached == position(5)), "{error:?}");
    running.stop().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn wait_for_a_consumer_that_runs_elsewhere_looks_at_its_checkpoint() {
    let store = SpyStore::default();
    let elsewhere = Runner::builder(&store).view::<Balance>().projection(Ledger::new()).build().unwrap();
    let running = Running::start(&elsewhere);
    settle().await;
    // It knows the view but does not run it, and does not know the projection.
    let here = Runner::builder(&store).view::<Balance>().build().unwrap();
    for consumer in ["balance", "ledger"] {
        let start = Instant::now();
        let next = balances(&store).await.len() as u64 + 1;
        let (waited, _) = tokio::join!(here.wait_for(consumer, position(next), Duration::from_secs(60)), async {
            settle().await;
            deposit(&store, consumer, 1).await
        });
        waited.unwrap();
        assert!(start.elapsed() <= limits::POLL_INTERVAL, "{consumer}: {:?}", start.elapsed());
    }
    let error = here.wait_for("ledger", position(9), Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(&error, RunnerError::WaitTimeout { reached, .. } if *reached == position(2)), "{error:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn wait_for_a_name_that_nobody_knows_is_an_error_that_lists_those_known() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view::<Balance>().projection(Ledger::new()).build().unwrap();
    let error = runner.wait_for("balanec", position(0), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), r#"there is no consumer called "balanec"; this runner has balance, ledger"#);
}

#[tokio::test(start_paused = true)]
async fn wait_for_does_not_believe_what_an_earlier_run_knew() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let runner = Runner::builder(&store).projection(Ledger::new()).build().unwrap();
    runner.catch_up().await.unwrap();
    runner.wait_for("ledger", position(5), Duration::from_secs(1)).await.unwrap();
    // Somebody empties it; this runner has not been able to look since.
    use es_core::ProjectionStore;
    store.clear_projection(&es_core::Projector::new(Ledger::new()).unwrap()).await.unwrap();
    store.seen.is_down.store(true, std::sync::atomic::Ordering::SeqCst);
    let running = Running::start(&runner);
    settle().await;
    let error = runner.wait_for("ledger", position(5), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, RunnerError::WaitTimeout { reached, .. } if reached == position(0)));
    running.stop().await.unwrap();
}
