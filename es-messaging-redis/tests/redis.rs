//! What Redis does with messages, and says when something is wrong.

mod common;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use common::{SOON, client, drain, ids, options, outgoing, server, start, with_subscription};
use es_core::DeadReason;
use es_messaging::{Broker, BrokerError, ContentMode, Outgoing, PublishError, Settlement, Subscription, Topology};
use es_messaging_redis::{Durability, RedisOptions, RedisStreams, Trim};
use xtask::brokers::redis::RedisOptions as ServerOptions;

fn everything() -> Subscription {
    Subscription::new("all", ["#"])
}

fn of(id: usize) -> Outgoing {
    outgoing(&id.to_string(), None)
}

#[tokio::test]
async fn a_topic_that_was_not_declared_is_unroutable_and_holds_up_its_key_alone() {
    let (redis, subscriber) = with_subscription(options(), everything()).await;
    let publisher = redis.publisher().await.unwrap();
    let other = |id: &str| Outgoing { topic: "order.paid".to_owned(), ..outgoing(id, Some("k")) };
    let wild = Outgoing { topic: "order.*".to_owned(), ..of(2) };
    let results = publisher.publish(&[other("0"), other("1"), wild, of(3)]).await;
    let unroutable = |result| matches!(result, &Err(PublishError::Refused { kind: DeadReason::Unroutable, .. }));
    assert!(unroutable(&results[0]) && unroutable(&results[2]), "{results:?}");
    assert!(matches!(results[1], Err(PublishError::Behind)), "{results:?}");
    assert!(results[3].is_ok(), "{results:?}");
    // Declared later by somebody else, it is received by whoever is there already.
    redis.declare(&Topology::new(["order.paid"], vec![])).await.unwrap();
    assert!(publisher.publish(&[other("0"), other("1")]).await.iter().all(Result::is_ok));
    let mut seen = drain(&*subscriber, Duration::from_secs(3)).await;
    seen.sort();
    assert_eq!(seen, ["0", "1", "3"]);
}

#[tokio::test]
async fn what_is_published_in_structured_mode_comes_back_as_it_went() {
    let (redis, subscriber) = with_subscription(options().content_mode(ContentMode::Structured), everything()).await;
    let sent = outgoing("1", Some("k"));
    let broken = sent.message.to_builder().data("application/json", b"{".to_vec()).build().unwrap();
    let broken = Outgoing { message: broken, ..sent.clone() };
    let results = redis.publisher().await.unwrap().publish(&[sent.clone(), broken]).await;
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    let received = subscriber.receive(10, SOON).await.unwrap();
    assert_eq!(received[0].content.as_ref().unwrap(), &sent.message);
}

#[tokio::test]
async fn only_what_every_group_has_settled_is_trimmed() {
    let slow = Subscription::new("slow", ["order.*"]);
    let (redis, fast) = with_subscription(options(), everything()).await;
    redis.declare(&Topology::new(["order.placed"], vec![slow.clone()])).await.unwrap();
    let slow = redis.subscriber(&slow).await.unwrap();
    let batch: Vec<_> = (0..10).map(of).collect();
    assert!(redis.publisher().await.unwrap().publish(&batch).await.iter().all(Result::is_ok));
    assert_eq!(drain(&*fast, Duration::from_millis(300)).await.len(), 10);
    assert_eq!(redis.trim_settled("order.placed").await.unwrap(), 0, "one group has seen nothing");
    let held = slow.receive(10, SOON).await.unwrap();
    let acks: Vec<_> = held.iter().enumerate().filter(|(at, _)| *at != 6).map(|(_, one)| one.receipt).collect();
    slow.settle(acks.into_iter().map(|receipt| (receipt, Settlement::Ack)).collect()).await.unwrap();
    assert_eq!(redis.trim_settled("order.placed").await.unwrap(), 6, "those before the one that is held");
    slow.settle(vec![(held[6].receipt, Settlement::Ack)]).await.unwrap();
    assert_eq!(redis.trim_settled("order.placed").await.unwrap(), 3, "all but the last");
    assert_eq!(redis.trim_settled("nowhere").await.unwrap(), 0);
}

#[tokio::test]
async fn members_trim_what_is_settled_if_they_are_told_to() {
    let (redis, subscriber) = with_subscription(options().trim(Trim::Settled), everything()).await;
    let publisher = redis.publisher().await.unwrap();
    let mut connection = client(server()).await;
    let end = Instant::now() + SOON * 2;
    loop {
        assert!(Instant::now() < end, "nothing was trimmed");
        let batch: Vec<_> = (0..10).map(of).collect();
        assert!(publisher.publish(&batch).await.iter().all(Result::is_ok));
        assert_eq!(drain(&*subscriber, Duration::from_millis(200)).await.len(), 10);
        let mut command = redis::cmd("XLEN");
        command.arg(redis.stream_key("order.placed"));
        if command.query_async::<u64>(&mut connection).await.unwrap() <= 1 {
            break;
        }
    }
}

#[tokio::test]
async fn a_bound_on_the_length_is_kept_roughly() {
    let redis = RedisStreams::connect(&server().url(), options().trim(Trim::MaxLen(100))).await.unwrap();
    redis.declare(&Topology::new(["order.placed"], vec![])).await.unwrap();
    let batch: Vec<_> = (0..1_000).map(of).collect();
    assert!(redis.publisher().await.unwrap().publish(&batch).await.iter().all(Result::is_ok));
    let mut command = redis::cmd("XLEN");
    command.arg(redis.stream_key("order.placed"));
    let length: u64 = command.query_async(&mut client(server()).await).await.unwrap();
    assert!((100..400).contains(&length), "{length}");
}

#[tokio::test]
async fn a_rejected_message_moves_to_the_dead_letters_with_its_reason() {
    let (redis, subscriber) = with_subscription(options(), everything()).await;
    redis.publisher().await.unwrap().publish(&[of(7)]).await.remove(0).unwrap();
    let delivery = subscriber.receive(1, SOON).await.unwrap().remove(0);
    let reason = "it breaks its schema".to_owned();
    subscriber.settle(vec![(delivery.receipt, Settlement::Reject { reason })]).await.unwrap();
    let mut command = redis::cmd("XRANGE");
    command.arg(redis.dead_key("all")).arg("-").arg("+");
    let dead: Vec<(String, HashMap<String, String>)> = command.query_async(&mut client(server()).await).await.unwrap();
    let fields = &dead[0].1;
    assert_eq!((dead.len(), fields["ce_id"].as_str(), fields["data"].as_str()), (1, "7", r#"{"id":"7"}"#));
    assert_eq!((fields["dead_topic"].as_str(), fields["dead_attempts"].as_str()), ("order.placed", "1"));
    assert_eq!(fields["dead_reason"], "it breaks its schema");
}

#[tokio::test]
async fn members_that_are_gone_leave_no_trace_and_what_they_held_is_claimed() {
    let subscription = everything().ack_wait(Duration::from_millis(500));
    let (redis, subscriber) = with_subscription(options(), subscription.clone()).await;
    redis.publisher().await.unwrap().publish(&[of(1), of(2)]).await.remove(0).unwrap();
    assert_eq!(subscriber.receive(2, SOON).await.unwrap().len(), 2);
    drop(subscriber);
    let other = redis.subscriber(&subscription).await.unwrap();
    let mut again = Vec::new();
    while again.len() < 2 {
        again.extend(other.receive(2, SOON).await.unwrap());
    }
    assert_eq!((ids(&again), again[0].attempt), (vec!["1".to_owned(), "2".to_owned()], 2));
    other.settle(again.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
    other.close().await.unwrap();
    let mut command = redis::cmd("XINFO");
    command.arg("CONSUMERS").arg(redis.stream_key("order.placed")).arg("all");
    let left: Vec<HashMap<String, redis::Value>> = command.query_async(&mut client(server()).await).await.unwrap();
    // The lost one is forgotten after an hour.
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test]
async fn a_delay_longer_than_the_time_for_unsettled_messages_is_kept() {
    let subscription = everything().ack_wait(Duration::from_millis(200));
    let (redis, subscriber) = with_subscription(options(), subscription.clone()).await;
    redis.publisher().await.unwrap().publish(&[of(1)]).await.remove(0).unwrap();
    let delivery = subscriber.receive(1, SOON).await.unwrap().remove(0);
    let (begin, after) = (Instant::now(), Duration::from_millis(1_500));
    subscriber.settle(vec![(delivery.receipt, Settlement::Retry { after })]).await.unwrap();
    // Whoever waits for it need not be who had it.
    subscriber.close().await.unwrap();
    let again = redis.subscriber(&subscription).await.unwrap().receive(1, SOON).await.unwrap().remove(0);
    assert_eq!(again.attempt, 2);
    assert!(begin.elapsed() >= Duration::from_millis(1_450), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_server_without_memory_asks_for_patience() {
    let server = start(&ServerOptions::default().with_lines("maxmemory 3mb\nmaxmemory-policy noeviction"));
    let redis = RedisStreams::connect(&server.url(), RedisOptions::new()).await.unwrap();
    redis.declare(&Topology::new(["order.placed"], vec![everything()])).await.unwrap();
    let publisher = redis.publisher().await.unwrap();
    let (mut confirmed, mut next) = (BTreeSet::new(), 0);
    let error = loop {
        let batch: Vec<_> = (next..next + 200).map(|n| outgoing(&n.to_string(), Some("k"))).collect();
        next += 200;
        for (one, result) in batch.iter().zip(publisher.publish(&batch).await) {
            match result {
                Ok(()) => assert!(confirmed.insert(one.message.id().to_owned())),
                Err(PublishError::Behind) => {}
                Err(error) => assert!(matches!(error, PublishError::Throttled { .. }), "{error:?}"),
            }
        }
        if confirmed.len() < next {
            break confirmed.len();
        }
        assert!(next < 100_000);
    };
    assert_eq!(error % 200, 0, "all of a transaction or nothing");
}

#[tokio::test]
async fn without_replicas_a_message_that_waits_for_one_is_not_confirmed() {
    let waiting = options().wait_for_replicas(1, Duration::from_millis(100));
    let (redis, _subscriber) = with_subscription(waiting, everything()).await;
    let result = redis.publisher().await.unwrap().publish(&[of(1)]).await.remove(0);
    assert!(matches!(result, Err(PublishError::Unconfirmed { .. })), "{result:?}");
}

#[tokio::test]
async fn wrong_servers_credentials_and_rights_are_told_apart() {
    let lines = "requirepass right\nuser bob on >right ~* +@all -xadd -config";
    let server = start(&ServerOptions::default().with_lines(lines));
    let url = |user: &str| format!("redis://{user}@127.0.0.1:{}", server.port());
    let connect = |url: String| async move { RedisStreams::connect(&url, RedisOptions::new()).await };
    for wrong in [url(":wrong"), url("nobody:right"), server.url()] {
        let error = connect(wrong).await.unwrap_err();
        assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    }
    let begin = Instant::now();
    let error = connect("redis://127.0.0.1:1".to_owned()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }) && begin.elapsed() < SOON, "{error:?}");
    // Some other server.
    let nats = xtask::brokers::nats::ThrowawayNats::start(&xtask::tools::ensure_nats().unwrap(), &Default::default());
    let error = connect(nats.unwrap().url().replace("nats:", "redis:")).await.unwrap_err();
    assert!(matches!(error, BrokerError::Tls { .. }) && error.to_string().contains("rediss://"), "{error}");

    let owner = connect(url(":right")).await.unwrap();
    owner.declare(&Topology::new(["order.placed"], vec![])).await.unwrap();
    let bob = connect(url("bob:right")).await.unwrap();
    assert_eq!(bob.durability(), Durability::Unknown);
    let result = bob.publisher().await.unwrap().publish(&[of(1), of(2), of(3)]).await.remove(0);
    let Err(PublishError::Unconfirmed { source, .. }) = result else { panic!("{result:?}") };
    assert!(source.to_string().to_lowercase().contains("permission"), "{source}");
    assert!(source.to_string().ends_with("(and 2 more)"), "a large batch makes no large error: {source}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_port_without_tls_that_is_asked_for_it_is_named_as_such() {
    let url = server().url().replace("redis:", "rediss:");
    let error = RedisStreams::connect(&url, RedisOptions::new()).await.unwrap_err();
    let BrokerError::Unavailable { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("redis://"), "{source}");
}

#[tokio::test]
async fn what_is_missing_or_different_is_said_and_not_changed() {
    let redis = RedisStreams::connect(&server().url(), options()).await.unwrap();
    let error = redis.subscriber(&everything()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("all"), "{error}");
    redis.declare(&Topology::new(["a"], vec![everything()])).await.unwrap();
    redis.declare(&Topology::new(["a"], vec![everything()])).await.unwrap();
    let error = redis.declare(&Topology::new(["a"], vec![Subscription::new("all", ["b"])])).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }), "{error:?}");
    let subscriber = redis.subscriber(&everything()).await.unwrap();
    let mut connection = client(server()).await;
    let mut destroy = redis::cmd("XGROUP");
    destroy.arg("DESTROY").arg(redis.stream_key("a")).arg("all");
    destroy.query_async::<u64>(&mut connection).await.unwrap();
    let error = subscriber.receive(1, SOON).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }), "{error:?}");
    let mut set = redis::cmd("SET");
    set.arg(redis.stream_key("b")).arg("no stream");
    set.query_async::<()>(&mut connection).await.unwrap();
    let error = redis.declare(&Topology::new(["b"], vec![])).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }), "{error:?}");
}

#[tokio::test]
async fn what_a_confirmation_means_is_asked() {
    for (lines, known) in [
        ("appendonly yes\nappendfsync always", Durability::Synced),
        ("appendonly yes\nappendfsync everysec", Durability::Appended),
        ("appendonly no", Durability::Volatile),
    ] {
        let server = start(&ServerOptions::default().with_lines(lines));
        let redis = RedisStreams::connect(&server.url(), RedisOptions::new()).await.unwrap();
        assert_eq!((redis.durability(), redis.durability().may_lose()), (known, known != Durability::Synced));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_to_a_server_that_hangs_fails_within_seconds_and_goes_on_afterwards() {
    let server = start(&ServerOptions::durable());
    let options = RedisOptions::new().answer_limit(Duration::from_secs(2));
    let redis = RedisStreams::connect(&server.url(), options).await.unwrap();
    redis.declare(&Topology::new(["order.placed"], vec![everything()])).await.unwrap();
    let publisher = redis.publisher().await.unwrap();
    server.pause().unwrap();
    for _ in 0..2 {
        let begin = Instant::now();
        let result = publisher.publish(&[of(1)]).await.remove(0);
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        assert!(matches!(result, Err(PublishError::Unconfirmed { .. })), "{result:?}");
    }
    server.resume().unwrap();
    let end = Instant::now() + SOON * 2;
    while publisher.publish(&[of(1)]).await.remove(0).is_err() {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
