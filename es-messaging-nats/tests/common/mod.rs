//! A server for all tests of a binary, and what they have in common.
#![allow(dead_code)]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use es_messaging::{Broker, Delivery, Message, Outgoing, Settlement, Subscriber, Subscription, Topology};
use es_messaging_nats::{Nats, NatsOptions};
use xtask::brokers::nats::{NatsOptions as ServerOptions, ThrowawayNats};

pub(crate) const SOON: Duration = Duration::from_secs(5);

/// The server of this test binary.
pub(crate) fn server() -> &'static ThrowawayNats {
    static SERVER: OnceLock<ThrowawayNats> = OnceLock::new();
    SERVER.get_or_init(|| start(&large()))
}

/// That takes messages of some megabytes.
pub(crate) fn large() -> ServerOptions {
    ServerOptions::durable().with_lines("max_payload: 4MB")
}

/// A server of one's own.
pub(crate) fn start(options: &ServerOptions) -> ThrowawayNats {
    let install = xtask::tools::ensure_nats().unwrap();
    ThrowawayNats::start(&install, options).unwrap()
}

/// A stream of one's own.
pub(crate) fn options() -> NatsOptions {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NatsOptions::new().stream(format!("T{}", NEXT.fetch_add(1, Ordering::Relaxed))).assume_synced()
}

/// A connection, and a declared subscription to everything.
pub(crate) async fn with_subscription(options: NatsOptions, subscription: Subscription) -> (Nats, Box<dyn Subscriber>) {
    let nats = Nats::connect(&server().url(), options).await.unwrap();
    nats.declare(&Topology::new(["order.placed"], vec![subscription.clone()])).await.unwrap();
    let subscriber = nats.subscriber(&subscription).await.unwrap();
    (nats, subscriber)
}

pub(crate) fn outgoing(id: &str, key: Option<&str>) -> Outgoing {
    let builder = Message::builder("shop.order.placed", "/shop").id(id).maybe_extension("partitionkey", key);
    let message = builder.json(&serde_json::json!({"id": id})).unwrap().build().unwrap();
    Outgoing { topic: "order.placed".to_owned(), message }
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.content.as_ref().unwrap().id().to_owned()).collect()
}

/// Receives and acknowledges until nothing comes for `quiet`.
pub(crate) async fn drain(subscriber: &dyn Subscriber, quiet: Duration) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let deliveries = subscriber.receive(256, quiet).await.unwrap();
        if deliveries.is_empty() {
            return all;
        }
        all.extend(ids(&deliveries));
        subscriber.settle(deliveries.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
    }
}

/// Counts the warnings of this crate.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    /// How many there were since it was asked last.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().starts_with("es_messaging_nats")
    }

    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _span: &tracing::span::Id, _values: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _span: &tracing::span::Id, _follows: &tracing::span::Id) {}

    fn event(&self, _event: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _span: &tracing::span::Id) {}

    fn exit(&self, _span: &tracing::span::Id) {}
}
