//! Messages that no handler sees.

use std::{sync::Arc, time::Duration};

use es_core::{BlobStore, DeadLetterQuery, DeadLetterStore, DeadReason, MemoryStore, MessageUnit, NewDeadLetter};
use es_messaging::{
    ConsumerBuilder, ConsumerError, ExpiredMessages, Invalid, Message, RateLimit, UnknownTypes, extension,
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;

use crate::support::{ScriptedBroker, builder, effects, order, run, take_effect, until};

#[derive(Deserialize)]
struct Order {
    id: String,
}

fn ordinary(store: &MemoryStore, broker: &ScriptedBroker) -> ConsumerBuilder<MemoryStore> {
    builder(store, broker).on("order", |order: Order, message, unit| {
        Box::pin(async move {
            assert_eq!(order.id, message.id());
            take_effect(message, unit);
            Ok(())
        })
    })
}

async fn letters(store: &MemoryStore) -> Vec<NewDeadLetter> {
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 100).await.unwrap();
    letters.into_iter().map(|dead| dead.letter).collect()
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_put_aside_with_its_bytes_and_blocks_nobody() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send_garbage(b"\xff\x00");
    broker.send(order("1", None));
    broker.send_garbage(b"other");
    // Again: kept once.
    broker.send_garbage(b"\xff\x00");
    let not_json = order("2", None).to_builder().data("application/json", b"{".to_vec()).build().unwrap();
    broker.send(not_json);
    let other_form = order("3", None).to_builder().json(&[1]).unwrap().build().unwrap();
    broker.send(other_form);
    let empty = order("4", None).to_builder().data("application/json", Vec::new()).build().unwrap();
    broker.send(empty);
    broker.send(order("5", None).to_builder().without_data().build().unwrap());
    let running = run(ordinary(&store, &broker).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    assert_eq!(running.consumer.status().retried, 0);
    running.stop().await;
    assert_eq!(effects(&store).await, [("1".to_owned(), 1)]);
    let letters = letters(&store).await;
    let with = |reason| letters.iter().filter(move |letter| letter.reason == reason);
    assert_eq!((letters.len(), with(DeadReason::Undecodable).count(), with(DeadReason::Schema).count()), (6, 2, 4));
    assert!(with(DeadReason::Undecodable).any(|letter| letter.message.body == b"\xff\x00"));
    assert!(with(DeadReason::Undecodable).all(|letter| letter.error == "the message has no id"));
    assert!(with(DeadReason::Schema).any(|letter| letter.message.body == b"{"));
    for says in ["its content is empty", "it has no content"] {
        assert!(with(DeadReason::Schema).any(|letter| letter.error.starts_with(says)), "{says}: {letters:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_type_without_a_handler_is_a_dead_letter_unless_it_is_ignored_or_the_policy_skips_it() {
    for (policy, ignored, is_parked) in
        [(None, "news", true), (None, "weather", false), (Some(UnknownTypes::Skip), "news", false)]
    {
        let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
        broker.send(order("1", None).to_builder().message_type("weather").build().unwrap());
        broker.send(order("2", None));
        let builder = ordinary(&store, &broker).ignore(ignored);
        let builder = match policy {
            Some(policy) => builder.unknown_types(policy),
            None => builder,
        };
        let running = run(builder.build().unwrap());
        until("all are settled", async || broker.left() == 0).await;
        let status = running.consumer.status();
        running.stop().await;
        assert_eq!((status.handled, status.skipped, status.dead), (1, u64::from(!is_parked), u64::from(is_parked)));
        let reasons: Vec<_> = letters(&store).await.iter().map(|letter| letter.reason).collect();
        assert_eq!(reasons, if is_parked { vec![DeadReason::UnknownType] } else { vec![] });
    }
}

#[tokio::test(start_paused = true)]
async fn what_breaks_its_schema_is_put_aside_before_its_handler_sees_it() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    ["1", "22"].iter().for_each(|id| broker.send(order(id, None)));
    let short = |message: &Message| match message.id().len() {
        1 => Ok(()),
        _ => Err(Invalid("/id: too long".to_owned())),
    };
    let running = run(ordinary(&store, &broker).validator(short).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    assert_eq!(effects(&store).await, [("1".to_owned(), 1)]);
    let letters = letters(&store).await;
    assert_eq!((letters[0].reason, &*letters[0].error), (DeadReason::Schema, "/id: too long"));
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_its_time_is_put_aside_or_thrown_away() {
    let expiring = |id: &str, after: time::Duration| {
        let time = (OffsetDateTime::now_utc() + after).format(&Rfc3339).unwrap();
        order(id, None).to_builder().extension(extension::EXPIRY, time).build().unwrap()
    };
    for policy in [ExpiredMessages::Park, ExpiredMessages::Drop] {
        let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
        broker.send(expiring("late", -time::Duration::MINUTE));
        broker.send(expiring("early", time::Duration::HOUR));
        let running = run(ordinary(&store, &broker).expired_messages(policy).build().unwrap());
        until("all are settled", async || broker.left() == 0).await;
        let status = running.consumer.status();
        running.stop().await;
        let is_parked = policy == ExpiredMessages::Park;
        assert_eq!((status.handled, status.expired, status.dead), (1, u64::from(!is_parked), u64::from(is_parked)));
        let reasons: Vec<_> = letters(&store).await.iter().map(|letter| letter.reason).collect();
        assert_eq!(reasons, if is_parked { vec![DeadReason::Expired] } else { vec![] });
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_was_too_large_for_the_broker_is_fetched_before_the_handler_sees_it() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let claimed = |id: &str| {
        let builder = order(id, None).to_builder().data("application/json", Vec::new()).without_data();
        builder.extension(extension::DATA_REF, format!("blob-{id}")).build().unwrap()
    };
    store.put_blob("blob-1", br#"{"id":"1"}"#).await.unwrap();
    ["1", "lost"].iter().for_each(|id| broker.send(claimed(id)));
    let running = run(ordinary(&store, &broker).blobs(store.clone()).max_attempts(2).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    assert_eq!(effects(&store).await, [("1".to_owned(), 1)]);
    let letters = letters(&store).await;
    assert_eq!((letters.len(), letters[0].reason, letters[0].attempts), (1, DeadReason::Failed, 2));
    assert!(letters[0].error.contains("blob-lost"), "{}", letters[0].error);
    let kept = Message::from_raw(&letters[0].message).unwrap();
    assert_eq!(kept.extension(extension::DATA_REF), Some("blob-lost"));
}

#[tokio::test(start_paused = true)]
async fn no_more_messages_are_handled_than_the_rate_limit_allows() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    (0..100).for_each(|n| broker.send(order(&n.to_string(), None)));
    let running = run(ordinary(&store, &broker).rate_limit(RateLimit::per_second(10).burst(5)).build().unwrap());
    let started = Instant::now();
    until("all are settled", async || broker.left() == 0).await;
    let took = started.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(12)).contains(&took), "{took:?}");
    running.stop().await;
}

#[test]
fn a_consumer_without_handlers_or_with_two_for_a_type_is_refused() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    assert!(matches!(builder(&store, &broker).build(), Err(ConsumerError::NoHandlers { .. })));
    let two = ordinary(&store, &broker).on("order", |_: Order, _, _| Box::pin(async { Ok(()) }));
    assert!(matches!(two.build(), Err(ConsumerError::DuplicateType { message_type, .. }) if message_type == "order"));
    let both = ordinary(&store, &broker).ignore("order").build();
    assert!(matches!(both, Err(ConsumerError::DuplicateType { message_type, .. }) if message_type == "order"));
    let named = es_messaging::Consumer::builder("No Name", &store, Arc::new(broker), crate::support::subscription());
    assert!(matches!(named.build(), Err(ConsumerError::InvalidName(_))));
}

#[derive(Clone)]
struct Counts;

impl<U: MessageUnit<Connection = es_core::MemoryTables>> es_messaging::MessageHandler<U> for Counts {
    async fn handle(&self, message: &Message, unit: &mut U) -> Result<(), es_core::HandlerError> {
        let order: Order = message.json()?;
        unit.connection().table("seen").insert(order.id, 1.into());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_be_a_type_of_its_own() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send(order("1", None));
    let running = run(builder(&store, &broker).handler("order", Counts).build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    running.stop().await;
    assert_eq!(store.tables().await.table("seen").len(), 1);
}
