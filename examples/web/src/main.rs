//! `cargo run -p web -- [ADDRESS [FILE]]`: the service on an address, with its events in a SQLite file.

use std::{
    env::args,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use es_sqlite::SqliteStore;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &*error, "the service ended");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Error> {
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let file = args().nth(2).unwrap_or_else(|| "web.db".to_owned());

    let store = SqliteStore::open(file).await?; // or PgStore::connect("postgres://…")
    let listener = TcpListener::bind(address).await?;
    // Whether or not somebody listens to what it says.
    let _ = writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?);

    // Before the first request, so that none of them is missed.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    web::serve(listener, Arc::new(store.clone()), shutdown).await?;
    store.close().await?;
    Ok(())
}
