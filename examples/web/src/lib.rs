//! A bank as an HTTP service: commands in, a read model out, live updates.
//!
//! ```sh
//! cargo run -p web
//! curl -i localhost:3000/accounts/ann -H 'idempotency-key: 1' --json '{"owner": "Ann"}'
//! curl -i localhost:3000/accounts/ann/deposits -H 'idempotency-key: 2' --json '{"cents": 500}'
//! curl -i localhost:3000/accounts/ann -H 'event-bookmark: 2'     # read your own writes: the header that the command returned
//! curl -N localhost:3000/events -H 'last-event-id: 0'            # everything so far, and then live
//! ```

mod domain;
mod error;
mod http;
mod live;

use std::{io, sync::Arc, time::Duration};

use es_core::{Repository, RunnerStore};
use es_projections::{Runner, RunnerError};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::sleep,
};

use domain::{Account, Balance};

/// How long a shutdown waits for requests that are under way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the service ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The read model stopped; the error says at which event.
    #[error("{0}")]
    ReadModel(#[from] RunnerError),
    /// The network failed.
    #[error("the service could not accept connections")]
    Network(#[from] io::Error),
}

/// What every request works with.
#[derive(Clone)]
pub(crate) struct Service {
    store: Arc<dyn RunnerStore>,
    accounts: Repository<Account>,
    runner: Runner,
    is_stopping: watch::Receiver<bool>,
}

impl Service {
    /// Returns when the service is to shut down.
    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut is_stopping = self.is_stopping.clone();
        async move {
            // It fails if the sender is gone, and that is at the end.
            let _ = is_stopping.wait_for(|&is_stopping| is_stopping).await;
        }
    }
}

/// Answers requests and keeps the read model up to date, until `shutdown` is ready and the requests under way are answered.
///
/// # Errors
/// If the read model stops: a service that answers from one that does not advance only looks alive.
pub async fn serve(
    listener: TcpListener,
    store: Arc<dyn RunnerStore>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let runner = Runner::builder(&store).view::<Balance>().build()?;
    let (stop_runner, runner_is_to_stop) = oneshot::channel::<()>();
    let (runner_ends, runner_has_ended) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let runner = runner.clone();
        async move {
            let _at_the_end = runner_ends;
            runner.run(async { _ = runner_is_to_stop.await }).await
        }
    });

    let (stop, is_stopping) = watch::channel(false);
    let service = Service { accounts: Repository::new(&store), store, runner, is_stopping };
    let stopped = service.stopped();
    let until = async move {
        tokio::select! {
            () = shutdown => {}
            _ = runner_has_ended => {}
        }
        stop.send_replace(true);
    };
    tokio::select! {
        result = axum::serve(listener, http::routes(service)).with_graceful_shutdown(until).into_future() => result?,
        () = async { stopped.await; sleep(SHUTDOWN_TIMEOUT).await } => {
            tracing::warn!("some requests were not answered in time");
        }
    }

    // Last, since questions wait for it.
    drop(stop_runner);
    match running.await {
        Ok(result) => Ok(result?),
        Err(error) => Err(io::Error::other(error).into()),
    }
}
