//! The relay of the outbox.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use es_core::{
    ConsumerName, ControlStore, DeadLetterQuery, DeadLetterStore, DeadReason, Enqueue, MemoryStore, OUTBOX_CONSUMER,
    OutboxMessage, OutboxStore, RawMessage, SuspensionKind,
};
use es_messaging::{
    Message, Outbox, OutboxRelay, OutboxRelayBuilder, OutboxRelayError, OutboxWork, Publisher, RateLimit, limits,
    to_outbox,
};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::{
    dead_letters::letters,
    publisher::{Behaviour, Scripted},
    support::{quick_breaker, request},
};

pub(crate) fn message(n: u64) -> Message {
    let builder = Message::builder("mail.wanted", "/mails").id(format!("m-{n}")).key(format!("k{}", n % 7));
    builder.json(&serde_json::json!({ "n": n })).unwrap().build().unwrap()
}

async fn enqueue(store: &MemoryStore, message: &OutboxMessage) {
    let mut transaction = store.begin().await;
    store.enqueue(transaction.connection(), message).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Writes messages; gives their ids by key.
pub(crate) async fn entries(store: &MemoryStore, count: u64) -> BTreeMap<String, Vec<String>> {
    let mut ids = BTreeMap::<String, Vec<String>>::new();
    for n in 0..count {
        let message = message(n);
        enqueue(store, &to_outbox("mails", &message).unwrap()).await;
        ids.entry(message.key().unwrap().to_owned()).or_default().push(message.id().to_owned());
    }
    ids
}

pub(crate) fn owned(
    owner: &str,
    store: &MemoryStore,
    publisher: &Arc<Scripted>,
    relay: OutboxRelayBuilder,
) -> OutboxRelay {
    let publisher: Arc<dyn Publisher> = publisher.clone();
    relay.owner(owner).breaker(quick_breaker()).build(publisher, Arc::new(store.clone())).unwrap()
}

pub(crate) fn relay(store: &MemoryStore, publisher: &Arc<Scripted>) -> OutboxRelay {
    owned("one", store, publisher, OutboxRelay::builder())
}

pub(crate) fn outbox_name() -> ConsumerName {
    ConsumerName::new(OUTBOX_CONSUMER).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_published_in_order_and_nothing_else() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    let outbox = Outbox::new(store.clone());
    let mut given_up = store.begin().await;
    outbox.enqueue(given_up.connection(), "mails", &message(999)).await.unwrap();
    drop(given_up);
    let written = entries(&store, 1_200).await;
    relay(&store, &publisher).catch_up().await.unwrap();
    assert_eq!(publisher.first_by_key(), written);
    assert_eq!((publisher.kept().len(), publisher.again().len()), (1_200, 0));
    assert!(publisher.kept().iter().all(|outgoing| outgoing.topic == "mails"));
    assert_eq!(store.outbox_stats().await.unwrap().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn each_message_that_is_refused_is_a_dead_letter_and_a_retry_publishes_each() {
    let store = MemoryStore::new();
    let publisher = Scripted::new(Behaviour { refuses: Some("no"), ..Behaviour::default() });
    let message = |source: &str, content: &str| {
        Message::builder("invoice.paid", source).id("7").json(content).unwrap().build().unwrap()
    };
    // One message for two topics, one id of two sources, and one id twice in one topic.
    let written = [
        ("invoices", message("/billing", "no money")),
        ("audit", message("/billing", "no money")),
        ("invoices", message("/shop", "no money")),
        ("invoices", message("/billing", "no more money")),
    ];
    for (topic, message) in &written {
        enqueue(&store, &to_outbox(topic, message).unwrap()).await;
    }
    let relay = relay(&store, &publisher);
    relay.catch_up().await.unwrap();
    assert_eq!((letters(&store).await.len(), relay.monitor().status().refused), (4, 4));
    publisher.set(|behaviour| behaviour.refuses = None);
    store.request_dead_letter_retries(&DeadLetterQuery::default(), &request()).await.unwrap();
    sleep(limits::DEAD_LETTER_RETRY_INTERVAL).await;
    relay.catch_up().await.unwrap();
    let published: Vec<_> = publisher.kept().into_iter().map(|outgoing| (outgoing.topic, outgoing.message)).collect();
    let written: Vec<_> = written.into_iter().map(|(topic, message)| (topic.to_owned(), message)).collect();
    assert_eq!(published, written);
    assert_eq!(letters(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn confirmations_that_fail_lose_nothing_and_nothing_confirmed_is_published_again() {
    let (store, publisher) = (MemoryStore::new(), Scripted::new(Behaviour { lost: 30, ..Behaviour::default() }));
    let written = entries(&store, 500).await;
    publisher.set(|behaviour| behaviour.stuck_key = Some("k3"));
    let relay = relay(&store, &publisher);
    let monitor = relay.monitor();
    let done = async {
        sleep(Duration::from_secs(300)).await;
        assert_eq!(store.outbox_stats().await.unwrap().waiting, 497, "up to the first of the key that is stuck");
        publisher.set(|behaviour| behaviour.stuck_key = None);
        sleep(Duration::from_secs(60)).await;
    };
    relay.run(done).await;
    assert_eq!(publisher.first_by_key(), written);
    assert_eq!((publisher.again().len(), store.outbox_stats().await.unwrap().waiting), (0, 0));
    assert_eq!((monitor.status().published, monitor.status().work), (500, OutboxWork::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_left_alone_and_the_status_says_what_waits() {
    let (store, publisher) = (MemoryStore::new(), Scripted::new(Behaviour { is_down: true, ..Behaviour::default() }));
    let written = entries(&store, 100).await;
    let relay = relay(&store, &publisher);
    let monitor = relay.monitor();
    let done = async {
        sleep(Duration::from_secs(3_600)).await;
        assert!((400..1_000).contains(&publisher.calls()), "{} calls", publisher.calls());
        let status = monitor.status();
        assert_eq!((status.breaker.as_str(), status.work), ("open", OutboxWork::Working));
        assert_eq!(status.outbox.unwrap().waiting, 100);
        publisher.set(|behaviour| behaviour.is_down = false);
        sleep(Duration::from_secs(12)).await;
    };
    relay.run(done).await;
    assert_eq!(publisher.first_by_key(), written);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_or_is_refused_is_a_dead_letter_and_the_rest_goes_on() {
    let (store, publisher) =
        (MemoryStore::new(), Scripted::new(Behaviour { refuses: Some(":5}"), ..Behaviour::default() }));
    enqueue(&store, &OutboxMessage::new("mails", RawMessage::new("text/plain", "hello")).with_key("k")).await;
    entries(&store, 10).await;
    relay(&store, &publisher).catch_up().await.unwrap();
    assert_eq!((publisher.kept().len(), store.outbox_stats().await.unwrap().waiting), (9, 0));
    let letters = letters(&store).await;
    let reasons: Vec<_> = letters.iter().map(|dead| (dead.letter.consumer.as_str(), dead.letter.reason)).collect();
    assert_eq!(reasons, [("outbox", DeadReason::Undecodable), ("outbox", DeadReason::Refused)]);
    // Somebody asks for the refused one.
    publisher.set(|behaviour| behaviour.refuses = None);
    let query = es_core::DeadLetterQuery::one(letters[1].id);
    es_core::DeadLetterStore::request_dead_letter_retries(&store, &query, &request()).await.unwrap();
    relay(&store, &publisher).run(sleep(Duration::from_secs(10))).await;
    assert_eq!(publisher.kept().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_for_its_time_and_for_the_rate() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    let outbox = Outbox::new(store.clone());
    let mut transaction = store.begin().await;
    let later = OffsetDateTime::now_utc() + Duration::from_secs(3_600);
    outbox.enqueue_at(transaction.connection(), "mails", &message(1), later).await.unwrap();
    transaction.commit().await.unwrap();
    entries(&store, 100).await;
    let relay = owned("one", &store, &publisher, OutboxRelay::builder().rate_limit(RateLimit::per_second(5).burst(1)));
    let done = async {
        sleep(Duration::from_millis(10_050)).await;
        publisher.kept().len()
    };
    let (mut published, mut done) = (0, std::pin::pin!(done));
    relay.run(async { published = done.as_mut().await }).await;
    assert!((50..=52).contains(&published), "{published}");
    let stats = store.outbox_stats().await.unwrap();
    assert_eq!(stats.delayed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_one_publishes_nothing_and_says_who_suspended_it() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    let relay = relay(&store, &publisher);
    let monitor = relay.monitor();
    let done = async {
        sleep(Duration::from_secs(5)).await;
        store.suspend(&outbox_name(), SuspensionKind::Paused, &request()).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        entries(&store, 10).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(publisher.kept().len(), 0);
        let OutboxWork::Suspended(suspension) = monitor.status().work else { panic!("{monitor:?}") };
        assert_eq!(suspension.by, "ops");
        // The lease is free meanwhile.
        assert!(es_core::LeaseStore::leases(&store).await.unwrap().is_empty());
        store.resume(&outbox_name(), SuspensionKind::Paused, &request()).await.unwrap();
        sleep(Duration::from_secs(3)).await;
    };
    relay.run(done).await;
    assert_eq!(publisher.kept().len(), 10);
    store.suspend(&outbox_name(), SuspensionKind::Disabled, &request()).await.unwrap();
    assert!(matches!(relay.catch_up().await, Err(OutboxRelayError::Suspended(_))));
}
