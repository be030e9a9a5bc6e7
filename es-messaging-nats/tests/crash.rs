//! NATS servers that are killed, alone and in a cluster.

mod common;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use common::{SOON, drain, outgoing, start};
use es_messaging::{Broker, BrokerError, Outgoing, PublishError, Publisher, Settlement, Subscription, Topology};
use es_messaging_nats::{Nats, NatsOptions};
use xtask::brokers::nats::{NatsOptions as ServerOptions, ThrowawayNatsCluster};

fn everything() -> Subscription {
    Subscription::new("all", ["#"]).ack_wait(Duration::from_secs(1))
}

fn options() -> NatsOptions {
    NatsOptions::new().assume_synced().publish_limit(Duration::from_secs(2))
}

/// Publishes batches until it is told to stop, and counts what is confirmed; gives the ids, and the longest time in which none was.
async fn publish_until(
    publisher: &dyn Publisher,
    stop: &AtomicBool,
    count: &AtomicUsize,
) -> (BTreeSet<String>, Duration) {
    let (mut confirmed, mut last, mut pause) = (BTreeSet::new(), Instant::now(), Duration::ZERO);
    let mut next = 0;
    let mut left: Vec<Outgoing> = Vec::new();
    while !stop.load(Ordering::Acquire) || !left.is_empty() {
        while left.len() < 20 && !stop.load(Ordering::Acquire) {
            left.push(outgoing(&format!("{next:06}"), Some(&format!("k{}", next % 5))));
            next += 1;
        }
        let results = publisher.publish(&left).await;
        let mut results = results.into_iter();
        let before = confirmed.len();
        left.retain(|one| match results.next().unwrap() {
            Ok(()) => {
                confirmed.insert(one.message.id().to_owned());
                false
            }
            Err(PublishError::Refused { reason, .. }) => panic!("refused: {reason}"),
            Err(_) => true,
        });
        count.store(confirmed.len(), Ordering::Release);
        if confirmed.len() > before {
            pause = pause.max(last.elapsed());
            last = Instant::now();
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    (confirmed, pause)
}

/// Waits until so many more are confirmed.
async fn more(count: &AtomicUsize, messages: usize) {
    let (begin, wanted) = (Instant::now(), count.load(Ordering::Acquire) + messages);
    while count.load(Ordering::Acquire) < wanted {
        assert!(begin.elapsed() < Duration::from_secs(30), "publishing does not resume");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_leader_of_a_cluster_loses_nothing_confirmed_and_publishing_resumes() {
    let install = xtask::tools::ensure_nats().unwrap();
    let mut cluster = ThrowawayNatsCluster::start(&install, &ServerOptions::durable(), 3).unwrap();
    let nats = Nats::connect(&cluster.url(), options().replicas(3)).await.unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let topology = Topology::new(["order.placed"], vec![everything()]);
    // The servers choose a leader of their own first.
    while let Err(error) = nats.declare(&topology).await {
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let publisher = nats.publisher().await.unwrap();
    let subscriber = nats.subscriber(&everything()).await.unwrap();
    let jetstream = jetstream::new(async_nats::connect(cluster.nodes[0].url()).await.unwrap());
    let mut stream = jetstream.get_stream("EVENTS").await.unwrap();
    let leader = stream.info().await.unwrap().cluster.clone().unwrap().leader.unwrap();
    let leader: usize = leader.trim_start_matches('n').parse().unwrap();

    let (stop, count, seen) = (AtomicBool::new(false), AtomicUsize::new(0), std::sync::Mutex::new(BTreeSet::new()));
    let publishing = publish_until(&*publisher, &stop, &count);
    let killing = async {
        more(&count, 200).await;
        tokio::task::block_in_place(|| cluster.nodes[leader].kill().unwrap());
        // What was on its way is confirmed or not; then another leads, and the lost one comes back.
        more(&count, 200).await;
        tokio::task::block_in_place(|| cluster.nodes[leader].restart().unwrap());
        more(&count, 200).await;
        stop.store(true, Ordering::Release);
    };
    let consuming = async {
        while !stop.load(Ordering::Acquire) {
            match subscriber.receive(100, Duration::from_millis(200)).await {
                Ok(came) => {
                    let acks = came.iter().map(|one| (one.receipt, Settlement::Ack)).collect();
                    let _ = subscriber.settle(acks).await;
                    seen.lock().unwrap().extend(common::ids(&came));
                }
                Err(BrokerError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let ((confirmed, pause), (), ()) = tokio::join!(publishing, killing, consuming);
    println!("{} messages confirmed, longest pause {pause:?}", confirmed.len());
    assert!(pause < Duration::from_secs(13), "publishing resumed only after {pause:?}");
    let mut seen = seen.into_inner().unwrap();
    // What was given and not settled comes again after its time.
    let end = Instant::now() + Duration::from_secs(15);
    while !confirmed.is_subset(&seen) && Instant::now() < end {
        match subscriber.receive(100, Duration::from_millis(500)).await {
            Ok(came) => {
                seen.extend(common::ids(&came));
                let _ = subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await;
            }
            Err(error) => assert!(error.is_transient(), "{error:?}"),
        }
    }
    let lost: Vec<_> = confirmed.difference(&seen).collect();
    assert!(lost.is_empty(), "{} of {} confirmed messages are lost: {lost:?}", lost.len(), confirmed.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_to_a_server_that_hangs_fails_within_seconds_and_goes_on_afterwards() {
    let server = start(&ServerOptions::durable());
    let nats = Nats::connect(&server.url(), options()).await.unwrap();
    nats.declare(&Topology::new(["order.placed"], vec![everything()])).await.unwrap();
    let publisher = nats.publisher().await.unwrap();
    let batch: Vec<_> = (0..10).map(|n| outgoing(&n.to_string(), Some(&(n % 2).to_string()))).collect();
    server.pause().unwrap();
    let begin = Instant::now();
    let results = publisher.publish(&batch).await;
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(matches!(results[0], Err(PublishError::Unconfirmed { .. })), "{results:?}");
    assert!(results[2..].iter().all(|result| matches!(result, Err(PublishError::Behind))), "{results:?}");
    server.resume().unwrap();
    let end = Instant::now() + SOON;
    while publisher.publish(&batch).await.iter().any(Result::is_err) {
        assert!(Instant::now() < end);
    }
    let subscriber = nats.subscriber(&everything()).await.unwrap();
    let came = drain(&*subscriber, Duration::from_millis(500)).await;
    assert_eq!(came.len(), 10, "each is kept once, however often it was published: {came:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_ends_the_wait_for_acknowledgements() {
    let mut server = start(&ServerOptions::durable());
    let nats = Nats::connect(&server.url(), options().publish_limit(Duration::from_secs(60))).await.unwrap();
    nats.declare(&Topology::new(["order.placed"], vec![])).await.unwrap();
    let publisher = nats.publisher().await.unwrap();
    // It takes the messages, and never answers.
    server.pause().unwrap();
    let (begin, batch) = (Instant::now(), [outgoing("1", None), outgoing("2", None)]);
    let killing = async { tokio::task::block_in_place(|| server.kill().unwrap()) };
    let (results, ()) = tokio::join!(publisher.publish(&batch), killing);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    assert!(results.iter().all(|result| matches!(result, Err(PublishError::Unconfirmed { .. }))), "{results:?}");
}

#[tokio::test]
async fn a_server_without_jetstream_is_no_broker() {
    let server = start(&ServerOptions::default().without_jetstream());
    let nats = Nats::connect(&server.url(), options()).await.unwrap();
    let error = nats.publisher().await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("JetStream"), "{error}");
}
