//! Servers and harnesses for the tests.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use es_messaging::{Broker, Subscription};
use es_messaging_rabbitmq::{RabbitMq, RabbitMqOptions};
use es_testkit::broker_conformance::{BrokerAbilities, BrokerHarness, TcpProxy, unique_prefix};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    sync::{Mutex, MutexGuard, OnceCell},
    time::{Instant, sleep},
};
use xtask::brokers::rabbitmq::{RabbitMqOptions as ServerOptions, ThrowawayRabbitMq};

/// Starts a server.
pub(crate) fn start(options: &ServerOptions) -> ThrowawayRabbitMq {
    let install = xtask::tools::ensure_rabbitmq().unwrap_or_else(|error| panic!("{error}"));
    ThrowawayRabbitMq::start(&install, options).unwrap_or_else(|error| panic!("{error}"))
}

/// The server that tests share, which nobody disturbs.
pub(crate) fn shared() -> &'static ThrowawayRabbitMq {
    static SHARED: OnceLock<ThrowawayRabbitMq> = OnceLock::new();
    SHARED.get_or_init(|| start(&ServerOptions::default()))
}

/// The server that is killed, by one test at a time.
pub(crate) async fn victim() -> MutexGuard<'static, ThrowawayRabbitMq> {
    static VICTIM: OnceCell<Mutex<ThrowawayRabbitMq>> = OnceCell::const_new();
    let start = || async {
        let started = tokio::task::spawn_blocking(|| start(&ServerOptions::default())).await;
        Mutex::new(started.unwrap_or_else(|error| panic!("{error}")))
    };
    VICTIM.get_or_init(start).await.lock().await
}

/// A bare connection beside the broker under test.
pub(crate) async fn bare(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirmations");
    (connection, channel)
}

/// Takes everything from a queue.
pub(crate) async fn take_all(channel: &Channel, queue: &str) -> Vec<lapin::message::Delivery> {
    let mut all = Vec::new();
    while let Some(one) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.expect("the queue is there")
    {
        channel.basic_ack(one.delivery_tag, BasicAckOptions::default()).await.expect("it is acknowledged");
        all.push(one.delivery);
    }
    all
}

/// An exchange of its own on the shared server for each case; for a case that disturbs, a server or a way to it.
pub(crate) struct RabbitMqHarness {
    prefix: String,
    options: RabbitMqOptions,
    abilities: BrokerAbilities,
    alone: OnceCell<(Mutex<MutexGuard<'static, ThrowawayRabbitMq>>, TcpProxy)>,
    dead: Mutex<Vec<String>>,
}

impl RabbitMqHarness {
    pub(crate) fn new(options: RabbitMqOptions) -> Self {
        let prefix = unique_prefix();
        let mut abilities = BrokerAbilities::all();
        abilities.deduplicates = false;
        abilities.ack_wait = false;
        abilities.orders_keys_among_members = false;
        let options = options.exchange(prefix.clone());
        Self { prefix, options, abilities, alone: OnceCell::new(), dead: Mutex::default() }
    }

    /// With one active consumer for each queue: that keeps the order, and shares nothing.
    pub(crate) fn single_active() -> Self {
        let mut harness = Self::new(RabbitMqOptions::default().single_active_consumer(true));
        harness.abilities.orders_keys_among_members = true;
        harness.abilities.shares = false;
        harness
    }

    /// With classic queues: they count nothing.
    pub(crate) fn classic() -> Self {
        let options = RabbitMqOptions::default().queue_kind(es_messaging_rabbitmq::QueueKind::Classic);
        let mut harness = Self::new(options);
        harness.abilities.counts_attempts = false;
        harness
    }

    fn url(&self) -> String {
        match self.alone.get() {
            Some((_, proxy)) => format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port()),
            None => shared().url(),
        }
    }
}

#[async_trait]
impl BrokerHarness for RabbitMqHarness {
    fn abilities(&self) -> BrokerAbilities {
        self.abilities.clone()
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        let end = Instant::now() + self.patience();
        // The shared server is not killed.
        let options = match self.alone.get() {
            Some(_) => self.options.clone(),
            None => self.options.clone().new_queue_wait(Duration::ZERO),
        };
        loop {
            match RabbitMq::connect(&self.url(), options.clone()).await {
                Ok(broker) => return Arc::new(broker),
                // It has just been started.
                Err(error) if error.is_transient() && Instant::now() < end => sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    async fn alone(&self) {
        let server = victim().await;
        let proxy = TcpProxy::to(server.port()).await.expect("a proxy");
        assert!(self.alone.set((Mutex::new(server), proxy)).is_ok(), "alone once");
    }

    async fn restart(&self) {
        let mut server = self.alone.get().expect("alone").0.lock().await;
        tokio::task::block_in_place(|| server.restart()).expect("it comes back");
    }

    async fn set_reachable(&self, reachable: bool) {
        self.alone.get().expect("alone").1.set_open(reachable);
    }

    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        let (_connection, channel) = bare(&self.url()).await;
        let mut dead = self.dead.lock().await;
        for one in take_all(&channel, &RabbitMq::dead_letter_queue(subscription)).await {
            let id = one.properties.message_id().clone();
            dead.push(id.expect("it has an id").to_string());
        }
        dead.clone()
    }

    async fn publish_raw(&self, topic: &str, content_type: &str, body: &[u8]) -> bool {
        let (_connection, channel) = bare(&self.url()).await;
        let properties = BasicProperties::default().with_content_type(content_type.into());
        let options = BasicPublishOptions::default();
        let confirm = channel.basic_publish(self.prefix.as_str().into(), topic.into(), options, body, properties).await;
        confirm.expect("it is sent").await.expect("it is confirmed").is_ack()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(50)
    }
}
