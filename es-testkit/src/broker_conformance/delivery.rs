//! Who receives what, and how much at once.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    harness::BrokerHarness,
    support::{Stage, below, message, number, publish_all, set, skipped},
};

/// Two subscriptions each get all messages of their topics.
pub async fn each_subscription_gets_every_message(harness: &impl BrokerHarness) {
    let stage = Stage::set(harness).await;
    let (first, second) = (stage.subscription("first", &["events"]), stage.subscription("second", &["events"]));
    stage.declare(&["events"], &[&first, &second]).await;
    let (first, second) = (stage.member(&first).await, stage.member(&second).await);
    stage.publish_numbered(50).await;
    assert_eq!(set(&first.drain(50).await), below(50));
    assert_eq!(set(&second.drain(50).await), below(50));
}

/// The members of a subscription share its messages: each goes to one of them.
pub async fn members_share_the_messages_of_a_subscription(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let all = all.prefetch(10);
    let member = stage.member(&all).await;
    let (_broker, other) = stage.member_elsewhere(&all).await;
    // Both are known to the broker before anything comes.
    member.expect_nothing().await;
    other.expect_nothing().await;
    stage.publish_numbered(100).await;
    let (mut seen, mut each) = (Vec::new(), [0, 0]);
    let end = Instant::now() + harness.patience();
    while seen.len() < 100 {
        assert!(Instant::now() < end, "100 messages were expected, and {} came", seen.len());
        for (index, one) in [&member, &other].into_iter().enumerate() {
            let came = one.next(5, Duration::from_millis(50)).await;
            one.ack(&came).await;
            each[index] += came.len();
            seen.extend(came);
        }
    }
    assert_eq!((seen.len(), set(&seen)), (100, below(100)), "each message goes to one of them");
    member.expect_nothing().await;
    other.expect_nothing().await;
    if !skipped(harness.abilities().shares, "gives some messages to one member alone") {
        assert!(each.iter().all(|count| *count > 0), "one of the members got nothing: {each:?}");
    }
}

/// `*` stands for one word of a topic, `#` for any number of them at its end.
pub async fn wildcards_choose_topics(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().wildcards, "has no wildcards") {
        return;
    }
    let stage = Stage::set(harness).await;
    let word = stage.subscription("word", &["order.*"]);
    let rest = stage.subscription("rest", &["order.#"]);
    let inner = stage.subscription("inner", &["*.placed"]);
    let two = stage.subscription("two", &["order.paid", "invoice.placed"]);
    let topics = ["order.placed", "order.paid", "order.placed.late", "invoice.placed"];
    stage.declare(&topics, &[&word, &rest, &inner, &two]).await;
    let batch: Vec<_> =
        topics.iter().enumerate().map(|(number, topic)| stage.to(topic, message(number, None))).collect();
    publish_all(&*stage.publisher().await, &batch).await;
    for (subscription, expected) in [(word, vec![0, 1]), (rest, vec![0, 1, 2]), (inner, vec![0, 3]), (two, vec![1, 3])]
    {
        let member = stage.member(&subscription).await;
        let came = member.hold(expected.len()).await;
        assert_eq!(set(&came).into_iter().collect::<Vec<_>>(), expected, "{:?}", subscription.topics);
        for delivery in &came {
            assert_eq!(delivery.topic, stage.topic(topics[number(delivery)]), "it says where it was published to");
        }
        member.ack(&came).await;
        member.expect_nothing().await;
    }
}

/// Topics that two patterns of one subscription name give each message once.
pub async fn overlapping_topics_give_a_message_once(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().wildcards, "has no wildcards") {
        return;
    }
    let stage = Stage::set(harness).await;
    let all = stage.subscription("all", &["events", "*"]);
    stage.declare(&["events"], &[&all]).await;
    let member = stage.member(&all).await;
    stage.publish_numbered(10).await;
    let came = member.drain(10).await;
    assert_eq!(came.len(), 10);
    member.expect_nothing().await;
}

/// A member holds at most as many messages as its prefetch says, and gets more when it has settled some.
pub async fn prefetch_bounds_what_a_member_holds(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().prefetch, "does not bound what a member holds") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all.prefetch(5)).await;
    stage.publish_numbered(20).await;
    let held = member.hold(5).await;
    member.expect_nothing().await;
    member.ack(&held[..2]).await;
    assert_eq!(member.hold(2).await.len(), 2);
    member.expect_nothing().await;
}

/// Receiving waits for as long as it is told, and returns as soon as something comes.
pub async fn receiving_waits_for_a_message(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    assert!(member.next(10, Duration::ZERO).await.is_empty());
    member.expect_nothing().await;
    let start = Instant::now();
    let (came, ()) = tokio::join!(member.hold(1), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stage.publish_numbered(1).await;
    });
    assert_eq!(came.len(), 1);
    assert!(start.elapsed() < harness.patience() / 2, "it came only after {:?}", start.elapsed());
}

/// At most as many messages come at once as are asked for, and the rest stays.
pub async fn no_more_messages_come_than_are_asked_for(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    stage.publish_numbered(10).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let came = member.hold(1).await;
        member.ack(&came).await;
        seen.extend(came);
    }
    assert_eq!((seen.len(), set(&seen)), (10, below(10)));
}

/// Whoever stops waiting for messages loses none.
pub async fn a_dropped_receive_loses_nothing(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all.ack_wait(harness.ack_wait())).await;
    let publisher = stage.publisher().await;
    let mut seen = std::collections::BTreeSet::new();
    for outgoing in stage.numbered(40) {
        let impatient = timeout(Duration::from_micros(300), member.next(5, Duration::from_secs(5)));
        let ((), came) = tokio::join!(publish_all(&*publisher, std::slice::from_ref(&outgoing)), impatient);
        if let Ok(came) = came {
            member.ack(&came).await;
            seen.extend(set(&came));
        }
    }
    let end = Instant::now() + harness.patience();
    while seen.len() < 40 {
        assert!(Instant::now() < end, "lost: {:?}", below(40).difference(&seen));
        let came = member.next(5, Duration::from_millis(200)).await;
        member.ack(&came).await;
        seen.extend(set(&came));
    }
}

/// Bytes that are no message come as that, can be settled, and hold up nothing.
pub async fn what_is_no_message_holds_up_nothing(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let topic = stage.topic("events");
    if skipped(harness.publish_raw(&topic, "text/plain", b"no message").await, "takes nothing past its publisher") {
        return;
    }
    stage.publish_numbered(3).await;
    let member = stage.member(&all).await;
    let came = member.hold(4).await;
    let (messages, others): (Vec<_>, Vec<_>) = came.into_iter().partition(|delivery| delivery.content.is_ok());
    assert_eq!(set(&messages), below(3));
    let undecodable = others[0].content.as_ref().expect_err("it is no message");
    assert_eq!(undecodable.raw.body, b"no message");
    member.ack(&messages).await;
    member.ack(&others).await;
    member.expect_nothing().await;
}
