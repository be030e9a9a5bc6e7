//! Three processes share six consumers evenly, and when one is killed the other two do.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use es_core::{EventStore, LeaseStore};
use es_e2e::{
    processes::{Orders, Plan, Process, SIX},
    progress::Progress,
    server::{Folder, shared_postgres_url, unique_schema},
    traces::Place,
    workload::Workload,
};
use es_postgres::PgOptions;
use es_sqlite::SqliteStore;

const LEASE: Duration = Duration::from_millis(500);

/// Waits until so many processes have so many leases each, and gives the time that it took.
async fn until_spread(store: &impl LeaseStore, expected: &[usize]) -> Duration {
    let (start, mut progress) = (Instant::now(), Progress::new());
    loop {
        let mut shares: HashMap<String, usize> = HashMap::new();
        for (_, holder) in store.leases().await.expect("the leases can be read") {
            *shares.entry(holder.owner).or_default() += 1;
        }
        let mut counts: Vec<_> = shares.values().copied().collect();
        counts.sort_unstable();
        if counts == expected {
            return start.elapsed();
        }
        progress.note((expected.to_vec(), counts));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn spread(store: &(impl EventStore + LeaseStore), place: Place) {
    let (folder, workload) = (Folder::new(), Workload::new());
    let start = |process: &str| {
        let (process, folder, place) = (process.to_owned(), folder.root().to_owned(), place.clone());
        let orders = Orders { plan: Plan::Six, process, lease: LEASE, folder, place };
        Process::start(env!("CARGO_BIN_EXE_trace-worker"), &orders)
    };
    let mut processes: Vec<Process> = ["a", "b", "c"].into_iter().map(start).collect();
    println!("2/2/2 after {:?}", until_spread(store, &[2, 2, 2]).await);

    drop(processes.pop());
    let killed_at = Instant::now();
    workload.write(store, || workload.acknowledged() >= 1).await;
    let head = store.head().await.expect("the head can be read");
    let mut progress = Progress::new();
    loop {
        let checkpoints = store.checkpoints().await.expect("the checkpoints can be read");
        if checkpoints.len() == SIX.len() && checkpoints.iter().all(|checkpoint| checkpoint.position == head) {
            break;
        }
        progress.note((head, checkpoints.iter().map(|checkpoint| checkpoint.position).collect::<Vec<_>>()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("take-over: {:?} after SIGKILL, lease {LEASE:?}", killed_at.elapsed());
    until_spread(store, &[3, 3]).await;

    processes.push(start("d"));
    println!("2/2/2 again after {:?}", until_spread(store, &[2, 2, 2]).await);
    drop(processes);
    for name in SIX {
        let positions: Vec<u64> = place.trace(name).await.iter().map(|applied| applied.position.get()).collect();
        assert_eq!(positions, (1..=head.get()).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_spread_evenly_on_postgresql_and_again_when_a_process_dies_or_comes() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(2).connect().await.expect("the store opens");
    spread(&store, Place::Postgres { url, schema }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_spread_evenly_on_sqlite_and_again_when_a_process_dies_or_comes() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    spread(&store, Place::Sqlite { file }).await;
}
