//! Commands of one process on one aggregate take turns, and states that others change are looked at first.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use es_core::{
    Append, Appended, Bookmark, CommandQueue, EventFilter, EventPage, EventStore, ExecuteError, IdempotencyKey,
    MemoryStore, PageSize, Position, Repository, StoreError, StreamId, StreamPage, Version, Wakeups, limits,
};
use es_testkit::{
    FaultPlan, FaultyStore, Operation,
    bank::{Account, AccountCommand},
};
use tokio::sync::Barrier;

const DEPOSIT: AccountCommand = AccountCommand::Deposit { cents: 1 };

/// Every call takes a moment, so that others come between.
fn slow_store() -> FaultyStore<MemoryStore> {
    FaultyStore::new(MemoryStore::new(), FaultPlan::seeded(1).delays(100))
}

async fn opened(store: &FaultyStore<MemoryStore>) -> Repository<Account> {
    let accounts = Repository::<Account>::new(store).with_conflict_retries(0);
    for id in ["ann", "bob"] {
        accounts.execute(id, AccountCommand::Open { owner: id.to_owned() }).await.unwrap();
    }
    accounts
}

#[tokio::test]
async fn commands_of_one_process_on_one_aggregate_lose_no_race_against_each_other() {
    let store = slow_store();
    let accounts = opened(&store).await;
    let before = store.plan().calls(Operation::Append);
    // Over two aggregates in both orders, too: they are taken in one order, so that none waits for the other for ever.
    let tasks: Vec<_> = (0..30)
        .map(|n| {
            let accounts = accounts.clone();
            let (one, other) = if n % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
            tokio::spawn(async move { accounts.execute(one, DEPOSIT).and(other, DEPOSIT).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(accounts.load("ann").await.unwrap().state.cents, 30);
    assert_eq!(store.plan().calls(Operation::Append) - before, 30);
}

#[tokio::test]
async fn code_of_others_that_decides_may_execute_commands_on_the_same_aggregate() {
    let store = slow_store();
    let accounts = opened(&store).await;
    let inner = accounts.clone();
    let outer = accounts.execute_with("ann", move |_: Arc<Account>| {
        let inner = inner.clone();
        async move {
            let _ = inner.execute("ann", DEPOSIT).await;
            Ok(vec![])
        }
    });
    tokio::time::timeout(Duration::from_secs(10), outer).await.unwrap().unwrap();
    assert!(accounts.load("ann").await.unwrap().state.cents >= 1);
}

/// A store that is busy, and from the fourth append on answers only when four callers wait.
#[derive(Clone)]
struct StuckStore {
    store: MemoryStore,
    calls: Arc<AtomicU32>,
    crowd: Arc<Barrier>,
}

#[async_trait]
impl EventStore for StuckStore {
    async fn append(&self, _: &Append) -> Result<Appended, StoreError> {
        if self.calls.fetch_add(1, Ordering::Relaxed) > limits::BUSY_RETRIES {
            self.crowd.wait().await;
        }
        // The others begin to wait for their turn meanwhile.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        Err(StoreError::Busy { waiting_for: "somebody".to_owned(), source: None })
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.store.find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.store.read_stream(stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.store.read_all(after, filter, page).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store.head().await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        self.store.verify(seen).await
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store.wait_durable(position).await
    }

    fn wakeups(&self) -> Wakeups {
        self.store.wakeups()
    }
}

#[tokio::test]
async fn when_the_store_fails_one_all_that_wait_for_a_turn_ask_it_at_once() {
    let store = StuckStore { store: MemoryStore::new(), calls: Arc::default(), crowd: Arc::new(Barrier::new(4)) };
    let accounts = Repository::<Account>::new(&store);
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let accounts = accounts.clone();
            tokio::spawn(async move {
                accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).await.map(|_| ())
            })
        })
        .collect();
    for task in tasks {
        let result = tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
        assert!(matches!(result, Err(ExecuteError::Store(StoreError::Busy { .. }))), "{result:?}");
    }
}

#[tokio::test]
async fn states_that_somebody_else_keeps_changing_cost_few_appends_that_fail() {
    let store = slow_store();
    let (here, elsewhere) = (opened(&store).await, Repository::<Account>::new(&store));
    let before = store.plan().calls(Operation::Append);
    const COMMANDS: u64 = 100;
    for _ in 0..COMMANDS {
        here.execute("ann", DEPOSIT).await.unwrap();
        elsewhere.execute("ann", DEPOSIT).await.unwrap();
    }
    let failed = store.plan().calls(Operation::Append) - before - 2 * COMMANDS;
    assert!(failed < COMMANDS / 2, "{failed} appends failed for {} commands", 2 * COMMANDS);
}

/// A store in which every append meets a conflict, and which counts them.
#[derive(Clone, Default)]
struct LosingStore {
    store: MemoryStore,
    appends: Arc<AtomicU32>,
}

/// How long commands were to pause.
static PAUSES: Mutex<Vec<Duration>> = Mutex::new(Vec::new());

#[async_trait]
impl EventStore for LosingStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.appends.fetch_add(1, Ordering::Relaxed);
        let part = &append.streams()[0];
        let (stream, expected) = (part.stream().clone(), part.expected());
        Err(StoreError::Conflict { stream, expected, actual: Version::new(1) })
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.store.find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.store.read_stream(stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.store.read_all(after, filter, page).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store.head().await
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store.wait_durable(position).await
    }

    fn wakeups(&self) -> Wakeups {
        self.store.wakeups()
    }

    fn command_queue(&self) -> CommandQueue {
        CommandQueue::with_sleep(|time| {
            PAUSES.lock().unwrap().push(time);
            Box::pin(tokio::time::sleep(Duration::from_millis(5)))
        })
    }
}

#[tokio::test]
async fn a_command_that_keeps_losing_pauses_and_ends_at_its_number_of_retries_or_at_its_time_limit() {
    let long = limits::MAX_CONFLICT_RETRY_TIME;
    for (retries, time, appends) in [
        (limits::MAX_CONFLICT_RETRIES, Duration::ZERO, 1..=1),
        (limits::MAX_CONFLICT_RETRIES, Duration::from_millis(50), 1..=11),
        (0, long, 1..=1),
        (3, long, 4..=4),
    ] {
        let store = LosingStore::default();
        let accounts = Repository::<Account>::new(&store).with_conflict_retries(retries).with_conflict_retry_time(time);
        PAUSES.lock().unwrap().clear();
        let lost = accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).await;
        assert!(matches!(lost, Err(ExecuteError::Store(StoreError::Conflict { .. }))), "{lost:?}");
        let (tried, pauses) = (store.appends.load(Ordering::Relaxed), PAUSES.lock().unwrap().clone());
        assert!(appends.contains(&tried), "{tried} appends");
        assert_eq!(pauses.len() as u32, tried - 1);
        for (pause, lost_races) in pauses.into_iter().zip(1..) {
            assert!(pause <= limits::MAX_CONFLICT_PAUSE / lost_races, "{pause:?} after {lost_races}");
        }
    }
}
