//! The conformance suite of brokers on a Redis server.

mod common;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use es_messaging::{Broker, Subscription};
use es_messaging_redis::{RedisOptions, RedisStreams};
use es_testkit::broker_conformance::{BrokerAbilities, BrokerHarness, TcpProxy, unique_prefix};
use tokio::sync::{Mutex, OnceCell};
use xtask::brokers::redis::{RedisOptions as ServerOptions, ThrowawayRedis};

es_testkit::broker_conformance!(RedisHarness::new());

/// Keys of its own for each case, and a server of its own behind a proxy for those that disturb it.
struct RedisHarness {
    prefix: String,
    alone: OnceCell<Alone>,
}

struct Alone {
    server: Mutex<ThrowawayRedis>,
    port: u16,
    proxy: TcpProxy,
}

impl RedisHarness {
    fn new() -> Self {
        Self { prefix: unique_prefix(), alone: OnceCell::new() }
    }

    fn options(&self) -> RedisOptions {
        RedisOptions::new().prefix(self.prefix.clone())
    }

    async fn client(&self) -> redis::aio::MultiplexedConnection {
        let port = self.alone.get().map_or(common::server().port(), |alone| alone.port);
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    async fn broker(&self) -> RedisStreams {
        let port = self.alone.get().map_or(common::server().port(), |alone| alone.proxy.port());
        RedisStreams::connect(&format!("redis://127.0.0.1:{port}"), self.options()).await.unwrap()
    }
}

#[async_trait]
impl BrokerHarness for RedisHarness {
    fn abilities(&self) -> BrokerAbilities {
        let mut abilities = BrokerAbilities::all();
        abilities.orders_keys_among_members = false;
        abilities.deduplicates = false;
        abilities
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker().await)
    }

    async fn alone(&self) {
        let server = common::start(&ServerOptions::durable());
        let port = server.port();
        let proxy = TcpProxy::to(port).await.unwrap();
        assert!(self.alone.set(Alone { server: Mutex::new(server), port, proxy }).is_ok());
    }

    async fn restart(&self) {
        let mut server = self.alone.get().expect("it was asked for").server.lock().await;
        tokio::task::block_in_place(|| {
            server.kill().unwrap();
            server.restart().unwrap();
        });
    }

    async fn set_reachable(&self, reachable: bool) {
        self.alone.get().expect("it was asked for").proxy.set_open(reachable);
    }

    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        let key = self.broker().await.dead_key(&subscription.name);
        let mut command = redis::cmd("XRANGE");
        command.arg(key).arg("-").arg("+");
        let found: Vec<(String, HashMap<String, String>)> =
            command.query_async(&mut self.client().await).await.unwrap();
        found.into_iter().map(|(_, fields)| fields["ce_id"].clone()).collect()
    }

    async fn publish_raw(&self, topic: &str, content_type: &str, body: &[u8]) -> bool {
        let key = self.broker().await.stream_key(topic);
        let mut command = redis::cmd("XADD");
        command.arg(key).arg("*").arg("content-type").arg(content_type).arg("data").arg(body);
        command.query_async::<()>(&mut self.client().await).await.unwrap();
        true
    }
}
