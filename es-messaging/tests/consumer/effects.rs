//! Each message takes effect once.

use std::{
    pin::pin,
    sync::atomic::Ordering::SeqCst,
    task::{Context, Waker},
    time::Duration,
};

use es_core::{
    Append, DeadLetterQuery, DeadLetterStore, DeadReason, EventStore, EventType, ExpectedVersion, InboxStore,
    MemoryStore, MessageUnit, NewEvent, OperatorRequest, Payload, StreamId, Version,
};
use es_messaging::{Consumer, Message};
use es_testkit::SeededRng;

use crate::support::{ScriptedBroker, builder, effects, order, run, take_effect, until};

fn counting(store: &MemoryStore, broker: &ScriptedBroker) -> Consumer<MemoryStore> {
    let builder = builder(store, broker).on("order", |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            take_effect(message, unit);
            Ok(())
        })
    });
    builder.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_again_takes_effect_once_also_after_a_restart() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    for round in 0..3 {
        for id in ["1", "2", "1"] {
            broker.send(order(id, Some("a")));
        }
        let running = run(counting(&store, &broker));
        let consumer = running.consumer.clone();
        until("all are settled", async || broker.left() == 0).await;
        running.stop().await;
        let status = consumer.status();
        let expected = if round == 0 { (2, 1) } else { (0, 3) };
        assert_eq!((status.handled, status.duplicates), expected, "{status}");
    }
    assert_eq!(effects(&store).await, [("1".to_owned(), 1), ("2".to_owned(), 1)]);
    assert_eq!(broker.acked().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn another_message_under_a_known_id_is_a_dead_letter_and_can_be_retried() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let message = |cents: u32| Message::builder("order", "/shop").id("1").json(&cents).unwrap().build().unwrap();
    // In one batch, and again in another; what says the same is a duplicate.
    for cents in [1, 2, 1, 2] {
        broker.send(message(cents));
    }
    let running = run(counting(&store, &broker));
    let consumer = running.consumer.clone();
    until("all are settled", async || broker.left() == 0).await;
    let status = consumer.status();
    assert_eq!((status.handled, status.duplicates), (1, 1), "{status}");
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.letter.reason, DeadReason::IdReused);
    assert!(letter.letter.message.body.ends_with(br#""data":2}"#), "the second message is the dead letter");
    assert!(letter.letter.error.contains("other content"), "{}", letter.letter.error);

    let request = OperatorRequest::by("ann").unwrap();
    store.request_dead_letter_retries(&DeadLetterQuery::default(), &request).await.unwrap();
    let left = async || store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap().len();
    until("it is retried", async || left().await == 0).await;
    running.stop().await;
    assert_eq!(effects(&store).await, [("1".to_owned(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn messages_of_two_sources_with_the_same_id_are_two() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    for source in ["/shop", "/mail"] {
        broker.send(Message::builder("order", source).id("1").json(&1).unwrap().build().unwrap());
    }
    let running = run(counting(&store, &broker));
    until("all are settled", async || broker.left() == 0).await;
    assert_eq!(running.consumer.status().handled, 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_handled_is_acknowledged_only_behind_the_commit() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send(order("1", None));
    // The store's tables are locked until this unit ends: nothing can commit.
    let unit = store.begin_unit().await.unwrap();
    let running = run(counting(&store, &broker));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((broker.acked().len(), running.consumer.status().in_hand), (0, 1));
    unit.rollback().await.unwrap();
    until("it is acknowledged", async || broker.acked() == ["1"]).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_settlement_does_no_harm() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.shared.loses_settlements.store(true, SeqCst);
    (0..20).for_each(|n| broker.send(order(&n.to_string(), Some(&(n % 3).to_string()))));
    let running = run(counting(&store, &broker));
    until("all are handled", async || running.consumer.status().handled == 20).await;
    broker.shared.loses_settlements.store(false, SeqCst);
    broker.redeliver();
    until("all are settled", async || broker.left() == 0).await;
    assert_eq!(running.consumer.status().duplicates, 20);
    assert!(effects(&store).await.iter().all(|(_, times)| *times == 1));
    running.stop().await;
}

/// Polls a future so many times, and drops it.
async fn poll_times(future: impl Future<Output = impl Sized>, times: usize) {
    let mut future = pin!(future);
    for _ in 0..times {
        let mut context = Context::from_waker(Waker::noop());
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_moment_each_message_takes_effect_once() {
    let rng = SeededRng::from_env();
    let seed = rng.seed();
    println!("seed {seed}");
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let mut sent: u64 = 0;
    for _ in 0..150 {
        for _ in 0..rng.below(6) {
            let id = rng.below(sent + 1).min(sent);
            sent = sent.max(id + 1);
            broker.send(order(&id.to_string(), Some(&(id % 4).to_string())));
        }
        let failing = rng.below(4) as usize;
        let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let consumer = builder(&store, &broker).on("order", move |_: serde_json::Value, message, unit| {
            let calls = calls.clone();
            Box::pin(async move {
                take_effect(message, unit);
                tokio::task::yield_now().await;
                match calls.fetch_add(1, SeqCst) == failing {
                    true => Err(std::io::Error::other("now and then").into()),
                    false => Ok(()),
                }
            })
        });
        let consumer = consumer.build().unwrap();
        poll_times(consumer.run(std::future::pending()), rng.below(40) as usize).await;
        broker.redeliver();
    }
    let running = run(counting(&store, &broker));
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    let effects = effects(&store).await;
    assert!(effects.iter().all(|(_, times)| *times == 1), "seed {seed}: {effects:?}");
    assert_eq!(effects.len() as u64, sent, "seed {seed}");
}

fn stream() -> StreamId {
    StreamId::new("parcel", "1").unwrap()
}

fn packed(message: &Message, expected: ExpectedVersion) -> Append {
    let event = NewEvent::new(EventType::new("Packed").unwrap(), Payload::from_json("{}").unwrap());
    Append::to(stream(), expected, vec![event.with_metadata(message.metadata())]).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn appends_that_get_in_each_others_way_in_a_batch_are_made_one_after_the_other() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    // All decide from the version that the log has when they are handled, and so conflict if they share a transaction.
    let log = store.clone();
    let consumer = builder(&store, &broker).on("order", move |_: serde_json::Value, message, unit| {
        let log = log.clone();
        Box::pin(async move {
            let events = log.read_stream(&stream(), Version::ZERO, es_core::PageSize::default()).await?.events;
            let version = events.last().map_or(Version::ZERO, |event| event.version());
            unit.append(packed(message, ExpectedVersion::Exact(version)))?;
            take_effect(message, unit);
            Ok(())
        })
    });
    (0..12).for_each(|n| broker.send(order(&n.to_string(), Some("a"))));
    let running = run(consumer.build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!((status.handled, status.retried, status.dead), (12, 0, 0), "{status}");
    running.stop().await;
    let events = store.read_stream(&stream(), Version::ZERO, es_core::PageSize::default()).await.unwrap().events;
    let causes: Vec<_> = events.iter().map(|event| event.metadata().causation().unwrap().to_owned()).collect();
    assert_eq!(causes, (0..12).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_handler_did_is_undone_and_the_others_of_its_batch_are_not() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let consumer = builder(&store, &broker).max_attempts(1).on("order", |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            take_effect(message, unit);
            unit.append(packed(message, ExpectedVersion::Any))?;
            match message.id() {
                "3" | "5" => Err(std::io::Error::other("no").into()),
                _ => Ok(()),
            }
        })
    });
    (0..8).for_each(|n| broker.send(order(&n.to_string(), None)));
    let running = run(consumer.lanes(1).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    let ids: Vec<String> = effects(&store).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, ["0", "1", "2", "4", "6", "7"]);
    let events = store.read_stream(&stream(), Version::ZERO, es_core::PageSize::default()).await.unwrap().events;
    assert_eq!(events.len(), 6);
    let noted = store.inbox_stats().await.unwrap().remembered;
    assert_eq!(noted, 8, "dead letters are noted too");
}

#[tokio::test(start_paused = true)]
async fn messages_that_are_too_much_together_are_handled_in_smaller_batches() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let consumer = builder(&store, &broker).lanes(1).on("order", |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            for _ in 0..20 {
                unit.append(packed(message, ExpectedVersion::Any))?;
            }
            take_effect(message, unit);
            Ok(())
        })
    });
    (0..150).for_each(|n| broker.send(order(&n.to_string(), None)));
    let running = run(consumer.build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!((status.handled, status.retried, status.dead), (150, 0, 0), "{status}");
    running.stop().await;
}
