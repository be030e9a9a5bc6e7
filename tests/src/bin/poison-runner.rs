//! A process that runs consumers whose code is broken for some accounts until it is killed: `poison-runner broken|mended FILE` or
//! `poison-runner broken|mended URL SCHEMA`.

use std::{sync::Arc, time::Duration};

use es_core::{Projection, ProjectionStore, RunnerStore};
use es_e2e::{
    ledger::{PgLedger, SqliteLedger},
    poison::{Picky, Seen, parks},
};
use es_postgres::PgOptions;
use es_projections::{Runner, RunnerError, limits};
use es_sqlite::SqliteStore;
use es_testkit::bank::AccountEvent;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [code, file] => run(&SqliteStore::open(file).await?, SqliteLedger::default(), code == "broken").await?,
        [code, url, schema] => {
            let store = PgOptions::new(url).schema(schema).max_connections(4).connect().await?;
            run(&store, PgLedger::new(schema), code == "broken").await?;
        }
        _ => return Err("give the state of the code, and a file, or a URL and a schema".into()),
    }
    Ok(())
}

async fn run<S, P>(store: &S, ledger: P, is_broken: bool) -> Result<(), RunnerError>
where
    S: RunnerStore + ProjectionStore + Clone + 'static,
    P: Projection<Connection = <S as ProjectionStore>::Connection, Event = AccountEvent>,
{
    let picky = Picky { ledger, is_broken: Arc::new(is_broken.into()) };
    let builder = Runner::builder(store).lease_time(limits::MIN_LEASE_TIME.max(Duration::from_millis(500)));
    let builder = builder.projection_with(picky, parks());
    let builder = match is_broken {
        true => builder.view_with::<Seen<false>>(parks()),
        false => builder.view_with::<Seen<true>>(parks()),
    };
    builder.build()?.run(std::future::pending()).await
}
