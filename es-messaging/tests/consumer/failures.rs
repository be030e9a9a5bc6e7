//! Messages that fail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use es_core::{DeadLetterQuery, DeadLetterStore, DeadReason, HandlerError, InboxStore, MemoryStore, MemoryUnit};
use es_messaging::{ConsumerBuilder, Message, Unacceptable};
use es_testkit::SeededRng;
use tokio::time::Instant;

use crate::support::{ScriptedBroker, builder, effects, order, run, take_effect, until};

/// A consumer whose handler fails as `fails` says, by the message and the number of its call, and takes effect otherwise.
fn failing<F>(store: &MemoryStore, broker: &ScriptedBroker, fails: F) -> ConsumerBuilder<MemoryStore>
where
    F: Fn(&str, u32) -> Option<HandlerError> + Send + Sync + 'static,
{
    let calls: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let fails = Arc::new(fails);
    builder(store, broker).on("order", move |_: serde_json::Value, message: &Message, unit: &mut MemoryUnit| {
        let (calls, fails) = (calls.clone(), fails.clone());
        Box::pin(async move {
            take_effect(message, unit);
            let call =
                *calls.lock().unwrap().entry(message.id().to_owned()).and_modify(|calls| *calls += 1).or_insert(1);
            fails(message.id(), call).map_or(Ok(()), Err)
        })
    })
}

fn broken() -> Option<HandlerError> {
    Some(std::io::Error::other("broken").into())
}

#[tokio::test(start_paused = true)]
async fn order_is_kept_within_each_key_whatever_fails() {
    let rng = SeededRng::from_env();
    println!("seed {}", rng.seed());
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let chances = Mutex::new(rng);
    let consumer = failing(&store, &broker, move |_, _| {
        let rng = chances.lock().unwrap();
        match rng.below(10) {
            0 | 1 => broken(),
            2 => Some(HandlerError::transient(std::io::Error::other("away"))),
            _ => None,
        }
    });
    let consumer = consumer.max_attempts(1_000).lanes(3).build().unwrap();
    (0..300).for_each(|n| broker.send(order(&format!("{n:03}"), Some(&(n % 7).to_string()))));
    let running = run(consumer);
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    let mut tables = store.tables().await;
    let mut seen = 0;
    for (key, ids) in tables.table("order").iter() {
        let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert!(ids.is_sorted(), "{key}: {ids:?}");
        seen += ids.len();
    }
    assert_eq!(seen, 300);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_always_fails_holds_up_its_own_key_alone_and_ends_as_a_dead_letter() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let consumer = failing(&store, &broker, |id, _| if id == "poison" { broken() } else { None });
    broker.send(order("poison", Some("a")));
    broker.send(order("behind", Some("a")));
    (0..50).for_each(|n| broker.send(order(&n.to_string(), Some(&n.to_string()))));
    // The waits are long, and all else is done before the first of them is over.
    let slow = es_projections::Backoff::new(Duration::from_secs(20), Duration::from_secs(20));
    let running = run(consumer.backoff(slow).max_attempts(3).lanes(2).build().unwrap());
    let started = Instant::now();
    until("the others are settled", async || broker.left() == 2).await;
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    until("all are settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!((status.handled, status.retried, status.dead), (51, 2, 1), "{status}");
    assert!(status.last_error.unwrap().contains("broken"));
    running.stop().await;
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    let [dead] = &letters[..] else { panic!("{letters:?}") };
    let letter = &dead.letter;
    assert_eq!((letter.reason, letter.attempts, &*letter.message_id), (DeadReason::Failed, 3, "/shop#poison"));
    assert_eq!(
        (letter.key.as_deref(), letter.message_type.as_deref(), &*letter.topic),
        (Some("a"), Some("order"), "orders")
    );
    assert!(letter.error.contains("broken"));
    assert_eq!(Message::from_raw(&letter.message).unwrap().id(), "poison");
    assert_eq!(store.inbox_stats().await.unwrap().remembered, 52, "noted in the same transaction");
}

#[tokio::test(start_paused = true)]
async fn what_the_broker_gave_before_counts_as_attempts() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send_at_attempt(order("1", None), 4);
    let running = run(failing(&store, &broker, |_, _| broken()).max_attempts(5).build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!((status.retried, status.dead), (1, 1), "the fourth and the fifth: {status}");
    running.stop().await;
}

/// In real time: what matters is a clock that moves on between two looks at it.
#[tokio::test]
async fn a_retry_that_comes_due_while_its_lane_looks_at_the_clock_is_not_slept_past() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send(order("1", Some("a")));
    let passing = |_: &str, call| (call <= 1_500).then(|| HandlerError::transient(std::io::Error::other("not yet")));
    let quick = es_projections::Backoff::new(Duration::from_micros(20), Duration::from_micros(20));
    let running = run(failing(&store, &broker, passing).backoff(quick).build().unwrap());
    let (mut retried, mut at) = (0, Instant::now());
    while broker.left() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let status = running.consumer.status();
        if status.retried != retried {
            (retried, at) = (status.retried, Instant::now());
        }
        assert!(at.elapsed() < Duration::from_secs(20), "it sleeps after {retried} retries: {status}");
    }
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_passes_by_itself_is_waited_for_without_counting() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send(order("1", None));
    let consumer = failing(&store, &broker, |_, call| {
        (call <= 50).then(|| HandlerError::transient(std::io::Error::other("the mail server is away")))
    });
    let running = run(consumer.max_attempts(1).build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!((status.handled, status.dead), (1, 0), "{status}");
    assert_eq!(effects(&store).await, [("1".to_owned(), 1)]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_content_is_in_the_error_of_a_dead_letter_nor_in_the_status() {
    #[derive(serde::Deserialize)]
    struct Order {
        #[expect(dead_code, reason = "read alone")]
        cents: u64,
    }
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let consumer = builder(&store, &broker)
        .max_attempts(1)
        .on("order", |_: Order, _, _| Box::pin(async { Ok(()) }))
        .on("own", |content: serde_json::Value, _, _| {
            Box::pin(async move {
                serde_json::from_value::<Order>(content)?;
                Ok(())
            })
        })
        .on("panics", |content: serde_json::Value, _, _| {
            Box::pin(async move {
                assert!(content["cents"].is_u64(), "no order: {content}");
                Ok(())
            })
        });
    let running = run(consumer.build().unwrap());
    for message_type in ["order", "own", "panics"] {
        let message = Message::builder(message_type, "/shop").id(message_type);
        broker.send(message.json(&serde_json::json!({ "cents": "secret, expected secret" })).unwrap().build().unwrap());
        until("it is put aside", async || broker.left() == 0).await;
        let status = running.consumer.status();
        assert!(!format!("{status} {status:?}").contains("secret"), "{status}");
    }
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    let errors: Vec<&str> = letters.iter().map(|dead| &*dead.letter.error).collect();
    assert_eq!(errors.len(), 3);
    for (error, says) in
        errors.iter().zip(["invalid type: string, expected u64 at line 1 column 34", "expected u64", "panicked"])
    {
        assert!(error.contains(says) && !error.contains("secret"), "{error}");
    }
    assert!(!format!("{letters:?}").contains("secret"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_so_is_a_handler_that_takes_too_long() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let consumer = builder(&store, &broker).on("order", |_: serde_json::Value, message, unit| {
        assert!(message.id() != "early", "it panics before there is a future");
        Box::pin(async move {
            take_effect(message, unit);
            match message.id() {
                "panics" => panic!("no such parcel"),
                "hangs" => std::future::pending().await,
                _ => Ok(()),
            }
        })
    });
    ["early", "panics", "hangs", "fine"].iter().for_each(|id| broker.send(order(id, Some(id))));
    let consumer = consumer.handler_time_limit(Duration::from_secs(3)).max_attempts(2).build().unwrap();
    let running = run(consumer);
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    assert_eq!(effects(&store).await, [("fine".to_owned(), 1)]);
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    let mut errors: Vec<_> = letters.iter().map(|dead| &*dead.letter.error).collect();
    errors.sort_unstable();
    let said = [
        "the handler did not return within 3s",
        "the handler panicked: it panics",
        "the handler panicked: no such parcel",
    ];
    assert_eq!(errors.len(), 3);
    assert!(errors.iter().zip(said).all(|(error, said)| error.starts_with(said)), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn what_its_handler_never_takes_is_put_aside_at_once() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.send(order("1", None));
    let consumer = failing(&store, &broker, |_, _| Some(Unacceptable::new(DeadReason::Schema, "no street").into()));
    let running = run(consumer.build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!((status.retried, status.dead), (0, 1), "{status}");
    running.stop().await;
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap();
    assert_eq!((letters[0].letter.reason, &*letters[0].letter.error), (DeadReason::Schema, "no street"));
}

#[tokio::test(start_paused = true)]
async fn the_brokers_own_dead_letters_are_used_and_where_it_has_none_those_of_the_store() {
    for has_dead_letters in [true, false] {
        let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
        broker.shared.has_dead_letters.store(has_dead_letters, SeqCst);
        ["poison", "fine"].iter().for_each(|id| broker.send(order(id, None)));
        broker.send_garbage(b"?");
        let consumer = failing(&store, &broker, |id, _| if id == "poison" { broken() } else { None });
        let running = run(consumer.max_attempts(2).reject_to_broker().build().unwrap());
        until("all are settled", async || broker.left() == 0).await;
        assert_eq!(running.consumer.status().dead, 2);
        running.stop().await;
        let rejected = broker.shared.rejected.lock().unwrap().len();
        let kept = store.dead_letters(&DeadLetterQuery::default(), None, 10).await.unwrap().len();
        let remembered = store.inbox_stats().await.unwrap().remembered;
        // What the broker keeps may be given again from there, so it is not noted as handled.
        let expected = if has_dead_letters { (2, 0, 1) } else { (0, 2, 2) };
        assert_eq!((rejected, kept, remembered), expected);
    }
}
