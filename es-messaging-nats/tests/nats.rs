//! What NATS does with messages, and says when something is wrong.

mod common;

use std::time::{Duration, Instant};

use async_nats::jetstream;
use common::{SOON, drain, ids, options, outgoing, server, start, with_subscription};
use es_core::DeadReason;
use es_messaging::{Broker, BrokerError, ContentMode, Outgoing, PublishError, Settlement, Subscription, Topology};
use es_messaging_nats::{Durability, Nats, NatsOptions};
use xtask::brokers::nats::NatsOptions as ServerOptions;

fn everything() -> Subscription {
    Subscription::new("all", ["#"])
}

#[tokio::test]
async fn a_message_published_twice_is_kept_once() {
    let (nats, subscriber) = with_subscription(options(), everything()).await;
    let publisher = nats.publisher().await.unwrap();
    let batch = [outgoing("1", None), outgoing("2", None), outgoing("1", None)];
    assert!(publisher.publish(&batch).await.iter().all(Result::is_ok));
    assert!(publisher.publish(&batch).await.iter().all(Result::is_ok));
    assert_eq!(drain(&*subscriber, Duration::from_millis(300)).await, ["1", "2"]);
}

#[tokio::test]
async fn what_others_publish_in_structured_mode_is_received_and_nonsense_is_undecodable() {
    let (_nats, subscriber) = with_subscription(options().stream("FOREIGN"), everything()).await;
    let client = async_nats::connect(server().url()).await.unwrap();
    let jetstream = jetstream::new(client);
    let message = outgoing("7", None).message;
    let payload = message.to_structured().unwrap();
    jetstream.publish("foreign.a.b", payload.into()).await.unwrap().await.unwrap();
    jetstream.publish("foreign.a.c", "nonsense".into()).await.unwrap().await.unwrap();
    let mut deliveries = subscriber.receive(10, SOON).await.unwrap();
    while deliveries.len() < 2 {
        deliveries.extend(subscriber.receive(10, SOON).await.unwrap());
    }
    assert_eq!(deliveries[0].content.as_ref().unwrap(), &message);
    assert_eq!(deliveries[0].topic, "a.b");
    assert_eq!(deliveries[1].content.as_ref().unwrap_err().raw.body, b"nonsense");
}

#[tokio::test]
async fn what_is_published_in_structured_mode_comes_back_as_it_went_and_is_kept_once() {
    let (nats, subscriber) = with_subscription(options().content_mode(ContentMode::Structured), everything()).await;
    let publisher = nats.publisher().await.unwrap();
    let sent = outgoing("1", Some("k"));
    let broken = sent.message.to_builder().data("application/json", b"{".to_vec()).build().unwrap();
    let results = publisher.publish(&[Outgoing { message: broken, ..outgoing("2", None) }]).await;
    assert!(matches!(results[0], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    assert!(publisher.publish(&[sent.clone(), sent.clone()]).await.iter().all(Result::is_ok));
    let received = subscriber.receive(10, SOON).await.unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].content.as_ref().unwrap(), &sent.message);
}

#[tokio::test]
async fn a_message_that_no_stream_takes_is_unroutable() {
    let jetstream = jetstream::new(async_nats::connect(server().url()).await.unwrap());
    let config = jetstream::stream::Config {
        name: "NARROW".to_owned(),
        subjects: vec!["narrow.order.placed".to_owned()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    let nats = Nats::connect(&server().url(), options().stream("NARROW")).await.unwrap();
    let publisher = nats.publisher().await.unwrap();
    let other = Outgoing { topic: "order.paid".to_owned(), ..outgoing("1", Some("k")) };
    let wild = Outgoing { topic: "order.*".to_owned(), ..outgoing("2", None) };
    let results = publisher.publish(&[other, wild, outgoing("3", None), outgoing("4", Some("k"))]).await;
    for result in &results[..2] {
        assert!(matches!(result, Err(PublishError::Refused { kind: DeadReason::Unroutable, .. })), "{result:?}");
    }
    assert!(results[2].is_ok(), "{results:?}");
    assert!(matches!(results[3], Err(PublishError::Behind)), "{results:?}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_one_at_the_limit_is_taken() {
    let (nats, _subscriber) = with_subscription(options(), everything()).await;
    let publisher = nats.publisher().await.unwrap();
    let of_size = |bytes: usize| {
        let mut outgoing = outgoing("1", None);
        let overhead = outgoing.message.to_builder().data("a/b", Vec::new()).build().unwrap().size();
        outgoing.message = outgoing.message.to_builder().data("a/b", vec![7; bytes - overhead]).build().unwrap();
        assert_eq!(outgoing.message.size(), bytes);
        outgoing
    };
    let most = publisher.limits().message_bytes;
    let results = publisher.publish(&[of_size(most), of_size(most + 100_000)]).await;
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
}

#[tokio::test]
async fn a_full_stream_asks_for_patience_and_drops_nothing() {
    let (nats, subscriber) = with_subscription(options().max_bytes(20_000), everything()).await;
    let publisher = nats.publisher().await.unwrap();
    let batch: Vec<_> = (0..100).map(|n| outgoing(&n.to_string(), None)).collect();
    let results = publisher.publish(&batch).await;
    let taken = results.iter().filter(|result| result.is_ok()).count();
    assert!((10..100).contains(&taken), "{taken}");
    let full = results.iter().find(|result| result.is_err());
    assert!(matches!(full, Some(Err(PublishError::Throttled { .. }))), "{full:?}");
    assert_eq!(drain(&*subscriber, Duration::from_millis(300)).await.len(), taken);
}

#[tokio::test]
async fn a_rejected_message_is_in_the_stream_of_dead_letters_with_its_reason() {
    let (nats, subscriber) = with_subscription(options(), everything()).await;
    nats.publisher().await.unwrap().publish(&[outgoing("1", Some("k"))]).await.remove(0).unwrap();
    let delivery = subscriber.receive(1, SOON).await.unwrap().remove(0);
    let reason = "no such\nproduct".to_owned();
    subscriber.settle(vec![(delivery.receipt, Settlement::Reject { reason })]).await.unwrap();
    let jetstream = jetstream::new(async_nats::connect(server().url()).await.unwrap());
    let dead = jetstream.get_stream(nats.dead_stream()).await.unwrap();
    let letter = dead.get_last_raw_message_by_subject(&nats.dead_subject("all", "order.placed")).await.unwrap();
    assert_eq!(letter.headers.get("es-dead-reason").unwrap().as_str(), "no%20such%20product");
    assert_eq!(letter.headers.get("ce-id").unwrap().as_str(), "1");
    assert_eq!(&letter.payload[..], delivery.content.unwrap().data());
    assert!(subscriber.receive(1, Duration::from_millis(300)).await.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_place_for_dead_letters_a_rejected_message_stays_unsettled() {
    let (nats, subscriber) = with_subscription(options(), everything()).await;
    let jetstream = jetstream::new(async_nats::connect(server().url()).await.unwrap());
    jetstream.delete_stream(nats.dead_stream()).await.unwrap();
    nats.publisher().await.unwrap().publish(&[outgoing("1", None)]).await.remove(0).unwrap();
    let delivery = subscriber.receive(1, SOON).await.unwrap().remove(0);
    let reject = || vec![(delivery.receipt, Settlement::Reject { reason: "why".to_owned() })];
    let error = subscriber.settle(reject()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }), "{error:?}");
    nats.declare(&Topology::default()).await.unwrap();
    subscriber.settle(reject()).await.unwrap();
    assert_eq!(jetstream.get_stream(nats.dead_stream()).await.unwrap().get_info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn a_message_that_came_too_often_goes_to_the_dead_letters() {
    let (nats, subscriber) = with_subscription(options().max_deliver(2), everything()).await;
    nats.publisher().await.unwrap().publish(&[outgoing("1", None)]).await.remove(0).unwrap();
    for attempt in 1..=2 {
        let delivery = subscriber.receive(1, SOON).await.unwrap().remove(0);
        assert_eq!(delivery.attempt, attempt);
        let after = Duration::from_millis(50);
        subscriber.settle(vec![(delivery.receipt, Settlement::Retry { after })]).await.unwrap();
    }
    assert!(subscriber.receive(1, Duration::from_secs(1)).await.unwrap().is_empty());
    let jetstream = jetstream::new(async_nats::connect(server().url()).await.unwrap());
    assert_eq!(jetstream.get_stream(nats.dead_stream()).await.unwrap().get_info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn a_message_is_extended_beyond_its_time_and_not_more_are_held_than_asked_for() {
    let subscription = everything().prefetch(2).ack_wait(Duration::from_secs(1));
    let (nats, subscriber) = with_subscription(options(), subscription.clone()).await;
    let batch: Vec<_> = (0..3).map(|n| outgoing(&n.to_string(), None)).collect();
    assert!(nats.publisher().await.unwrap().publish(&batch).await.iter().all(Result::is_ok));
    let mut held = subscriber.receive(10, SOON).await.unwrap();
    if held.len() < 2 {
        held.extend(subscriber.receive(10, SOON).await.unwrap());
    }
    assert_eq!(ids(&held), ["0", "1"]);
    let receipts: Vec<_> = held.iter().map(|one| one.receipt).collect();
    for _ in 0..6 {
        assert!(subscriber.receive(10, Duration::from_millis(300)).await.unwrap().is_empty());
        subscriber.extend(&receipts).await.unwrap();
    }
    subscriber.settle(receipts.into_iter().map(|receipt| (receipt, Settlement::Ack)).collect()).await.unwrap();
    let last = subscriber.receive(10, SOON).await.unwrap();
    assert_eq!((ids(&last), last[0].attempt), (vec!["2".to_owned()], 1));
    // Given back at once, not after its time.
    subscriber.close().await.unwrap();
    let again = nats.subscriber(&subscription).await.unwrap().receive(1, Duration::from_millis(500)).await.unwrap();
    assert_eq!((ids(&again), again[0].attempt), (vec!["2".to_owned()], 2));
}

#[tokio::test]
async fn what_is_missing_or_different_is_said_and_not_changed() {
    let nats = Nats::connect(&server().url(), options().stream("NOWHERE")).await.unwrap();
    let error = nats.publisher().await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("NOWHERE"), "{error}");
    let error = nats.subscriber(&everything()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }), "{error:?}");
    let topology = |subscription| Topology::new(["a"], vec![subscription]);
    nats.declare(&topology(everything())).await.unwrap();
    nats.declare(&topology(everything())).await.unwrap();
    let error = nats.declare(&topology(Subscription::new("all", ["a.*"]))).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("filters"), "{error}");
    let other = Nats::connect(&server().url(), options().stream("NOWHERE").max_age(SOON)).await.unwrap();
    let error = other.declare(&Topology::default()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("max_age"), "{error}");
}

#[tokio::test]
async fn wrong_servers_credentials_and_tls_are_told_apart() {
    let lines = "authorization { users: [\n{user: ann, password: right}\n\
                 {user: bob, password: right, permissions: {publish: [\"$JS.API.STREAM.INFO.*\", \"_INBOX.>\"]}}]}";
    let server = start(&ServerOptions::default().with_lines(lines));
    let url = |user: &str| format!("nats://{user}@127.0.0.1:{}/?stream=EVENTS", server.port());
    let connect = |url: String| async move { Nats::connect(&url, NatsOptions::new().assume_synced()).await };
    for wrong in ["ann:wrong", "nobody:right"] {
        let error = connect(url(wrong)).await.unwrap_err();
        assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    }
    let error = connect(server.url()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    let error = connect(server.url().replace("nats:", "tls:")).await.unwrap_err();
    assert!(matches!(error, BrokerError::Tls { .. }), "{error:?}");
    let begin = Instant::now();
    let error = connect("nats://127.0.0.1:1".to_owned()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }) && begin.elapsed() < SOON, "{error:?}");

    let ann = connect(url("ann:right")).await.unwrap();
    ann.declare(&Topology::new(["order.placed"], vec![])).await.unwrap();
    let bob = connect(url("bob:right")).await.unwrap();
    let publisher = bob.publisher().await.unwrap();
    let begin = Instant::now();
    let result = publisher.publish(&[outgoing("1", None)]).await.remove(0);
    let Err(PublishError::Unconfirmed { source, .. }) = result else { panic!("{result:?}") };
    assert!(source.to_string().to_lowercase().contains("permissions violation"), "{source}");
    assert!(begin.elapsed() < Duration::from_secs(8));
    let error = bob.declare(&Topology::new(["a"], vec![everything()])).await.unwrap_err();
    assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn whether_the_server_flushes_first_is_asked_where_it_says_so() {
    for (sync_always, known) in [(true, Durability::Synced), (false, Durability::NotSynced)] {
        let server = start(&ServerOptions { sync_always, ..ServerOptions::default() }.with_lines("http: 127.0.0.1:-1"));
        let log = server.log().unwrap();
        let monitor = log.lines().find_map(|line| line.split("http monitor on ").nth(1)).unwrap().trim().to_owned();
        let nats = Nats::connect(&server.url(), NatsOptions::new().monitoring([monitor])).await.unwrap();
        assert_eq!(nats.durability(), known);
        let nats = Nats::connect(&server.url(), NatsOptions::new()).await.unwrap();
        assert_eq!(nats.durability(), Durability::Unknown);
        assert!(nats.durability().may_lose());
        let nats = Nats::connect(&server.url(), NatsOptions::new().assume_synced()).await.unwrap();
        assert_eq!(nats.durability(), Durability::Assumed);
    }
}
