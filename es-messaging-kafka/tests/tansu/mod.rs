//! A Tansu for the tests of this binary.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use es_messaging::{Broker, Subscription};
use es_messaging_kafka::{Kafka, KafkaOptions};
use es_testkit::broker_conformance::{BrokerAbilities, BrokerHarness, TcpProxy, unique_prefix};
use rdkafka::{
    ClientConfig, Message as _, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use xtask::{brokers::tansu::ThrowawayTansu, tools};

/// The server that all tests of this binary share.
pub fn shared() -> &'static ThrowawayTansu {
    static SERVER: OnceLock<ThrowawayTansu> = OnceLock::new();
    SERVER.get_or_init(|| {
        let install = tools::ensure_tansu().expect("Tansu is there or can be installed");
        ThrowawayTansu::start(&install).expect("Tansu starts")
    })
}

pub fn options() -> KafkaOptions {
    KafkaOptions::new().partitions(4).replication(1)
}

/// A server behind a network that can be cut.
pub struct Behind {
    pub server: ThrowawayTansu,
    pub proxy: TcpProxy,
}

pub async fn behind() -> Behind {
    let install = tools::ensure_tansu().expect("Tansu is there or can be installed");
    // The proxy has to know the server's port, and the server what to tell its clients.
    let port = xtask::brokers::free_port().expect("a free port");
    let proxy = TcpProxy::to(port).await.expect("a proxy");
    let server = ThrowawayTansu::start_behind(&install, port, proxy.port()).expect("Tansu starts");
    Behind { server, proxy }
}

pub struct TansuHarness {
    prefix: String,
    alone: Mutex<Option<Behind>>,
}

impl TansuHarness {
    pub fn new() -> Self {
        Self { prefix: unique_prefix(), alone: Mutex::default() }
    }

    fn servers(&self) -> String {
        let alone = self.alone.lock().unwrap();
        format!("127.0.0.1:{}", alone.as_ref().map_or_else(|| shared().port(), |behind| behind.proxy.port()))
    }
}

#[async_trait]
impl BrokerHarness for TansuHarness {
    fn abilities(&self) -> BrokerAbilities {
        let mut abilities = BrokerAbilities::all();
        abilities.keeps_data = false;
        abilities.deduplicates = false;
        abilities.ack_wait = false;
        abilities.shares = false;
        abilities.large_message_bytes = 900_000;
        abilities
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        let url = format!("kafka://{}", self.servers());
        Arc::new(Kafka::connect(&url, options()).await.expect("Tansu answers"))
    }

    async fn alone(&self) {
        let behind = behind().await;
        *self.alone.lock().unwrap() = Some(behind);
    }

    async fn set_reachable(&self, reachable: bool) {
        self.alone.lock().unwrap().as_ref().expect("alone").proxy.set_open(reachable);
    }

    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        records(&self.servers(), &format!("{}.dead", subscription.name))
            .iter()
            .map(|record| record["ce_id"].clone())
            .collect()
    }

    async fn publish_raw(&self, topic: &str, content_type: &str, body: &[u8]) -> bool {
        let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", self.servers()).create().unwrap();
        let headers = OwnedHeaders::new().insert(Header { key: "content-type", value: Some(content_type) });
        let record = FutureRecord::<(), [u8]>::to(topic).payload(body).headers(headers);
        producer.send(record, Duration::from_secs(10)).await.expect("Tansu takes anything");
        true
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(1_000)
    }
}

/// The headers of all records of a topic's first partition.
pub fn records(servers: &str, topic: &str) -> Vec<HashMap<String, String>> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", servers).set("group.id", "nobody").create().unwrap();
    let (_, high) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let mut records = Vec::new();
    while i64::try_from(records.len()).unwrap() < high {
        let Some(message) = consumer.poll(Duration::from_secs(10)) else { break };
        let message = message.unwrap();
        let text = |header: Header<'_, &[u8]>| {
            (header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned())
        };
        records.push(message.headers().map(|headers| headers.iter().map(text).collect()).unwrap_or_default());
    }
    records
}
