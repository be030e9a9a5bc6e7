//! A process that works on the ledger until it is killed: `ledger-runner follow|rebuild FILE` or
//! `ledger-runner follow|rebuild URL SCHEMA`. It follows the log, or rebuilds the ledger beside the live one and ends.

use std::time::Duration;

use es_e2e::ledger::{LEDGER, PgLedger, SqliteLedger};
use es_postgres::PgOptions;
use es_projections::{RebuildOptions, Runner, Verification};
use es_sqlite::SqliteStore;

/// So long after a kill another process goes on.
const LEASE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (work, runner) = match words[..] {
        [work, file] => {
            let builder = Runner::builder(&SqliteStore::open(file).await?).lease_time(LEASE);
            (work, builder.projection(SqliteLedger::default()).build()?)
        }
        [work, url, schema] => {
            let store = PgOptions::new(url).schema(schema).max_connections(4).connect().await?;
            (work, Runner::builder(&store).lease_time(LEASE).projection(PgLedger::new(schema)).build()?)
        }
        _ => return Err("give the work, and a file, or a URL and a schema".into()),
    };
    match work {
        "follow" => runner.run(std::future::pending()).await?,
        "rebuild" => {
            runner.drop_retired(LEDGER).await?;
            let options = RebuildOptions::by("the rebuilder").verify(Verification::MustMatch);
            runner.rebuild_beside(LEDGER, options, |_| {}).await?;
        }
        _ => return Err("the work is follow or rebuild".into()),
    }
    Ok(())
}
