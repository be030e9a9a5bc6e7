//! A process is stopped for longer than its lease, another one takes over, and the first one wakes: what it still wants to
//! write is refused. Proven by what is stored, at moments that files decide and no clock.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use es_core::{Append, ConsumerName, ConsumerStore, EventStore, ExpectedVersion, NewEvent, Position, View};
use es_e2e::{
    processes::{GATED_AT, GATED_EFFECTS, GATED_TRACE, Orders, Plan, Process, times_moved},
    progress::Progress,
    server::{Folder, shared_postgres_url, unique_schema},
    traces::{Applied, Gate, Place, effects},
    workload::{account, deposit},
};
use es_postgres::PgOptions;
use es_sqlite::SqliteStore;
use es_testkit::bank::{AccountEvent, Balance};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Long enough that the first process comes to its gate, and is stopped, before the server loses patience with it.
const LEASE: Duration = Duration::from_secs(2);
const EVENTS: u64 = 5;

async fn append(store: &impl EventStore) -> Position {
    let events = (0..EVENTS as i64).map(deposit).collect();
    let append = Append::to(account(1), ExpectedVersion::Any, events).build().expect("a valid append");
    store.append(&append).await.expect("it is appended");
    store.head().await.expect("the head can be read")
}

async fn checkpoint(store: &impl ConsumerStore, name: &str) -> Position {
    let name = ConsumerName::new(name).expect("a valid name");
    let checkpoint = store.checkpoint(&name).await.expect("the checkpoint can be read");
    checkpoint.map_or(Position::ZERO, |checkpoint| checkpoint.position)
}

/// Waits until something is so, and gives the time that it took.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) -> Duration {
    let (start, mut progress) = (Instant::now(), Progress::new());
    while !is_so().await {
        progress.note(what);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

fn start(plan: Plan, process: &str, folder: &Folder, place: &Place) -> Process {
    let (folder, place) = (folder.root().to_owned(), place.clone());
    let orders = Orders { plan, process: process.to_owned(), lease: LEASE, folder, place };
    Process::start(env!("CARGO_BIN_EXE_trace-worker"), &orders)
}

/// Starts a process, lets it come to its gate, and stops it there. Gives it and when that was.
async fn stopped_at_its_gate(plan: Plan, folder: &Folder, place: &Place) -> (Process, Instant) {
    let first = start(plan, "first", folder, place);
    until("the first process comes to its gate", async || Gate::is_reached(folder.root(), "first")).await;
    first.stop();
    (first, Instant::now())
}

fn by(process: &str, positions: impl IntoIterator<Item = u64>) -> Vec<Applied> {
    let (process, stream) = (process.to_owned(), account(1).to_string());
    let applied = |at| Applied { position: Position::new(at), stream: stream.clone(), process: process.clone() };
    positions.into_iter().map(applied).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_in_the_middle_of_its_page_neither_blocks_its_successor_nor_writes_when_it_wakes() {
    let (url, schema, folder) = (shared_postgres_url(), unique_schema(), Folder::new());
    let store = PgOptions::new(&url).schema(&schema).max_connections(2).connect().await.expect("the store opens");
    let place = Place::Postgres { url, schema };
    let head = append(&store).await;
    let (first, stopped_at) = stopped_at_its_gate(Plan::GatedTrace, &folder, &place).await;

    // It has written two events in a transaction that it cannot end, under the lock of the checkpoint.
    Gate::open(folder.root(), "second");
    let second = start(Plan::GatedTrace, "second", &folder, &place);
    until("the second process takes over", async || checkpoint(&store, GATED_TRACE).await == head).await;
    println!("take-over of a projection stopped in its transaction: {:?} after SIGSTOP", stopped_at.elapsed());
    assert_eq!(place.trace(GATED_TRACE).await, by("second", 1..=EVENTS));

    Gate::open(folder.root(), "first");
    first.go_on();
    let woken = async || Gate::refusal(folder.root(), "first").is_some();
    until("what the first process writes is refused", woken).await;
    println!("the server said: {}", Gate::refusal(folder.root(), "first").unwrap_or_default());
    assert_eq!(place.trace(GATED_TRACE).await, by("second", 1..=EVENTS));

    // Both are there, one of them works.
    let head = append(&store).await;
    until("they go on", async || checkpoint(&store, GATED_TRACE).await == head).await;
    drop((first, second));
    let positions: Vec<u64> = place.trace(GATED_TRACE).await.iter().map(|applied| applied.position.get()).collect();
    assert_eq!(positions, (1..=head.get()).collect::<Vec<_>>());
}

/// A view has no handler that could wait. It is stopped while its statement waits for a reader's lock on a document, which is then
/// released: the statement ends, and its transaction is left open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_while_it_deletes_a_document_does_not_block_its_successor() {
    let (url, schema, folder) = (shared_postgres_url(), unique_schema(), Folder::new());
    let store = PgOptions::new(&url).schema(&schema).max_connections(2).connect().await.expect("the store opens");
    let place = Place::Postgres { url: url.clone(), schema: schema.clone() };
    let head = append(&store).await;
    let first = start(Plan::View, "first", &folder, &place);
    until("there is a document", async || checkpoint(&store, Balance::NAME).await == head).await;

    let mut connection = PgConnection::connect(&url).await.expect("the server accepts connections");
    let mut reader = connection.begin().await.expect("a transaction");
    let lock = format!("SELECT 1 FROM {schema}.\"view_{}@1\" FOR UPDATE", Balance::NAME);
    sqlx::query(AssertSqlSafe(lock)).execute(&mut *reader).await.expect("the document is locked");
    let closed = NewEvent::of(&AccountEvent::Closed).expect("an event");
    let append = Append::to(account(1), ExpectedVersion::Any, vec![closed]).build().expect("a valid append");
    let head = store.append(&append).await.map(|_| head.advanced_by(1)).expect("it is appended");
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
    let mut progress = Progress::new();
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *reader).await.expect("the locks") == 0 {
        progress.note("the deletion does not wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.stop();
    let stopped_at = Instant::now();
    reader.rollback().await.expect("the lock is released");

    let second = start(Plan::View, "second", &folder, &place);
    until("the second process takes over", async || checkpoint(&store, Balance::NAME).await == head).await;
    println!("take-over of a view stopped in its transaction: {:?} after SIGSTOP", stopped_at.elapsed());
    drop((first, second));
}

/// The second process is at its gate too when the first one wakes, and has not moved the checkpoint: a store that only compares
/// checkpoints would let the first one move it.
async fn a_late_move_is_refused(store: &(impl EventStore + ConsumerStore), folder: &Folder, place: &Place) {
    let head = append(store).await;
    let of = |process: &str, folder: &Path| -> Vec<Applied> {
        effects(folder, GATED_EFFECTS).into_iter().filter(|effect| effect.process == process).collect()
    };
    let (first, stopped_at) = stopped_at_its_gate(Plan::GatedEffects, folder, place).await;
    let second = start(Plan::GatedEffects, "second", folder, place);
    until("the second process takes over", async || !of("second", folder.root()).is_empty()).await;
    println!("take-over of a stopped reactor: {:?} after SIGSTOP", stopped_at.elapsed());
    until("the second process comes to its gate", async || Gate::is_reached(folder.root(), "second")).await;
    assert_eq!(checkpoint(store, GATED_EFFECTS).await, Position::ZERO);

    Gate::open(folder.root(), "first");
    first.go_on();
    until("the first process is refused", async || {
        times_moved(folder.root(), "first") > 0 || checkpoint(store, GATED_EFFECTS).await > Position::ZERO
    })
    .await;
    assert_eq!(checkpoint(store, GATED_EFFECTS).await, Position::ZERO, "it moved what is not its any more");
    // The effect that it was at cannot be called back; those after it are not begun.
    assert_eq!(of("first", folder.root()), by("first", 1..=GATED_AT));

    Gate::open(folder.root(), "second");
    until("the second process goes on", async || checkpoint(store, GATED_EFFECTS).await == head).await;
    assert_eq!(of("second", folder.root()), by("second", 1..=EVENTS));
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_through_its_lease_moves_no_checkpoint_on_postgresql() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(2).connect().await.expect("the store opens");
    a_late_move_is_refused(&store, &Folder::new(), &Place::Postgres { url, schema }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_through_its_lease_moves_no_checkpoint_on_sqlite() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    a_late_move_is_refused(&store, &folder, &Place::Sqlite { file }).await;
}
