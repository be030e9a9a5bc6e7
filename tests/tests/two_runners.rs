//! Two processes run the same projection, and are killed and started again while events come in: each event is applied
//! once.

use std::{
    ffi::OsString,
    process::{Child, Command, Stdio},
    time::Duration,
};

use es_core::{ConsumerName, ConsumerStore, EventStore, Position};
use es_e2e::{
    ledger::{LEDGER, every_position_to, postgres_rows, sqlite_rows},
    progress::Progress,
    server::{Folder, shared_postgres_url, unique_schema},
    workload::Workload,
};
use es_postgres::PgOptions;
use es_sqlite::SqliteStore;

const KILLS: u64 = 6;
const APPENDS: u64 = 400;

fn start_runner(arguments: &[OsString]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ledger-runner"))
        .arg("follow")
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .expect("the runner starts")
}

/// Ends a process as a power cut would: SIGKILL.
fn kill(mut runner: Child) {
    runner.kill().expect("the runner can be killed");
    runner.wait().expect("the runner has ended");
}

/// Writes, while two runners work and one of them is killed again and again. Gives the head when both have come there.
async fn work_and_kill(store: &(impl EventStore + ConsumerStore), arguments: Vec<OsString>) -> Position {
    let workload = Workload::new();
    let mut runners = [start_runner(&arguments), start_runner(&arguments)];
    for round in 1..=KILLS {
        let target = APPENDS * round / KILLS;
        workload.write(store, || workload.acknowledged() >= target).await;
        let victim = (round % 2) as usize;
        kill(std::mem::replace(&mut runners[victim], start_runner(&arguments)));
    }
    let head = store.head().await.expect("the head can be read");
    let ledger = ConsumerName::new(LEDGER).expect("a valid name");
    let mut progress = Progress::new();
    loop {
        let checkpoint = store.checkpoint(&ledger).await.expect("the checkpoint can be read");
        if checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.position == head) {
            break;
        }
        progress.note((head, checkpoint.map(|checkpoint| checkpoint.position)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Killed with a checkpoint at the head: what was written so far is all there is.
    runners.into_iter().for_each(kill);
    workload.check(store).await;
    head
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_on_postgresql_apply_each_event_once_though_they_are_killed() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(3).connect().await.expect("the store opens");
    let head = work_and_kill(&store, vec![(&url).into(), (&schema).into()]).await;
    assert_eq!(postgres_rows(&url, &schema).await, every_position_to(head));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_on_sqlite_apply_each_event_once_though_they_are_killed() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let head = work_and_kill(&store, vec![file.clone().into()]).await;
    assert_eq!(sqlite_rows(&file).await, every_position_to(head));
}
