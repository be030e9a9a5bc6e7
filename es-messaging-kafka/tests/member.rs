//! A member of a group: what it commits, what it holds back, and how it leaves.

mod mock;
mod tansu;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use es_messaging::{Broker, BrokerError, Delivery, Outgoing, Settlement, Subscriber, Subscription, Topology};
use es_messaging_kafka::Kafka;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::mock::{
    PATIENCE, assert_in_order, batch, cluster, committed, connect, next, number, outgoing, publish_at_last,
};

/// What is received, and how often the future was looked after meanwhile.
async fn polls(receive: impl Future<Output = Result<Vec<Delivery>, BrokerError>>) -> (Vec<Delivery>, usize) {
    let (mut receive, mut polls) = (std::pin::pin!(receive), 0);
    let came = std::future::poll_fn(|context| {
        polls += 1;
        receive.as_mut().poll(context)
    });
    let came = came.await.unwrap();
    (came, polls)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_next_attempt_keeps_nobody_busy() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    // Three of one key, and two of another.
    let numbers = [0, 5, 10, 1, 6].map(|number| outgoing(number, number % 5));
    publish_at_last(&*kafka.publisher().await.unwrap(), numbers.to_vec()).await;
    let subscriber = kafka.subscriber(&Subscription::new("all", ["events"]).prefetch(2)).await.unwrap();
    let mut in_hand: Vec<Delivery> = Vec::new();
    while in_hand.len() < 2 {
        in_hand.extend(next(&*subscriber, 1).await);
    }
    let (again, held) = (in_hand.remove(0), in_hand.remove(0));
    let retry = |after| Settlement::Retry { after };
    subscriber.settle(vec![(again.receipt, retry(Duration::from_millis(200)))]).await.unwrap();
    let filling = next(&*subscriber, 1).await;
    // The hands are full, and something is due after a while; then there is room, and its key is held back.
    let (came, looked) = polls(subscriber.receive(1, Duration::from_millis(600))).await;
    assert!(came.is_empty() && looked < 20, "{came:?}, {looked} times");
    let first = filling.into_iter().chain([held]).map(|one| (one.receipt, retry(Duration::from_secs(600))));
    subscriber.settle(first.collect()).await.unwrap();
    let mut looked = 0;
    for _ in 0..4 {
        let (came, times) = polls(subscriber.receive(1, Duration::from_millis(300))).await;
        looked += times;
        let later = came.into_iter().map(|one| (one.receipt, retry(Duration::from_secs(600))));
        subscriber.settle(later.collect()).await.unwrap();
    }
    assert!(looked < 40, "{looked} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_could_not_be_put_aside_comes_again() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    publish_at_last(&*kafka.publisher().await.unwrap(), batch(0, 1)).await;
    let subscriber = kafka.subscriber(&Subscription::new("all", ["events"])).await.unwrap();
    let reject = || Settlement::Reject { reason: "nobody wants it".to_owned() };
    let first = next(&*subscriber, 10).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    subscriber.settle(vec![(first[0].receipt, reject())]).await.unwrap_err();
    assert_eq!(committed(&cluster), 0, "it is in nobody's hands, and not put aside");
    let again = next(&*subscriber, 10).await;
    assert_eq!((number(&again[0]), again[0].attempt), (0, 2));
    subscriber.settle(vec![(again[0].receipt, reject())]).await.unwrap();
    assert_eq!(committed(&cluster), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_committed_is_committed_later_without_another_message() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    publish_at_last(&*kafka.publisher().await.unwrap(), batch(0, 20)).await;
    let subscriber = kafka.subscriber(&Subscription::new("all", ["events"])).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 20 {
        came.extend(next(&*subscriber, 20).await);
    }
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    subscriber.settle(came.into_iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
    let end = Instant::now() + PATIENCE;
    while committed(&cluster) < 20 {
        assert!(Instant::now() < end, "{} of 20 are committed", committed(&cluster));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_closed_connection_leaves_its_group_though_somebody_keeps_it() {
    let cluster = cluster();
    let (first, second) = (connect(&cluster).await, connect(&cluster).await);
    let all = Subscription::new("all", ["events"]);
    publish_at_last(&*first.publisher().await.unwrap(), batch(0, 1)).await;
    let kept = first.subscriber(&all).await.unwrap();
    assert_eq!(next(&*kept, 10).await.len(), 1);
    first.close().await;
    let error = kept.receive(1, Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, BrokerError::Closed), "{error:?}");
    let other = second.subscriber(&all).await.unwrap();
    assert_eq!(next(&*other, 10).await.len(), 1, "the partitions are free");
    drop(kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_share_while_one_comes_and_goes() {
    let server = tansu::shared();
    let prefix = es_testkit::broker_conformance::unique_prefix();
    let all = Subscription::new(format!("{prefix}-all"), [format!("{prefix}.events")]);
    let topology = Topology::new([format!("{prefix}.events")], vec![all.clone()]);
    let first = Kafka::connect(&server.url(), tansu::options()).await.unwrap();
    first.declare(&topology).await.unwrap();
    let second = Kafka::connect(&server.url(), tansu::options()).await.unwrap();
    let publisher = first.publisher().await.unwrap();
    let one = first.subscriber(&all).await.unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let work = async |subscriber: &dyn Subscriber, until: usize| {
        let (mut mine, end) = (0, Instant::now() + PATIENCE);
        while seen.lock().unwrap().iter().collect::<BTreeSet<_>>().len() < until {
            assert!(Instant::now() < end, "messages are missing");
            let Ok(came) = subscriber.receive(7, Duration::from_millis(100)).await else { continue };
            mine += came.len();
            seen.lock().unwrap().extend(came.iter().map(number));
            subscriber.settle(came.into_iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
        }
        mine
    };
    let to = |mut batch: Vec<Outgoing>| {
        batch.iter_mut().for_each(|outgoing| outgoing.topic = format!("{prefix}.events"));
        batch
    };
    let publishing = async {
        for round in 0..50 {
            publish_at_last(&*publisher, to(batch(round * 20, 20))).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let coming_and_going = async {
        work(&*one, 100).await;
        let two = second.subscriber(&all).await.unwrap();
        let (_, mine) = tokio::join!(work(&*one, 700), work(&*two, 700));
        two.close().await.unwrap();
        work(&*one, 1_000).await;
        mine
    };
    let ((), of_second) = tokio::join!(publishing, coming_and_going);
    assert!(of_second > 0, "the second member got its share");
    assert_in_order(&seen.into_inner().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_leaves_commits_what_was_settled_and_no_more() {
    let cluster = cluster();
    let kafka = connect(&cluster).await;
    publish_at_last(&*kafka.publisher().await.unwrap(), batch(0, 20)).await;
    let subscriber = kafka.subscriber(&Subscription::new("all", ["events"])).await.unwrap();
    let mut came = Vec::new();
    while came.len() < 20 {
        came.extend(next(&*subscriber, 20).await);
    }
    // The group is about to share anew just then.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    let unsettled = came.iter().position(|one| number(one) == 15).unwrap();
    came.remove(unsettled);
    subscriber.settle(came.into_iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
    subscriber.close().await.unwrap();
    // The last of its key: alone in its partition, or behind others.
    let all = committed(&cluster);
    assert!((1..20).contains(&all), "{all}");
    let next_one = kafka.subscriber(&Subscription::new("all", ["events"])).await.unwrap();
    let again = next(&*next_one, 20).await;
    assert!(again.iter().any(|one| number(one) == 15));
    assert_eq!(again.len() as i64, 20 - all);
}
