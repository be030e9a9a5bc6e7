//! A read model is rebuilt beside the live one, by a process that is killed again and again, while another process follows
//! and events come in: nothing is lost or applied twice, and readers always have a whole read model.

use std::{
    ffi::OsString,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use es_core::{GenerationState, Position, ProjectionStore, RunnerStore};
use es_e2e::{
    ledger::{LEDGER, PgLedger, SqliteLedger, every_position_to, postgres_rows, sqlite_rows},
    progress::STALL,
    server::{Folder, shared_postgres_url, unique_schema},
    workload::Workload,
};
use es_postgres::PgOptions;
use es_projections::{RebuildOptions, Rebuilt, Runner, Verification};
use es_sqlite::SqliteStore;
use es_testkit::SeededRng;

/// On each database.
const KILLS: u64 = 25;
/// A rebuild of so many takes a good deal longer than the longest time until a kill.
const APPENDS: u64 = 1_500;
const LONGEST_LIFE_MS: u64 = 250;

struct Process(Child);

impl Process {
    fn start(work: &str, arguments: &[OsString]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ledger-runner"));
        command.arg(work).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the process starts"))
    }
}

impl Drop for Process {
    /// Ends it as a power cut would: SIGKILL.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills rebuilds at random moments, and then lets one come to its end. Gives the head of the log that the live read model has.
async fn rebuild_and_kill<S>(store: &S, runner: &Runner, arguments: &[OsString]) -> Position
where
    S: RunnerStore + ProjectionStore,
{
    let (random, workload, is_over) = (SeededRng::from_env(), Workload::new(), AtomicBool::new(false));
    workload.write(store, || workload.acknowledged() >= APPENDS).await;
    runner.catch_up().await.expect("it catches up");
    let follower = Process::start("follow", arguments);
    let killing = async {
        for _ in 0..KILLS {
            let rebuilder = Process::start("rebuild", arguments);
            tokio::time::sleep(Duration::from_millis(random.below(LONGEST_LIFE_MS))).await;
            drop(rebuilder);
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let writing = async {
        while !is_over.load(Ordering::SeqCst) {
            let more = workload.acknowledged() + 1;
            workload.write(store, || workload.acknowledged() >= more).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::join!(killing, writing);
    let left = store.generations(&es_core::ConsumerName::new(LEDGER).expect("a name")).await.expect("the generations");
    assert!(left.iter().filter(|info| info.state == GenerationState::Live).count() == 1, "{left:?}");
    // By the same name, so that the claim of the one that was killed last is no obstacle.
    let options = RebuildOptions::by("the rebuilder").verify(Verification::MustMatch);
    let rebuilt = runner.rebuild_beside(LEDGER, options, |_| {}).await.expect("the rebuild comes to its end");
    assert!(matches!(rebuilt, Rebuilt::Live { .. }), "{rebuilt:?}");
    workload.write(store, || workload.acknowledged() >= APPENDS + 200).await;
    let head = store.head().await.expect("a head");
    runner.wait_for(LEDGER, head, STALL).await.expect("the follower goes on with the new one");
    drop(follower);
    workload.check(store).await;
    head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_on_postgresql_survives_every_kill() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(4).connect().await.expect("the store opens");
    let runner = Runner::builder(&store).projection(PgLedger::new(&schema)).build().expect("a valid runner");
    let head = rebuild_and_kill(&store, &runner, &[(&url).into(), (&schema).into()]).await;
    assert_eq!(postgres_rows(&url, &schema).await, every_position_to(head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_on_sqlite_survives_every_kill() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let runner = Runner::builder(&store).projection(SqliteLedger::default()).build().expect("a valid runner");
    let head = rebuild_and_kill(&store, &runner, &[file.clone().into()]).await;
    assert_eq!(sqlite_rows(&file).await, every_position_to(head));
}
