//! What becomes of a message that was received.

use std::time::Duration;

use es_messaging::{Settlement, Subscription};
use tokio::time::Instant;

use super::{
    harness::BrokerHarness,
    support::{Stage, below, numbers, set, skipped, within},
};

/// Long enough that nothing comes again because of it.
const LONG: Duration = Duration::from_secs(120);

/// What was acknowledged does not come again, not even to another member later.
pub async fn what_was_acknowledged_does_not_come_again(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(harness.ack_wait());
    let member = stage.member(&all).await;
    stage.publish_numbered(30).await;
    let held = member.hold(30).await;
    // Not in the order in which they came.
    let (odd, even): (Vec<_>, Vec<_>) = held.into_iter().enumerate().partition(|(index, _)| index % 2 == 1);
    for some in [odd, even] {
        member.ack(&some.into_iter().map(|(_, delivery)| delivery).collect::<Vec<_>>()).await;
    }
    member.expect_nothing().await;
    member.close().await;
    let (_broker, other) = stage.member_elsewhere(&all).await;
    other.expect_nothing().await;
    if harness.abilities().ack_wait {
        tokio::time::sleep(harness.ack_wait()).await;
        other.expect_nothing().await;
    }
}

/// What a member held when it was lost comes again, and what it acknowledged before does not.
pub async fn what_a_lost_member_held_comes_again(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(harness.ack_wait());
    let (broker, member) = stage.member_elsewhere(&all).await;
    stage.publish_numbered(10).await;
    let held = member.hold(10).await;
    member.ack(&held[..4]).await;
    let left = set(&held[4..]);
    // Neither is closed.
    drop(member);
    drop(broker);
    let other = stage.member(&all).await;
    let again = other.hold(6).await;
    assert_eq!(set(&again), left, "exactly what was not acknowledged");
    other.ack(&again).await;
    other.expect_nothing().await;
}

/// A member that is closed gives back at once what it held.
pub async fn a_closed_member_gives_back_at_once(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(LONG);
    let member = stage.member(&all).await;
    stage.publish_numbered(10).await;
    let held = member.hold(10).await;
    member.ack(&held[..4]).await;
    member.close().await;
    let other = stage.member(&all).await;
    let again = other.hold(6).await;
    assert_eq!(set(&again), set(&held[4..]));
    other.ack(&again).await;
    other.expect_nothing().await;
}

/// A closed connection gives back what its members held, and can be used no more.
pub async fn a_closed_connection_gives_back_what_it_held(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(harness.ack_wait());
    let (broker, member) = stage.member_elsewhere(&all).await;
    stage.publish_numbered(10).await;
    let held = member.hold(10).await;
    within(harness, "closing the connection", broker.close()).await;
    assert!(broker.publisher().await.is_err(), "a closed connection gives no publisher");
    let ended = member.subscriber.receive(1, Duration::from_millis(100)).await;
    assert!(ended.is_err(), "a member of a closed connection receives nothing: {ended:?}");
    drop(member);
    let other = stage.member(&all).await;
    assert_eq!(set(&other.hold(10).await), set(&held));
}

/// What is not settled in the subscription's time comes again, to another member too; what is extended does not.
pub async fn an_unsettled_message_comes_again_after_its_time(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().ack_wait, "has no time for unsettled messages") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(harness.ack_wait());
    let member = stage.member(&all).await;
    stage.publish_numbered(2).await;
    let held = member.hold(2).await;
    let (_broker, other) = stage.member_elsewhere(&all).await;
    let end = Instant::now() + harness.ack_wait() * 2;
    let mut came = Vec::new();
    while Instant::now() < end {
        member.subscriber.extend(&[held[0].receipt]).await.expect("more time");
        came.extend(other.next(2, harness.ack_wait() / 4).await);
        for delivery in &came {
            other.subscriber.extend(&[delivery.receipt]).await.expect("more time");
        }
    }
    if came.is_empty() {
        came = other.hold(1).await;
    }
    assert_eq!(numbers(&came), numbers(&held[1..]), "only the one whose time was not extended");
    member.ack(&held[..1]).await;
    other.ack(&came).await;
    tokio::time::sleep(harness.ack_wait()).await;
    other.expect_nothing().await;
    member.expect_nothing().await;
}

/// A message that is to be retried comes again, after its delay where the broker can wait.
pub async fn a_retried_message_comes_again_after_its_delay(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    stage.publish_numbered(3).await;
    let held = member.hold(3).await;
    let delay = Duration::from_secs(2);
    member.settle(&held[..1], Settlement::Retry { after: delay }).await;
    let settled = Instant::now();
    member.ack(&held[1..]).await;
    let again = member.hold(1).await;
    assert_eq!(numbers(&again), numbers(&held[..1]));
    if !skipped(harness.abilities().delays, "does not delay what is retried") {
        let waited = settled.elapsed();
        assert!(waited > delay * 8 / 10, "it came after {waited:?}, not after {delay:?}");
    }
    member.settle(&again, Settlement::Retry { after: Duration::ZERO }).await;
    let third = member.hold(1).await;
    assert_eq!(numbers(&third), numbers(&held[..1]));
    member.ack(&third).await;
    member.expect_nothing().await;
}

/// Each time that a message is given counts.
pub async fn deliveries_are_counted(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().counts_attempts, "does not count deliveries") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    stage.publish_numbered(1).await;
    for attempt in 1..=4 {
        let held = member.hold(1).await;
        assert_eq!(held[0].attempt, attempt);
        member.settle(&held, Settlement::Retry { after: Duration::ZERO }).await;
    }
}

/// A rejected message is found among the broker's own dead letters, and comes no more.
pub async fn a_rejected_message_is_a_dead_letter(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all).await;
    stage.publish_numbered(4).await;
    let held = member.hold(4).await;
    let reject = Settlement::Reject { reason: "it breaks its schema".to_owned() };
    if skipped(harness.abilities().dead_letters, "has no dead letters") {
        let refused = member.subscriber.settle(vec![(held[0].receipt, reject)]).await;
        assert!(refused.is_err(), "a broker without dead letters cannot reject");
        member.ack(&held).await;
        return;
    }
    member.settle(&held[1..3], reject).await;
    member.ack(&[held[0].clone(), held[3].clone()]).await;
    let mut rejected: Vec<String> = numbers(&held[1..3]).iter().map(ToString::to_string).collect();
    rejected.sort();
    within(harness, "the way to the dead letters", async {
        while sorted(harness.dead_letters(&all).await) != rejected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    member.expect_nothing().await;
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids.dedup();
    ids
}

/// What is declared again with the same settings stays as it was, with what it holds.
pub async fn what_is_declared_again_keeps_its_messages(harness: &impl BrokerHarness) {
    let (stage, all) = Stage::simple(harness).await;
    stage.publish_numbered(5).await;
    stage.declare(&["events"], &[&all]).await;
    assert_eq!(set(&stage.member(&all).await.drain(5).await), below(5));
}

/// A subscription that was never declared is an error that says so.
pub async fn an_undeclared_subscription_is_missing(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().tells_missing, "makes what is missing by itself") {
        return;
    }
    let (stage, _) = Stage::simple(harness).await;
    let never: Subscription = stage.subscription("never", &["events"]);
    let error = stage.broker.subscriber(&never).await.expect_err("it was never declared");
    assert!(matches!(error, es_messaging::BrokerError::Missing { .. }), "{error:?}");
    assert!(!error.is_transient() && error.to_string().contains(&never.name), "{error}");
    // The connection is still good.
    stage.publish_numbered(1).await;
}
