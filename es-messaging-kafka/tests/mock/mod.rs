//! librdkafka's mock cluster of three brokers, and what the tests of this crate do with brokers.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use es_messaging::{
    Broker, Delivery, Message, Outgoing, PublishError, Publisher, Settlement, Subscriber, Subscription,
};
use es_messaging_kafka::{Kafka, KafkaOptions};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

pub const BROKERS: i32 = 3;
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn cluster() -> Cluster {
    let cluster = Cluster::new(BROKERS).unwrap();
    cluster.create_topic("events", 4, BROKERS).unwrap();
    cluster.create_topic("all.dead", 1, BROKERS).unwrap();
    cluster
}

pub async fn connect(cluster: &Cluster) -> Kafka {
    let options = KafkaOptions::new().publish_timeout(Duration::from_secs(3));
    Kafka::connect(&format!("kafka://{}", cluster.bootstrap_servers()), options).await.unwrap()
}

pub fn outgoing(number: usize, key: usize) -> Outgoing {
    let builder = Message::builder("happened", "/test").id(number.to_string()).key(format!("key-{key}"));
    Outgoing { topic: "events".to_owned(), message: builder.json(&number).unwrap().build().unwrap() }
}

pub fn batch(from: usize, count: usize) -> Vec<Outgoing> {
    (from..from + count).map(|number| outgoing(number, number % 5)).collect()
}

/// Publishes what is not confirmed again, as a relay does.
pub async fn publish_at_last(publisher: &dyn Publisher, mut left: Vec<Outgoing>) {
    let end = Instant::now() + PATIENCE;
    while !left.is_empty() {
        assert!(Instant::now() < end, "{} messages were never confirmed", left.len());
        let mut results = publisher.publish(&left).await.into_iter();
        left.retain(|_| match results.next() {
            Some(Ok(())) => false,
            Some(Err(error @ PublishError::Refused { .. })) => panic!("{error:?}"),
            _ => true,
        });
    }
}

/// Subscribes again until the brokers answer: right after they have come back, they do not always do so in time.
pub async fn subscribe_at_last(kafka: &Kafka, subscription: &Subscription) -> Box<dyn Subscriber> {
    let end = Instant::now() + PATIENCE;
    loop {
        match kafka.subscriber(subscription).await {
            Ok(subscriber) => return subscriber,
            Err(error) if error.is_transient() => assert!(Instant::now() < end, "it cannot subscribe: {error:?}"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

pub fn number(delivery: &Delivery) -> usize {
    delivery.content.as_ref().unwrap().id().parse().unwrap()
}

/// Receives and acknowledges until all numbers below `count` were there.
pub async fn drain(subscriber: &dyn Subscriber, count: usize) -> Vec<usize> {
    let (mut seen, end) = (Vec::new(), Instant::now() + PATIENCE);
    while seen.iter().collect::<BTreeSet<_>>().len() < count {
        assert!(Instant::now() < end, "{count} messages were expected");
        let Ok(came) = subscriber.receive(100, Duration::from_millis(200)).await else { continue };
        seen.extend(came.iter().map(number));
        let _ = subscriber.settle(came.into_iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await;
    }
    seen
}

/// Receives until something comes.
pub async fn next(subscriber: &dyn Subscriber, max: usize) -> Vec<Delivery> {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "a message was expected");
        let came = subscriber.receive(max, Duration::from_secs(1)).await.unwrap();
        if !came.is_empty() {
            return came;
        }
    }
}

/// The sum of the offsets that the group `all` has committed.
pub fn committed(cluster: &Cluster) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "all");
    let asking: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range("events", 0, 3);
    let offsets = asking.committed_offsets(list, Duration::from_secs(10)).unwrap();
    offsets.elements().iter().filter_map(|element| element.offset().to_raw()).filter(|offset| *offset > 0).sum()
}

/// The first time of each number comes in order within its key.
pub fn assert_in_order(seen: &[usize]) {
    let mut first = BTreeSet::new();
    let mut last = [None; 5];
    for number in seen.iter().copied().filter(|number| first.insert(*number)) {
        let before = last[number % 5].replace(number);
        assert!(before.is_none_or(|before| before < number), "{number} came after {before:?}");
    }
}
