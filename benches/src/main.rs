//! `es-bench`: what the stores achieve, beside what their databases can do. See docs/benchmarks.md.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]

mod account;
mod args;
mod clock;
mod database;
mod goals;
mod line;
mod machine;
mod markdown;
mod meter;
mod models;
mod part;
mod plot;
mod process;
mod report;
mod row;
mod scale;
mod server;
mod stats;
mod svg;
mod workload;

use std::process::ExitCode;

use args::Args;
use report::{Report, StoreReport};
use server::Server;

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
    if let Some(part) = &args.part {
        let bench = server::bench(args, args.stores[0], args.url.clone())?;
        part.clone().run(&bench, &args.workloads).await?;
        return Ok(());
    }
    let mut report = Report::new(args);
    for &kind in &args.stores {
        let server = Server::start(args, kind)?;
        let bench = server::bench(args, kind, server.url())?;
        let mut store = StoreReport::new(&bench).await?;
        println!("## {}\n", kind.name());
        for name in &args.workloads {
            let lines = report::measure(&bench, args, std::slice::from_ref(name)).await?;
            lines.iter().for_each(|line| println!("{}", markdown::row(kind, line)));
            store.lines.extend(lines);
        }
        if let Some(folder) = &args.plot {
            plot::draw(&bench, folder).await?;
        }
        report.stores.push(store);
    }
    println!("\n{}", markdown::document(&report));
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(file) = &args.markdown {
        std::fs::write(file, markdown::document(&report))?;
    }
    Ok(())
}
