//! PostgreSQL is killed with SIGKILL under load: what was acknowledged is there, nothing is torn, and the read model is
//! what a fresh fold gives.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_core::ConsumerStoreExt;
use es_e2e::{
    server::{blocking, durable_postgres},
    workload::{ACCOUNTS, Workload, fresh_fold},
};
use es_postgres::{PgOptions, PgStore};
use es_projections::Runner;
use es_testkit::bank::Balance;
use xtask::postgres::ThrowawayPostgres;

const WRITERS: usize = 8;
/// The read model is caught up by another runner than the one that was killed, which waits for the first one's lease.
const LEASE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_append_survives_a_kill_of_the_server() {
    survives_kills(3, PgOptions::new).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_append_survives_in_the_pipelined_mode_too() {
    survives_kills(30, |url| PgOptions::new(url).pipelined(true)).await;
}

async fn survives_kills(kills: usize, options: fn(String) -> PgOptions) {
    let connect = async |server: &ThrowawayPostgres| -> PgStore {
        options(server.url()).max_connections(6).connect().await.expect("the server accepts connections")
    };
    let mut server = durable_postgres().await;
    let workload = Workload::new();
    for round in 1..=kills {
        let store = connect(&server).await;
        let runner = Runner::builder(&store).view::<Balance>().lease_time(LEASE).build().expect("a valid runner");
        let is_killed = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (workload, store, is_killed) = (workload.clone(), store.clone(), Arc::clone(&is_killed));
                tokio::spawn(async move { workload.write(&store, || is_killed.load(Ordering::Relaxed)).await })
            })
            .collect();
        let projecting = {
            let runner = runner.clone();
            tokio::spawn(async move { runner.run(std::future::pending()).await })
        };
        // The kill comes after a random number of acknowledged appends, while others are on their way.
        let target = workload.acknowledged() + 100 + workload.random.below(300);
        while workload.acknowledged() < target {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server = blocking(move || {
            server.kill().expect("the server can be killed");
            server
        })
        .await;
        is_killed.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.expect("a writer does not panic");
        }
        projecting.abort();
        server = blocking(move || {
            server.restart().expect("the server recovers");
            server
        })
        .await;

        let store = connect(&server).await;
        let log = workload.check(&store).await;
        println!("kill {round}: {} appends acknowledged, {} events", workload.acknowledged(), log.len());

        let runner = Runner::builder(&store).view::<Balance>().lease_time(LEASE).build().expect("a valid runner");
        runner.catch_up().await.expect("the read model catches up");
        let documents = store.view::<Balance>().list(None, ACCOUNTS as usize + 1).await.expect("the view can be read");
        assert_eq!(documents.into_iter().collect::<BTreeMap<_, _>>(), fresh_fold(log));
    }
}
