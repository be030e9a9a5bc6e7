//! The PostgreSQL that is measured: one that somebody runs, or a throwaway one.

use xtask::postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres};

use crate::{Error, args::Args};

/// A server, and what stops it.
pub struct Server {
    pub url: String,
    _throwaway: Option<ThrowawayPostgres>,
}

impl Server {
    /// The server of the command line, or a new one that flushes every commit.
    pub fn start(args: &Args) -> Result<Self, Error> {
        if let Some(url) = &args.url {
            return Ok(Self { url: url.clone(), _throwaway: None });
        }
        if args.slow_flush.is_some() {
            return Err("slow flushes are not there yet".into());
        }
        let server = ThrowawayPostgres::start(&PostgresInstall::find()?, &PostgresOptions::durable())?;
        Ok(Self { url: server.url(), _throwaway: Some(server) })
    }
}
