//! A process that runs consumers until it is killed, as `es_e2e::processes::Orders` say.

use std::{fs, time::Duration};

use es_e2e::{
    processes::{Orders, Plan, moved_file, status_file},
    traces::{PgTrace, Place, SqliteTrace},
};
use es_postgres::PgOptions;
use es_projections::Runner;
use es_sqlite::SqliteStore;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let orders = Orders::parse(&arguments)?;
    let process = || orders.process.clone();
    let runner = match &orders.place {
        Place::Sqlite { file } => {
            let store = SqliteStore::open(file).await?;
            let trace = |name, gate| SqliteTrace { name, process: process(), gate };
            orders.consumers(Runner::builder(&store), trace).build()?
        }
        Place::Postgres { url, schema } => {
            let store = PgOptions::new(url).schema(schema).max_connections(6).connect().await?;
            let trace = |name, gate| PgTrace { name, schema: schema.clone(), process: process(), gate };
            orders.consumers(Runner::builder(&store), trace).build()?
        }
    };
    if matches!(orders.plan, Plan::GatedTrace | Plan::GatedEffects) {
        tokio::spawn(note_moves(runner.clone(), orders.clone()));
    }
    if orders.plan == Plan::Everything {
        tokio::spawn(note_status(runner.clone(), orders.clone()));
    }
    Ok(runner.run(std::future::pending()).await?)
}

/// Notes every second how the consumers are, for a test that fails.
async fn note_status(runner: Runner, orders: Orders) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let text = match runner.status().await {
            Ok(statuses) => statuses.iter().map(|status| format!("{status}\n")).collect(),
            Err(error) => format!("{error:?}"),
        };
        // Lost if it is killed; the next one writes its own.
        let _ = fs::write(status_file(&orders.folder, &orders.process), text);
    }
}

/// Notes how often somebody else had moved a checkpoint.
async fn note_moves(runner: Runner, orders: Orders) {
    let mut noted = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Ok(statuses) = runner.status().await else { continue };
        let times: u64 = statuses.iter().map(|status| status.moved_by_others).sum();
        if times != noted && fs::write(moved_file(&orders.folder, &orders.process), times.to_string()).is_ok() {
            noted = times;
        }
    }
}
