//! What is published, and what is said of it.

use std::collections::BTreeSet;

use es_core::DeadReason;
use es_messaging::{Message, PublishError, extension};
use time::macros::datetime;

use super::{
    harness::BrokerHarness,
    support::{Stage, below, content, message, publish_all, set, skipped},
};

/// What was confirmed is received: at least once, and with a broker that has no fault exactly as often as it was published.
pub async fn what_was_confirmed_is_received(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    stage.publish_numbered(250).await;
    let came = member.drain(250).await;
    assert_eq!(set(&came), below(250));
    assert_eq!(came.len(), 250, "nothing went wrong, and some messages came twice");
    assert!(
        came.iter().all(|delivery| delivery.topic == stage.topic("events")),
        "they say where they were published to"
    );
    member.expect_nothing().await;
}

/// What was published before anybody received is kept.
pub async fn messages_wait_for_their_receivers(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    stage.publish_numbered(20).await;
    stage.broker.close().await;
    let (_broker, member) = stage.member_elsewhere(&all).await;
    assert_eq!(set(&member.drain(20).await), below(20));
}

/// Every attribute and every kind of content arrives as it was.
pub async fn every_attribute_and_content_survives(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    let base =
        || Message::builder("shop.größe.bestellt", "/läden/küche?ort=köln%20süd").subject("order/日本 \"17\" 100 %");
    let every = base()
        .id("0")
        .time(datetime!(2026-11-21 12:34:56.789012 +02:00))
        .data_schema("https://schemas.example/order/1.json")
        .key("kunde/ß 7")
        .extension(extension::TRACE_PARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .extension(extension::CORRELATION, "Gespräch 9")
        .extension(extension::CAUSATION, "018f")
        .extension(extension::POSITION, "18446744073709551615")
        .extension(extension::VERSION, "7")
        .extension(extension::EXPIRY, "2999-01-01T00:00:00Z")
        .extension(extension::PRIORITY, "3")
        .extension("shopzone", " leading, trailing and = signs ");
    let messages = [
        every.clone().json(&serde_json::json!({ "größe": [1, 2.5, null, "日本"] })).expect("JSON"),
        every.data("application/octet-stream", (0..=255).collect::<Vec<u8>>()),
        base().id("2"),
        base().id("3").data("text/plain; charset=utf-8", "käse\r\n\0"),
        base().id("4").data("application/json", "  { \"spaces\" : \"stay\" }  "),
        base().id("5").data("application/octet-stream", Vec::new()),
        base().id("6").json(&()).expect("JSON"),
        // Its content is elsewhere.
        base().id("7").data("text/xml", Vec::new()).without_data().extension(extension::DATA_REF, "elsewhere"),
    ];
    let messages = messages.map(|builder| builder.build().expect("a message"));
    let mut ids = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        // A message alone: its neighbours cannot lend it anything.
        let message = message.to_builder().id(index.to_string()).build().expect("a message");
        publish_all(&*stage.publisher().await, &[stage.to("events", message.clone())]).await;
        ids.push(message);
    }
    let came = member.drain(ids.len()).await;
    for expected in ids {
        let delivery = came.iter().find(|delivery| content(delivery).id() == expected.id()).expect("it came");
        let given = content(delivery);
        assert_eq!(given.attributes(), expected.attributes(), "the attributes of message {}", expected.id());
        assert_eq!(given.data(), expected.data(), "the content of message {}", expected.id());
        assert_eq!(given.has_data(), expected.has_data(), "whether message {} has a content", expected.id());
        assert_eq!(given.content_type(), expected.content_type(), "the type of message {}", expected.id());
    }
}

/// Batches of a thousand are confirmed, and more than the publisher likes at once as well.
pub async fn batches_of_a_thousand_are_confirmed(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let member = stage.member(&all).await;
    let messages = stage.numbered(3_000);
    publish_all(&*publisher, &[]).await;
    publish_all(&*publisher, &messages[..1_000]).await;
    publish_all(&*publisher, &messages[1_000..]).await;
    assert_eq!(set(&member.drain(3_000).await), below(3_000));
}

/// A large message is carried; one over the limit is refused for ever, and does not hold up the others.
pub async fn a_large_message_is_carried_and_a_larger_one_refused(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let member = stage.member(&all).await;
    let of = |number: usize, bytes: usize| {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let builder = message(number, None).to_builder().data("application/octet-stream", content);
        stage.to("events", builder.build().expect("a message"))
    };
    let bytes = harness.abilities().large_message_bytes;
    let limit = publisher.limits().message_bytes;
    assert!(limit >= bytes, "the publisher says that it takes {limit} bytes, and {bytes} must go through");
    // Its own number: a broker may know a number again.
    publish_all(&*publisher, &[of(4, bytes)]).await;
    let came = member.drain(1).await;
    assert!(content(&came[0]).data() == of(4, bytes).message.data(), "the large content came as it was");
    if skipped(harness.abilities().limits_size, "has no limit that can be reached") {
        return;
    }
    let batch = [of(0, 10), of(1, limit + 1), of(2, 10)];
    let results = publisher.publish(&batch).await;
    let kinds: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(kinds, [true, false, true], "only the one that is too large is refused: {results:?}");
    assert!(matches!(&results[1], Err(PublishError::Refused { kind: DeadReason::Refused, .. })), "{results:?}");
    publish_all(&*publisher, &[of(3, 10)]).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 {
        let came = member.hold(1).await;
        member.ack(&came).await;
        seen.extend(set(&came));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 2, 3]);
}

/// After one that was not published, no later one of its key is tried, and others are.
pub async fn nothing_passes_an_unpublished_message_of_its_key(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().limits_size, "has no limit that can be reached") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let mut batch = stage.keyed(6, 2);
    let large = vec![0; publisher.limits().message_bytes + 1];
    let too_large = batch[2].message.to_builder().data("application/octet-stream", large);
    batch[2].message = too_large.build().expect("a message");
    let results = publisher.publish(&batch).await;
    for (index, result) in results.iter().enumerate() {
        let right = match index {
            2 => matches!(result, Err(PublishError::Refused { .. })),
            4 => matches!(result, Err(PublishError::Behind)),
            _ => result.is_ok(),
        };
        assert!(right, "message {index} of the batch: {results:?}");
    }
    let member = stage.member(&all).await;
    let came = member.hold(4).await;
    assert_eq!(set(&came).into_iter().collect::<Vec<_>>(), [0, 1, 3, 5]);
}

/// A message published twice under one id is there once where the broker sees to that, and twice where it does not.
pub async fn a_message_published_twice_is_there_once_or_twice(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let member = stage.member(&all).await;
    let messages = stage.keyed(3, 1);
    publish_all(&*publisher, &messages).await;
    publish_all(&*publisher, &messages).await;
    let expected = if harness.abilities().deduplicates { 3 } else { 6 };
    let came = member.hold(expected).await;
    member.ack(&came).await;
    assert_eq!(set(&came), below(3));
    member.expect_nothing().await;
}

/// One message that goes to two topics is received from both, and so are messages of one id from two sources: neither is a duplicate.
pub async fn one_message_for_two_topics_is_received_from_both(harness: &impl BrokerHarness) {
    let stage = Stage::set(harness).await;
    let (events, audit) = (stage.subscription("events", &["events"]), stage.subscription("audit", &["audit"]));
    stage.declare(&["events", "audit"], &[&events, &audit]).await;
    let (events, audit) = (stage.member(&events).await, stage.member(&audit).await);
    let elsewhere = Message::builder("conformance.happened", "/elsewhere").id("0").json(&1).expect("JSON");
    let batch = [
        stage.to("events", message(0, None)),
        stage.to("audit", message(0, None)),
        stage.to("events", elsewhere.build().expect("a message")),
    ];
    publish_all(&*stage.publisher().await, &batch).await;
    let sources: BTreeSet<String> =
        events.hold(2).await.iter().map(|delivery| content(delivery).source().to_owned()).collect();
    assert_eq!(sources, ["/conformance", "/elsewhere"].map(str::to_owned).into());
    assert_eq!(set(&audit.drain(1).await), below(1));
}

/// What nobody would receive is refused as that.
pub async fn what_nobody_receives_is_refused(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().tells_unroutable, "does not say that nobody receives a message") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let batch = [
        stage.to("events", message(0, None)),
        stage.to("nobody.listens", message(1, None)),
        stage.to("events", message(2, None)),
    ];
    let results = publisher.publish(&batch).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(matches!(&results[1], Err(PublishError::Refused { kind: DeadReason::Unroutable, .. })), "{results:?}");
    let came = stage.member(&all).await.hold(2).await;
    assert_eq!(set(&came).into_iter().collect::<Vec<_>>(), [0, 2]);
}

/// Tasks share a publisher: each gets its own results.
pub async fn tasks_share_a_publisher(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let messages = stage.numbered(400);
    let shares = messages.chunks(100).map(|share| publish_all(&*publisher, share));
    futures_util::future::join_all(shares).await;
    assert_eq!(set(&stage.member(&all).await.drain(400).await), below(400));
}
