//! How to connect, and what a stream is to be like.

use std::{path::PathBuf, time::Duration};

use es_messaging::{BrokerError, ContentMode};

use crate::limits;

/// Settings beside the URL. Those that the URL has too are overridden by it.
#[derive(Debug, Clone)]
#[must_use]
pub struct NatsOptions {
    pub(crate) stream: String,
    pub(crate) prefix: Option<String>,
    pub(crate) replicas: usize,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) discard_old: bool,
    pub(crate) duplicate_window: Duration,
    pub(crate) max_deliver: Option<u32>,
    pub(crate) max_ack_pending: Option<usize>,
    pub(crate) in_flight: usize,
    pub(crate) publish_limit: Duration,
    pub(crate) content_mode: ContentMode,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) monitoring: Vec<String>,
    pub(crate) assume_synced: bool,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            stream: "EVENTS".to_owned(),
            prefix: None,
            replicas: 1,
            max_bytes: None,
            max_age: None,
            discard_old: false,
            duplicate_window: limits::DEFAULT_DUPLICATE_WINDOW,
            max_deliver: None,
            max_ack_pending: None,
            in_flight: limits::DEFAULT_IN_FLIGHT,
            publish_limit: limits::DEFAULT_PUBLISH_LIMIT,
            content_mode: ContentMode::Binary,
            credentials: None,
            ca: None,
            client_certificate: None,
            monitoring: Vec::new(),
            assume_synced: false,
        }
    }
}

impl NatsOptions {
    /// The defaults: a stream `EVENTS` on one server, without a bound on its size.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream; in the URL `stream=`. Its dead letters are in the stream of this name with `_DEAD` behind it.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = name.into();
        self
    }

    /// The first words of all subjects; in the URL `prefix=`. By default the stream's name in lower case. A topic `order.placed` is then
    /// the subject `events.order.placed`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// How many servers of a cluster keep each message: 1, 3 or 5; in the URL `replicas=`.
    pub fn replicas(mut self, servers: usize) -> Self {
        self.replicas = servers;
        self
    }

    /// The most bytes that the stream keeps. When it is full it takes no more, and publishers are asked for patience
    /// ([`PublishError::Throttled`](es_messaging::PublishError::Throttled)), unless [`discard_old`](Self::discard_old) says otherwise.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// How long the stream keeps messages, whether they were received or not. By default for ever.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Lets a full stream drop its oldest messages, also those that nobody has received yet.
    pub fn discard_old(mut self) -> Self {
        self.discard_old = true;
        self
    }

    /// How long the server remembers the ids of messages, so that one that is published again within this time is kept once. It takes
    /// memory for each message of this time.
    pub fn duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = window;
        self
    }

    /// After how many deliveries a message goes to the dead letters instead of being delivered again, at least 1. By default never.
    pub fn max_deliver(mut self, times: u32) -> Self {
        self.max_deliver = Some(times.max(1));
        self
    }

    /// The most messages that all members of a subscription together hold unsettled. By default
    /// [`MAX_PREFETCH`](es_messaging::limits::MAX_PREFETCH). With 1 the whole subscription is in order, one message at a time.
    pub fn max_ack_pending(mut self, messages: usize) -> Self {
        self.max_ack_pending = Some(messages.max(1));
        self
    }

    /// The most messages of a publisher on their way at once, from 1 to [`limits::MAX_IN_FLIGHT`].
    pub fn in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages.clamp(1, limits::MAX_IN_FLIGHT);
        self
    }

    /// How long acknowledgements of published messages are waited for.
    pub fn publish_limit(mut self, limit: Duration) -> Self {
        self.publish_limit = limit;
        self
    }

    /// How messages are published; [`ContentMode::Binary`] if not said. Both modes are received.
    pub fn content_mode(mut self, mode: ContentMode) -> Self {
        self.content_mode = mode;
        self
    }

    /// A file of credentials (JWT and seed); in the URL `credentials=`.
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> Self {
        self.credentials = Some(file.into());
        self
    }

    /// A file with the certificates of authorities (PEM) that the server's certificate may come from, beside the machine's own; in the URL
    /// `ca=`.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Files (PEM) of the certificate and the key that this side shows.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// The monitoring ports (`host:port`, HTTP) of all servers, which are asked at connecting whether JetStream flushes before it
    /// acknowledges: nobody else tells an ordinary client. See [`Durability`](crate::Durability).
    pub fn monitoring(mut self, servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.monitoring = servers.into_iter().map(Into::into).collect();
        self
    }

    /// Says that the servers run with `sync_interval: always`, or that losing what was acknowledged in the last two minutes before a
    /// power cut is accepted; so there is no warning.
    pub fn assume_synced(mut self) -> Self {
        self.assume_synced = true;
        self
    }

    pub(crate) fn subject_prefix(&self) -> String {
        self.prefix.clone().unwrap_or_else(|| self.stream.to_ascii_lowercase())
    }

    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let config = |what: &str, reason: String| Err(BrokerError::Config { what: what.to_owned(), reason });
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !is_word(&self.stream) {
            return config("stream", format!("{:?} is not of ASCII letters, digits, `_` and `-`", self.stream));
        }
        let prefix = self.subject_prefix();
        if !prefix.split('.').all(is_word) {
            return config(
                "prefix",
                format!("{prefix:?} is not of words of ASCII letters and digits with dots between"),
            );
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return config("replicas", format!("{} servers; 1, 3 or 5 are possible", self.replicas));
        }
        Ok(())
    }
}
