//! Poison: of many accounts 1 % cannot be applied. All others complete; once the code is mended, the parked ones are tried again,
//! and the read models are as if nothing had happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::{
    Append, ConsumerName, ConsumerStore, ConsumerStoreExt, EventFilter, EventKey, EventStoreExt, ExpectedVersion,
    OperatorRequest, Position, Projection, ProjectionStore, RecordedEvent, RunnerStore,
};
use es_e2e::{
    ledger::{LEDGER, PgLedger, SqliteLedger},
    poison::{ACCOUNTS, BAD, Picky, Seen, parks},
    progress::Progress,
    server::{Folder, shared_postgres_url, unique_schema},
    workload::{account, deposit},
};
use es_postgres::PgOptions;
use es_projections::{Retried, Runner};
use es_sqlite::SqliteStore;
use es_testkit::{SeededRng, bank::AccountEvent};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::{sync::oneshot, time::timeout};

/// Deposits before the code is mended, and while it is mended.
const DEPOSITS: [u64; 2] = [4_000, 1_000];
const LONG: Duration = Duration::from_secs(120);

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
    let request = OperatorRequest::by("e2e").and_then(|request| request.because("fixed")).expect("a valid request");
    // Cut off somewhere half way, again and again.
    for key in streams.iter().chain(&documents).cycle().take(24) {
        let consumer = if documents.contains(key) { "seen" } else { LEDGER };
        let some_time = Duration::from_micros(random.below(6_000));
        _ = timeout(some_time, mended.retry_parked(consumer, key, &request, LONG)).await;
    }
    while_running(&mended, async {
        let (head, ()) = tokio::join!(deposit_at_random(store, &random, DEPOSITS[1]), async {
            for (consumer, keys) in [(LEDGER, &streams), ("seen", &documents)] {
                for key in keys {
                    let retried = mended.retry_parked(consumer, key, &request, LONG).await.expect("it is tried again");
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

/// A process that runs the consumers until it is killed.
struct Process(Child);

impl Process {
    fn start(code: &str, arguments: &[OsString]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poison-runner"));
        // Its handlers panic on purpose.
        command.arg(code).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the process starts"))
    }

    /// Ends it as a power cut would: SIGKILL.
    fn kill(mut self) {
        self.0.kill().expect("the process can be killed");
        self.0.wait().expect("the process has ended");
    }
}

/// Waits until every consumer is at the head.
async fn wait_until_at_head(store: &impl RunnerStore) {
    let (mut progress, head) = (Progress::new(), store.head().await.expect("the head can be read"));
    for consumer in [LEDGER, "seen"] {
        let name = ConsumerName::new(consumer).expect("a valid name");
        loop {
            let checkpoint = store.checkpoint(&name).await.expect("the checkpoint can be read");
            if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.position == head) {
                break;
            }
            progress.note((consumer, checkpoint.map(|checkpoint| checkpoint.position), head));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The same with processes that are killed while they park, and while they try again. Gives the log by account.
async fn poison_kill_and_mend(store: &impl RunnerStore, arguments: Vec<OsString>) -> BTreeMap<String, Vec<u64>> {
    let random = SeededRng::from_env();
    let mut process = Process::start("broken", &arguments);
    for _ in 0..4 {
        deposit_at_random(store, &random, DEPOSITS[0] / 4).await;
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
        std::mem::replace(&mut process, Process::start("broken", &arguments)).kill();
    }
    wait_until_at_head(store).await;
    let totals = store.parked_totals().await.expect("the totals can be read");
    let keys: Vec<_> = totals.iter().map(|(consumer, totals)| (consumer.as_str(), totals.keys)).collect();
    assert_eq!(keys, [(LEDGER, BAD.len() as u64), ("seen", BAD.len() as u64)]);
    process.kill();

    let request = OperatorRequest::by("e2e").and_then(|request| request.because("fixed")).expect("a valid request");
    let mut process = Process::start("mended", &arguments);
    let mut progress = Progress::new();
    let mut kills = 0;
    loop {
        let parked = store.parked_totals().await.expect("the totals can be read");
        for (consumer, _) in &parked {
            for queue in store.parked_queues(consumer, None, 100).await.expect("the queues can be read") {
                store.request_retry(consumer, &queue.key, None, &request).await.expect("it can be requested");
            }
        }
        if parked.is_empty() {
            break;
        }
        progress.note(parked);
        tokio::time::sleep(Duration::from_millis(random.below(200))).await;
        // Somewhere between its start, taking over the lease, and trying the keys again.
        if kills < 5 && random.percent(20) {
            kills += 1;
            std::mem::replace(&mut process, Process::start("mended", &arguments)).kill();
        }
        deposit_at_random(store, &random, 20).await;
    }
    println!("killed {kills} times while events were tried again");
    wait_until_at_head(store).await;
    process.kill();
    let log = positions_of_the_log(store).await;
    assert_eq!(seen(store).await, log);
    log
}

async fn postgres_ledger(url: &str, schema: &str) -> Vec<i64> {
    let mut connection = PgConnection::connect(url).await.expect("the server accepts connections");
    // In the order of the transactions that inserted them; each is a page, or a parked event.
    let sql = format!("SELECT position FROM {schema}.\"{LEDGER}_g1\" ORDER BY xmin::text::bigint, position");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the ledger")
}

async fn sqlite_ledger(file: &Path) -> Vec<i64> {
    let url = format!("sqlite:{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the file opens");
    let sql = format!("SELECT position FROM \"{LEDGER}_g1\" ORDER BY rowid");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("the ledger")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoned_keys_are_parked_and_come_after_in_order_on_postgresql() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(6).connect().await.expect("the store opens");
    let log = poison_and_mend(&store, || PgLedger::new(&schema)).await;
    assert_applied_once_and_in_order(&postgres_ledger(&url, &schema).await, &log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poisoned_keys_are_parked_and_come_after_in_order_on_sqlite() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let log = poison_and_mend(&store, SqliteLedger::default).await;
    assert_applied_once_and_in_order(&sqlite_ledger(&file).await, &log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_it_parks_or_tries_again_applies_each_event_once_on_postgresql() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(3).connect().await.expect("the store opens");
    let log = poison_kill_and_mend(&store, vec![(&url).into(), (&schema).into()]).await;
    assert_applied_once_and_in_order(&postgres_ledger(&url, &schema).await, &log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_while_it_parks_or_tries_again_applies_each_event_once_on_sqlite() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let log = poison_kill_and_mend(&store, vec![file.clone().into()]).await;
    assert_applied_once_and_in_order(&sqlite_ledger(&file).await, &log);
}
