//! A bank on an event store.
//!
//! `cargo run -p bank` shows what the framework does in one page; `cargo run -p bank -- --help` lists the rest.

#![allow(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]

/// Says a line like `println!`, and ends the program without a word once nobody listens, as in `bank | head`.
macro_rules! say {
    ($($text:tt)*) => {
        if std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*))).is_err() {
            std::process::exit(0);
        }
    };
}

mod account;
mod args;
mod balance;
mod control;
mod demo;
mod import;
mod money;
mod progress;
mod questions;
mod rebuilding;
mod status;
mod store;
mod transactions;

use std::process::ExitCode;

use args::{Args, Command};
use store::Bank;

/// Whatever ends the program: shown with everything that led to it.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Error> {
    let bank = Bank::open(&args.store).await?;
    match args.command {
        Command::Demo => demo::run(&bank, &args.store).await,
        Command::Import { file } => import::import(&bank, &file).await,
        Command::Balances { top } => questions::balances(&bank, top).await,
        Command::Statement { account } => questions::statement(&bank, &account).await,
        Command::AsOf { account, as_of } => questions::as_of(&bank, &account, as_of).await,
        Command::Rebuild { in_place: true, .. } => rebuilding::in_place(&bank).await,
        Command::Rebuild { in_place: false, accept } => rebuilding::beside(&bank, accept).await,
        Command::RollBack => rebuilding::roll_back(&bank).await,
        Command::Status => status::show(&bank).await,
        Command::Pause { why } => control::pause(&bank, why.as_deref()).await,
        Command::Resume => control::resume(&bank).await,
    }
}
