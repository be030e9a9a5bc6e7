//! Several processes that publish the dead letters of one relay again, and people who do something with them meanwhile.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use es_core::{
    ConsumerName, ControlStore, DeadLetterQuery, DeadLetterStore, DeadReason, LeaseStore, Leased, MemoryStore,
    NewDeadLetter, SuspensionKind,
};
use es_messaging::{DeadLetterRetries, Message, Publisher, RateLimit, Relay, RelayMonitor, Retried};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    dead_letters::letters,
    publisher::{Behaviour, Scripted},
    support::{BankContract, NAME, builder, request},
};

fn name() -> ConsumerName {
    ConsumerName::new(NAME).unwrap()
}

fn lease() -> ConsumerName {
    ConsumerName::new("bank_out_dead_letters").unwrap()
}

/// Adds dead letters and requests their retry.
async fn add_requested(store: &MemoryStore, count: u64) {
    let letters = (0..count).map(|n| {
        let builder = Message::builder("bank.money.moved", "/bank").id(format!("m-{n:03}")).key("ann");
        let message = builder.json(&serde_json::json!({ "cents": 666 })).unwrap().build().unwrap();
        NewDeadLetter::new(name(), message.id(), "t", DeadReason::Refused, "no", message.to_raw()).with_key(Some("ann"))
    });
    store.add_dead_letters(&letters.collect::<Vec<_>>()).await.unwrap();
    store.request_dead_letter_retries(&DeadLetterQuery::default(), &request()).await.unwrap();
}

fn retrier(store: &MemoryStore, publisher: &Arc<Scripted>) -> (DeadLetterRetries, RelayMonitor) {
    let publisher: Arc<dyn Publisher> = publisher.clone();
    let relay = builder().build(publisher, Arc::new(store.clone())).unwrap();
    (relay.retries(), relay.monitor())
}

fn look(retries: &DeadLetterRetries) -> JoinHandle<Retried> {
    let retries = retries.clone();
    tokio::spawn(async move { retries.retry_requested().await.unwrap() })
}

fn slow(refuses: Option<&'static str>) -> Arc<Scripted> {
    Scripted::new(Behaviour { latency: Duration::from_secs(1), refuses, ..Behaviour::default() })
}

#[tokio::test(start_paused = true)]
async fn of_two_processes_one_publishes_the_dead_letters_at_a_time() {
    let store = MemoryStore::new();
    add_requested(&store, 120).await;
    let publishers = [slow(None), slow(None)];
    let retriers = publishers.each_ref().map(|publisher| retrier(&store, publisher).0);
    for _ in 0..10 {
        let looks = retriers.each_ref().map(look);
        sleep(Duration::from_millis(500)).await;
        for look in looks {
            look.await.unwrap();
        }
    }
    let ids: Vec<String> =
        publishers.iter().flat_map(|publisher| publisher.kept()).map(|it| it.message.id().to_owned()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (120, 120));
    assert_eq!((letters(&store).await, store.leases().await.unwrap().len()), (Vec::new(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_dropped_leaves_a_lease_that_its_own_process_has_again() {
    let store = MemoryStore::new();
    add_requested(&store, 1).await;
    let publishers = [slow(None), slow(None)];
    let [first, second] = publishers.each_ref().map(|publisher| retrier(&store, publisher).0);
    let look_at = look(&first);
    sleep(Duration::from_millis(500)).await;
    look_at.abort();
    let names: Vec<_> = store.leases().await.unwrap().into_iter().map(|(consumer, _)| consumer).collect();
    assert_eq!(names, [lease()]);
    assert_eq!(second.retry_requested().await.unwrap().waiting, 1);
    assert_eq!(first.retry_requested().await.unwrap().published, 1);
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_stops_publishing() {
    let store = MemoryStore::new();
    add_requested(&store, 1).await;
    let publisher = Scripted::new(Behaviour { hangs: true, ..Behaviour::default() });
    let (retries, monitor) = retrier(&store, &publisher);
    let look = look(&retries);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(monitor.status().in_flight, 1);
    let owner = store.leases().await.unwrap()[0].1.owner.clone();
    store.deregister(&owner).await.unwrap();
    let stolen = store.claim_lease(&lease(), "thief", Duration::from_secs(3_600)).await.unwrap();
    assert!(matches!(stolen, Leased::Yours(_)));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(monitor.status().in_flight, 0);
    assert_eq!(look.await.unwrap().waiting, 1);
    assert_eq!(store.leases().await.unwrap()[0].1.owner, "thief");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_thrown_away_while_it_is_refused_again_does_not_come_back() {
    let store = MemoryStore::new();
    add_requested(&store, 1).await;
    let look = look(&retrier(&store, &slow(Some("666"))).0);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(store.discard_dead_letters(&DeadLetterQuery::default(), &request()).await.unwrap(), 1);
    assert_eq!(look.await.unwrap().refused, 1);
    assert_eq!(letters(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_edited_while_it_is_tried_is_published_as_it_is_then() {
    for refuses in [None, Some("666")] {
        let store = MemoryStore::new();
        add_requested(&store, 1).await;
        let publisher = slow(refuses);
        let (retries, _) = retrier(&store, &publisher);
        let look = look(&retries);
        sleep(Duration::from_millis(500)).await;
        let before = letters(&store).await.remove(0);
        let edited = Message::from_raw(&before.letter.message).unwrap().to_builder();
        let edited = edited.json(&serde_json::json!({ "cents": 667 })).unwrap().build().unwrap();
        store.edit_dead_letter(before.id, &edited.to_raw(), &request()).await.unwrap();
        look.await.unwrap();
        let after = letters(&store).await;
        assert_eq!((after.len(), after[0].is_retry_requested), (1, true), "{refuses:?}");
        assert_eq!(retries.retry_requested().await.unwrap().published, 1);
        assert_eq!(publisher.kept().last().unwrap().message.data(), edited.data());
        assert_eq!(letters(&store).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_relay_is_suspended_no_dead_letter_is_published() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    add_requested(&store, 1).await;
    let (retries, _) = retrier(&store, &publisher);
    store.suspend(&name(), SuspensionKind::Paused, &request()).await.unwrap();
    assert_eq!(retries.retry_requested().await.unwrap().waiting, 1);
    assert_eq!(publisher.calls(), 0);
    store.resume(&name(), SuspensionKind::Paused, &request()).await.unwrap();
    assert_eq!(retries.retry_requested().await.unwrap().published, 1);
}

#[tokio::test(start_paused = true)]
async fn a_relay_of_the_longest_name_has_a_lease_for_its_dead_letters_too() {
    let store = MemoryStore::new();
    let names = ["a", "b"].map(|end| "r".repeat(es_core::limits::MAX_CONSUMER_NAME_BYTES - 1) + end);
    let mut looks = Vec::new();
    for name in &names {
        let consumer = ConsumerName::new(name).unwrap();
        let message = Message::builder("t", "/bank").id("1").json(&1).unwrap().build().unwrap();
        let letter = NewDeadLetter::new(consumer, "1", "t", DeadReason::Refused, "no", message.to_raw());
        store.add_dead_letters(&[letter]).await.unwrap();
        let publisher: Arc<dyn Publisher> = slow(None);
        let relay = Relay::builder(name, "/bank", BankContract).build(publisher, Arc::new(store.clone())).unwrap();
        looks.push(relay.retries());
    }
    store.request_dead_letter_retries(&DeadLetterQuery::default(), &request()).await.unwrap();
    let looks: Vec<_> = looks.iter().map(look).collect();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(store.leases().await.unwrap().len(), 2);
    for look in looks {
        assert_eq!(look.await.unwrap().published, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_limit_holds_for_dead_letters_too() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    add_requested(&store, 40).await;
    let relay = builder().rate_limit(RateLimit::per_second(1).burst(5));
    let relay = relay.build(publisher.clone() as Arc<dyn Publisher>, Arc::new(store.clone())).unwrap();
    let retried = relay.retries().retry_requested().await.unwrap();
    assert_eq!((retried.published, retried.waiting, publisher.kept().len()), (5, 35, 5));
}
