//! What the tests speak about: a log of account events, consumers that can be made to fail, a store that is watched.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use es_core::{
    Append, ConsumerName, ConsumerStore, ConsumerStoreExt, EventStore, EventType, ExpectedVersion, HandlerError,
    InvalidName, MemoryStore, MemoryTables, NewEvent, PageSize, Payload, Position, Projection, Reactor, Recorded,
    StreamId, TableNames,
};
use es_projections::{Backoff, ConsumerOptions, ConsumerStatus, FailurePolicy, Runner};
use es_testkit::bank::{AccountEvent, Balance};
use tokio::sync::Semaphore;

/// Appends one event to a stream and gives its position.
pub(crate) async fn append<S: EventStore>(
    store: &S,
    category: &str,
    id: &str,
    event_type: &str,
    json: String,
) -> Position {
    let event = NewEvent::new(EventType::new(event_type).unwrap(), Payload::from_json(json).unwrap());
    let stream = StreamId::new(category, id).unwrap();
    let append = Append::to(stream, ExpectedVersion::Any, vec![event]).build().unwrap();
    store.append(&append).await.unwrap().last_position
}

/// Deposits cents to an account.
pub(crate) async fn deposit<S: EventStore>(store: &S, account: &str, cents: i64) -> Position {
    append(store, "account", account, "Deposited", format!(r#"{{"cents":{cents}}}"#)).await
}

/// Deposits one cent, `count` times, to a few accounts in turn.
pub(crate) async fn deposits<S: EventStore>(store: &S, count: u64) {
    for n in 0..count {
        deposit(store, &format!("a{}", n % 7), 1).await;
    }
}

/// Appends events that no consumer of these tests wants.
pub(crate) async fn noise<S: EventStore>(store: &S, count: u64) {
    for _ in 0..count {
        append(store, "weather", "here", "Rained", "{}".to_owned()).await;
    }
}

/// Appends an account event that cannot be read.
pub(crate) async fn unreadable<S: EventStore>(store: &S) -> Position {
    append(store, "account", "a0", "Deposited", r#"{"cents":"many"}"#.to_owned()).await
}

/// How a handler fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By an error that names the event.
    Error,
    /// By an error that says nothing about the event.
    UnnamedError,
    /// By a panic.
    Panic,
    /// By an error that will pass.
    Transient,
}

/// Makes a consumer fail at a position, until it is mended, or hold still before it.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    at: Arc<AtomicU64>,
    how: How,
    gate: Arc<Semaphore>,
    gated_at: Option<u64>,
    /// How often every event fails before it succeeds.
    stumbles: u64,
    stumbled: Arc<Mutex<BTreeMap<u64, u64>>>,
    /// How often the failing event was tried.
    pub(crate) tries: Arc<AtomicU64>,
}

impl Trouble {
    pub(crate) fn none() -> Self {
        Self::at(0, How::Error)
    }

    pub(crate) fn at(position: u64, how: How) -> Self {
        let (gate, tries) = (Arc::new(Semaphore::new(0)), Arc::default());
        Self { at: Arc::new(position.into()), how, gate, gated_at: None, stumbles: 0, stumbled: Arc::default(), tries }
    }

    /// Holds still before an event until [`open`](Self::open).
    pub(crate) fn gate_before(position: u64) -> Self {
        Self { gated_at: Some(position), ..Self::none() }
    }

    /// Every event fails so often before it succeeds.
    pub(crate) fn stumble(times: u64) -> Self {
        Self { stumbles: times, ..Self::none() }
    }

    pub(crate) fn open(&self) {
        self.gate.close();
    }

    pub(crate) fn mend(&self) {
        self.at.store(0, Ordering::SeqCst);
    }

    pub(crate) fn tries(&self) -> u64 {
        self.tries.load(Ordering::SeqCst)
    }

    pub(crate) async fn meet(&self, position: u64) -> Result<(), HandlerError> {
        if self.gated_at == Some(position) {
            self.tries.fetch_add(1, Ordering::SeqCst);
            let _ = self.gate.acquire().await;
        }
        if *self.stumbled.lock().unwrap().entry(position).or_default() < self.stumbles {
            *self.stumbled.lock().unwrap().entry(position).or_default() += 1;
            return Err(HandlerError::at(Position::new(position), std::io::Error::other("stumbled")));
        }
        if position != self.at.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.tries.fetch_add(1, Ordering::SeqCst);
        let error = std::io::Error::other("no room");
        match self.how {
            How::Error => Err(HandlerError::at(Position::new(position), error)),
            How::UnnamedError => Err(error.into()),
            How::Transient => Err(HandlerError::transient(error)),
            How::Panic => panic!("lost my head at {position}"),
        }
    }
}

/// A projection that counts how often each event was applied.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    pub(crate) name: &'static str,
    pub(crate) table: String,
    pub(crate) version: u32,
    pub(crate) trouble: Trouble,
    pub(crate) time_per_event: Duration,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self::with(Trouble::none())
    }

    pub(crate) fn with(trouble: Trouble) -> Self {
        Self { name: "ledger", table: String::new(), version: 1, trouble, time_per_event: Duration::ZERO }
    }
}

impl Projection for Ledger {
    type Connection = MemoryTables;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { table: names.table(self.name)?, ..self.clone() }))
    }

    async fn apply(&self, tables: &mut MemoryTables, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let position = event.position().get();
        self.trouble.meet(position).await?;
        if !self.time_per_event.is_zero() {
            tokio::time::sleep(self.time_per_event).await;
        }
        let times = tables.table(&self.table).entry(format!("{position:09}")).or_insert_with(|| 0.into());
        *times = (times.as_u64().unwrap_or(0) + 1).into();
        Ok(())
    }

    /// Like the default, but leaves the naming of the event to the error.
    async fn apply_page(&self, tables: &mut MemoryTables, page: &[Recorded<AccountEvent>]) -> Result<(), HandlerError> {
        for event in page {
            self.apply(tables, event).await?;
        }
        Ok(())
    }

    async fn clear(&self, tables: &mut MemoryTables) -> Result<(), HandlerError> {
        tables.table(&self.table).clear();
        Ok(())
    }
}

/// What the ledger has written: position and how often it was applied.
pub(crate) async fn ledger_rows(store: &MemoryStore, name: &str) -> BTreeMap<u64, u64> {
    let mut tables = store.tables().await;
    let rows = tables.table(name).iter();
    rows.map(|(position, times)| (position.parse().unwrap(), times.as_u64().unwrap())).collect()
}

/// The rows of a ledger that applied these positions, each once.
pub(crate) fn once_each(positions: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u64> {
    positions.into_iter().map(|position| (position, 1)).collect()
}

/// A reactor that notes what it was given.
#[derive(Debug, Clone)]
pub(crate) struct Mailer {
    pub(crate) sent: Arc<Mutex<Vec<u64>>>,
    pub(crate) trouble: Trouble,
    pub(crate) time_per_mail: Duration,
}

impl Mailer {
    pub(crate) fn new() -> Self {
        Self::with(Trouble::none())
    }

    pub(crate) fn with(trouble: Trouble) -> Self {
        Self { sent: Arc::default(), trouble, time_per_mail: Duration::ZERO }
    }

    pub(crate) fn sent(&self) -> Vec<u64> {
        self.sent.lock().unwrap().clone()
    }
}

impl Reactor for Mailer {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "mailer"
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.trouble.meet(event.position().get()).await?;
        if !self.time_per_mail.is_zero() {
            tokio::time::sleep(self.time_per_mail).await;
        }
        self.sent.lock().unwrap().push(event.position().get());
        Ok(())
    }
}

/// The balances of the accounts, as cents and number of events.
pub(crate) async fn balances<S: ConsumerStore>(store: &S) -> Vec<(String, i64, u64)> {
    let all = store.view::<Balance>().list(None, 1_000).await.unwrap();
    all.into_iter().map(|(key, balance)| (key, balance.cents, balance.events)).collect()
}

pub(crate) async fn checkpoint<S: ConsumerStore>(store: &S, consumer: &str) -> Option<u64> {
    let found = store.checkpoint(&name(consumer)).await.unwrap();
    found.map(|checkpoint| checkpoint.position.get())
}

pub(crate) fn name(consumer: &str) -> ConsumerName {
    ConsumerName::new(consumer).unwrap()
}

pub(crate) fn position(number: u64) -> Position {
    Position::new(number)
}

/// Options with small pages.
pub(crate) fn pages_of(events: usize) -> ConsumerOptions {
    ConsumerOptions::default().page_size(PageSize::new(events).unwrap())
}

/// Options with short waits between a number of retries.
pub(crate) fn retries(retries: u32) -> ConsumerOptions {
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(40));
    ConsumerOptions::default().on_failure(FailurePolicy::Retry { retries, backoff })
}

pub(crate) async fn status_of(runner: &Runner, consumer: &str) -> ConsumerStatus {
    let all = runner.status().await.unwrap();
    all.into_iter().find(|status| status.name.as_str() == consumer).unwrap()
}

/// A runner that runs in the background until it is told to stop.
pub(crate) struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), es_projections::RunnerError>>,
}

impl Running {
    pub(crate) fn start(runner: &Runner) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let runner = runner.clone();
        let shutdown = async {
            let _ = stopped.await;
        };
        Self { stop, task: tokio::spawn(async move { runner.run(shutdown).await }) }
    }

    pub(crate) async fn stop(self) -> Result<(), es_projections::RunnerError> {
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }

    pub(crate) async fn ended(self) -> Result<(), es_projections::RunnerError> {
        self.task.await.unwrap()
    }
}

/// Without any progress for so long, a test fails.
pub(crate) const STALL: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < STALL, "not in {STALL:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets everybody else go on until they wait for time or for this test.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Polls a future so many times, then drops it; its output if it was ready by then.
pub(crate) async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context))).await;
        if let std::task::Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}
