//! Order within a key, whatever the broker does.

use std::{sync::Arc, time::Duration};

use es_core::{MemoryStore, Recorded};
use es_messaging::{Relay, limits, map_with};
use es_testkit::{SeededRng, bank::AccountEvent};
use tokio::time::sleep;

use crate::{
    publisher::{Behaviour, Scripted},
    support::{arrival, builder, checkpoint, deposit, deposits, expected, quick_breaker, request, runner},
};

#[tokio::test(start_paused = true)]
async fn messages_of_a_key_stay_in_order_whichever_confirmations_fail() {
    let rng = SeededRng::from_env();
    for round in 0..20 {
        let store = MemoryStore::new();
        for _ in 0..1 + rng.below(300) {
            deposit(&store, &format!("a{}", rng.below(9)), 1).await;
        }
        let (lost, unconfirmed) = (rng.below(40), rng.below(40));
        let forgets = rng.below(3) as usize;
        let behaviour = Behaviour { lost, unconfirmed, forgets, ..Behaviour::default() };
        let publisher = Scripted::with(behaviour, SeededRng::new(rng.below(u64::MAX)), 100_000);
        let relay = builder().batch(1 + rng.below(100) as usize);
        let (runner, _) = runner(&store, &publisher, relay);
        let done = async {
            while checkpoint(&store, "bank_out").await < es_core::EventStore::head(&store).await.unwrap() {
                // One batch of one message that says nothing of it never ends.
                tokio::time::sleep(Duration::from_secs(20)).await;
                publisher.set(|behaviour| behaviour.forgets = 0);
            }
        };
        runner.run(done).await.unwrap();
        assert_eq!(publisher.first_by_key(), expected(&store).await, "round {round}");
    }
}

/// Seventy events, and a broker that does not confirm those of one key, of which the first is the fourth.
async fn with_a_stuck_key() -> (MemoryStore, Arc<Scripted>) {
    let store = MemoryStore::new();
    deposits(&store, 70).await;
    let publisher = Scripted::new(Behaviour { stuck_key: Some("account/a3"), ..Behaviour::default() });
    (store, publisher)
}

#[tokio::test(start_paused = true)]
async fn only_what_was_not_confirmed_is_published_again() {
    let (store, publisher) = with_a_stuck_key().await;
    let (runner, monitor) = runner(&store, &publisher, builder());
    let done = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(checkpoint(&store, "bank_out").await.get(), 3);
        assert_eq!(publisher.kept().len(), 60);
        publisher.set(|behaviour| behaviour.stuck_key = None);
        arrival(&store, es_core::Position::new(70)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!(publisher.again(), Vec::<String>::new());
    assert_eq!(publisher.first_by_key(), expected(&store).await);
    assert!(monitor.status().last_error.unwrap().error.contains("its leader is away"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_confirmed_in_one_topic_is_still_published_in_another() {
    let (store, topics) = (MemoryStore::new(), ["invoices", "audit"]);
    deposit(&store, "ann", 1).await;
    let publisher = Scripted::new(Behaviour { stuck_key: Some("invoices"), ..Behaviour::default() });
    let mapper = map_with(move |_: &Recorded<AccountEvent>, messages| {
        let draft = messages.message("bank.money.moved").json(&1)?;
        topics.iter().try_for_each(|topic| messages.add(draft.clone().topic(*topic).key(*topic)))
    });
    let (runner, _) = runner(&store, &publisher, Relay::builder("bank_out", "/bank", mapper).breaker(quick_breaker()));
    let done = async {
        sleep(Duration::from_secs(60)).await;
        publisher.set(|behaviour| behaviour.stuck_key = None);
        arrival(&store, es_core::Position::new(1)).await;
    };
    runner.run(done).await.unwrap();
    let published: Vec<String> = publisher.kept().into_iter().map(|outgoing| outgoing.topic).collect();
    assert_eq!(published, ["audit", "invoices"]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_set_back_publishes_everything_again() {
    let (store, publisher) = with_a_stuck_key().await;
    let (runner, _) = runner(&store, &publisher, builder());
    let done = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((checkpoint(&store, "bank_out").await.get(), publisher.kept().len()), (3, 60));
        // The broker was emptied: what is known to be confirmed is not there any more.
        runner.pause("bank_out", &request()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        runner.reset("bank_out", es_core::Position::ZERO, &request()).await.unwrap();
        publisher.set(|behaviour| behaviour.stuck_key = None);
        runner.resume("bank_out", &request()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((publisher.kept().len(), publisher.again().len()), (130, 60));
}

#[tokio::test(start_paused = true)]
async fn what_was_confirmed_long_ago_is_not_remembered_for_ever() {
    let (store, publisher) = with_a_stuck_key().await;
    let (runner, _) = runner(&store, &publisher, builder());
    let done = async {
        // As long as the page is tried again and again, it is.
        tokio::time::sleep(2 * limits::CONFIRMED_KEEP).await;
        assert_eq!((checkpoint(&store, "bank_out").await.get(), publisher.kept().len()), (3, 60));
        // The broker was emptied, and whoever found out says from where to publish again: where the relay stands.
        runner.pause("bank_out", &request()).await.unwrap();
        tokio::time::sleep(2 * limits::CONFIRMED_KEEP).await;
        runner.reset("bank_out", es_core::Position::new(3), &request()).await.unwrap();
        publisher.set(|behaviour| behaviour.stuck_key = None);
        runner.resume("bank_out", &request()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((publisher.kept().len(), publisher.again().len()), (127, 57));
}
