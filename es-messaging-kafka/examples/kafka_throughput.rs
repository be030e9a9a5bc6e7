//! Messages per second through this crate, and the time of a single one, beside the client alone doing the same with the same headers in
//! batches of the same size. Needs nothing: it starts its own server. `cargo run --release -p es-messaging-kafka --example kafka_throughput`
//!
//! Each side gets its turn several times, one after the other; what counts is the ratio of the medians.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use es_messaging::{Broker, Message, Outgoing, Publisher, Settlement, Subscription, Topology};
use es_messaging_kafka::{Kafka, KafkaOptions};
use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer},
    message::{Header, Headers, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer},
};
use tokio::sync::Semaphore;
use xtask::brokers::tansu::ThrowawayTansu;

type Error = Box<dyn std::error::Error>;

const MESSAGES: usize = 20_000;
const BATCH: usize = 256;
const ROUNDS: usize = 5;
const SINGLE: usize = 200;
/// The first ones wait for the group.
const WARM: usize = 5;
const PARTITIONS: u16 = 6;

fn outgoing(topic: &str, number: usize) -> Outgoing {
    let message = Message::builder("shop.order.placed", "/shop/orders")
        .id(format!("{number:08}"))
        .subject("order/17")
        .key(format!("order/{}", number % 64))
        .json(&serde_json::json!({ "order": number, "cents": 1_999, "note": "x".repeat(120) }))
        .map(|builder| builder.build());
    Outgoing { topic: topic.to_owned(), message: message.unwrap().unwrap() }
}

/// The client alone: it counts what is delivered, and no more.
#[derive(Clone)]
struct Counting(Arc<Semaphore>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "the server confirms");
        self.0.add_permits(1);
    }
}

struct Bare {
    producer: ThreadedProducer<Counting>,
    delivered: Arc<Semaphore>,
}

impl Bare {
    fn new(servers: &str) -> Result<Self, Error> {
        let delivered = Arc::new(Semaphore::new(0));
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("acks", "all").set("enable.idempotence", "true");
        config.set("partitioner", "murmur2_random").set("linger.ms", linger());
        let producer = config.create_with_context(Counting(delivered.clone()))?;
        Ok(Self { producer, delivered })
    }

    async fn publish(&self, topic: &str, batch: &[Outgoing]) -> Result<(), Error> {
        for Outgoing { message, .. } in batch {
            let attributes = message.attributes();
            let mut headers = OwnedHeaders::new_with_capacity(attributes.len() + 1);
            for (name, value) in &attributes {
                headers = headers.insert(Header { key: &format!("ce_{name}"), value: Some(value) });
            }
            headers = headers.insert(Header { key: "content-type", value: Some(message.content_type()) });
            let record = BaseRecord::to(topic).key(message.key().unwrap_or_default()).payload(message.data());
            self.producer.send(record.headers(headers)).map_err(|(error, _)| error)?;
        }
        self.delivered.acquire_many(u32::try_from(batch.len())?).await?.forget();
        Ok(())
    }
}

fn linger() -> String {
    std::env::var("LINGER_MS").unwrap_or_else(|_| "1".to_owned())
}

/// The client alone as a member of a group.
fn bare_member(servers: &str, group: &str, topic: &str, wait_ms: &str) -> Result<BaseConsumer, Error> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", group).set("auto.offset.reset", "earliest");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("partition.assignment.strategy", "cooperative-sticky").set("fetch.wait.max.ms", wait_ms);
    let member: BaseConsumer = config.create()?;
    member.subscribe(&[topic])?;
    Ok(member)
}

/// What is there at once, at most so many; the first one is waited for. Copies it, as whoever handles it later must, and returns the bytes.
fn bare_receive(member: &BaseConsumer, max: usize) -> Result<(usize, usize), Error> {
    let (mut came, mut bytes) = (0, 0);
    while came < max {
        let wait = if came == 0 { Duration::from_millis(100) } else { Duration::ZERO };
        let Some(message) = member.poll(wait) else { break };
        let message = message?;
        let headers: Vec<(String, Option<Vec<u8>>)> = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
        });
        let value = message.payload().map(<[u8]>::to_vec);
        bytes += headers.len() + value.map_or(0, |value| value.len());
        member.store_offset(message.topic(), message.partition(), message.offset())?;
        came += 1;
    }
    Ok((came, bytes))
}

fn rate(what: &str, messages: usize, took: Duration) -> f64 {
    let rate = messages as f64 / took.as_secs_f64();
    println!("{what:<44} {rate:>9.0} messages/s");
    rate
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn compare(what: &str, pairs: &[(f64, f64)]) {
    let own = median(pairs.iter().map(|pair| pair.0).collect());
    let bare = median(pairs.iter().map(|pair| pair.1).collect());
    println!("== {what}: {own:.0} beside {bare:.0}, {:.0} %\n", own / bare * 100.0);
}

fn delays(what: &str, delays: Vec<f64>) {
    let mut sorted = delays;
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    println!("{what:<60} p50 {:>7.2} ms, p99 {:>7.2} ms", at(50), at(99));
}

async fn single_own(kafka: &Kafka, publisher: &dyn Publisher, topic: &str) -> Result<(), Error> {
    let subscription = Subscription::new(format!("{topic}-own"), [topic]).prefetch(BATCH);
    kafka.declare(&Topology::new([topic], vec![subscription.clone()])).await?;
    let subscriber = kafka.subscriber(&subscription).await?;
    let (mut confirmed, mut all) = (Vec::new(), Vec::new());
    for number in 0..SINGLE + WARM {
        let message = [outgoing(topic, number)];
        let begin = Instant::now();
        for result in publisher.publish(&message).await {
            result?;
        }
        let first = begin.elapsed();
        let mut came = Vec::new();
        while came.is_empty() {
            came = subscriber.receive(BATCH, Duration::from_secs(5)).await?;
        }
        subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
        if number >= WARM {
            confirmed.push(first.as_secs_f64() * 1_000.0);
            all.push(begin.elapsed().as_secs_f64() * 1_000.0);
        }
        // So that it does not always come at the same moment of a poll.
        tokio::time::sleep(Duration::from_millis((number % 7) as u64)).await;
    }
    delays("one message, confirmed", confirmed);
    delays("one message, confirmed, received and committed", all);
    subscriber.close().await?;
    Ok(())
}

async fn single_bare(servers: &str, bare: &Bare, topic: &str, wait_ms: &str, before: usize) -> Result<(), Error> {
    let member = bare_member(servers, &format!("{topic}-bare-{wait_ms}"), topic, wait_ms)?;
    // Whatever is there from before.
    let mut left = before;
    while left > 0 {
        left -= bare_receive(&member, left.min(BATCH))?.0;
    }
    let (mut confirmed, mut all) = (Vec::new(), Vec::new());
    for number in 0..SINGLE + WARM {
        let message = [outgoing(topic, number)];
        let begin = Instant::now();
        bare.publish(topic, &message).await?;
        let first = begin.elapsed();
        while bare_receive(&member, BATCH)?.0 == 0 {}
        member.commit_consumer_state(CommitMode::Sync)?;
        if number >= WARM {
            confirmed.push(first.as_secs_f64() * 1_000.0);
            all.push(begin.elapsed().as_secs_f64() * 1_000.0);
        }
        tokio::time::sleep(Duration::from_millis((number % 7) as u64)).await;
    }
    delays("client alone, confirmed", confirmed);
    delays(&format!("client alone, all of it, fetch.wait.max.ms={wait_ms}"), all);
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let install = xtask::tools::ensure_tansu()?;
    let server = ThrowawayTansu::start(&install)?;
    let servers = format!("127.0.0.1:{}", server.port());
    let query = std::env::var("QUERY").unwrap_or_default();
    let options = KafkaOptions::new().partitions(PARTITIONS).replication(1);
    let kafka = Kafka::connect(&format!("{}{query}", server.url()), options).await?;
    let publisher = kafka.publisher().await?;
    let bare = Bare::new(&servers)?;
    let (mut published, mut received) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // A topic each: the server's requests take longer the more a topic has.
        let (mine, other) = (format!("own-{round}"), format!("bare-{round}"));
        let all = Subscription::new(format!("all-{round}"), [mine.as_str()]).prefetch(BATCH);
        kafka.declare(&Topology::new([mine.as_str(), &other], vec![all.clone()])).await?;
        let messages: Vec<Outgoing> = (0..MESSAGES).map(|number| outgoing(&mine, number)).collect();
        bare.publish(&other, &messages[..1]).await?;

        // Batch by batch in turn, so that whatever else the machine does is shared.
        let (mut own, mut alone) = (Duration::ZERO, Duration::ZERO);
        for batch in messages.chunks(BATCH) {
            let begin = Instant::now();
            for result in publisher.publish(batch).await {
                result?;
            }
            own += begin.elapsed();
            let begin = Instant::now();
            bare.publish(&other, batch).await?;
            alone += begin.elapsed();
        }
        published.push((rate("publisher", MESSAGES, own), rate("client alone", MESSAGES, alone)));

        let subscriber = kafka.subscriber(&all).await?;
        let begin = Instant::now();
        let (mut seen, mut joined, mut settling) = (0, None, Duration::ZERO);
        while seen < MESSAGES {
            let came = subscriber.receive(BATCH, Duration::from_secs(5)).await?;
            joined = joined.or((!came.is_empty()).then(|| begin.elapsed()));
            seen += came.len();
            let begin = Instant::now();
            subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
            settling += begin.elapsed();
        }
        let (joined, all) = (joined.unwrap_or_default(), begin.elapsed());
        let own = rate("subscriber", MESSAGES, all - joined);
        println!("    after {joined:.2?}, {:.2?} to receive and {settling:.2?} to commit", all - joined - settling);
        subscriber.close().await?;

        let begin = Instant::now();
        let member = bare_member(&servers, &format!("group-{round}"), &other, "100")?;
        let (mut seen, mut joined, mut settling, mut bytes) = (0, None, Duration::ZERO, 0);
        while seen < MESSAGES {
            let came = bare_receive(&member, BATCH)?;
            (seen, bytes) = (seen + came.0, bytes + came.1);
            if came.0 > 0 {
                joined = joined.or_else(|| Some(begin.elapsed()));
                let begin = Instant::now();
                member.commit_consumer_state(CommitMode::Sync)?;
                settling += begin.elapsed();
            }
        }
        let (joined, all) = (joined.unwrap_or_default(), begin.elapsed());
        received.push((own, rate("client alone", MESSAGES, all - joined)));
        println!("    after {joined:.2?}, {:.2?} to receive and {settling:.2?} to commit", all - joined - settling);
        assert!(bytes > MESSAGES, "the contents were there");
    }
    compare("published", &published);
    compare("received", &received);
    single_own(&kafka, &*publisher, "single").await?;
    for (run, wait_ms) in (1..).zip(["500", "100", "10"]) {
        single_bare(&servers, &bare, "single", wait_ms, run * (SINGLE + WARM)).await?;
    }
    Ok(())
}
