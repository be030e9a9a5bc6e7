//! Servers that are killed, connections that are cut.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    harness::BrokerHarness,
    support::{Stage, assert_keys_in_order, below, message, publish_all, publish_at_last, set, skipped, within},
};

/// The server is killed while messages are published and consumed: nothing that was confirmed is lost, and each key keeps its order.
pub async fn nothing_confirmed_is_lost_when_the_server_is_killed(harness: &impl BrokerHarness) {
    const BATCHES: usize = 60;
    if skipped(harness.abilities().keeps_data, "keeps nothing over a restart") {
        return;
    }
    harness.alone().await;
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(harness.ack_wait());
    let publisher = stage.publisher().await;
    let messages = stage.keyed(BATCHES * 20, 6);
    let member = stage.member(&all).await;
    let (restart, waiting) = tokio::sync::oneshot::channel();
    let publishing = async {
        let mut restart = Some(restart);
        for (number, batch) in messages.chunks(20).enumerate() {
            publish_at_last(&*publisher, batch, harness.patience() * 2).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if number == BATCHES / 4
                && let Some(restart) = restart.take()
            {
                let _ = restart.send(());
            }
        }
    };
    let restarting = async {
        waiting.await.expect("publishing gets that far");
        harness.restart().await;
    };
    let consuming = async {
        let (mut seen, mut known) = (Vec::new(), BTreeSet::new());
        let end = Instant::now() + harness.patience() * 3;
        while known.len() < messages.len() {
            assert!(Instant::now() < end, "lost: {:?}", below(messages.len()).difference(&known));
            let came = member.next(50, Duration::from_millis(200)).await;
            member.ack(&came).await;
            known.extend(set(&came));
            seen.extend(came);
        }
        seen
    };
    let ((), (), seen) = tokio::join!(publishing, restarting, consuming);
    println!("{} messages came, {} of them again", seen.len(), seen.len() - messages.len());
    if harness.abilities().orders_keys {
        assert_keys_in_order(&seen);
    }
}

/// What was confirmed before the server was killed is there for whoever comes later.
pub async fn what_was_confirmed_survives_the_server(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().keeps_data, "keeps nothing over a restart") {
        return;
    }
    harness.alone().await;
    let (stage, all) = Stage::simple(harness).await;
    stage.publish_numbered(200).await;
    harness.restart().await;
    let (_broker, member) = stage.member_elsewhere(&all).await;
    assert_eq!(set(&member.drain(200).await), below(200));
}

/// While the broker is away, publishing fails soon and says that it may be tried again; afterwards the same publisher works.
pub async fn a_publisher_fails_soon_and_comes_back(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().outages, "cannot be taken away") {
        return;
    }
    harness.alone().await;
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    publish_all(&*publisher, &[stage.to("events", message(0, None))]).await;
    harness.set_reachable(false).await;
    for attempt in 0..3 {
        let start = Instant::now();
        let batch = [stage.to("events", message(1, Some(1))), stage.to("events", message(2, Some(1)))];
        let results = publisher.publish(&batch).await;
        assert!(start.elapsed() < harness.fails_within(), "attempt {attempt} took {:?}", start.elapsed());
        assert_eq!(results.len(), 2);
        for result in results {
            let error = result.expect_err("nobody can have confirmed it");
            assert!(error.is_transient(), "{error:?}");
        }
    }
    harness.set_reachable(true).await;
    let batch = [stage.to("events", message(1, Some(1))), stage.to("events", message(2, Some(1)))];
    publish_at_last(&*publisher, &batch, harness.patience()).await;
    let (_broker, member) = stage.member_elsewhere(&all).await;
    assert_eq!(set(&member.drain(3).await), below(3));
}

/// A member whose connection was lost says so, goes on without being rebuilt, and gets again what it held.
pub async fn a_member_goes_on_after_an_outage(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().outages, "cannot be taken away") {
        return;
    }
    harness.alone().await;
    let (stage, all) = Stage::simple(harness).await;
    let member = stage.member(&all.ack_wait(harness.ack_wait())).await;
    stage.publish_numbered(10).await;
    let held = member.hold(10).await;
    member.ack(&held[..5]).await;
    harness.set_reachable(false).await;
    let told = async { while member.subscriber.receive(10, Duration::from_millis(100)).await.is_ok() {} };
    within(harness, "noticing that the connection is lost", told).await;
    harness.set_reachable(true).await;
    // Receipts from before are void; that they are used does no harm.
    member.ack(&held[5..6]).await;
    let again = member.drain_some(&set(&held[5..])).await;
    assert!(again.is_subset(&below(10)), "{again:?}");
}

/// Messages that are published through one outage after another are all there, and in order.
pub async fn outages_lose_nothing_and_keep_the_order(harness: &impl BrokerHarness) {
    const BATCHES: usize = 30;
    if skipped(harness.abilities().outages, "cannot be taken away") {
        return;
    }
    harness.alone().await;
    let (stage, all) = Stage::simple(harness).await;
    let all = all.ack_wait(harness.ack_wait());
    let publisher = stage.publisher().await;
    let messages = stage.keyed(BATCHES * 20, 4);
    let publishing = async {
        for batch in messages.chunks(20) {
            publish_at_last(&*publisher, batch, harness.patience() * 2).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let disturbing = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            harness.set_reachable(false).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            harness.set_reachable(true).await;
        }
    };
    tokio::join!(publishing, disturbing);
    let (_broker, member) = stage.member_elsewhere(&all).await;
    let came = member.drain(messages.len()).await;
    if harness.abilities().orders_keys {
        assert_keys_in_order(&came);
    }
}
