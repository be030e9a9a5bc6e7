//! The connection.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use es_messaging::{Broker, BrokerError, Publisher, Subscriber, Subscription, Topology};
use redis::{Client, ErrorKind, RedisError};

use crate::{
    durability::Durability,
    keys::{self, Keys},
    link::{Link, REDIS, ask, meaning},
    options::{self, RedisOptions},
    publisher::RedisPublisher,
    subscriber::RedisSubscriber,
    topology,
};

/// A connection to a Redis, or a Valkey. Cloning is cheap.
///
/// It connects again by itself when it is used, with growing pauses between attempts; publishers fail soon meanwhile. Each
/// subscriber has one more connection, since it blocks it.
#[derive(Clone)]
pub struct RedisStreams {
    pub(crate) shared: Arc<Shared>,
    durability: Durability,
    shown: Arc<str>,
}

pub(crate) struct Shared {
    client: Client,
    pub(crate) link: Link,
    pub(crate) keys: Keys,
    pub(crate) options: RedisOptions,
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// One more connection, for whoever blocks it for some time.
    pub(crate) fn blocking_link(&self, blocks: Duration) -> Link {
        Link::new(self.client.clone(), self.options.answer_limit + blocks)
    }
}

impl RedisStreams {
    /// Connects to `redis://[user:password@]host[:port][/database][?prefix=WORDS]`; with the feature `tls` also by `rediss://`.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a URL that makes no sense, [`BrokerError::Denied`] for wrong credentials, [`BrokerError::Tls`], and
    /// [`BrokerError::Unavailable`] if the server does not answer.
    pub async fn connect(url: &str, options: RedisOptions) -> Result<Self, BrokerError> {
        let mut options = options;
        let (url, shown) = options::parse(url, &mut options)?;
        // Without one that was chosen for the process, the one that is compiled in.
        #[cfg(feature = "tls")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::open(url.as_str()).map_err(|error| meaning(error, &shown))?;
        let link = Link::new(client.clone(), options.answer_limit);
        let ping = redis::cmd("PING");
        let answer: Result<String, RedisError> = ask!(&link, |connection| ping.query_async(connection));
        answer.map_err(|error| at_connecting(error, &shown))?;
        let durability = Durability::find(&link, options.assume_durable).await;
        let keys = Keys::new(&options.prefix);
        let shared = Arc::new(Shared { client, link, keys, options, closed: AtomicBool::new(false) });
        Ok(Self { shared, durability, shown: shown.into() })
    }

    /// What is known of whether the server keeps what it confirms.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The key of the stream of a topic.
    pub fn stream_key(&self, topic: &str) -> String {
        self.shared.keys.stream(topic)
    }

    /// The key of the stream of a subscription's dead letters. Each is the entry as it was, with `dead_topic`, `dead_id`, `dead_reason`
    /// and `dead_attempts`.
    pub fn dead_key(&self, subscription: &str) -> String {
        self.shared.keys.dead(subscription)
    }

    /// Removes from the stream of a topic what every group of it has settled, and says how many entries that were. Without groups, none.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn trim_settled(&self, topic: &str) -> Result<u64, BrokerError> {
        if !keys::is_topic(topic) {
            let what = format!("the topic {topic:?}");
            return Err(BrokerError::Config {
                what,
                reason: "it has words with dots between, and no wildcards".to_owned(),
            });
        }
        topology::trim(&self.shared, &self.shared.keys.stream(topic)).await.map_err(|error| meaning(error, topic))
    }
}

/// What an error at connecting means.
fn at_connecting(error: RedisError, shown: &str) -> BrokerError {
    let said = error.to_string();
    let lower = said.to_ascii_lowercase();
    // Either side shows by some broken bytes that the other does not speak TLS, or does.
    let of_tls = ["certificate", "tls", "handshake", "corrupt message", "invalidcontenttype"];
    if error.kind() == ErrorKind::Parse {
        let reason =
            format!("{shown} does not speak plain Redis; if this is its port for TLS, the URL begins with rediss://");
        return BrokerError::Tls { broker: REDIS, reason };
    }
    if of_tls.iter().any(|word| lower.contains(word)) {
        return BrokerError::Tls { broker: REDIS, reason: format!("{shown}: {said}") };
    }
    if shown.starts_with("rediss:") && error.is_timeout() {
        // Or it hangs: nobody can tell.
        let source =
            "no answer to the beginning of TLS; a port without TLS gives none, and its URL begins with redis://";
        return BrokerError::Unavailable { broker: REDIS, source: source.into() };
    }
    meaning(error, shown)
}

impl fmt::Debug for RedisStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RedisStreams");
        debug.field("url", &self.shown).field("prefix", &self.shared.options.prefix);
        debug.field("durability", &self.durability).finish_non_exhaustive()
    }
}

#[async_trait]
impl Broker for RedisStreams {
    fn name(&self) -> &'static str {
        REDIS
    }

    /// Notes topics and subscriptions, and creates the streams and groups that follow from them. A topic that a subscription names
    /// without wildcards is declared with it. A group begins with the oldest message that its streams keep.
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.shared.check_open()?;
        topology::declare(&self.shared, topology).await
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        self.shared.check_open()?;
        let ping = redis::cmd("PING");
        let answer: Result<String, RedisError> = ask!(&self.shared.link, |connection| ping.query_async(connection));
        answer.map_err(|error| meaning(error, "a publisher"))?;
        Ok(Box::new(RedisPublisher::new(Arc::clone(&self.shared))))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        self.shared.check_open()?;
        Ok(Box::new(RedisSubscriber::open(Arc::clone(&self.shared), subscription).await?))
    }

    async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }
}
