use std::{sync::atomic::Ordering, time::Duration};

use es_core::{
    BoxError, EventStore, ExecuteError, HandlerError, MemoryStore, ProjectionError, Reactor, Recorded, Repository,
    StoreError,
};
use es_projections::{ConsumerOptions, ConsumerState, FailurePolicy, Runner, RunnerError};
use es_testkit::{
    Fault, FaultPlan, FaultyStore, Operation,
    bank::{Account, AccountCommand, AccountError, AccountEvent, Balance},
};

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

/// Executes a command for each event, on a store that is away now and then.
struct Teller {
    accounts: Repository<Account>,
    /// How its code passes the errors of commands on.
    pass_on: fn(ExecuteError<AccountError>) -> HandlerError,
}

impl Reactor for Teller {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "teller"
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let open = AccountCommand::Open { owner: event.stream().id().to_owned() };
        let key = event.id().to_string();
        self.accounts.execute(key.clone(), open).idempotency_key(key).await.map_err(self.pass_on)?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the account was not opened")]
struct NotOpened(#[source] BoxError);

#[tokio::test(start_paused = true)]
async fn a_reactor_whose_commands_fail_because_their_store_is_away_waits_and_parks_nothing() {
    const FAILURES: usize = 10;
    let by_question_mark = |error: ExecuteError<AccountError>| HandlerError::from(error);
    let boxed = |error: ExecuteError<AccountError>| HandlerError::from(BoxError::from(error));
    let wrapped = |error: ExecuteError<AccountError>| NotOpened(std::io::Error::other(error).into()).into();
    let ways: [fn(ExecuteError<AccountError>) -> HandlerError; 3] = [by_question_mark, boxed, wrapped];
    for pass_on in ways {
        let (store, elsewhere) = (SpyStore::default(), FaultyStore::new(MemoryStore::new(), FaultPlan::none()));
        deposits(&store, 3).await;
        (0..FAILURES).for_each(|_| elsewhere.plan().fail_next(Operation::Read, Fault::LostRequest));
        let teller = Teller { accounts: Repository::new(&elsewhere).without_cache(), pass_on };
        let parks = ConsumerOptions::default().on_failure(FailurePolicy::park_after(0));
        let runner = Runner::builder(&store).reactor_with(teller, parks).build().unwrap();
        let running = Running::start(&runner);
        runner.wait_for("teller", position(3), Duration::from_secs(1_000)).await.unwrap();
        running.stop().await.unwrap();
        assert_eq!(runner.status().await.unwrap()[0].parked.keys, 0);
        assert_eq!(elsewhere.head().await.unwrap(), position(3));
    }
}
