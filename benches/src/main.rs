//! `es-bench`: what the stores achieve, beside what their databases can do. See docs/benchmarks.md.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]

mod account;
mod args;
mod clock;
mod database;
mod line;
mod markdown;
mod meter;
mod models;
mod process;
mod row;
mod scale;
mod server;
mod stats;
mod workload;

use std::{process::ExitCode, sync::Arc};

use args::{Args, StoreKind};
use database::{Database, Postgres, Sqlite};
use line::Line;
use scale::Scale;
use server::Server;
use workload::Bench;

/// Whatever ends the benchmark.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::parse();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Error> {
    let mut results = serde_json::Map::new();
    for &kind in &args.stores {
        let lines = run_store(args, kind).await?;
        println!("\n## {}\n\n{}", kind.name(), markdown::table(&lines));
        results.insert(kind.name().to_owned(), serde_json::to_value(lines)?);
    }
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}

async fn run_store(args: &Args, kind: StoreKind) -> Result<Vec<Line>, Error> {
    let (_server, database): (Option<Server>, Arc<dyn Database>) = match kind {
        StoreKind::Sqlite => (None, Arc::new(Sqlite::new()?)),
        StoreKind::Postgres | StoreKind::PostgresPipelined => {
            let server = Server::start(args)?;
            let database = Postgres::new(server.url.clone(), kind == StoreKind::PostgresPipelined);
            (Some(server), Arc::new(database))
        }
    };
    for (name, value) in database.description().await? {
        println!("{name} = {value}");
    }
    let scale = if args.is_quick { Scale::QUICK } else { Scale::FULL };
    let bench = Bench { database, scale, repetitions: args.repetitions };
    let mut lines = Vec::new();
    for name in &args.workloads {
        for line in bench.run(name).await? {
            print!("{}", markdown::table(std::slice::from_ref(&line)).lines().last().unwrap_or_default());
            println!();
            lines.push(line);
        }
    }
    Ok(lines)
}
