//! All results of a run.

use serde::Serialize;

use crate::{
    Error,
    args::{Args, Size, StoreKind},
    line::Line,
    machine,
    part::{Helper, Part},
    workload::Bench,
};

/// What was measured, where, and how.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Vec<(String, String)>,
    pub stores: Vec<StoreReport>,
}

/// The results of one store.
#[derive(Debug, Serialize)]
pub struct StoreReport {
    #[serde(serialize_with = "name_of")]
    pub kind: StoreKind,
    /// Version and settings of its database.
    pub database: Vec<(String, String)>,
    pub lines: Vec<Line>,
}

fn name_of<S: serde::Serializer>(kind: &StoreKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl Report {
    pub fn new(args: &Args) -> Self {
        let mut machine = machine::description();
        let numbers = match args.size {
            Size::Smoke => "next to nothing (--smoke): they say nothing about speed",
            Size::Quick => "small (--quick)",
            Size::Full | Size::Large => "full",
        };
        machine.push(("numbers".to_owned(), numbers.to_owned()));
        if let Some(events) = args.log {
            machine.push(("events of the log of W5, W10 and F4".to_owned(), events.to_string()));
        }
        machine.push(("repetitions".to_owned(), args.repetitions.to_string()));
        if let Some(time) = args.slow_flush {
            machine.push(("added to each flush of PostgreSQL".to_owned(), format!("{} ms", time.as_millis())));
        }
        Self { machine, stores: Vec::new() }
    }
}

impl StoreReport {
    pub async fn new(bench: &Bench) -> Result<Self, Error> {
        Ok(Self { kind: bench.kind, database: bench.database.description().await?, lines: Vec::new() })
    }
}

/// Runs workloads in a process of their own, so that the memory of one is not what another has left.
pub async fn measure(bench: &Bench, args: &Args, workloads: &[String]) -> Result<Vec<Line>, Error> {
    let mut arguments = workloads.to_vec();
    arguments.extend(args.size.flag().map(str::to_owned));
    if let Some(events) = args.log {
        arguments.extend(["--log".to_owned(), events.to_string()]);
    }
    Helper::start(bench, &Part::Workloads, &arguments)?.result().await
}
