//! Order within a key, whatever the broker does.

use std::time::Duration;

use es_core::MemoryStore;
use es_messaging::limits;
use es_testkit::SeededRng;

use crate::{
    publisher::{Behaviour, Scripted},
    support::{arrival, builder, checkpoint, deposit, deposits, expected, order, runner},
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

#[tokio::test(start_paused = true)]
async fn only_what_was_not_confirmed_is_published_again() {
    let store = MemoryStore::new();
    deposits(&store, 70).await;
    let behaviour = Behaviour { stuck_key: Some("account/a3"), ..Behaviour::default() };
    let publisher = Scripted::new(behaviour);
    let (runner, monitor) = runner(&store, &publisher, builder());
    let done = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        // The first event of that key is the fourth.
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
async fn a_checkpoint_that_is_set_back_publishes_everything_again() {
    let store = MemoryStore::new();
    deposits(&store, 70).await;
    let behaviour = Behaviour { stuck_key: Some("account/a3"), ..Behaviour::default() };
    let publisher = Scripted::new(behaviour);
    let (runner, _) = runner(&store, &publisher, builder());
    let done = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((checkpoint(&store, "bank_out").await.get(), publisher.kept().len()), (3, 60));
        // The broker was emptied: what is known to be confirmed is not there any more.
        runner.pause("bank_out", &order()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        runner.reset("bank_out", es_core::Position::ZERO, &order()).await.unwrap();
        publisher.set(|behaviour| behaviour.stuck_key = None);
        runner.resume("bank_out", &order()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((publisher.kept().len(), publisher.again().len()), (130, 60));
}

#[tokio::test(start_paused = true)]
async fn what_was_confirmed_long_ago_is_not_remembered_for_ever() {
    let store = MemoryStore::new();
    deposits(&store, 70).await;
    let behaviour = Behaviour { stuck_key: Some("account/a3"), ..Behaviour::default() };
    let publisher = Scripted::new(behaviour);
    let (runner, _) = runner(&store, &publisher, builder());
    let done = async {
        // As long as the page is tried again and again, it is.
        tokio::time::sleep(2 * limits::CONFIRMED_KEEP).await;
        assert_eq!((checkpoint(&store, "bank_out").await.get(), publisher.kept().len()), (3, 60));
        // The broker was emptied, and whoever found out says from where to publish again: where the relay stands.
        runner.pause("bank_out", &order()).await.unwrap();
        tokio::time::sleep(2 * limits::CONFIRMED_KEEP).await;
        runner.reset("bank_out", es_core::Position::new(3), &order()).await.unwrap();
        publisher.set(|behaviour| behaviour.stuck_key = None);
        runner.resume("bank_out", &order()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((publisher.kept().len(), publisher.again().len()), (127, 57));
}
