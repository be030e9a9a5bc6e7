//! The conformance suite of brokers on a NATS server.

mod common;

use std::sync::Arc;

use async_nats::jetstream;
use async_trait::async_trait;
use es_messaging::{Broker, Subscription};
use es_messaging_nats::{Nats, NatsOptions};
use es_testkit::broker_conformance::{BrokerAbilities, BrokerHarness, TcpProxy, unique_prefix};
use tokio::sync::{Mutex, OnceCell};
use xtask::brokers::nats::ThrowawayNats;

es_testkit::broker_conformance!(NatsHarness::new());

/// A stream of its own for each case, and a server of its own behind a proxy for those that disturb it.
struct NatsHarness {
    prefix: String,
    alone: OnceCell<Alone>,
}

struct Alone {
    server: Mutex<ThrowawayNats>,
    port: u16,
    proxy: TcpProxy,
}

impl NatsHarness {
    fn new() -> Self {
        Self { prefix: unique_prefix(), alone: OnceCell::new() }
    }

    /// Streams of one server may not share subjects.
    fn options(&self) -> NatsOptions {
        NatsOptions::new().stream(self.prefix.clone()).prefix(self.prefix.clone()).assume_synced()
    }

    /// The server without a proxy.
    fn direct(&self) -> String {
        match self.alone.get() {
            Some(alone) => format!("nats://127.0.0.1:{}", alone.port),
            None => common::server().url(),
        }
    }

    async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.direct()).await.unwrap())
    }
}

#[async_trait]
impl BrokerHarness for NatsHarness {
    fn abilities(&self) -> BrokerAbilities {
        let mut abilities = BrokerAbilities::all();
        abilities.orders_keys_among_members = false;
        // Its stream takes every subject under the prefix.
        abilities.tells_unroutable = false;
        abilities
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        let url = match self.alone.get() {
            Some(alone) => format!("nats://127.0.0.1:{}", alone.proxy.port()),
            None => common::server().url(),
        };
        Arc::new(Nats::connect(&url, self.options()).await.unwrap())
    }

    async fn alone(&self) {
        let server = common::start(&common::large());
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
        let stream = self.jetstream().await.get_stream(format!("{}_DEAD", self.prefix)).await.unwrap();
        let count = stream.get_info().await.unwrap().state.last_sequence;
        let mut ids = Vec::new();
        for sequence in 1..=count {
            let letter = stream.get_raw_message(sequence).await.unwrap();
            assert!(letter.subject.contains(&subscription.name));
            ids.push(letter.headers.get("ce-id").unwrap().to_string());
        }
        ids
    }

    async fn publish_raw(&self, topic: &str, content_type: &str, body: &[u8]) -> bool {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("content-type", content_type);
        let subject = format!("{}.{topic}", self.prefix);
        let jetstream = self.jetstream().await;
        jetstream.publish_with_headers(subject, headers, body.to_vec().into()).await.unwrap().await.unwrap();
        true
    }
}
