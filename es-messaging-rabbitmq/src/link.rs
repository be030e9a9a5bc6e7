//! A connection that is made again when it was lost.

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use es_messaging::BrokerError;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    attempt,
    error::{of_connecting, of_order, unavailable},
    limits,
    options::{Address, RabbitMqOptions},
};

/// Where the server is and how it is used.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    pub(crate) options: RabbitMqOptions,
}

/// One connection to the server, or none at the moment.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) settings: Arc<Settings>,
    state: Mutex<State>,
    closed: AtomicBool,
    /// The largest frame that the server took last.
    frame_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Link {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            state: Mutex::default(),
            closed: AtomicBool::new(false),
            frame_bytes: AtomicUsize::new(usize::MAX),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How many bytes the properties of a message may take: all of them travel in one frame, and the server adds some of its own when it
    /// gives a message again.
    pub(crate) fn properties_bytes(&self) -> usize {
        let frame = self.frame_bytes.load(Ordering::Acquire);
        frame - limits::FRAME_ROOM.min(frame / 4)
    }

    /// The connection; connects if there is none. After a failure it waits for the next attempt at most this long.
    pub(crate) async fn connection(&self, patience: Duration) -> Result<Arc<Connection>, BrokerError> {
        let end = Instant::now() + patience;
        let mut state = self.state.lock().await;
        if self.is_closed() {
            return Err(BrokerError::Closed);
        }
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some(not_before) = state.not_before {
            sleep_until(not_before.min(end)).await;
            if Instant::now() < not_before {
                return Err(unavailable("the last attempt to connect failed; the next one comes soon"));
            }
        }
        match self.connect().await {
            Ok(connection) => {
                let frame_bytes = connection.configuration().frame_max();
                if frame_bytes > 0 {
                    self.frame_bytes.store(usize::try_from(frame_bytes).unwrap_or(usize::MAX), Ordering::Release);
                }
                let connection = Arc::new(connection);
                *state = State { connection: Some(connection.clone()), ..State::default() };
                // Closed while it was being made.
                if self.is_closed() {
                    state.connection = None;
                    return Err(BrokerError::Closed);
                }
                Ok(connection)
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + backoff(state.failures));
                state.failures = state.failures.saturating_add(1);
                tracing::debug!(%error, failures = state.failures, "no connection to RabbitMQ");
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<Connection, BrokerError> {
        let Settings { address, options } = &*self.settings;
        let properties = ConnectionProperties::default().with_connection_name(options.name.as_str().into());
        #[cfg(feature = "tls")]
        let tls = options.tls.config();
        #[cfg(not(feature = "tls"))]
        let tls = lapin::tcp::OwnedTLSConfig::default();
        let of_connecting = |error| of_connecting(error, address.is_tls(), &address.uri.vhost);
        let connecting = attempt::connect(address.uri.clone(), properties, tls);
        match timeout(limits::CONNECT_WAIT, connecting).await {
            Ok(connected) => connected.map_err(of_connecting),
            Err(_) => Err(unavailable(format!("no connection within {:?}", limits::CONNECT_WAIT))),
        }
    }

    /// A channel of its own on the connection.
    pub(crate) async fn channel(&self, patience: Duration) -> Result<(Arc<Connection>, Channel), BrokerError> {
        let connection = self.connection(patience).await?;
        let channel = answer("a channel", connection.create_channel()).await;
        match channel {
            Ok(channel) => Ok((connection, channel)),
            Err(error) => {
                self.give_up(&connection).await;
                Err(error)
            }
        }
    }

    /// Forgets a connection that does not answer.
    pub(crate) async fn give_up(&self, connection: &Arc<Connection>) {
        let mut state = self.state.lock().await;
        if state.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            state.connection = None;
        }
    }

    /// Closes the connection for good.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let connection = self.state.lock().await.connection.take();
        if let Some(connection) = connection {
            let closing = connection.close(200, "closed by its owner".into());
            if let Err(error) = answer("closing the connection", closing).await {
                tracing::debug!(%error, "the connection was lost before it could be closed");
            }
        }
    }
}

/// What the server answers to an order, unless it takes too long.
pub(crate) async fn answer<T>(what: &str, order: impl Future<Output = lapin::Result<T>>) -> Result<T, BrokerError> {
    match timeout(limits::ANSWER_WAIT, order).await {
        Ok(answer) => answer.map_err(|error| of_order(error, what)),
        Err(_) => Err(unavailable(format!("no answer about {what} within {:?}", limits::ANSWER_WAIT))),
    }
}

/// Longer with every failure; each somewhere between half and all of its time, so that many clients do not come at once.
fn backoff(failures: u32) -> Duration {
    let (shortest, longest) = limits::BACKOFF;
    let time = shortest.saturating_mul(1 << failures.min(16)).min(longest);
    let spread = RandomState::new().hash_one(failures) % 1_000;
    time / 2 + time.mul_f64(spread as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_ever_slower_up_to_a_bound() {
        let (shortest, longest) = limits::BACKOFF;
        for failures in 0..100 {
            let wait = backoff(failures);
            assert!(wait >= shortest / 2 && wait <= longest, "{failures}: {wait:?}");
        }
        assert!(backoff(30) >= longest / 2);
    }
}
