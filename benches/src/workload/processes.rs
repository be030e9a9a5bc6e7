//! W7: the commands of W2 from several processes at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Bench, Names,
    commands::{self, Deposits},
    floors,
};
use crate::{
    Error,
    clock::now_nanos,
    database::Place,
    line::Line,
    meter::{Sample, nanos},
    part::{Helper, Part, say_ready, wait_to_be_told},
    stats::Latencies,
};

const PROCESSES: usize = 8;
const TASKS: usize = 4;

/// What one of the processes tells, all in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    latencies: Vec<u64>,
    cpu: u64,
    /// By the clock that processes share.
    begun: u64,
    ended: u64,
}

/// W7.
pub async fn commands_from_processes(bench: &Bench) -> Result<Vec<Line>, Error> {
    let names = Names { workload: "W7", variant: "8 processes × 4 tasks", unit: "commands", floor: "F2" };
    let floor = async |place: &Place| floors::rows(bench, place, floors::CLIENTS, bench.scale.shared).await;
    let workload = async |place: &Place| run_processes(bench, place).await;
    let mut line = bench.compare(names, floor, workload).await?;
    // The memory of this process says nothing about that of the others.
    line.memory_kib = None;
    Ok(vec![line])
}

async fn run_processes(bench: &Bench, place: &Place) -> Result<Sample, Error> {
    let mut helpers = Vec::new();
    for process in 0..PROCESSES as u64 {
        let deposits = Deposits {
            tasks: TASKS,
            count: bench.scale.shared / PROCESSES as u64,
            accounts: bench.scale.accounts,
            prefix: "shared".to_owned(),
            seed: process << 32,
        };
        let part = Part::Deposits { place: place.clone(), deposits };
        helpers.push(Helper::start(bench, &part, &[])?);
    }
    for helper in &mut helpers {
        helper.is_ready().await?;
    }
    for helper in &mut helpers {
        helper.tell().await?;
    }
    let (mut latencies, mut cpu, mut begun, mut ended) = (Vec::new(), 0, u64::MAX, 0);
    for helper in helpers {
        let told: Told = helper.result().await?;
        latencies.extend(told.latencies);
        cpu += told.cpu;
        (begun, ended) = (begun.min(told.begun), ended.max(told.ended));
    }
    Ok(Sample {
        units: latencies.len() as u64,
        elapsed: Duration::from_nanos(ended.saturating_sub(begun)),
        latencies: Latencies::new(latencies),
        cpu: Duration::from_nanos(cpu),
        peak_kib: 0,
    })
}

/// One of the processes.
pub async fn deposit_when_told(bench: &Bench, place: &Place, deposits: Deposits) -> Result<Told, Error> {
    let store = bench.database.open(place).await?;
    commands::warm_up(&store, deposits.seed).await?;
    say_ready();
    wait_to_be_told().await?;
    let begun = now_nanos();
    let sample = commands::deposits(&store, deposits).await?;
    Ok(Told { ended: now_nanos(), begun, cpu: nanos(sample.cpu), latencies: sample.latencies.into_sorted() })
}
