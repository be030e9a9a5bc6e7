//! The metrics of relays and of dead letters, as a recorder of the application gets them.

mod recorder;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use es_core::{Append, DeadReason, EventStore, ExpectedVersion, MemoryStore, NewEvent, Recorded, StreamId};
use es_messaging::{
    Broker, Consumer, DeadLetterAlert, Drafts, MemoryBroker, Message, OutboxRelay, Outgoing, PublishError, Publisher,
    PublisherLimits, Relay, Subscription, Topology, map_with, metrics,
};
use es_projections::Runner;
use es_testkit::bank::AccountEvent;
use recorder::Told;

/// Refuses the first, does not confirm the second once, and is away in the end.
#[derive(Debug, Default)]
struct Moody(Mutex<u64>);

#[async_trait]
impl Publisher for Moody {
    fn limits(&self) -> PublisherLimits {
        PublisherLimits { message_bytes: 1_000, batch: 100 }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let mut count = self.0.lock().unwrap();
        let results = batch.iter().map(|_| {
            *count += 1;
            match *count {
                1 => Err(PublishError::Refused { broker: "moody", kind: DeadReason::Refused, reason: "no".to_owned() }),
                2 | 7.. => Err(PublishError::Unconfirmed { broker: "moody", source: "away".into() }),
                _ => Ok(()),
            }
        });
        results.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn everything_that_happens_to_a_relay_is_told() {
    let told = Told::default();
    let _recording = ::metrics::set_default_local_recorder(&told);
    let store = MemoryStore::new();
    let append = async |account: &str| {
        let event = NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap();
        let stream = StreamId::new("account", account).unwrap();
        store.append(&Append::to(stream, ExpectedVersion::Any, vec![event]).build().unwrap()).await.unwrap();
    };
    for account in ["a", "b", "c", "d", "e"] {
        append(account).await;
    }
    let mapper = map_with(|_: &Recorded<AccountEvent>, messages: &mut Drafts<'_>| {
        let draft = messages.message("t").json(&1)?;
        messages.add(draft)
    });
    let publisher: Arc<dyn Publisher> = Arc::new(Moody::default());
    let alert = DeadLetterAlert { max_depth: 0, max_age: Duration::from_secs(1) };
    let relay = Relay::builder("out", "/bank", mapper).dead_letter_alert(alert);
    let relay = relay.build(Arc::clone(&publisher), Arc::new(store.clone())).unwrap();
    let retries = relay.retries();
    let runner = Runner::builder(&store).reactor_with(relay, Relay::options()).build().unwrap();
    runner.catch_up().await.unwrap();
    retries.retry_requested().await.unwrap();
    for (name, value) in [
        (metrics::PUBLISHED, 4.0),
        (metrics::REFUSED, 1.0),
        (metrics::UNCONFIRMED, 1.0),
        (metrics::BREAKER, 0.0),
        (metrics::PUBLISH_SECONDS, 2.0),
        (metrics::DEAD_LETTERS, 1.0),
        (metrics::DEAD_LETTERS_EVER, 1.0),
        (metrics::DEAD_LETTER_ALERT, 1.0),
    ] {
        assert_eq!(told.value(&format!("{name} out")), value, "{name}");
    }
    assert!(told.value(&format!("{} out", metrics::DEAD_LETTER_OLDEST_SECONDS)) >= 0.0);
    append("a").await;
    runner.run(tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
    assert_eq!(told.value(&format!("{} out", metrics::BREAKER)), 2.0);
    let outbox = OutboxRelay::builder().build(publisher, Arc::new(store.clone())).unwrap();
    outbox.catch_up().await.unwrap();
    for name in
        [metrics::OUTBOX_WAITING, metrics::OUTBOX_DELAYED, metrics::OUTBOX_OLDEST_SECONDS, metrics::OUTBOX_BYTES]
    {
        assert_eq!(told.value(name), 0.0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_of_a_consumer_are_told_and_when_they_are_too_many() {
    let told = Told::default();
    let _recording = ::metrics::set_default_local_recorder(&told);
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    let subscription = Subscription::new("in", ["order"]);
    broker.declare(&Topology::new(["order"], vec![subscription.clone()])).await.unwrap();
    let message = Message::builder("order.placed", "/shop").json("no number").unwrap().build().unwrap();
    let outgoing = Outgoing { topic: "order".to_owned(), message };
    broker.publisher().await.unwrap().publish(&[outgoing]).await.remove(0).unwrap();
    let consumer = Consumer::builder("in", &store, Arc::new(broker), subscription)
        .on("order.placed", |_: u64, _, _| Box::pin(async { Ok(()) }))
        .dead_letter_alert(DeadLetterAlert { max_depth: 0, max_age: Duration::from_secs(3_600) })
        .build()
        .unwrap();
    consumer.run(tokio::time::sleep(Duration::from_secs(60))).await.unwrap();
    for name in [metrics::DEAD_LETTERS, metrics::DEAD_LETTERS_EVER, metrics::DEAD_LETTER_ALERT] {
        assert_eq!(told.value(&format!("{name} in")), 1.0, "{name}");
    }
}
