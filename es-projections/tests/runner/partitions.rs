//! Consumers that run as several partitions.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use es_core::{ConsumerName, HandlerError, OperatorRequest, PartitionStore, Reactor, Recorded, StoreError};
use es_projections::{
    ConsumerOptions, ConsumerState, FailurePolicy, RebuildOptions, Rebuilt, Runner, RunnerError, Verification,
};
use es_testkit::{
    SeededRng,
    bank::{AccountEvent, Balance},
};

use crate::{spy_store::SpyStore, support::*};

const ENOUGH: Duration = Duration::from_secs(20);

fn options(partitions: u16) -> ConsumerOptions {
    pages_of(5).partitions(partitions)
}

fn request() -> OperatorRequest {
    OperatorRequest::by("ann").unwrap()
}

/// Deposits to so many accounts, in turn.
async fn deposits_to(store: &SpyStore, accounts: u64, count: u64) {
    for n in 0..count {
        deposit(store, &format!("a{}", n % accounts), 1).await;
    }
}

async fn counts(store: &SpyStore, consumer: &str) -> Vec<u64> {
    let all = store.partitions(&ConsumerName::parse(consumer).unwrap()).await.unwrap();
    all.iter().map(|reached| reached.position.get()).collect()
}

/// Notes what it is given by stream; its key may be made to fail.
#[derive(Clone, Default)]
struct Notes {
    by_stream: Arc<Mutex<BTreeMap<String, Vec<u64>>>>,
    held: Option<(String, Trouble)>,
    keys: Arc<AtomicU64>,
    key_fails: Option<KeyFails>,
}

#[derive(Clone, Copy, PartialEq)]
enum KeyFails {
    Panics,
    Changes,
}

impl Reactor for Notes {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "notes"
    }

    fn partition_key<'a>(&'a self, event: &'a Recorded<AccountEvent>) -> Cow<'a, str> {
        let asked = self.keys.fetch_add(1, Ordering::SeqCst);
        match self.key_fails {
            Some(KeyFails::Panics) if event.position().get() == 9 => panic!("no key"),
            Some(KeyFails::Changes) if event.position().get() == 9 => asked.to_string().into(),
            _ => event.stream().as_str().into(),
        }
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        if let Some((stream, trouble)) = &self.held
            && *stream == event.stream().to_string()
        {
            trouble.meet(event.position().get()).await?;
        }
        self.by_stream.lock().unwrap().entry(event.stream().to_string()).or_default().push(event.position().get());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_is_given_to_one_partition_in_the_order_of_its_key() {
    let (store, notes) = (SpyStore::default(), Notes::default());
    deposits_to(&store, 11, 220).await;
    let runner = Runner::builder(&store).reactor_with(notes.clone(), options(4)).build().unwrap();
    runner.catch_up().await.unwrap();
    assert_eq!(counts(&store, "notes").await, [220; 4]);
    let by_stream = notes.by_stream.lock().unwrap().clone();
    for n in 0..11 {
        let expected: Vec<u64> = (0..20).map(|round| 1 + n + 11 * round).collect();
        assert_eq!(by_stream[&format!("account/a{n}")], expected);
    }
    let running = Running::start(&runner);
    let last = deposit(&store, "a3", 1).await;
    runner.wait_for("notes", last, ENOUGH).await.unwrap();
    let status = status_of(&runner, "notes").await;
    assert_eq!((status.partitions.len(), status.position.get()), (4, 221), "{status}");
    running.stop().await.unwrap();
    assert_eq!(notes.by_stream.lock().unwrap()["account/a3"].last(), Some(&221));
}

#[tokio::test(start_paused = true)]
async fn one_reader_feeds_all_partitions() {
    let mut reads = Vec::new();
    for partitions in [1, 8] {
        let store = SpyStore::default();
        deposits_to(&store, 50, 9_000).await;
        let options = ConsumerOptions::default().partitions(partitions);
        let runner = Runner::builder(&store).view_with::<Balance>(options).build().unwrap();
        store.seen.reads.store(0, Ordering::SeqCst);
        runner.catch_up().await.unwrap();
        reads.push(store.seen.reads.load(Ordering::SeqCst));
        assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 9_000);
    }
    assert!(reads[1] <= reads[0] + 8, "eight partitions read {} times, one {} times", reads[1], reads[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_partitions_changes_while_runners_work_and_no_event_is_lost_or_repeated() {
    let (store, rng) = (SpyStore::default(), SeededRng::from_env());
    let builder = || {
        let builder = Runner::builder(&store).lease_time(Duration::from_millis(400));
        let builder = builder.projection_with(Ledger::new(), options(3));
        builder.view_with::<Balance>(options(2)).build().unwrap()
    };
    let runners = [builder(), builder()];
    let running = [Running::start(&runners[0]), Running::start(&runners[1])];
    let mut total = 0;
    for round in 0..12 {
        let more = 20 + rng.below(60);
        deposits_to(&store, 13, more).await;
        total += more;
        let runner = &runners[(round % 2) as usize];
        let counts = [1, 2, 3, 5, 8, 64];
        for consumer in ["ledger", "balance"] {
            let count = counts[rng.below(6) as usize];
            match runner.repartition(consumer, count, &request()).await {
                Ok(()) => {}
                // Before anybody ran it.
                Err(RunnerError::Store(error)) if matches!(*error, StoreError::Refused { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    for consumer in ["ledger", "balance"] {
        runners[0].wait_for(consumer, position(total), ENOUGH).await.unwrap();
    }
    for running in running {
        running.stop().await.unwrap();
    }
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=total));
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_shared_by_runners() {
    let (store, notes) = (SpyStore::default(), Notes::default());
    let builder = || {
        let builder = Runner::builder(&store).lease_time(Duration::from_millis(400));
        builder.reactor_with(notes.clone(), options(6)).build().unwrap()
    };
    let runners = [builder(), builder(), builder()];
    let running = runners.each_ref().map(Running::start);
    let is_here = |state: &ConsumerState| matches!(state, ConsumerState::CaughtUp | ConsumerState::CatchingUp);
    let start = std::time::Instant::now();
    loop {
        let mut shares = Vec::new();
        for runner in &runners {
            let status = status_of(runner, "notes").await;
            shares.push(status.partitions.iter().filter(|partition| is_here(&partition.state)).count());
        }
        if shares == [2, 2, 2] {
            break;
        }
        assert!(start.elapsed() < ENOUGH, "{shares:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    deposits_to(&store, 11, 220).await;
    runners[0].wait_for("notes", position(220), ENOUGH).await.unwrap();
    for running in running {
        running.stop().await.unwrap();
    }
    let by_stream = notes.by_stream.lock().unwrap().clone();
    assert_eq!(by_stream.values().map(Vec::len).sum::<usize>(), 220);
    assert!(by_stream.values().all(|positions| positions.is_sorted()));
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_left_all_partitions_to_others_takes_a_new_one() {
    let (store, notes) = (SpyStore::default(), Notes::default());
    let build = || {
        let builder = Runner::builder(&store).lease_time(Duration::from_millis(400));
        builder.reactor_with(notes.clone(), options(2)).build().unwrap()
    };
    // Partitions are assigned in the order of the runners' names, which grow: the one that works first gets none later.
    let (first, second, third) = (build(), build(), build());
    let running = Running::start(&third);
    deposits_to(&store, 11, 30).await;
    third.wait_for("notes", position(30), ENOUGH).await.unwrap();
    let others = [Running::start(&first), Running::start(&second)];
    let is_elsewhere = |state: &ConsumerState| matches!(state, ConsumerState::RunsElsewhere { .. });
    let end = tokio::time::Instant::now() + ENOUGH;
    while !status_of(&third, "notes").await.partitions.iter().all(|partition| is_elsewhere(&partition.state)) {
        assert!(tokio::time::Instant::now() < end, "it keeps a partition");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.repartition(&name("notes"), 3).await.unwrap();
    deposits_to(&store, 11, 30).await;
    first.wait_for("notes", position(60), ENOUGH).await.unwrap();
    for running in others.into_iter().chain([running]) {
        running.stop().await.unwrap();
    }
    // A reaction whose checkpoint the change of partitions refused is repeated.
    let by_stream = notes.by_stream.lock().unwrap().clone();
    let seen: std::collections::BTreeSet<u64> = by_stream.into_values().flatten().collect();
    assert_eq!(seen, (1..=60).collect());
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_fails_holds_no_other_back() {
    let store = SpyStore::default();
    deposits_to(&store, 11, 110).await;
    let held = Some(("account/a0".to_owned(), Trouble::at(1, How::Error)));
    let notes = Notes { held, ..Notes::default() };
    let options = options(4).on_failure(FailurePolicy::Stop);
    let runner = Runner::builder(&store).reactor_with(notes.clone(), options).build().unwrap();
    let error = runner.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::Consumer { event: Some(event), .. } if event.get() == 1), "{error}");
    let mut reached = counts(&store, "notes").await;
    reached.sort_unstable();
    assert_eq!(reached, [0, 110, 110, 110]);
    let status = status_of(&runner, "notes").await;
    assert!(matches!(status.state, ConsumerState::Stopped { .. }), "{status}");
    assert_eq!((status.position.get(), status.lag), (0, 110));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_read_model_is_rebuilt_beside_compared_and_keeps_its_partitions() {
    let store = SpyStore::default();
    let runner = Runner::builder(&store).view_with::<Balance>(options(4)).build().unwrap();
    let running = Running::start(&runner);
    deposits_to(&store, 11, 330).await;
    runner.wait_for("balance", position(330), ENOUGH).await.unwrap();
    let options = RebuildOptions::by("ann").verify(Verification::MustMatch);
    let rebuilt = runner.rebuild_beside("balance", options, |_| {}).await.unwrap();
    assert!(matches!(rebuilt, Rebuilt::Live { comparison: Some(_), .. }), "{rebuilt:?}");
    let last = deposit(&store, "a1", 1).await;
    runner.wait_for("balance", last, ENOUGH).await.unwrap();
    assert_eq!(counts(&store, "balance@2").await.len(), 4);
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 331);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_in_place_empties_all_partitions_and_fills_them_again() {
    let store = SpyStore::default();
    deposits_to(&store, 11, 110).await;
    let runner = Runner::builder(&store).projection_with(Ledger::new(), options(3)).build().unwrap();
    runner.catch_up().await.unwrap();
    runner.rebuild("ledger", |_| {}).await.unwrap();
    assert_eq!(ledger_rows(&store.inner, "ledger").await, once_each(1..=110));
    assert_eq!(counts(&store, "ledger").await, [110; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_told_stops_its_consumer_and_says_why() {
    for (fails, words) in [(KeyFails::Panics, "no key"), (KeyFails::Changes, "another key each time")] {
        let store = SpyStore::default();
        deposits_to(&store, 3, 30).await;
        let notes = Notes { key_fails: Some(fails), ..Notes::default() };
        let runner = Runner::builder(&store).reactor_with(notes, options(4)).build().unwrap();
        let error = runner.catch_up().await.unwrap_err();
        assert!(matches!(&error, RunnerError::PartitionKey { event, .. } if event.get() == 9), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_stops_all_partitions_since_nobody_can_tell_whose_it_is() {
    let store = SpyStore::default();
    deposits_to(&store, 5, 20).await;
    let unreadable = unreadable(&store).await;
    let options = options(4).on_failure(FailurePolicy::park_after(0));
    let split = Runner::builder(&store).view_with::<Balance>(options).build().unwrap();
    let error = split.catch_up().await.unwrap_err();
    assert!(matches!(&error, RunnerError::PartitionKey { event, .. } if *event == unreadable), "{error:?}");
    assert_eq!(split.parked("balance", None, 10).await.unwrap(), []);

    // As one, it is parked; and split again, whatever comes in its stream waits until it is seen to.
    let whole = Runner::builder(&store).view_with::<Balance>(options.partitions(1)).build().unwrap();
    whole.catch_up().await.unwrap();
    assert_eq!(whole.parked("balance", None, 10).await.unwrap().len(), 1);
    deposit(&store, "a0", 1).await;
    let split = Runner::builder(&store).view_with::<Balance>(options).build().unwrap();
    let error = split.catch_up().await.unwrap_err().to_string();
    assert!(error.contains("balance"), "{error}");
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 20);
    whole.repartition("balance", 1, &request()).await.unwrap();
    let key = "stream:account/a0".parse().unwrap();
    let request = request().because("a test").unwrap();
    assert_eq!(whole.discard_parked("balance", &key, None, &request).await.unwrap(), 1);
    whole.catch_up().await.unwrap();
    assert_eq!(balances(&store).await.iter().map(|(_, _, events)| events).sum::<u64>(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_number_of_partitions_has_bounds() {
    let store = SpyStore::default();
    for count in [0, es_core::limits::MAX_PARTITIONS + 1] {
        let built = Runner::builder(&store).reactor_with(Mailer::new(), options(count)).build();
        assert!(matches!(built, Err(RunnerError::Store(_))), "{count}: {built:?}");
    }
    deposits_to(&store, 3, 3).await;
    let runner = Runner::builder(&store).reactor(Mailer::new()).build().unwrap();
    runner.catch_up().await.unwrap();
    for count in [0, es_core::limits::MAX_PARTITIONS + 1] {
        assert!(runner.repartition("mailer", count, &request()).await.is_err());
    }
    assert!(matches!(runner.repartition("nobody", 2, &request()).await, Err(RunnerError::UnknownConsumer { .. })));
}
