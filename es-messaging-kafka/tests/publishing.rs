//! What is published: once, in its order, and in the partition of its key.

mod mock;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use es_core::DeadReason;
use es_messaging::{Broker, ContentMode, Message, Outgoing, PublishError, Subscription, Topology};
use es_messaging_kafka::{Kafka, KafkaOptions};
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use xtask::brokers::tansu::ThrowawayTansu;

use crate::mock::{PATIENCE, assert_in_order, batch, cluster, connect, drain, next, outgoing, publish_at_last};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Requests arrive, answers do not.
    Deaf,
    Cut,
}

/// Passes connections on, as far as the way is open. Tells how many bytes of answers to messages were lost.
async fn pass_on(listener: TcpListener, target: u16, way: watch::Receiver<Way>, lost: watch::Sender<usize>) {
    while let Ok((client, _)) = listener.accept().await {
        let (mut way, lost) = (way.clone(), lost.clone());
        tokio::spawn(async move {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let (state, has_messages) = (way.clone(), AtomicBool::new(false));
            let is_deaf = || *state.borrow() == Way::Deaf;
            let there = async {
                let mut bytes = vec![0; 65_536];
                while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
                    // A length, and the key of what is asked for: to take messages has the key 0.
                    has_messages.fetch_or(is_deaf() && bytes[4..6] == [0, 0], Ordering::Relaxed);
                    to_server.write_all(&bytes[..count]).await.unwrap();
                }
            };
            let back = async {
                let mut bytes = vec![0; 65_536];
                while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                    if !is_deaf() {
                        let _ = to_client.write_all(&bytes[..count]).await;
                    } else if has_messages.load(Ordering::Relaxed) {
                        lost.send_modify(|all| *all += count);
                    }
                }
            };
            tokio::select! {
                () = there => {}
                () = back => {}
                _ = way.wait_for(|way| *way == Way::Cut) => {}
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_has_and_could_not_confirm_is_there_once() {
    let install = xtask::tools::ensure_tansu().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (port, advertised) = (xtask::brokers::free_port().unwrap(), listener.local_addr().unwrap().port());
    let _server = ThrowawayTansu::start_behind(&install, port, advertised).unwrap();
    let (way, state) = watch::channel(Way::Open);
    let (losing, mut lost) = watch::channel(0);
    tokio::spawn(pass_on(listener, port, state, losing));
    let options = KafkaOptions::new().partitions(1).replication(1).publish_timeout(Duration::from_secs(20));
    let kafka = Kafka::connect(&format!("kafka://127.0.0.1:{advertised}"), options).await.unwrap();
    let all = Subscription::new("all", ["events"]);
    kafka.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
    let publisher = kafka.publisher().await.unwrap();
    publish_at_last(&*publisher, batch(0, 5)).await;
    way.send_replace(Way::Deaf);
    let publishing = async {
        assert!(publisher.publish(&batch(5, 20)).await.iter().all(Result::is_ok));
    };
    let disturbing = async {
        lost.wait_for(|bytes| *bytes > 0).await.unwrap();
        way.send_replace(Way::Cut);
        // Whatever came meanwhile is cut off, too.
        tokio::time::sleep(Duration::from_millis(100)).await;
        way.send_replace(Way::Open);
    };
    tokio::join!(publishing, disturbing);
    assert!(*lost.borrow() > 0);
    publish_at_last(&*publisher, batch(25, 5)).await;
    let subscriber = kafka.subscriber(&all).await.unwrap();
    let seen = drain(&*subscriber, 30).await;
    assert_eq!(seen, (0..30).collect::<Vec<_>>(), "each once, in its order");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_its_key_passes_a_message_that_the_broker_refuses() {
    let cluster = cluster();
    // So that several requests of one key are on their way when the first is refused.
    let options = KafkaOptions::new().property("batch.num.messages", "1");
    let kafka = Kafka::connect(&format!("kafka://{}", cluster.bootstrap_servers()), options).await.unwrap();
    let publisher = kafka.publisher().await.unwrap();
    publish_at_last(&*publisher, vec![outgoing(0, 0)]).await;
    (1..=3).for_each(|broker| cluster.broker_round_trip_time(broker, Duration::from_millis(300)).unwrap());
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let mut batch: Vec<Outgoing> = (1..=30).map(|number| outgoing(5 * number, 0)).collect();
    let results = publisher.publish(&batch).await;
    assert!(matches!(&results[0], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    // Brokers refuse those that were on their way, since one is missing before them. The mock takes them; there are five at most.
    let passed = results.iter().filter(|result| result.is_ok()).count();
    assert!(passed <= 5, "{results:?}");
    assert!(results[6..].iter().all(|result| result.as_ref().is_err_and(PublishError::is_transient)), "{results:?}");
    let mut results = results.into_iter();
    batch.retain(|_| results.next().is_some_and(|result| result.is_err_and(|error| error.is_transient())));
    publish_at_last(&*publisher, batch).await;
    let subscriber = kafka.subscriber(&Subscription::new("all", ["events"])).await.unwrap();
    assert_in_order(&drain(&*subscriber, 30).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_in_the_partition_where_the_clients_of_java_put_it() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    // The hashes (murmur2) of Kafka's own tests, of four partitions.
    let expected: BTreeMap<&str, i32> =
        [("21", 0), ("foobar", 2), ("a-little-bit-long-string", 0), ("a-little-bit-longer-string", 3)].into();
    let messages = expected.keys().map(|key| {
        let message = Message::builder("happened", "/test").id(*key).key(*key).json(&1).unwrap().build().unwrap();
        Outgoing { topic: "events".to_owned(), message }
    });
    publish_at_last(&*kafka.publisher().await.unwrap(), messages.collect()).await;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", "any");
    let consumer: BaseConsumer = config.set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&["events"]).unwrap();
    let (mut found, end) = (BTreeMap::new(), Instant::now() + PATIENCE);
    while found.len() < expected.len() {
        assert!(Instant::now() < end, "{found:?}");
        let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
        found.insert(String::from_utf8(record.key().unwrap().to_vec()).unwrap(), record.partition());
    }
    let found: BTreeMap<&str, i32> = found.iter().map(|(key, partition)| (key.as_str(), *partition)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_is_published_in_structured_mode_comes_back_as_it_went() {
    let cluster = cluster();
    let options = KafkaOptions::new().content_mode(ContentMode::Structured);
    let kafka = Kafka::connect(&format!("kafka://{}", cluster.bootstrap_servers()), options).await.unwrap();
    let sent = outgoing(7, 1);
    let publisher = kafka.publisher().await.unwrap();
    publish_at_last(&*publisher, vec![sent.clone()]).await;
    let broken = sent.message.to_builder().data("application/json", b"{".to_vec()).build().unwrap();
    let results = publisher.publish(&[Outgoing { message: broken, ..outgoing(8, 2) }]).await;
    assert!(matches!(results[0], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    let subscriber = kafka.subscriber(&Subscription::new("all", ["events"])).await.unwrap();
    let received = next(&*subscriber, 10).await;
    assert_eq!(received[0].content.as_ref().unwrap(), &sent.message);
}
