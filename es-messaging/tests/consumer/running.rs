//! A consumer from its start to its end.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use es_core::{ConsumerName, ControlStore, InboxStore, MemoryStore, MessageUnit, OperatorRequest, SuspensionKind};
use es_messaging::{
    Broker, Consumer, ConsumerBuilder, ConsumerError, ConsumerState, MemoryBroker, Outgoing, Subscription, Topology,
    extension,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use tokio::time::Instant;

use crate::support::{ScriptedBroker, builder, effects, order, quick, run, subscription, take_effect, until};

/// A consumer whose handler takes so long.
fn taking(store: &MemoryStore, broker: &ScriptedBroker, time: Duration) -> ConsumerBuilder<MemoryStore> {
    builder(store, broker).on("order", move |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            take_effect(message, unit);
            tokio::time::sleep(time).await;
            Ok(())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn at_the_end_what_is_in_hand_is_finished_and_no_more_is_taken() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    (0..10).for_each(|n| broker.send(order(&n.to_string(), None)));
    let running = run(taking(&store, &broker, Duration::from_secs(1)).lanes(1).build().unwrap());
    until("they are in hand", async || broker.unsettled() == 10).await;
    running.stop().await;
    assert_eq!((broker.acked().len(), broker.left()), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_finished_in_time_is_given_back_and_takes_effect_once_elsewhere() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    (0..10).for_each(|n| broker.send(order(&n.to_string(), None)));
    let slow = taking(&store, &broker, Duration::from_secs(4)).lanes(1).batch(1);
    let running = run(slow.drain_time_limit(Duration::from_secs(6)).build().unwrap());
    until("they are in hand", async || broker.unsettled() == 10).await;
    let (consumer, started) = (running.consumer.clone(), Instant::now());
    running.stop().await;
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert!((1..=3).contains(&broker.acked().len()), "{:?}", broker.acked());
    assert_eq!((broker.left() + broker.acked().len(), consumer.status().in_hand), (10, 0));
    assert_eq!(consumer.status().state, ConsumerState::Stopped);
    let running = run(taking(&store, &broker, Duration::ZERO).build().unwrap());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    assert!(effects(&store).await.iter().all(|(_, times)| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_is_asked_again_after_growing_waits_and_the_status_says_so() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    broker.shared.away.store(true, SeqCst);
    let running = run(taking(&store, &broker, Duration::ZERO).build().unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = broker.shared.receives.load(SeqCst);
    // 200 ms at most between two, 100 ms at least.
    assert!((250..650).contains(&calls), "{calls} calls in a minute");
    let status = running.consumer.status();
    assert_eq!(status.state, ConsumerState::WaitingForBroker);
    assert!(status.last_error.unwrap().contains("does not answer"));
    broker.shared.away.store(false, SeqCst);
    broker.send(order("1", None));
    until("it is settled", async || broker.left() == 0).await;
    let status = running.consumer.status();
    assert_eq!(status.state, ConsumerState::Running);
    // The error is over, and its time says so.
    let age = OffsetDateTime::now_utc() - status.last_error_at.unwrap();
    assert!(status.to_string().contains("; last error, at ") && !age.is_negative(), "{status}");
    let shown = serde_json::to_value(&status).unwrap();
    assert_eq!((&shown["name"], &shown["handled"]), (&"shipping".into(), &1.into()));
    assert_eq!(shown["state"], serde_json::json!({ "is": "running" }));
    assert!(shown["last_error_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{shown}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn lag_is_measured_from_when_the_message_was_recorded() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let running = run(taking(&store, &broker, Duration::ZERO).build().unwrap());
    let imported = order("1", None).to_builder().time(datetime!(2018-05-22 12:00 UTC));
    let recorded = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    broker.send(imported.clone().extension(extension::RECORDED, recorded).build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    let lag = running.consumer.status().lag.unwrap();
    assert!(lag < Duration::from_secs(300), "{lag:?}");
    // Whoever says nothing of that is taken at the time that is said.
    broker.send(imported.id("2").build().unwrap());
    until("it is settled", async || broker.left() == 0).await;
    let lag = running.consumer.status().lag.unwrap();
    assert!(lag > Duration::from_secs(200_000_000), "{lag:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_broker_is_not_asked_all_the_time() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let running = run(taking(&store, &broker, Duration::ZERO).build().unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls = broker.shared.receives.load(SeqCst);
    assert!(calls <= 13, "{calls} calls in a minute");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_is_taken_in_hand_than_the_prefetch() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    (0..100).for_each(|n| broker.send(order(&n.to_string(), None)));
    let few = subscription().prefetch(7);
    let consumer = Consumer::builder("shipping", &store, Arc::new(broker.clone()), few);
    let consumer = consumer.on("order", |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            take_effect(message, unit);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        })
    });
    let running = run(consumer.build().unwrap());
    until("all are settled", async || {
        assert!(broker.unsettled() <= 7);
        broker.left() == 0
    })
    .await;
    assert_eq!(broker.shared.largest_ask.load(SeqCst), 7);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn more_time_is_asked_for_while_a_handler_runs_and_while_messages_wait() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    ["1", "2", "3"].iter().for_each(|id| broker.send(order(id, Some("a"))));
    let wait = Duration::from_secs(3);
    let short = Subscription::new("shipping", ["orders"]).ack_wait(wait);
    let consumer = Consumer::builder("shipping", &store, Arc::new(broker.clone()), short).backoff(quick());
    let consumer = consumer.batch(1).on("order", |_: serde_json::Value, message, unit| {
        Box::pin(async move {
            take_effect(message, unit);
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok(())
        })
    });
    let (started, running) = (Instant::now(), run(consumer.build().unwrap()));
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    let mut times: HashMap<_, Vec<Instant>> = HashMap::new();
    for (at, receipt) in broker.shared.extended.lock().unwrap().iter() {
        times.entry(*receipt).or_default().push(*at);
    }
    assert_eq!(times.len(), 3);
    for (receipt, times) in times {
        let mut before = started;
        for at in &times {
            assert!(at.duration_since(before) <= wait * 2 / 3 + Duration::from_millis(10), "{receipt:?}: {times:?}");
            before = *at;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_suspend_and_resume_it() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    let name = ConsumerName::new("shipping").unwrap();
    let ann = OperatorRequest::by("ann").unwrap().because("the warehouse moves").unwrap();
    store.suspend(&name, SuspensionKind::Paused, &ann).await.unwrap();
    broker.send(order("1", None));
    let running = run(taking(&store, &broker, Duration::ZERO).build().unwrap());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((broker.left(), broker.shared.subscribed.load(SeqCst)), (1, 0));
    assert!(matches!(running.consumer.status().state, ConsumerState::Suspended(suspension) if suspension.by == "ann"));
    store.resume(&name, SuspensionKind::Paused, &ann).await.unwrap();
    until("it is settled", async || broker.left() == 0).await;
    store.suspend(&name, SuspensionKind::Disabled, &ann).await.unwrap();
    until("it is suspended", async || matches!(running.consumer.status().state, ConsumerState::Suspended(_))).await;
    broker.send(order("2", None));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(broker.left(), 1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_consumers_of_a_subscription_share_it_and_survive_an_outage() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    let subscription = Subscription::new("shipping", ["orders"]).prefetch(8);
    broker.declare(&Topology::new(["orders"], vec![subscription.clone()])).await.unwrap();
    let consumer = || {
        let broker = Arc::new(broker.clone());
        let consumer = Consumer::builder("shipping", &store, broker, subscription.clone()).backoff(quick());
        let consumer = consumer.on("order", |_: serde_json::Value, message, unit| {
            Box::pin(async move {
                take_effect(message, unit);
                tokio::time::sleep(Duration::from_millis(3)).await;
                Ok(())
            })
        });
        run(consumer.build().unwrap())
    };
    let (first, second) = (consumer(), consumer());
    let publisher = broker.publisher().await.unwrap();
    let messages = (0..200).map(|n| order(&format!("{n:03}"), Some(&(n % 9).to_string())));
    let outgoing: Vec<_> = messages.map(|message| Outgoing { topic: "orders".to_owned(), message }).collect();
    assert!(publisher.publish(&outgoing).await.iter().all(Result::is_ok));
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        broker.set_available(false);
        tokio::time::sleep(Duration::from_millis(40)).await;
        broker.set_available(true);
    }
    until("all are settled", async || broker.depth("shipping") == 0).await;
    let (handled, others) = (first.consumer.status().handled, second.consumer.status().handled);
    assert!(handled > 0 && others > 0 && handled + others == 200, "{handled} and {others}");
    first.stop().await;
    second.stop().await;
    assert!(effects(&store).await.iter().all(|(_, times)| *times == 1));
    let mut tables = store.tables().await;
    for (key, ids) in tables.table("order").iter() {
        let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        assert!(ids.is_sorted(), "{key}: {ids:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_there_ends_it_with_an_error() {
    let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
    let consumer = Consumer::builder("shipping", &store, Arc::new(broker), subscription());
    let consumer = consumer.on("order", |_: serde_json::Value, _, _| Box::pin(async { Ok(()) })).build().unwrap();
    let ended = consumer.run(std::future::pending()).await;
    assert!(matches!(ended, Err(ConsumerError::Broker { .. })), "{ended:?}");
    assert_eq!(consumer.status().state, ConsumerState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_takes_too_long_is_begun_again_with_fewer_messages() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    (0..4).for_each(|n| broker.send(order(&n.to_string(), None)));
    let (started, running) =
        (Instant::now(), run(taking(&store, &broker, Duration::from_secs(3)).lanes(1).build().unwrap()));
    until("one is settled", async || !broker.acked().is_empty()).await;
    // Two of them are too much; one is handled again by itself.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    until("all are settled", async || broker.left() == 0).await;
    running.stop().await;
    assert!(effects(&store).await.iter().all(|(_, times)| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn while_it_runs_the_inbox_forgets_what_is_older_than_it_is_to_remember() {
    for (keep, remembered) in [(Duration::ZERO, 0), (Duration::from_secs(24 * 3_600), 1)] {
        let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
        broker.send(order("1", None));
        let running = run(taking(&store, &broker, Duration::ZERO).remember_for(keep).build().unwrap());
        until("it is settled", async || broker.left() == 0).await;
        assert_eq!(store.inbox_stats().await.unwrap().remembered, 1);
        tokio::time::sleep(es_messaging::limits::INBOX_ROTATION_INTERVAL).await;
        assert_eq!(store.inbox_stats().await.unwrap().remembered, remembered);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn transactions_do_not_become_small_where_the_store_lets_each_wait() {
    let (store, broker) = (MemoryStore::new(), ScriptedBroker::new());
    (0..1_000).for_each(|n| broker.send(order(&n.to_string(), None)));
    // Somebody else has the store for half a second before each transaction.
    let (other, wait) = (store.clone(), Duration::from_millis(500));
    let others = tokio::spawn(async move {
        loop {
            let unit = other.begin_unit().await.unwrap();
            tokio::time::sleep(wait).await;
            unit.rollback().await.unwrap();
        }
    });
    let (started, running) = (Instant::now(), run(taking(&store, &broker, Duration::ZERO).lanes(1).build().unwrap()));
    until("all are settled", async || broker.left() == 0).await;
    assert!(started.elapsed() < wait * 40, "{:?}", started.elapsed());
    others.abort();
    running.stop().await;
}
