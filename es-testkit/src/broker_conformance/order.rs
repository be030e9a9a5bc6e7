//! The order of the messages of a key.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use es_messaging::Delivery;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    harness::BrokerHarness,
    support::{Member, Stage, assert_keys_in_order, below, number, publish_all, set, skipped},
};

/// One member gets the messages of each key in the order in which they were published.
pub async fn one_member_gets_each_key_in_order(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().orders_keys, "keeps no order") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let member = stage.member(&all).await;
    let messages = stage.keyed(400, 7);
    for batch in messages.chunks(90) {
        publish_all(&*publisher, batch).await;
    }
    let came = member.drain(400).await;
    assert_keys_in_order(&came);
}

/// Handles messages in a few steps and notes each before it is acknowledged, until all were noted.
async fn work(member: &Member<'_>, noted: &Mutex<Vec<Delivery>>, expected: usize, stop: &AtomicBool) {
    let end = Instant::now() + member.harness.patience();
    while !stop.load(Ordering::Acquire) {
        assert!(Instant::now() < end, "{expected} messages were expected");
        let came = member.next(3, Duration::from_millis(50)).await;
        for delivery in came {
            tokio::task::yield_now().await;
            noted.lock().expect("no panic").push(delivery.clone());
            tokio::task::yield_now().await;
            member.ack(&[delivery]).await;
        }
        if set(&noted.lock().expect("no panic")).len() == expected {
            stop.store(true, Ordering::Release);
        }
    }
}

/// Several members get the messages of each key in order: a key with an unsettled message is given to no other member.
pub async fn several_members_get_each_key_in_order(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().orders_keys_among_members, "keeps no order among several members") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let publisher = stage.publisher().await;
    let member = stage.member(&all).await;
    let (_second, second) = stage.member_elsewhere(&all).await;
    let (_third, third) = stage.member_elsewhere(&all).await;
    let (noted, stop) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let members = [&member, &second, &third].map(|member| work(member, &noted, 300, &stop));
    let messages = stage.keyed(300, 5);
    let publishing = async {
        for batch in messages.chunks(50) {
            publish_all(&*publisher, batch).await;
        }
    };
    tokio::join!(publishing, join_all(members));
    let noted = noted.into_inner().expect("no panic");
    assert_eq!(set(&noted), below(300));
    assert_keys_in_order(&noted);
}

/// A member that is lost with messages of a key leaves the key in order to the others.
pub async fn a_lost_member_leaves_its_keys_in_order(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().orders_keys_among_members, "keeps no order among several members") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let all = all.prefetch(10).ack_wait(harness.ack_wait());
    let member = stage.member(&all).await;
    publish_all(&*stage.publisher().await, &stage.keyed(60, 3)).await;
    let held = member.hold(6).await;
    member.ack(&held[..2]).await;
    let (_broker, other) = stage.member_elsewhere(&all).await;
    drop(member);
    let mut seen = held[..2].to_vec();
    let end = Instant::now() + harness.patience();
    while set(&seen).len() < 60 {
        assert!(Instant::now() < end, "60 messages were expected, and {} came", set(&seen).len());
        let came = other.next(10, Duration::from_millis(200)).await;
        other.ack(&came).await;
        seen.extend(came);
    }
    assert_keys_in_order(&seen);
}

/// What comes again to one member comes before what was published after it under the same key.
pub async fn what_comes_again_keeps_its_place(harness: &impl BrokerHarness) {
    if skipped(harness.abilities().orders_keys, "keeps no order") {
        return;
    }
    let (stage, all) = Stage::simple(harness).await;
    let all = all.prefetch(8).ack_wait(harness.ack_wait());
    let member = stage.member(&all).await;
    publish_all(&*stage.publisher().await, &stage.keyed(20, 1)).await;
    let held = member.hold(4).await;
    assert_eq!(held.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    member.close().await;
    let again = stage.member(&all).await.drain(20).await;
    assert_keys_in_order(&again);
    assert_eq!(number(&again[0]), 0, "the first one that was not settled comes first");
}
