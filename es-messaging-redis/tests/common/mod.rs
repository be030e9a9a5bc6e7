//! A server for all tests of a binary, and what they have in common.
#![allow(dead_code)]

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use es_messaging::{Broker, Delivery, Message, Outgoing, Settlement, Subscriber, Subscription, Topology};
use es_messaging_redis::{RedisOptions, RedisStreams};
use xtask::brokers::redis::{RedisOptions as ServerOptions, ThrowawayRedis};

pub(crate) const SOON: Duration = Duration::from_secs(5);

/// The server of this test binary.
pub(crate) fn server() -> &'static ThrowawayRedis {
    static SERVER: OnceLock<ThrowawayRedis> = OnceLock::new();
    SERVER.get_or_init(|| start(&ServerOptions::durable()))
}

/// A server of one's own.
pub(crate) fn start(options: &ServerOptions) -> ThrowawayRedis {
    let install = xtask::tools::ensure_redis().unwrap();
    ThrowawayRedis::start(&install, options).unwrap()
}

/// Keys of one's own.
pub(crate) fn options() -> RedisOptions {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    RedisOptions::new().prefix(format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A connection, and a declared subscription.
pub(crate) async fn with_subscription(
    options: RedisOptions,
    subscription: Subscription,
) -> (RedisStreams, Box<dyn Subscriber>) {
    let redis = RedisStreams::connect(&server().url(), options).await.unwrap();
    redis.declare(&Topology::new(["order.placed"], vec![subscription.clone()])).await.unwrap();
    let subscriber = redis.subscriber(&subscription).await.unwrap();
    (redis, subscriber)
}

/// A connection of the client itself.
pub(crate) async fn client(server: &ThrowawayRedis) -> redis::aio::MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

pub(crate) fn outgoing(id: &str, key: Option<&str>) -> Outgoing {
    let builder = Message::builder("shop.order.placed", "/shop").id(id).maybe_extension("partitionkey", key);
    let message = builder.json(&serde_json::json!({"id": id})).unwrap().build().unwrap();
    Outgoing { topic: "order.placed".to_owned(), message }
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.content.as_ref().unwrap().id().to_owned()).collect()
}

/// Receives and acknowledges until so many have come.
pub(crate) async fn take(subscriber: &dyn Subscriber, count: usize) -> Vec<String> {
    let (mut all, end) = (Vec::new(), Instant::now() + SOON * 4);
    while all.len() < count {
        assert!(Instant::now() < end, "{count} messages were expected, and {all:?} came");
        let deliveries = subscriber.receive(count - all.len(), SOON).await.unwrap();
        all.extend(ids(&deliveries));
        subscriber.settle(deliveries.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
    }
    all
}
