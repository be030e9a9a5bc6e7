//! Brokers that fail, on librdkafka's mock cluster of three; and servers that hang, die and come back empty, on Tansu.

mod mock;
mod tansu;

use std::time::{Duration, Instant};

use es_core::DeadReason;
use es_messaging::{Broker, BrokerError, PublishError, Subscription, Topology};
use es_messaging_kafka::{Kafka, KafkaOptions};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::mock::{
    BROKERS, PATIENCE, assert_in_order, batch, cluster, connect, drain, outgoing, publish_at_last, subscribe_at_last,
};

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_down_one_after_another_lose_nothing_and_keep_the_order() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    let publisher = kafka.publisher().await.unwrap();
    let subscriber = subscribe_at_last(&kafka, &Subscription::new("all", ["events"])).await;
    let publishing = async {
        for round in 0..20 {
            publish_at_last(&*publisher, batch(round * 20, 20)).await;
        }
    };
    let disturbing = async {
        for broker in 1..=BROKERS {
            cluster.broker_down(broker).unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
            cluster.broker_up(broker).unwrap();
        }
    };
    let ((), (), seen) = tokio::join!(publishing, disturbing, drain(&*subscriber, 400));
    assert_in_order(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_moves_and_slow_brokers_change_nothing() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    let publisher = kafka.publisher().await.unwrap();
    for round in 0..6 {
        for partition in 0..4 {
            cluster.partition_leader("events", partition, Some(1 + (round + partition) % BROKERS)).unwrap();
        }
        cluster.broker_round_trip_time(1 + round % BROKERS, Duration::from_millis(50)).unwrap();
        publish_at_last(&*publisher, batch(usize::try_from(round).unwrap() * 20, 20)).await;
    }
    let subscriber = subscribe_at_last(&kafka, &Subscription::new("all", ["events"])).await;
    let seen = drain(&*subscriber, 120).await;
    assert_in_order(&seen);
    assert_eq!(seen.len(), 120, "the idempotent producer leaves nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_requests_that_pass_are_not_seen_and_leave_nothing_twice() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION};
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    let publisher = kafka.publisher().await.unwrap();
    let errors = [RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    assert!(publisher.publish(&batch(0, 20)).await.iter().all(Result::is_ok));
    let subscriber = subscribe_at_last(&kafka, &Subscription::new("all", ["events"])).await;
    assert_eq!(drain(&*subscriber, 20).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_brokers_refuse_for_ever_is_passed_by_none_of_its_key() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    let publisher = kafka.publisher().await.unwrap();
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let one = vec![outgoing(0, 0)];
    let results = publisher.publish(&one).await;
    assert!(
        matches!(&results[0], Err(PublishError::Refused { kind: DeadReason::Refused, .. })),
        "it is too large for the topic, says the broker: {results:?}"
    );
    // The next ones go through, by the same publisher.
    publish_at_last(&*publisher, batch(0, 20)).await;
    let subscriber = subscribe_at_last(&kafka, &Subscription::new("all", ["events"])).await;
    assert_in_order(&drain(&*subscriber, 20).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_all_brokers_are_down_publishing_fails_soon_and_nothing_is_sent_later() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    let publisher = kafka.publisher().await.unwrap();
    publish_at_last(&*publisher, batch(0, 20)).await;
    (1..=BROKERS).for_each(|broker| cluster.broker_down(broker).unwrap());
    let start = Instant::now();
    let results = publisher.publish(&batch(1_000, 20)).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(results.iter().all(|result| result.as_ref().is_err_and(PublishError::is_transient)), "{results:?}");
    (1..=BROKERS).for_each(|broker| cluster.broker_up(broker).unwrap());
    publish_at_last(&*publisher, batch(20, 20)).await;
    let subscriber = subscribe_at_last(&kafka, &Subscription::new("all", ["events"])).await;
    let seen = drain(&*subscriber, 40).await;
    assert!(seen.iter().all(|number| *number < 40), "what was given up was not sent when the brokers came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_or_comes_back_empty_leaves_nobody_hanging() {
    let install = xtask::tools::ensure_tansu().unwrap();
    let mut server = xtask::brokers::tansu::ThrowawayTansu::start(&install).unwrap();
    let kafka = Kafka::connect(&server.url(), tansu::options().publish_timeout(Duration::from_secs(3))).await.unwrap();
    let all = Subscription::new("all", ["events"]);
    let topology = Topology::new(["events"], vec![all.clone()]);
    kafka.declare(&topology).await.unwrap();
    let publisher = kafka.publisher().await.unwrap();
    publish_at_last(&*publisher, batch(0, 20)).await;
    server.pause().unwrap();
    let start = Instant::now();
    let results = publisher.publish(&batch(20, 20)).await;
    assert!(results.iter().all(|result| result.as_ref().is_err_and(PublishError::is_transient)), "{results:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    server.resume().unwrap();
    publish_at_last(&*publisher, batch(20, 20)).await;
    let subscriber = subscribe_at_last(&kafka, &all).await;
    assert_in_order(&drain(&*subscriber, 40).await);
    drop(subscriber);
    // Everything is gone: the topics too, until they are declared.
    server.kill().unwrap();
    let results = publisher.publish(&batch(40, 1)).await;
    assert!(results[0].as_ref().is_err_and(PublishError::is_transient), "{results:?}");
    server.restart().unwrap();
    let end = Instant::now() + PATIENCE;
    while kafka.declare(&topology).await.is_err() {
        assert!(Instant::now() < end, "the connection does not come back");
    }
    publish_at_last(&*publisher, batch(0, 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_settings_and_missing_things_say_what_to_do() {
    let server = tansu::shared();
    let connect = |url: String| async move { Kafka::connect(&url, tansu::options()).await };
    let nobody = xtask::brokers::free_port().unwrap();
    let error = connect(format!("kafka://127.0.0.1:{nobody}")).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error:?}");
    let error = connect(format!("{}?no.such.property=1", server.url())).await.unwrap_err();
    assert!(matches!(error, BrokerError::Config { .. }) && error.to_string().contains("no.such"), "{error:?}");
    let error = connect(format!("{}?security.protocol=ssl", server.url())).await.unwrap_err();
    if cfg!(feature = "tls") {
        assert!(matches!(error, BrokerError::Tls { .. }), "{error:?}");
    } else {
        assert!(matches!(error, BrokerError::Config { .. }) && error.to_string().contains("`tls`"), "{error:?}");
    }
    let kafka = connect(server.url()).await.unwrap();
    let error = kafka.subscriber(&Subscription::new("nobody", ["no.such.topic"])).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("no.such.topic"), "{error:?}");
    let results = kafka.publisher().await.unwrap().publish(&batch(0, 2)).await;
    let unroutable = |error: &PublishError| matches!(error, PublishError::Refused { kind: DeadReason::Unroutable, .. });
    assert!(results[0].as_ref().is_err_and(unroutable), "nothing is made by publishing: {results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_speaks_tls_is_told_from_one_that_is_away() {
    // As a TLS server does with what is no TLS: an alert, and the end.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // What it cannot read.
            let _ = client.read(&mut [0; 1_024]).await;
            let _ = client.write_all(&[0x15, 3, 3, 0, 2, 2, 10]).await;
        }
    });
    let error = Kafka::connect(&format!("kafka://127.0.0.1:{port}"), KafkaOptions::new()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Tls { .. }), "{error:?}");
}
