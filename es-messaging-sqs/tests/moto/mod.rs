//! A moto for the tests of this binary.
#![allow(dead_code, unreachable_pub)]

mod clients;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use es_messaging::{Broker, Message, Subscription};
use es_messaging_sqs::{Sqs, SqsOptions};
use es_testkit::broker_conformance::{BrokerAbilities, BrokerHarness, TcpProxy, unique_prefix};
use xtask::{brokers::moto::ThrowawayMoto, tools};

pub(crate) use clients::clients;

/// The server that all tests of this binary share.
pub fn shared() -> &'static ThrowawayMoto {
    static SERVER: OnceLock<ThrowawayMoto> = OnceLock::new();
    SERVER.get_or_init(start)
}

pub fn start() -> ThrowawayMoto {
    let install = tools::ensure_moto().expect("moto is there or can be installed");
    ThrowawayMoto::start(&install).expect("moto starts")
}

pub fn url(port: u16, prefix: &str) -> String {
    format!("sqs://test:test@127.0.0.1:{port}?prefix={prefix}")
}

pub async fn queue_url(port: u16, name: &str) -> String {
    clients(port).0.get_queue_url().queue_name(name).send().await.expect("there is such a queue").queue_url.unwrap()
}

pub struct MotoHarness {
    fifo: bool,
    prefix: String,
    /// A way of its own to the server.
    alone: Mutex<Option<TcpProxy>>,
}

impl MotoHarness {
    /// What the names on the server begin with: a topic for each case.
    fn own(&self) -> &str {
        &self.prefix[24..]
    }

    pub fn new(fifo: bool) -> Self {
        Self { fifo, prefix: unique_prefix(), alone: Mutex::default() }
    }

    fn port(&self) -> u16 {
        self.alone.lock().unwrap().as_ref().map_or_else(|| shared().port(), TcpProxy::port)
    }

    fn ending(&self) -> &'static str {
        if self.fifo { ".fifo" } else { "" }
    }
}

#[async_trait]
impl BrokerHarness for MotoHarness {
    fn abilities(&self) -> BrokerAbilities {
        let mut abilities = BrokerAbilities::all();
        abilities.keeps_data = false;
        abilities.deduplicates = self.fifo;
        abilities.orders_keys = self.fifo;
        abilities.orders_keys_among_members = self.fifo;
        abilities.tells_unroutable = false;
        abilities.large_message_bytes = 180_000;
        abilities
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        let options = SqsOptions::new().fifo(self.fifo);
        Arc::new(Sqs::connect(&url(self.port(), self.own()), options).await.expect("moto answers"))
    }

    async fn alone(&self) {
        *self.alone.lock().unwrap() = Some(TcpProxy::to(shared().port()).await.expect("a proxy"));
    }

    async fn set_reachable(&self, reachable: bool) {
        self.alone.lock().unwrap().as_ref().expect("alone").set_open(reachable);
    }

    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        let port = self.port();
        let url = queue_url(port, &format!("{}-{}-dead{}", self.own(), subscription.name, self.ending())).await;
        let receive = clients(port).0.receive_message().queue_url(url).max_number_of_messages(10);
        let answer = receive.visibility_timeout(0).send().await.expect("moto answers");
        let id = |body: &str| Message::from_structured(body.as_bytes()).expect("a message").id().to_owned();
        answer.messages().iter().map(|message| id(message.body().unwrap_or_default())).collect()
    }

    async fn publish_raw(&self, topic: &str, _: &str, body: &[u8]) -> bool {
        let (_, sns) = clients(self.port());
        let topics = sns.list_topics().send().await.expect("moto answers");
        let ending = format!(":{}-messages{}", self.own(), self.ending());
        let arn = topics.topics().iter().filter_map(|topic| topic.topic_arn()).find(|arn| arn.ends_with(&ending));
        let attribute = aws_sdk_sns::types::MessageAttributeValue::builder().data_type("String").string_value(topic);
        let mut publish = sns.publish().topic_arn(arn.expect("it was declared"));
        publish =
            publish.message(String::from_utf8_lossy(body)).message_attributes("topic", attribute.build().unwrap());
        if self.fifo {
            publish = publish.message_group_id("raw").message_deduplication_id(self.prefix());
        }
        publish.send().await.expect("moto takes anything");
        true
    }

    fn patience(&self) -> Duration {
        // It takes a while over a deep queue.
        Duration::from_secs(90)
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(500)
    }

    fn ack_wait(&self) -> Duration {
        Duration::from_secs(3)
    }
}
