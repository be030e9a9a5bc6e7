//! Poison: of many accounts 1 % cannot be applied. All others complete; once the code is mended, the parked ones are tried again,
//! and the read models are as if nothing had happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::{
    Append, ConsumerName, ConsumerStore, ConsumerStoreExt, EventFilter, EventKey, EventStoreExt, ExpectedVersion, Fate,
    HandlerError, InvalidName, Order, Position, Projection, ProjectionStore, Recorded, RecordedEvent, RunnerStore,
    TableNames, View,
};
use es_e2e::{
    ledger::{LEDGER, PgLedger, SqliteLedger},
    server::{Folder, shared_postgres_url, unique_schema},
    workload::{account, deposit},
};
use es_postgres::PgOptions;
use es_projections::{ConsumerOptions, FailurePolicy, Retried, Runner};
use es_sqlite::SqliteStore;
use es_testkit::{SeededRng, bank::AccountEvent};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::{sync::oneshot, time::timeout};

const ACCOUNTS: u64 = 300;
/// Of these accounts nothing can be applied from some deposit on: 1 %.
const BAD: [u64; 3] = [7, 123, 299];
/// Deposits before the code is mended, and while it is mended.
const DEPOSITS: [u64; 2] = [4_000, 1_000];
const LONG: Duration = Duration::from_secs(120);

/// Whether an event is one of those that broken code cannot apply. Mended code can apply all.
fn is_bad(event: &Recorded<AccountEvent>) -> bool {
    let is_of = |number: &u64| *event.stream() == account(*number);
    event.version().get() % 3 == 0 && BAD.iter().any(|number| is_of(number))
}

/// A ledger that fails, after it has written, while its code is broken.
struct Picky<P> {
    ledger: P,
    is_broken: Arc<AtomicBool>,
}

impl<P: Projection<Event = AccountEvent>> Projection for Picky<P> {
    type Connection = P::Connection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.ledger.name()
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        let ledger = self.ledger.in_generation(names)?;
        Ok(ledger.map(|ledger| Self { ledger, is_broken: Arc::clone(&self.is_broken) }))
    }

    async fn prepare(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.ledger.prepare(connection).await
    }

    async fn apply(&self, connection: &mut P::Connection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.ledger.apply(connection, event).await?;
        match self.is_broken.load(Ordering::SeqCst) && is_bad(event) {
            true => Err(std::io::Error::other("cannot be applied").into()),
            false => Ok(()),
        }
    }

    async fn clear(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.ledger.clear(connection).await
    }
}

/// The positions of each account's events in the order in which they took effect.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seen<const MENDED: bool> {
    positions: Vec<u64>,
}

impl<const MENDED: bool> View for Seen<MENDED> {
    const NAME: &'static str = "seen";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> Fate {
        assert!(MENDED || !is_bad(event), "cannot be applied");
        self.positions.push(event.position().get());
        Fate::Keep
    }
}

fn parks() -> ConsumerOptions {
    ConsumerOptions::default().on_failure(FailurePolicy::park_after(1))
}

async fn deposit_at_random(store: &impl RunnerStore, random: &SeededRng, count: u64) -> Position {
    let mut left = count;
    while left > 0 {
        let mut append = Append::builder();
        let first = random.below(ACCOUNTS);
        let streams = left.min(20);
        for n in 0..streams {
            let stream = account((first + n * 13) % ACCOUNTS);
            append = append.and(stream, ExpectedVersion::Any, vec![deposit(random.below(1_000) as i64)]);
        }
        store.append(&append.build().expect("within limits")).await.expect("it is stored");
        left -= streams;
    }
    store.head().await.expect("the head can be read")
}

/// Runs a runner beside something else, and shuts it down.
async fn while_running<T>(runner: &Runner, work: impl Future<Output = T>) -> T {
    let (shut_down, shutdown) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(async { _ = shutdown.await }).await }
    });
    let result = work.await;
    drop(shut_down);
    running.await.expect("it does not panic").expect("no consumer stopped");
    result
}

/// The positions of each account's events, in the order of the log.
async fn positions_of_the_log(store: &impl RunnerStore) -> BTreeMap<String, Vec<u64>> {
    let log: Vec<RecordedEvent> =
        store.all_events(Position::ZERO, &EventFilter::all()).try_collect().await.expect("the log can be read");
    let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in log {
        all.entry(event.stream().id().to_owned()).or_default().push(event.position().get());
    }
    all
}

/// What the view has seen of each account.
async fn seen(store: &impl ConsumerStore) -> BTreeMap<String, Vec<u64>> {
    let all = store.view::<Seen<true>>().list(None, 1_000).await.expect("the view can be read");
    all.into_iter().map(|(account, seen)| (account, seen.positions)).collect()
}

/// What was parked, by consumer: the keys.
async fn parked(runner: &Runner, consumer: &str) -> BTreeSet<EventKey> {
    let queues = runner.parked(consumer, None, 100).await.expect("the queues can be read");
    queues.into_iter().map(|queue| queue.key).collect()
}

/// Gives the log by account.
async fn poison_and_mend<S, P>(store: &S, ledger: impl Fn() -> P) -> BTreeMap<String, Vec<u64>>
where
    S: RunnerStore + ProjectionStore + Clone + 'static,
    P: Projection<Connection = <S as ProjectionStore>::Connection, Event = AccountEvent>,
{
    let random = SeededRng::from_env();
    let is_broken = Arc::new(AtomicBool::new(true));
    let picky = || Picky { ledger: ledger(), is_broken: Arc::clone(&is_broken) };
    let broken = Runner::builder(store)
        .projection_with(picky(), parks())
        .view_with::<Seen<false>>(parks())
        .build()
        .expect("the names are right");
    while_running(&broken, async {
        let head = deposit_at_random(store, &random, DEPOSITS[0]).await;
        for consumer in [LEDGER, "seen"] {
            broken.wait_for(consumer, head, LONG).await.expect("everything else goes on");
        }
    })
    .await;
    let streams: BTreeSet<EventKey> = BAD.iter().map(|&number| EventKey::Stream(account(number))).collect();
    assert_eq!(parked(&broken, LEDGER).await, streams);
    let documents = BAD.iter().map(|number| EventKey::document(&number.to_string()).expect("a valid key"));
    let documents: BTreeSet<EventKey> = documents.collect();
    assert_eq!(parked(&broken, "seen").await, documents);
    let (log, seen_so_far) = (positions_of_the_log(store).await, seen(store).await);
    for (account, positions) in &log {
        match BAD.iter().any(|bad| bad.to_string() == *account) {
            false => assert_eq!(seen_so_far.get(account), Some(positions), "account {account}"),
            // The third event of the stream is the first that fails.
            true => {
                assert_eq!(seen_so_far.get(account).map(Vec::len), Some(2.min(positions.len())), "account {account}")
            }
        }
    }

    is_broken.store(false, Ordering::SeqCst);
    let mended = Runner::builder(store)
        .projection_with(picky(), parks())
        .view_with::<Seen<true>>(parks())
        .build()
        .expect("the names are right");
    let order = Order::by("e2e").and_then(|order| order.because("mended")).expect("a valid order");
    // Cut off somewhere half way, again and again.
    for key in streams.iter().chain(&documents).cycle().take(24) {
        let consumer = if documents.contains(key) { "seen" } else { LEDGER };
        let some_time = Duration::from_micros(random.below(6_000));
        _ = timeout(some_time, mended.retry_parked(consumer, key, &order, LONG)).await;
    }
    while_running(&mended, async {
        let (head, ()) = tokio::join!(deposit_at_random(store, &random, DEPOSITS[1]), async {
            for (consumer, keys) in [(LEDGER, &streams), ("seen", &documents)] {
                for key in keys {
                    let retried = mended.retry_parked(consumer, key, &order, LONG).await.expect("it is tried again");
                    assert!(matches!(retried, Retried::Freed | Retried::NotParked), "{retried:?}");
                }
            }
        });
        for consumer in [LEDGER, "seen"] {
            mended.wait_for(consumer, head, LONG).await.expect("everything goes on");
        }
    })
    .await;
    assert_eq!(store.parked_totals().await.expect("the totals can be read"), []);
    let log = positions_of_the_log(store).await;
    assert_eq!(seen(store).await, log);
    let seen = ConsumerName::new("seen").expect("a valid name");
    let history = store.parking_history(&seen, 0, 100).await.expect("the history can be read");
    assert!(history.iter().all(|record| record.by == "e2e"), "{history:?}");
    log
}

/// Each account's events are in the ledger once, and in the order of the log.
fn assert_applied_once_and_in_order(inserted: &[i64], log: &BTreeMap<String, Vec<u64>>) {
    let account_of: BTreeMap<u64, &String> = log
        .iter()
        .flat_map(|(account, positions)| positions.iter().map(move |&position| (position, account)))
        .collect();
    let mut ledger: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for position in inserted.iter().map(|position| position.unsigned_abs()) {
        ledger.entry(account_of[&position].clone()).or_default().push(position);
    }
    assert_eq!(ledger, *log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoned_keys_are_parked_and_come_after_in_order_on_postgresql() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(6).connect().await.expect("the store opens");
    let log = poison_and_mend(&store, || PgLedger::new(&schema)).await;
    let mut connection = PgConnection::connect(&url).await.expect("the server accepts connections");
    // In the order of the transactions that inserted them; each is a page, or a parked event.
    let sql = format!("SELECT position FROM {schema}.\"{LEDGER}_g1\" ORDER BY xmin::text::bigint, position");
    let rows: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the ledger");
    assert_applied_once_and_in_order(&rows, &log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoned_keys_are_parked_and_come_after_in_order_on_sqlite() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let log = poison_and_mend(&store, SqliteLedger::default).await;
    let url = format!("sqlite:{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the file opens");
    let sql = format!("SELECT position FROM \"{LEDGER}_g1\" ORDER BY rowid");
    let rows: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the ledger");
    assert_applied_once_and_in_order(&rows, &log);
}
