//! `cargo xtask postgres` and its siblings: a server in the foreground.

use std::io;
use std::path::Path;

use xtask::brokers::moto::ThrowawayMoto;
use xtask::brokers::nats::{NatsOptions, ThrowawayNats};
use xtask::brokers::rabbitmq::{RabbitMqOptions, ThrowawayRabbitMq};
use xtask::brokers::redis::{RedisOptions, ThrowawayRedis};
use xtask::brokers::tansu::ThrowawayTansu;
use xtask::postgres::{PostgresOptions, ThrowawayPostgres};
use xtask::{ServerError, tools};

use crate::cli::{Broker, ServeOptions};

/// Runs a throwaway PostgreSQL until a line, or the end, of standard input is read.
pub(crate) fn postgres(options: &ServeOptions) -> Result<(), ServerError> {
    let install = if options.newest { tools::ensure_newest_postgres()? } else { tools::ensure_postgres()? };
    let profile = if options.durable { PostgresOptions::durable() } else { PostgresOptions::fast() };
    let server = ThrowawayPostgres::start(&install, &profile)?;
    println!("{}", server.url());
    let pid = server.pid().unwrap_or_default();
    println!("PostgreSQL {}, process {pid}", server.version());
    println!("files in {}", server.folder().display());
    wait_for_enter()
}

/// Runs a throwaway broker until a line, or the end, of standard input is read; the line `kill` kills it and starts it again.
pub(crate) fn broker(broker: Broker) -> Result<(), ServerError> {
    match broker {
        Broker::RabbitMq => {
            let mut server = ThrowawayRabbitMq::start(&tools::ensure_rabbitmq()?, &RabbitMqOptions::default())?;
            serve(&server.url(), || server.kill().and_then(|()| server.restart()))
        }
        Broker::Nats => {
            let mut server = ThrowawayNats::start(&tools::ensure_nats()?, &NatsOptions::durable())?;
            serve(&server.url(), || server.kill().and_then(|()| server.restart()))
        }
        Broker::Kafka => {
            let mut server = ThrowawayTansu::start(&tools::ensure_tansu()?)?;
            serve(&server.url(), || server.kill().and_then(|()| server.restart()))
        }
        Broker::Redis => {
            let mut server = ThrowawayRedis::start(&tools::ensure_redis()?, &RedisOptions::durable())?;
            serve(&server.url(), || server.kill().and_then(|()| server.restart()))
        }
        Broker::Sqs => {
            let mut server = ThrowawayMoto::start(&tools::ensure_moto()?)?;
            serve(&server.url(), || server.kill().and_then(|()| server.restart()))
        }
    }
}

fn serve(url: &str, mut kill: impl FnMut() -> Result<(), ServerError>) -> Result<(), ServerError> {
    println!("{url}");
    println!("Press Enter to stop it; `kill` and Enter kills it and starts it again.");
    while read_line()?.trim() == "kill" {
        kill()?;
        println!("killed, and started again");
    }
    Ok(())
}

fn wait_for_enter() -> Result<(), ServerError> {
    println!("Press Enter to stop it.");
    read_line().map(drop)
}

/// A line of standard input; empty at its end.
fn read_line() -> Result<String, ServerError> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|source| ServerError::Io {
        doing: "read",
        path: Path::new("standard input").to_owned(),
        source,
    })?;
    Ok(line)
}
