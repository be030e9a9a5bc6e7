//! A shop that publishes its orders, and a service that ships each exactly once.
//!
//! `cargo run -p orders` runs both in one process; see the README beside this for two processes and a broker.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]

/// Says a line like `println!`, and ends the program without a word once nobody listens, as in `orders | head`.
macro_rules! say {
    ($($text:tt)*) => {
        if std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*))).is_err() {
            std::process::exit(0);
        }
    };
}

mod args;
mod broker;
mod contract;
mod demo;
mod order;
mod placing;
mod report;
mod shipment;
mod shipping;
mod shop;
mod store;
mod totals;

use std::process::ExitCode;

use args::Command;
use tracing_subscriber::filter::LevelFilter;

/// Whatever ends the program: shown with everything that led to it.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    // What the framework warns of: a broker that is away, or that confirms before its disk has it.
    tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).init();
    match run(args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let (mut said, mut source) = (error.to_string(), error.source());
            while let Some(cause) = source {
                // Some errors tell their cause themselves.
                if !said.ends_with(&cause.to_string()) {
                    said = cause.to_string();
                    eprintln!("  because: {said}");
                }
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Demo => demo::run().await,
        Command::Shop { store, broker, orders } => {
            let broker = broker::connect(&broker).await?;
            match store::open(&store).await? {
                store::Store::Sqlite(store) => shop::run(&store, &*broker, orders, interrupted()).await,
                store::Store::Postgres(store) => shop::run(&store, &*broker, orders, interrupted()).await,
            }
        }
        Command::Shipping { store, broker } => {
            let broker = broker::connect(&broker).await?;
            match store::open(&store).await? {
                store::Store::Sqlite(store) => shipping::run(&store, &broker, interrupted()).await,
                store::Store::Postgres(store) => shipping::run(&store, &broker, interrupted()).await,
            }
        }
        Command::Totals { shop, shipping } => {
            let (shop, shipping) = (store::existing(&shop).await?, store::existing(&shipping).await?);
            say!("ordered: {}", totals::placed(shop.events()).await?);
            say!("shipped: {}", totals::shipped(shipping.events()).await?);
            Ok(())
        }
    }
}

/// Ends with Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
