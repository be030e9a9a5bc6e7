//! The database that is measured: one that somebody runs, or a throwaway one.

use std::sync::Arc;

use xtask::postgres::{PostgresInstall, PostgresOptions, ThrowawayPostgres};

use crate::{
    Error,
    args::{Args, Size, StoreKind},
    database::{Database, Postgres, Sqlite},
    process,
    scale::Scale,
    workload::Bench,
};

/// A server, and what stops it.
pub struct Server {
    url: Option<String>,
    _throwaway: Option<ThrowawayPostgres>,
}

impl Server {
    /// The server of the command line, or a new one that flushes every commit; none for SQLite.
    pub fn start(args: &Args, kind: StoreKind) -> Result<Self, Error> {
        if kind == StoreKind::Sqlite || args.url.is_some() {
            return Ok(Self { url: args.url.clone(), _throwaway: None });
        }
        let mut options = PostgresOptions::durable();
        if let Some(time) = args.slow_flush {
            options = options.slow_flush(time);
        }
        let server = ThrowawayPostgres::start(&PostgresInstall::find()?, &options)?;
        Ok(Self { url: Some(server.url()), _throwaway: Some(server) })
    }

    pub fn url(&self) -> Option<String> {
        self.url.clone()
    }
}

/// What the workloads are given.
pub fn bench(args: &Args, kind: StoreKind, url: Option<String>) -> Result<Bench, Error> {
    let database: Arc<dyn Database> = match (kind, &url) {
        (StoreKind::Sqlite, _) => Arc::new(Sqlite::new()?),
        (_, Some(url)) => Arc::new(Postgres::new(url.clone(), kind == StoreKind::PostgresPipelined)),
        (_, None) => return Err("PostgreSQL without a URL".into()),
    };
    let mut scale = match args.size {
        Size::Smoke => Scale::SMOKE,
        Size::Quick => Scale::QUICK,
        Size::Full => Scale::FULL,
        Size::Large => Scale::LARGE,
    };
    scale.log = args.log.unwrap_or(scale.log);
    scale.rebuilt = args.log.unwrap_or(scale.rebuilt);
    Ok(Bench { kind, url, database, scale, repetitions: args.repetitions, idle_kib: process::resident_kib() })
}
