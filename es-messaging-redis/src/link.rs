//! A connection that comes about again.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use es_messaging::BrokerError;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::time::Instant;

use crate::limits;

pub(crate) const REDIS: &str = "redis";

/// A connection to the server, opened when it is needed, and again after it was lost.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    answer_limit: Duration,
    state: Mutex<State>,
    /// Held by whoever connects.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// How many connections there were.
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
}

impl Link {
    pub(crate) fn new(client: Client, answer_limit: Duration) -> Self {
        Self { client, answer_limit, state: Mutex::default(), connecting: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Connection> {
        let state = self.state();
        let generation = state.generation;
        state.connection.clone().map(|inner| Connection { inner, generation })
    }

    /// The connection; a new one if it was lost. After an attempt that failed, the next one is made only after a pause; until then this
    /// fails at once.
    pub(crate) async fn get(&self) -> Result<Connection, RedisError> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let _one = self.connecting.lock().await;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        if self.state().not_before.is_some_and(|at| Instant::now() < at) {
            let reason = "the server did not answer; it will be tried again soon";
            return Err(RedisError::from(std::io::Error::new(std::io::ErrorKind::NotConnected, reason)));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limits::CONNECT_LIMIT))
            .set_response_timeout(Some(self.answer_limit));
        let opened = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut state = self.state();
        match opened {
            Ok(connection) => {
                state.generation += 1;
                (state.failures, state.not_before) = (0, None);
                state.connection = Some(connection.clone());
                Ok(Connection { inner: connection, generation: state.generation })
            }
            Err(error) => {
                let doubled = limits::MIN_RECONNECT_PAUSE * 2_u32.pow(state.failures.min(10));
                // Half of it is left to chance.
                let chance = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 510.0;
                let pause = doubled.min(limits::MAX_RECONNECT_PAUSE).mul_f64(0.5 + chance);
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(Instant::now() + pause);
                Err(error)
            }
        }
    }

    /// What an error means for the connection: one that is broken, silent, or on a server that has changed its role is left.
    pub(crate) fn note(&self, connection: &Connection, error: &RedisError) {
        let left = matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse)
            || matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN" | "NOAUTH"));
        let mut state = self.state();
        if left && state.generation == connection.generation {
            state.connection = None;
        }
    }
}

/// A connection, as it was at some time.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    generation: u64,
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a redis::Cmd) -> RedisFuture<'a, Value> {
        self.inner.req_packed_command(cmd)
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a redis::Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.inner.req_packed_commands(cmd, offset, count)
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

/// Asks the server by a connection of a link: `ask!(link, |connection| command.query_async(connection))`.
macro_rules! ask {
    ($link:expr, |$connection:ident| $question:expr) => {{
        let link = &*$link;
        match link.get().await {
            Err(error) => Err(error),
            Ok(mut opened) => {
                let answer = {
                    let $connection = &mut opened;
                    $question.await
                };
                if let Err(error) = &answer {
                    link.note(&opened, error);
                }
                answer
            }
        }
    }};
}
pub(crate) use ask;

/// What an error says. Of many commands that failed together, the first: it stands for all of them.
pub(crate) fn said(error: &RedisError) -> String {
    match error.clone().into_server_errors() {
        Some(errors) if errors.len() > 1 => {
            let (_, first) = &errors[0];
            format!("{first} (and {} more)", errors.len() - 1)
        }
        _ => error.to_string(),
    }
}

/// What an error of the client means.
pub(crate) fn meaning(error: RedisError, what: &str) -> BrokerError {
    let denied = |error: &RedisError| BrokerError::Denied { broker: REDIS, reason: said(error) };
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => denied(&error),
        (_, Some("NOGROUP")) => BrokerError::Missing {
            broker: REDIS,
            what: what.to_owned(),
            reason: "its stream or its group is not there any more; declare it again".to_owned(),
        },
        (_, Some("WRONGTYPE")) => BrokerError::Missing {
            broker: REDIS,
            what: what.to_owned(),
            reason: "its key holds something else than a stream; choose another prefix".to_owned(),
        },
        (ErrorKind::InvalidClientConfig, _) => BrokerError::Config { what: what.to_owned(), reason: error.to_string() },
        _ => BrokerError::Unavailable { broker: REDIS, source: said(&error).into() },
    }
}
