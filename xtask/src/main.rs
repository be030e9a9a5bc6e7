//! `cargo xtask`: the commands for those who work on this workspace.

mod check;
mod cli;
mod lanes;
mod report;
mod serve;
mod test_programs;

use std::error::Error;
use std::process::ExitCode;

use cli::{Broker, Command, Tool};
use xtask::{ServerError, tools, workspace};

/// The exit code for a command line that was not understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command = match cli::parse(&words) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("{error}\n\n{}", cli::HELP);
            return ExitCode::from(USAGE);
        }
    };
    let result = match command {
        Command::Help(text) => {
            println!("{text}");
            Ok(())
        }
        Command::Bench(arguments) => return bench(&arguments),
        Command::Test(scope) => return check::run(scope),
        Command::Install(chosen) => install(&chosen),
        Command::Postgres(options) => serve::postgres(&options),
        Command::Broker(broker) => serve::broker(broker),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

/// Runs the benchmark and gives its exit code.
fn bench(arguments: &[String]) -> ExitCode {
    let program = test_programs::cargo();
    let mut command = std::process::Command::new(&program);
    command.args(["run", "--release", "-p", "es-bench", "--"]).args(arguments).current_dir(workspace::root());
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {} could not be run: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}

fn install(chosen: &[Tool]) -> Result<(), ServerError> {
    for tool in chosen {
        match tool {
            Tool::Postgres => {
                let install = tools::ensure_postgres()?;
                println!("PostgreSQL {} is in {}", install.version(), install.bin_folder().display());
            }
            Tool::NewestPostgres => {
                let install = tools::ensure_newest_postgres()?;
                println!("PostgreSQL {} is in {}", install.version(), install.bin_folder().display());
            }
            Tool::PgBouncer => {
                let install = tools::ensure_pgbouncer()?;
                println!("PgBouncer is {}", install.program().display());
            }
            Tool::Broker(Broker::RabbitMq) => {
                println!("RabbitMQ is in {}", tools::ensure_rabbitmq()?.bin_folder().display())
            }
            Tool::Broker(Broker::Nats) => println!("NATS is {}", tools::ensure_nats()?.program().display()),
            Tool::Broker(Broker::Kafka) => println!("Tansu is {}", tools::ensure_tansu()?.program().display()),
            Tool::Broker(Broker::Redis) => println!("Redis is {}", tools::ensure_redis()?.program().display()),
            Tool::Broker(Broker::Sqs) => println!("moto is {}", tools::ensure_moto()?.program().display()),
        }
    }
    Ok(())
}

/// The message of an error with those of its causes.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
