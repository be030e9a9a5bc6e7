//! What is particular to SQS and SNS, on moto.

mod moto;

use std::time::{Duration, Instant};

use es_messaging::{
    Broker, BrokerError, Delivery, Message, Outgoing, PublishError, Publisher, Settlement, Subscriber, Subscription,
    Topology,
};
use es_messaging_sqs::{Sqs, SqsOptions};
use es_testkit::broker_conformance::unique_prefix;
use moto::{clients, queue_url, shared, start, url};
use xtask::{brokers::moto::ThrowawayMoto, tools};

fn message(id: &str, key: Option<&str>) -> Message {
    let builder = Message::builder("order.placed", "/shop").id(id).maybe_extension("partitionkey", key);
    builder.json(&17).unwrap().build().unwrap()
}

fn outgoing(topic: &str, message: Message) -> Outgoing {
    Outgoing { topic: topic.to_owned(), message }
}

async fn publish(publisher: &dyn Publisher, batch: &[Outgoing]) {
    for result in publisher.publish(batch).await {
        result.expect("moto keeps it");
    }
}

async fn receive(subscriber: &dyn Subscriber, count: usize) -> Vec<Delivery> {
    let (mut all, end) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while all.len() < count {
        assert!(Instant::now() < end, "{count} messages were expected, and {} came", all.len());
        all.extend(subscriber.receive(count - all.len(), Duration::from_secs(1)).await.unwrap());
    }
    all
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.content.as_ref().unwrap().id().to_owned()).collect()
}

fn unique() -> String {
    unique_prefix()[20..].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_its_handler_too_often_goes_to_the_dead_letters_by_itself() {
    let prefix = unique();
    let sqs = Sqs::connect(&url(shared().port(), &prefix), SqsOptions::new().max_receives(2)).await.unwrap();
    let all = Subscription::new("all", ["events"]);
    sqs.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
    publish(&*sqs.publisher().await.unwrap(), &[outgoing("events", message("1", None))]).await;
    let subscriber = sqs.subscriber(&all).await.unwrap();
    for attempt in 1..=2 {
        let came = receive(&*subscriber, 1).await;
        assert_eq!(came[0].attempt, attempt);
        let again = Settlement::Retry { after: Duration::ZERO };
        subscriber.settle(vec![(came[0].receipt, again)]).await.unwrap();
    }
    assert!(subscriber.receive(1, Duration::from_millis(300)).await.unwrap().is_empty());
    let dead = queue_url(shared().port(), &format!("{prefix}-all-dead")).await;
    let found = clients(shared().port()).0.receive_message().queue_url(dead).wait_time_seconds(5).send().await.unwrap();
    assert_eq!(found.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_message_says_why_it_is_dead() {
    let prefix = unique();
    let sqs = Sqs::connect(&url(shared().port(), &prefix), SqsOptions::new()).await.unwrap();
    let all = Subscription::new("all", ["events"]);
    sqs.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
    publish(&*sqs.publisher().await.unwrap(), &[outgoing("events", message("1", None))]).await;
    let subscriber = sqs.subscriber(&all).await.unwrap();
    let came = receive(&*subscriber, 1).await;
    let reject = Settlement::Reject { reason: "it breaks\nits schema".to_owned() };
    subscriber.settle(vec![(came[0].receipt, reject)]).await.unwrap();
    let dead = queue_url(shared().port(), &format!("{prefix}-all-dead")).await;
    let receive = clients(shared().port()).0.receive_message().queue_url(dead).message_attribute_names("All");
    let found = receive.wait_time_seconds(5).send().await.unwrap();
    let attributes = found.messages()[0].message_attributes().unwrap();
    assert_eq!(attributes["deadreason"].string_value(), Some("it breaksits schema"));
    assert_eq!(attributes["topic"].string_value(), Some("events"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_order_over_several_topics_in_a_fifo() {
    let sqs = Sqs::connect(&url(shared().port(), &unique()), SqsOptions::new().fifo(true)).await.unwrap();
    let all = Subscription::new("all", ["order.#"]);
    sqs.declare(&Topology::new(["order.placed", "order.paid"], vec![all.clone()])).await.unwrap();
    let batch: Vec<Outgoing> = (0..20)
        .map(|number| {
            let topic = if number % 3 == 0 { "order.placed" } else { "order.paid" };
            outgoing(topic, message(&number.to_string(), Some("order/17")))
        })
        .collect();
    let publisher = sqs.publisher().await.unwrap();
    publish(&*publisher, &batch).await;
    // Again, as after a lost confirmation: nothing is there twice.
    publish(&*publisher, &batch).await;
    let subscriber = sqs.subscriber(&all).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let came = receive(&*subscriber, 1).await;
        subscriber.settle(vec![(came[0].receipt, Settlement::Ack)]).await.unwrap();
        seen.extend(ids(&came));
    }
    assert_eq!(seen, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(subscriber.receive(1, Duration::from_secs(1)).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_otherwise_than_it_is_there_is_an_error() {
    let prefix = unique();
    let all = Subscription::new("all", ["events"]);
    let topology = |subscription: Subscription| Topology::new(["events"], vec![subscription]);
    let sqs = Sqs::connect(&url(shared().port(), &prefix), SqsOptions::new()).await.unwrap();
    sqs.declare(&topology(all.clone())).await.unwrap();
    sqs.declare(&topology(all.clone())).await.unwrap();
    let error = sqs.declare(&topology(Subscription::new("all", ["others"]))).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("FilterPolicy"), "{error}");
    let other = Sqs::connect(&url(shared().port(), &prefix), SqsOptions::new().max_receives(7)).await.unwrap();
    let error = other.declare(&topology(all)).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("RedrivePolicy"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_and_missing_things_say_what_to_do() {
    let port = shared().port();
    let connect = |url: String| async move { Sqs::connect(&url, SqsOptions::new()).await };
    assert!(matches!(connect("http://here".to_owned()).await, Err(BrokerError::Config { .. })));
    let nobody = xtask::brokers::free_port().unwrap();
    let error = connect(url(nobody, "t")).await.unwrap_err();
    assert!(matches!(error, BrokerError::Unavailable { .. }), "{error:?}");
    // A server without TLS, spoken to with it.
    let error = connect(format!("{}&tls=true", url(port, "t"))).await.unwrap_err();
    assert!(matches!(error, BrokerError::Tls { .. }), "{error:?}");
    let sqs = connect(url(port, &unique())).await.unwrap();
    let error = sqs.publisher().await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("declare"), "{error}");
    let error = sqs.subscriber(&Subscription::new("all", ["events"])).await.unwrap_err();
    assert!(matches!(error, BrokerError::Missing { .. }) && error.to_string().contains("all"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_denied() {
    let server = ThrowawayMoto::start_strict(&tools::ensure_moto().unwrap()).unwrap();
    let error = Sqs::connect(&url(server.port(), "t"), SqsOptions::new()).await.unwrap_err();
    assert!(matches!(error, BrokerError::Denied { .. }), "{error:?}");
    assert!(!error.to_string().contains("test:test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_makes_publishing_fail_soon_and_nothing_hang() {
    let server = start();
    let sqs = Sqs::connect(&url(server.port(), "t"), SqsOptions::new()).await.unwrap();
    let all = Subscription::new("all", ["events"]);
    sqs.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
    let (publisher, subscriber) = (sqs.publisher().await.unwrap(), sqs.subscriber(&all).await.unwrap());
    publish(&*publisher, &[outgoing("events", message("0", None))]).await;
    let held = receive(&*subscriber, 1).await;
    server.pause().unwrap();
    let start = Instant::now();
    let batch = [outgoing("events", message("1", None))];
    let settlements = vec![(held[0].receipt, Settlement::Ack)];
    let (results, settled) = tokio::join!(publisher.publish(&batch), subscriber.settle(settlements));
    assert!(results[0].as_ref().is_err_and(PublishError::is_transient), "{results:?}");
    assert!(settled.is_err());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    server.resume().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while publisher.publish(&[outgoing("events", message("1", None))]).await[0].is_err() {
        assert!(Instant::now() < end);
    }
    let mut seen = Vec::new();
    while !seen.contains(&"1".to_owned()) {
        assert!(Instant::now() < end, "what was confirmed did not come");
        if let Ok(came) = subscriber.receive(10, Duration::from_secs(1)).await {
            seen.extend(ids(&came));
        }
    }
}

/// Sends past the topic, with the SDK alone.
async fn send(queue: &str, message: &Message, order: Option<(&str, &str)>) {
    let body = String::from_utf8(message.to_structured().unwrap()).unwrap();
    let mut send = clients(shared().port()).0.send_message().queue_url(queue).message_body(body);
    if let Some((group, id)) = order {
        send = send.message_group_id(group).message_deduplication_id(id);
    }
    send.send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_the_queue_itself_is_received_and_settled_like_the_others() {
    for (fifo, ending) in [(false, ""), (true, ".fifo")] {
        let prefix = unique();
        let sqs = Sqs::connect(&url(shared().port(), &prefix), SqsOptions::new().fifo(fifo)).await.unwrap();
        let all = Subscription::new("all", ["order.*"]);
        sqs.declare(&Topology::new(["order.placed"], vec![all.clone()])).await.unwrap();
        let queue = queue_url(shared().port(), &format!("{prefix}-all{ending}")).await;
        for id in ["1", "2", "3"] {
            send(&queue, &message(id, Some("k")), fifo.then_some(("k", id))).await;
        }
        // Published in the usual way, it is behind them.
        publish(&*sqs.publisher().await.unwrap(), &[outgoing("order.placed", message("4", Some("k")))]).await;
        let subscriber = sqs.subscriber(&all).await.unwrap();
        let came = receive(&*subscriber, 4).await;
        let mut seen = ids(&came);
        if !fifo {
            seen.sort();
        }
        assert_eq!(seen, ["1", "2", "3", "4"]);
        let topics: Vec<_> = came.iter().filter(|one| one.topic == "order.placed").collect();
        assert_eq!(topics.len(), 1, "the others came without one, and have that of the subscription: {came:?}");
        subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await.unwrap();
        assert!(subscriber.receive(1, Duration::from_millis(300)).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_again_after_it_was_sent_again_is_a_dead_letter_again() {
    let prefix = unique();
    let sqs = Sqs::connect(&url(shared().port(), &prefix), SqsOptions::new().fifo(true)).await.unwrap();
    let all = Subscription::new("all", ["events"]);
    sqs.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
    let queue = queue_url(shared().port(), &format!("{prefix}-all.fifo")).await;
    let subscriber = sqs.subscriber(&all).await.unwrap();
    for attempt in ["first", "second"] {
        send(&queue, &message("1", Some("k")), Some(("k", attempt))).await;
        let came = receive(&*subscriber, 1).await;
        let reject = Settlement::Reject { reason: "it breaks its schema".to_owned() };
        subscriber.settle(vec![(came[0].receipt, reject)]).await.unwrap();
    }
    let dead = queue_url(shared().port(), &format!("{prefix}-all-dead.fifo")).await;
    let found = clients(shared().port()).0.receive_message().queue_url(dead).max_number_of_messages(10);
    assert_eq!(found.send().await.unwrap().messages().len(), 2, "neither of them is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_holds_up_its_key_and_no_others_of_its_call() {
    for fifo in [false, true] {
        let sqs = Sqs::connect(&url(shared().port(), &unique()), SqsOptions::new().fifo(fifo)).await.unwrap();
        let all = Subscription::new("all", ["events"]);
        sqs.declare(&Topology::new(["events"], vec![all.clone()])).await.unwrap();
        let batch = [
            outgoing("events", message("0", Some("a"))),
            outgoing("", message("1", Some("b"))),
            outgoing("events", message("2", Some("b"))),
            outgoing("events", message("3", Some("a"))),
        ];
        let results = sqs.publisher().await.unwrap().publish(&batch).await;
        assert!(results[0].is_ok() && results[3].is_ok(), "{results:?}");
        assert!(matches!(results[1], Err(PublishError::Refused { .. })), "{results:?}");
        assert!(matches!(results[2], Err(PublishError::Behind)), "{results:?}");
        let mut seen = ids(&receive(&*sqs.subscriber(&all).await.unwrap(), 2).await);
        seen.sort();
        assert_eq!(seen, ["0", "3"]);
    }
}
