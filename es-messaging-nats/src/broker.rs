//! The connection.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, jetstream::ContextBuilder};
use async_trait::async_trait;
use es_messaging::{Broker, BrokerError, Publisher, Subscriber, Subscription, Topology};

use crate::{
    api::{Api, Events, NATS},
    durability::Durability,
    limits,
    options::NatsOptions,
    publisher::NatsPublisher,
    subscriber::NatsSubscriber,
    topology,
    url::{self, Address},
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
        let client = open(&address, &options, &events).await?;
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

async fn open(address: &Address, options: &NatsOptions, events: &Arc<Events>) -> Result<Client, BrokerError> {
    let noted = Arc::clone(events);
    let mut connect = ConnectOptions::new()
        .name("es-messaging")
        .require_tls(address.tls)
        .connection_timeout(limits::CONNECT_LIMIT)
        .request_timeout(Some(limits::REQUEST_LIMIT))
        .ping_interval(limits::PING_INTERVAL)
        .reconnect_delay_callback(pause)
        .event_callback(move |event| {
            let noted = Arc::clone(&noted);
            async move { noted.note(event) }
        });
    if let Some((user, password)) = &address.user {
        connect = connect.user_and_password(user.clone(), password.clone());
    }
    if let Some(file) = &options.credentials {
        connect = connect.credentials_file(file).await.map_err(|error| BrokerError::Config {
            what: format!("the file of credentials {}", file.display()),
            reason: error.to_string(),
        })?;
    }
    if let Some(file) = &options.ca {
        connect = connect.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &options.client_certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone());
    }
    connect.connect(address.servers.clone()).await.map_err(|error| {
        let reason = with_causes(&error);
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                BrokerError::Denied { broker: NATS, reason }
            }
            ConnectErrorKind::Tls => BrokerError::Tls { broker: NATS, reason },
            ConnectErrorKind::ServerParse => BrokerError::Config { what: address.shown.clone(), reason },
            // A handshake that fails shows itself as an error of reading or writing.
            _ if address.tls && reason.contains("certificate") || reason.contains("InvalidContentType") => {
                BrokerError::Tls { broker: NATS, reason }
            }
            _ => BrokerError::Unavailable { broker: NATS, source: error.into() },
        }
    })
}

/// The pause before an attempt to connect again: growing, and not the same for all clients.
fn pause(attempt: usize) -> Duration {
    let doubled = u32::try_from(attempt.saturating_sub(1).min(10)).unwrap_or(10);
    let pause = (limits::MIN_RECONNECT_PAUSE * 2_u32.pow(doubled)).min(limits::MAX_RECONNECT_PAUSE);
    // Half of it is left to chance.
    let chance = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    pause.mul_f64(0.5 + chance / 2.0)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
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
