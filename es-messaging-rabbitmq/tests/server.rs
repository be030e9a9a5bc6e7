//! What a real server refuses, and how that is said: credentials, virtual hosts, exchanges, sizes, settings, memory.

mod support;

use std::{sync::OnceLock, time::Duration};

use es_core::DeadReason;
use es_messaging::{
    Broker, BrokerError, ContentMode, Message, Outgoing, PublishError, Publisher, Settlement, Subscription, Topology,
    extension,
};
use es_messaging_rabbitmq::{HeaderPrefix, QueueKind, RabbitMq, RabbitMqOptions};
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use support::{bare, start, take_all, victim};
use xtask::brokers::rabbitmq::{RabbitMqOptions as ServerOptions, ThrowawayRabbitMq};

/// A server that takes messages of at most 100 000 bytes.
fn server() -> &'static ThrowawayRabbitMq {
    static SERVER: OnceLock<ThrowawayRabbitMq> = OnceLock::new();
    SERVER.get_or_init(|| start(&ServerOptions::default().with_lines("max_message_size = 100000")))
}

async fn connect(exchange: &str) -> RabbitMq {
    // It is not killed.
    let options = RabbitMqOptions::default().exchange(exchange).new_queue_wait(Duration::ZERO);
    RabbitMq::connect(&server().url(), options).await.expect("a connection")
}

fn message(topic: &str, id: &str, bytes: usize) -> Outgoing {
    let builder = Message::builder("t", "/").id(id).key("k").data("text/plain", vec![b'x'; bytes]);
    Outgoing { topic: topic.to_owned(), message: builder.build().expect("a message") }
}

async fn declared(exchange: &str, queue: &str) -> (RabbitMq, Subscription) {
    let (broker, subscription) = (connect(exchange).await, Subscription::new(queue, ["t"]));
    broker.declare(&Topology::new(["t"], vec![subscription.clone()])).await.expect("it is declared");
    (broker, subscription)
}

/// Waits until something is true; longer than this it never will be.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < end, "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn first_dead_letter(channel: &lapin::Channel, subscription: &Subscription) -> lapin::message::Delivery {
    let queue = RabbitMq::dead_letter_queue(subscription);
    until("a dead letter", async || take_all(channel, &queue).await.pop()).await
}

async fn publish_at_last(publisher: &dyn Publisher, batch: &[Outgoing]) {
    until("publishing", async || publisher.publish(batch).await[0].is_ok().then_some(())).await;
}

#[tokio::test]
async fn what_is_published_in_structured_mode_comes_back_as_it_went_or_is_unroutable() {
    let (_, subscription) = declared("structured", "structured").await;
    let options = RabbitMqOptions::default().exchange("structured").content_mode(ContentMode::Structured);
    let broker = RabbitMq::connect(&server().url(), options).await.expect("a connection");
    let (sent, lost) = (message("t", "1", 10), message("nowhere", "2", 10));
    let broken = Message::builder("t", "/").data("application/json", b"{".to_vec()).build().expect("a message");
    let broken = Outgoing { topic: "t".to_owned(), message: broken };
    let results = broker.publisher().await.expect("a publisher").publish(&[sent.clone(), lost, broken]).await;
    assert!(matches!(results[2], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    assert!(results[0].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(PublishError::Refused { kind: DeadReason::Unroutable, .. })), "{results:?}");
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let received = subscriber.receive(10, Duration::from_secs(10)).await.expect("it is there");
    assert_eq!(received[0].content.as_ref().expect("a message"), &sent.message);
}

#[tokio::test]
async fn a_message_with_each_prefix_is_published_and_one_that_comes_back_is_recognised() {
    for prefix in [HeaderPrefix::Colon, HeaderPrefix::Underscore, HeaderPrefix::Ce] {
        let name = format!("prefixes{prefix:?}");
        let (_declared, subscription) = declared(&name, &name).await;
        let options = RabbitMqOptions::default().exchange(&name).header_prefix(prefix);
        let broker = RabbitMq::connect(&server().url(), options).await.expect("a connection");
        let publisher = broker.publisher().await.expect("a publisher");
        let results = publisher.publish(&[message("t", "2", 1), message("nobody", "1", 1)]).await;
        assert!(matches!(&results[1], Err(PublishError::Refused { kind: DeadReason::Unroutable, .. })), "{results:?}");
        results[0].as_ref().expect("it is published");
        let member = broker.subscriber(&subscription).await.expect("a member");
        let came = member.receive(2, Duration::from_secs(5)).await.expect("a message");
        assert_eq!(came[0].content.as_ref().expect("a message"), &message("t", "2", 1).message);
        member.settle(vec![(came[0].receipt, Settlement::Ack)]).await.expect("it is settled");
    }
}

#[tokio::test]
async fn a_lone_slash_is_the_default_virtual_host_and_one_that_is_not_there_is_named() {
    let url = server().url();
    let (base, _) = url.rsplit_once('/').expect("a URL with a virtual host");
    for vhost in ["", "/", "/%2f", "/?exchange=slash"] {
        let connected = RabbitMq::connect(&format!("{base}{vhost}"), RabbitMqOptions::default()).await;
        connected.unwrap_or_else(|error| panic!("{vhost:?}: {error}")).close().await;
    }
    let error = RabbitMq::connect(&format!("{base}/%2Fshop"), RabbitMqOptions::default()).await.expect_err("no such");
    assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("the virtual host \"/shop\""), "{error}");
}

#[tokio::test]
async fn wrong_credentials_and_virtual_hosts_are_denied() {
    let port = server().port();
    for url in [
        format!("amqp://guest:wrong@127.0.0.1:{port}/%2f"),
        format!("amqp://nobody:guest@127.0.0.1:{port}/%2f"),
        format!("amqp://guest:guest@127.0.0.1:{port}/nowhere"),
    ] {
        let error = RabbitMq::connect(&url, RabbitMqOptions::default()).await.expect_err("it is refused");
        assert!(matches!(error, BrokerError::Denied { .. }), "{url}: {error:?}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_a_wrong_url_is_a_wrong_setting() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let error = RabbitMq::connect(&format!("amqp://127.0.0.1:{port}"), RabbitMqOptions::default()).await;
    assert!(matches!(error, Err(BrokerError::Unavailable { .. })), "{error:?}");
    let error = RabbitMq::connect("http://127.0.0.1", RabbitMqOptions::default()).await;
    assert!(matches!(error, Err(BrokerError::Config { .. })), "{error:?}");
}

#[tokio::test]
async fn a_missing_exchange_is_said_to_be_missing() {
    let error = connect("never-declared").await.publisher().await.expect_err("there is none");
    assert!(matches!(&error, BrokerError::Missing { what, .. } if what.contains("never-declared")), "{error:?}");
}

#[tokio::test]
async fn a_queue_with_other_settings_is_said_to_differ_and_stays() {
    let (broker, subscription) = declared("differs", "differs").await;
    let options = RabbitMqOptions::default().exchange("differs").queue_kind(QueueKind::Classic);
    let other = RabbitMq::connect(&server().url(), options).await.expect("a connection");
    let error = other.declare(&Topology::new(["t"], vec![subscription.clone()])).await.expect_err("it differs");
    assert!(matches!(&error, BrokerError::Missing { reason, .. } if reason.contains("x-queue-type")), "{error:?}");
    broker.subscriber(&subscription).await.expect("it is as it was");
}

#[tokio::test]
async fn declaring_a_new_quorum_queue_waits_until_it_survives_the_server() {
    let wait = Duration::from_secs(1);
    let topology = Topology::new(["t"], vec![Subscription::new("new-queue", ["t"])]);
    let took = async |kind: QueueKind, topology: &Topology| {
        let options = RabbitMqOptions::default().exchange("new").queue_kind(kind).new_queue_wait(wait);
        let broker = RabbitMq::connect(&server().url(), options).await.expect("a connection");
        let begun = std::time::Instant::now();
        broker.declare(topology).await.expect("it is declared");
        begun.elapsed()
    };
    assert!(took(QueueKind::Quorum, &topology).await >= wait);
    let again = took(QueueKind::Quorum, &topology).await;
    assert!(again < wait, "it is there: {again:?}");
    let classic = Topology::new(["t"], vec![Subscription::new("new-classic", ["t"])]);
    let classic = took(QueueKind::Classic, &classic).await;
    assert!(classic < wait, "{classic:?}");
}

#[tokio::test]
async fn what_no_queue_takes_comes_back_and_is_refused_unless_that_is_allowed() {
    let (broker, _) = declared("mandatory", "mandatory").await;
    let batch: Vec<Outgoing> =
        (0..60).map(|n| message(if n % 3 == 1 { "nobody" } else { "t" }, &n.to_string(), 3)).collect();
    let batch: Vec<Outgoing> = batch
        .into_iter()
        .map(|mut outgoing| {
            let builder = outgoing.message.to_builder().without_extension(extension::PARTITION_KEY);
            outgoing.message = builder.build().expect("a message");
            outgoing
        })
        .collect();
    for (n, result) in broker.publisher().await.expect("a publisher").publish(&batch).await.into_iter().enumerate() {
        let is_unroutable = matches!(&result, Err(PublishError::Refused { kind: DeadReason::Unroutable, .. }));
        assert_eq!((result.is_ok(), is_unroutable), (n % 3 != 1, n % 3 == 1), "message {n}: {result:?}");
    }
    let options = RabbitMqOptions::default().exchange("mandatory").allow_unroutable(true);
    let other = RabbitMq::connect(&server().url(), options).await.expect("a connection");
    let results = other.publisher().await.expect("a publisher").publish(&batch[1..2]).await;
    assert!(results[0].is_ok(), "{results:?}");
}

#[tokio::test]
async fn a_message_that_the_server_finds_too_large_is_refused_and_the_others_get_through() {
    let (broker, subscription) = declared("large", "large").await;
    let mut batch: Vec<Outgoing> =
        (0..6).map(|n| message("t", &n.to_string(), if n == 2 { 200_000 } else { 10 })).collect();
    for outgoing in &mut batch[3..5] {
        outgoing.message = outgoing.message.to_builder().key("other").build().expect("a message");
    }
    let results = broker.publisher().await.expect("a publisher").publish(&batch).await;
    assert!(matches!(&results[2], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    assert!(matches!(&results[5], Err(PublishError::Behind)), "{results:?}");
    for n in [0, 1, 3, 4] {
        assert!(results[n].is_ok(), "message {n}: {results:?}");
    }
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 4 {
        let came = subscriber.receive(10, Duration::from_secs(10)).await.expect("messages");
        assert!(!came.is_empty(), "some are missing: {ids:?}");
        ids.extend(came.iter().map(|one| one.content.as_ref().expect("a message").id().to_owned()));
    }
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), ["0", "1", "3", "4"]);
}

#[tokio::test]
async fn a_rejected_message_lies_in_the_dead_letter_queue_with_its_history() {
    let (broker, subscription) = declared("rejects", "rejects").await;
    let publisher = broker.publisher().await.expect("a publisher");
    assert!(publisher.publish(&[message("t", "17", 3)]).await[0].is_ok());
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let came = subscriber.receive(1, Duration::from_secs(10)).await.expect("messages");
    let reject = Settlement::Reject { reason: "poison".to_owned() };
    subscriber.settle(vec![(came[0].receipt, reject)]).await.expect("it is settled");
    let (_connection, channel) = bare(&server().url()).await;
    let dead = first_dead_letter(&channel, &subscription).await;
    assert_eq!(dead.properties.message_id().as_ref().map(|id| id.as_str()), Some("17"));
    assert!(dead.properties.headers().as_ref().expect("headers").inner().contains_key("x-death"));
}

#[tokio::test]
async fn what_expires_in_the_queue_goes_to_the_dead_letters() {
    let (broker, subscription) = declared("expires", "expires").await;
    let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(3);
    let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("a time");
    let mut outgoing = message("t", "late", 3);
    outgoing.message = outgoing.message.to_builder().extension(extension::EXPIRY, soon).build().expect("a message");
    assert!(broker.publisher().await.expect("a publisher").publish(&[outgoing]).await[0].is_ok());
    let (_connection, channel) = bare(&server().url()).await;
    first_dead_letter(&channel, &subscription).await;
}

#[tokio::test]
async fn a_queue_that_is_removed_ends_its_members_with_a_reason() {
    let (broker, subscription) = declared("removed", "removed").await;
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let (_connection, channel) = bare(&server().url()).await;
    channel.queue_delete("removed".into(), Default::default()).await.expect("it is removed");
    let first = subscriber.receive(1, Duration::from_secs(10)).await.expect_err("the consumer is gone");
    assert!(first.is_transient(), "{first:?}");
    let second = subscriber.receive(1, Duration::from_secs(10)).await.expect_err("so is the queue");
    assert!(matches!(second, BrokerError::Missing { .. }), "{second:?}");
}

#[tokio::test]
async fn attributes_that_no_frame_holds_are_refused_and_the_others_get_through() {
    let (broker, subscription) = declared("wide", "wide").await;
    let attributes = |outgoing: Outgoing, count: usize| {
        let mut builder = outgoing.message.to_builder().without_extension(extension::PARTITION_KEY);
        for number in 0..count {
            builder = builder.extension(&format!("long{number}"), "x".repeat(4_000));
        }
        Outgoing { topic: outgoing.topic, message: builder.build().expect("a message") }
    };
    // A frame has 128 KiB.
    let batch = [10, 60, 31, 0].map(|count| attributes(message("t", &count.to_string(), 3), count));
    let results = broker.publisher().await.expect("a publisher").publish(&batch).await;
    assert!(matches!(&results[1], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    assert!(results[0].is_ok() && results[2].is_ok() && results[3].is_ok(), "{results:?}");
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    // What the server notes on a message when it gives it again has room, too.
    for attempt in 1..=3 {
        let mut came = Vec::new();
        until("three messages", async || {
            came.extend(subscriber.receive(3, Duration::from_secs(10)).await.expect("messages"));
            (came.len() == 3).then_some(())
        })
        .await;
        assert!(came.iter().all(|one| one.attempt == attempt && one.content.is_ok()), "{came:?}");
        let retry = |one: &es_messaging::Delivery| (one.receipt, Settlement::Retry { after: Duration::ZERO });
        subscriber.settle(came.iter().map(retry).collect()).await.expect("it is settled");
    }
}

#[tokio::test]
async fn a_full_queue_throttles_and_with_strict_order_takes_nothing_behind_what_it_refused() {
    let broker = connect("full").await;
    broker.declare(&Topology::new(["t"], Vec::new())).await.expect("it is declared");
    let (_connection, channel) = bare(&server().url()).await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(2));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    channel.queue_declare("full".into(), QueueDeclareOptions::default(), full).await.expect("a queue");
    let (queue, options) = ("full".into(), Default::default());
    channel.queue_bind(queue, "full".into(), "t".into(), options, FieldTable::default()).await.expect("it is bound");
    let batch: Vec<Outgoing> = (0..6).map(|n| message("t", &n.to_string(), 3)).collect();
    for strict in [false, true] {
        let options = RabbitMqOptions::default().exchange("full").strict_order(strict);
        let broker = RabbitMq::connect(&server().url(), options).await.expect("a connection");
        let results = broker.publisher().await.expect("a publisher").publish(&batch).await;
        let first = results.iter().position(Result::is_err).expect("it is full");
        assert!(matches!(results[first], Err(PublishError::Throttled { .. })), "{results:?}");
        assert!(results[first + 1..].iter().all(|result| matches!(result, Err(PublishError::Behind))), "{results:?}");
        let ids = take_all(&channel, "full").await;
        let ids: Vec<String> =
            ids.iter().filter_map(|one| Some(one.properties.message_id().as_ref()?.to_string())).collect();
        let confirmed: Vec<String> = (0..first).map(|n| n.to_string()).collect();
        assert!(ids.starts_with(&confirmed) && (!strict || ids == confirmed), "{ids:?}: {results:?}");
    }
}

#[tokio::test]
async fn a_publisher_that_was_interrupted_keeps_the_order() {
    let (broker, subscription) = declared("interrupted", "interrupted").await;
    let publisher = broker.publisher().await.expect("a publisher");
    let batch: Vec<Outgoing> = (0..400).map(|n| message("t", &n.to_string(), 300)).collect();
    for step in 0..20 {
        let _ = tokio::time::timeout(Duration::from_micros(100 << (step % 8)), publisher.publish(&batch)).await;
    }
    for result in publisher.publish(&batch).await {
        result.expect("it is confirmed");
    }
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let mut firsts = Vec::new();
    while firsts.len() < batch.len() {
        let came = subscriber.receive(100, Duration::from_secs(10)).await.expect("messages");
        assert!(!came.is_empty(), "some are missing: {firsts:?}");
        for one in &came {
            let id: usize = one.content.as_ref().expect("a message").id().parse().expect("a number");
            if !firsts.contains(&id) {
                firsts.push(id);
            }
        }
        subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.expect("settled");
    }
    assert!(firsts.is_sorted(), "{firsts:?}");
}

#[tokio::test]
async fn a_member_goes_on_when_the_server_has_ended_its_channel_for_an_acknowledgement() {
    let (broker, subscription) = declared("twice", "twice").await;
    let publisher = broker.publisher().await.expect("a publisher");
    for id in ["0", "1"] {
        assert!(publisher.publish(&[message("t", id, 3)]).await[0].is_ok());
    }
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let mut held = Vec::new();
    until("two messages", async || {
        held.extend(subscriber.receive(2, Duration::from_secs(1)).await.expect("messages"));
        (held.len() == 2).then_some(())
    })
    .await;
    // Settled twice: what comes second is about a message that the server has settled.
    let settle = async |settlement: Settlement| {
        subscriber.settle(vec![(held[0].receipt, settlement)]).await.expect("it is sent");
    };
    settle(Settlement::Retry { after: Duration::from_millis(100) }).await;
    settle(Settlement::Ack).await;
    let ended = subscriber.receive(1, Duration::from_secs(10)).await.expect_err("the server knows it no more");
    assert!(ended.is_transient(), "{ended:?}");
    let again = subscriber.receive(2, Duration::from_secs(10)).await.expect("messages");
    let ids: Vec<&str> = again.iter().filter_map(|one| Some(one.content.as_ref().ok()?.id())).collect();
    assert_eq!(ids, ["1"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_to_a_server_that_never_answers_leaves_nothing_behind() {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("amqp://{}", listener.local_addr().expect("an address"));
    // Time stands still until somebody has connected.
    let connected = tokio::task::spawn_blocking(move || {
        let mut socket = listener.accept().expect("a connection").0;
        socket.read_exact(&mut [0; 8]).expect("the protocol's header");
        socket
    });
    let error = RabbitMq::connect(&url, RabbitMqOptions::default()).await.expect_err("it does not answer");
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error:?}");
    let mut socket = connected.await.expect("no panic");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    assert_eq!(socket.read(&mut [0; 8]).expect("it is told of the end"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_is_noticed_by_members_and_publishers() {
    let server = victim().await;
    let options = RabbitMqOptions::default().exchange("silent").new_queue_wait(Duration::ZERO);
    let options = options.confirm_wait(Duration::from_secs(1));
    let broker = RabbitMq::connect(&format!("{}?heartbeat=1", server.url()), options).await.expect("a connection");
    let subscription = Subscription::new("silent", ["t"]);
    broker.declare(&Topology::new(["t"], vec![subscription.clone()])).await.expect("it is declared");
    let publisher = broker.publisher().await.expect("a publisher");
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    assert!(publisher.publish(&[message("t", "0", 3)]).await[0].is_ok());
    assert_eq!(subscriber.receive(1, Duration::from_secs(10)).await.expect("messages").len(), 1);
    server.pause().expect("it stands still");
    let publishing = [message("t", "1", 3)];
    let (published, received) =
        tokio::join!(publisher.publish(&publishing), subscriber.receive(1, Duration::from_secs(20)));
    server.resume().expect("it goes on");
    assert!(matches!(&published[0], Err(PublishError::Unconfirmed { .. })), "{published:?}");
    assert!(received.as_ref().is_err_and(BrokerError::is_transient), "{received:?}");
    publish_at_last(&*publisher, &publishing).await;
    until("receiving", async || {
        let came = subscriber.receive(1, Duration::from_secs(1)).await;
        came.is_ok_and(|came| !came.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_short_of_memory_throttles_its_publishers_and_not_its_members() {
    // It blocks everybody.
    let server = victim().await;
    let broker =
        RabbitMq::connect(&server.url(), RabbitMqOptions::default().confirm_wait(Duration::from_secs(2))).await;
    let broker = broker.expect("a connection");
    let subscription = Subscription::new("q", ["t"]);
    broker.declare(&Topology::new(["t"], vec![subscription.clone()])).await.expect("it is declared");
    let publisher = broker.publisher().await.expect("a publisher");
    assert!(publisher.publish(&[message("t", "0", 3)]).await[0].is_ok());
    let control = |limit: &'static str| {
        tokio::task::block_in_place(|| server.control(&["set_vm_memory_high_watermark", "absolute", limit]))
    };
    control("1MB").expect("the alarm is on");
    // The server blocks who publishes, and one who was blocked is told so at once.
    let mut last = publisher.publish(&[message("t", "1", 3)]).await;
    for _ in 0..5 {
        if matches!(last[0], Err(PublishError::Throttled { .. })) {
            break;
        }
        last = publisher.publish(&[message("t", "1", 3)]).await;
    }
    let begun = std::time::Instant::now();
    last = publisher.publish(&[message("t", "1", 3)]).await;
    assert!(matches!(last[0], Err(PublishError::Throttled { .. })), "the publisher is told to wait: {last:?}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let subscriber = broker.subscriber(&subscription).await.expect("a subscriber");
    let came = subscriber.receive(1, Duration::from_secs(10)).await.expect("messages");
    subscriber.settle(vec![(came[0].receipt, Settlement::Ack)]).await.expect("it is settled");
    control("2GB").expect("the alarm is off");
    publish_at_last(&*publisher, &[message("t", "1", 3)]).await;
}
