//! A process that keeps the ledger up to date until it is killed: `ledger-runner FILE` or `ledger-runner URL SCHEMA`.

use es_e2e::ledger::{PgLedger, SqliteLedger};
use es_postgres::PgOptions;
use es_projections::Runner;
use es_sqlite::SqliteStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runner = match &arguments[..] {
        [file] => Runner::builder(&SqliteStore::open(file).await?).projection(SqliteLedger).build()?,
        [url, schema] => {
            let store = PgOptions::new(url).schema(schema).max_connections(3).connect().await?;
            Runner::builder(&store).projection(PgLedger { schema: schema.clone() }).build()?
        }
        _ => return Err("give a file, or a URL and a schema".into()),
    };
    runner.run(std::future::pending()).await?;
    Ok(())
}
