use std::{sync::atomic::Ordering, time::Duration};

use es_core::{ProjectionError, StoreError};
use es_projections::{ConsumerState, Runner, RunnerError};
use es_testkit::bank::Balance;

use crate::{
    spy_store::{SpyStore, unavailable},
    support::*,
};

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_stops_nobody_and_the_status_says_that_it_is_waited_for() {
    let (store, mailer) = (SpyStore::default(), Mailer::new());
    deposits(&store, 5).await;
    store.seen.is_down.store(true, Ordering::SeqCst);
    let runner = Runner::builder(&store)
        .view_with::<Balance>(retries(2))
        .projection_with(Ledger::new(), retries(2))
        .reactor_with(mailer.clone(), retries(2))
        .build()
        .unwrap();
    let running = Running::start(&runner);
    for _ in 0..2 {
        store.seen.is_down.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(100)).await;
        store.seen.is_down.store(false, Ordering::SeqCst);
        for status in runner.status().await.unwrap() {
            let ConsumerState::WaitingForStore { attempt, failure, .. } = &status.state else { panic!("{status}") };
            assert!(*attempt > 2);
            assert!(failure.error.to_string().contains("cannot be reached"), "{failure}");
            assert!(status.to_string().contains("waiting for the store"), "{status}");
        }
        let last = deposit(&store, "ann", 1).await;
        for consumer in ["balance", "ledger", "mailer"] {
            runner.wait_for(consumer, last, Duration::from_secs(5)).await.unwrap();
        }
    }
    running.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=7));
    assert_eq!(mailer.sent(), (1..=7).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_calls_transient_stops_nobody_either() {
    let (store, trouble) = (SpyStore::default(), Trouble::at(3, How::Transient));
    deposits(&store, 5).await;
    let mailer = Mailer::with(trouble.clone());
    let builder = Runner::builder(&store).projection_with(Ledger::with(trouble.clone()), retries(2));
    let runner = builder.reactor_with(mailer.clone(), retries(2)).build().unwrap();
    let running = Running::start(&runner);
    tokio::time::sleep(Duration::from_secs(100)).await;
    for status in runner.status().await.unwrap() {
        let ConsumerState::WaitingForStore { attempt, .. } = &status.state else { panic!("{status}") };
        assert!(*attempt > 2);
        assert!(status.to_string().contains("waiting for what its handler needs"), "{status}");
        assert!(status.to_string().contains("no room"), "{status}");
    }
    assert_eq!(mailer.sent(), [1, 2]);
    trouble.mend();
    for consumer in ["ledger", "mailer"] {
        runner.wait_for(consumer, position(5), Duration::from_secs(5)).await.unwrap();
    }
    running.stop().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=5));
}

#[tokio::test(start_paused = true)]
async fn catch_up_gives_up_on_a_store_that_is_away_by_the_failure_policy() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let runner = Runner::builder(&store).view_with::<Balance>(retries(3)).build().unwrap();
    store.seen.read_failures.lock().unwrap().extend((0..3).map(|_| unavailable()));
    runner.catch_up().await.unwrap();
    assert_eq!(checkpoint(&store, "balance").await, Some(5));
    store.seen.read_failures.lock().unwrap().extend((0..4).map(|_| unavailable()));
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::Consumer { attempts: 4, event: None, source, .. }
        if matches!(&**source, ProjectionError::Store(StoreError::Unavailable { .. }))));
    store.seen.is_down.store(true, Ordering::SeqCst);
    assert!(matches!(runner.catch_up().await.unwrap_err(), RunnerError::Store(_)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_with_an_unknown_outcome_does_not_make_an_event_count_twice() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    let runner = Runner::builder(&store)
        .view_with::<Balance>(pages_of(3))
        .projection_with(Ledger::new(), pages_of(3))
        .build()
        .unwrap();
    store.seen.save_failures.lock().unwrap().extend((0..6).map(|_| unavailable()));
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=20));
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_the_store_could_not_take_is_not_taken_apart() {
    let store = SpyStore::default();
    deposits(&store, 20).await;
    store.seen.save_failures.lock().unwrap().push_back(unavailable());
    let runner = Runner::builder(&store).projection_with(Ledger::new(), retries(0)).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { attempts: 1, event: None, .. }), "{error:?}");
    assert_eq!(store.count(|seen| &seen.pages_applied), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unexpected_refusal_of_the_store_counts_by_the_failure_policy_in_a_run_too() {
    let store = SpyStore::default();
    deposits(&store, 5).await;
    let backend = || StoreError::Backend { source: "disk full".into() };
    store.seen.read_failures.lock().unwrap().extend((0..3).map(|_| backend()));
    let runner = Runner::builder(&store).view_with::<Balance>(retries(2)).build().unwrap();
    let error = runner.run(std::future::pending()).await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { attempts: 3, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_stands_before_a_damaged_event_is_applied() {
    let store = SpyStore::default();
    deposits(&store, 8).await;
    let damaged = || StoreError::Corrupt { position: position(6), problem: "checksum".to_owned() };
    // Pages of 1 000, 500, 250, 125, 62, 31, 15 and 7 hold it; one of 3 does not.
    store.seen.read_failures.lock().unwrap().extend((0..8).map(|_| damaged()));
    let runner = Runner::builder(&store).projection_with(Ledger::new(), retries(0)).build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=8));
    store.seen.read_failures.lock().unwrap().extend((0..20).map(|_| damaged()));
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(error, RunnerError::Consumer { event: Some(event), .. } if event == position(6)), "{error:?}");
}
