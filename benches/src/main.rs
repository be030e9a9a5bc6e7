//! `es-bench`: what the stores achieve, beside what their databases can do. See docs/benchmarks.md.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]

mod account;
mod args;
mod baseline;
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
use baseline::{Baseline, fallen_twice};
use report::{Report, StoreReport};
use server::Server;

/// Whatever ends the benchmark.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args = args::parse();
    match run(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<ExitCode, Error> {
    if let Some(part) = &args.part {
        let bench = server::bench(args, args.stores[0], args.url.clone())?;
        part.clone().run(&bench, &args.workloads).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut report, mut baseline, mut has_fallen) = (Report::new(args), Baseline::read()?, false);
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
        if args.is_write_baseline {
            baseline.lower(kind.name(), &store.lines);
        } else if args.is_quick && args.slow_flush.is_none() {
            has_fallen |= is_slower(&bench, args, &baseline, &store).await?;
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
    if args.is_write_baseline {
        baseline.write()?;
    }
    Ok(if has_fallen { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Whether a ratio is far below the committed one, and is so again when its workload is measured once more.
async fn is_slower(
    bench: &workload::Bench,
    args: &Args,
    baseline: &Baseline,
    store: &StoreReport,
) -> Result<bool, Error> {
    let first = baseline.fallen(bench.kind.name(), &store.lines);
    if first.is_empty() {
        return Ok(false);
    }
    let mut workloads: Vec<String> = first.iter().map(|fallen| fallen.workload.clone()).collect();
    workloads.dedup();
    println!("\nfar below the committed ratio, so measured again: {}", workloads.join(" "));
    let lines = report::measure(bench, args, &workloads).await?;
    let twice = fallen_twice(&first, baseline.fallen(bench.kind.name(), &lines));
    for fallen in &twice {
        println!(
            "{}: the ratio of {} fell from {:.2} to {:.2}, twice in a row",
            bench.kind.name(),
            fallen.key,
            fallen.committed,
            fallen.ratio
        );
    }
    Ok(!twice.is_empty())
}
