//! The connection.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_nats::{Client, jetstream::ContextBuilder};
use async_trait::async_trait;
use es_messaging::{Broker, BrokerError, Publisher, Subscriber, Subscription, Topology};

use crate::{
    api::{Api, Events, NATS},
    connect,
    durability::Durability,
    limits,
    options::NatsOptions,
    publisher::NatsPublisher,
    subscriber::NatsSubscriber,
    topology, url,
};

/// A connection to NATS, and a stream there. Cloning is cheap.
///
/// It connects again by itself, with growing pauses of at most [`limits::MAX_RECONNECT_PAUSE`]; publishers fail soon meanwhile.
#[derive(Clone)]
pub struct Nats {
    pub(crate) client: Client,
    pub(crate) api: Api,
    pub(crate) options: Arc<NatsOptions>,
    closed: Arc<AtomicBool>,
    durability: Durability,
    shown: String,
}

impl Nats {
    /// Connects to `nats://user:password@host:port[,host:port]/?stream=EVENTS`; with `tls://` only by TLS. With `nats://` it is the
    /// server that decides about TLS.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a URL or options that make no sense, [`BrokerError::Denied`] for wrong credentials,
    /// [`BrokerError::Tls`], and [`BrokerError::Unavailable`] if none of the servers answers.
    pub async fn connect(url: &str, options: NatsOptions) -> Result<Self, BrokerError> {
        let mut options = options;
        let address = url::parse(url, &mut options)?;
        let events = Arc::new(Events::default());
        let client = connect::connect(&address, &options, &events).await?;
        let durability = Durability::find(&options).await;
        let context = ContextBuilder::new().timeout(limits::REQUEST_LIMIT).build(client.clone());
        let api = Api { context, events };
        Ok(Self { client, api, options: Arc::new(options), closed: Arc::default(), durability, shown: address.shown })
    }

    /// What is known of whether the server flushes before it acknowledges.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    pub(crate) fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// The name of the stream of dead letters.
    pub fn dead_stream(&self) -> String {
        topology::dead_stream(&self.options)
    }

    /// The subject under which the dead letters of a subscription are kept, with the topic behind it.
    pub fn dead_subject(&self, subscription: &str, topic: &str) -> String {
        topology::dead_subject(&self.options, subscription, topic)
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Nats");
        debug.field("url", &self.shown).field("stream", &self.options.stream);
        debug.field("durability", &self.durability).finish_non_exhaustive()
    }
}

#[async_trait]
impl Broker for Nats {
    fn name(&self) -> &'static str {
        NATS
    }

    /// Creates the stream, with all subjects under the prefix, the stream of dead letters, and the durable consumers.
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.check_open()?;
        topology::declare(self, topology).await
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        self.check_open()?;
        topology::stream(self).await?;
        Ok(Box::new(NatsPublisher::new(self)))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        self.check_open()?;
        Ok(Box::new(NatsSubscriber::open(self, subscription).await?))
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // What fails here is a connection that is gone already.
        let _ = self.client.drain().await;
    }
}
