//! Relays as consumers of a runner.

use std::{sync::Arc, time::Duration};

use es_core::{MemoryStore, Position};
use es_messaging::{OutboxWork, Publisher, Relay};
use es_projections::{ConsumerOptions, Runner};
use tokio::time::sleep;

use crate::{
    publisher::{Behaviour, Scripted},
    support::{BankContract, arrival, builder, checkpoint, deposits, expected, quick_breaker, request, runner},
};

#[tokio::test(start_paused = true)]
async fn the_status_says_that_a_relay_publishes_and_never_that_it_is_stopped() {
    let store = MemoryStore::new();
    deposits(&store, 3).await;
    let publisher = Scripted::new(Behaviour { latency: Duration::from_secs(10), ..Behaviour::default() });
    let (runner, monitor) = runner(&store, &publisher, builder());
    assert_eq!(monitor.status().work, OutboxWork::Idle);
    let done = async {
        while publisher.calls() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let shown = serde_json::to_value(monitor.status()).unwrap();
        assert_eq!((&shown["consumer"], &shown["in_flight"]), (&"bank_out".into(), &3.into()), "{shown}");
        assert_eq!((&shown["work"]["is"], &shown["breaker"]), (&"working".into(), &"closed".into()), "{shown}");
        arrival(&store, es_core::Position::new(3)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((monitor.status().published, monitor.status().work), (3, OutboxWork::Idle));
}

#[tokio::test(start_paused = true)]
async fn several_relays_have_checkpoints_of_their_own_and_one_broker_does_not_hold_up_another() {
    let store = MemoryStore::new();
    deposits(&store, 50).await;
    let (up, down) = (Scripted::confirming(), Scripted::new(Behaviour { is_down: true, ..Behaviour::default() }));
    let relay = |name: &str, publisher: &Arc<Scripted>| {
        let publisher: Arc<dyn Publisher> = publisher.clone();
        let relay = Relay::builder(name, "/bank", BankContract).breaker(quick_breaker());
        relay.build(publisher, Arc::new(store.clone())).unwrap()
    };
    let runner = Runner::builder(&store)
        .reactor_with(relay("to_up", &up), Relay::options())
        .reactor_with(relay("to_down", &down), Relay::options())
        .build()
        .unwrap();
    let done = async {
        sleep(Duration::from_secs(60)).await;
        assert_eq!((checkpoint(&store, "to_up").await.get(), checkpoint(&store, "to_down").await.get()), (50, 0));
        let status = runner.status().await.unwrap();
        assert!(status.iter().any(|one| one.name.as_str() == "to_down" && one.last_error.is_some()), "{status:?}");
        down.set(|behaviour| behaviour.is_down = false);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(checkpoint(&store, "to_down").await.get(), 50);
    };
    runner.run(done).await.unwrap();
    assert_eq!((up.first_by_key(), down.first_by_key()), (expected(&store).await, expected(&store).await));
}

#[tokio::test(start_paused = true)]
async fn a_paused_relay_publishes_nothing_and_goes_on_where_it_was() {
    let store = MemoryStore::new();
    deposits(&store, 10).await;
    let publisher = Scripted::confirming();
    let (runner, _) = runner(&store, &publisher, builder());
    let done = async {
        sleep(Duration::from_secs(5)).await;
        runner.pause("bank_out", &request()).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        deposits(&store, 10).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(publisher.kept().len(), 10);
        runner.resume("bank_out", &request()).await.unwrap();
        sleep(Duration::from_secs(5)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((publisher.kept().len(), publisher.again().len()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn the_partitions_of_a_relay_share_a_breaker_and_keep_the_order_of_each_key() {
    let store = MemoryStore::new();
    deposits(&store, 400).await;
    let behaviour = Behaviour { is_down: true, lost: 10, unconfirmed: 10, ..Behaviour::default() };
    let publisher = Scripted::new(behaviour);
    let shared: Arc<dyn Publisher> = publisher.clone();
    let relay = builder().batch(20).build(shared, Arc::new(store.clone())).unwrap();
    let options: ConsumerOptions = Relay::options().partitions(4);
    let runner = Runner::builder(&store).reactor_with(relay, options).build().unwrap();
    let done = async {
        sleep(Duration::from_secs(800)).await;
        // One breaker for all four.
        assert!(publisher.calls() < 230, "{} calls", publisher.calls());
        publisher.set(|behaviour| behaviour.is_down = false);
        sleep(Duration::from_secs(200)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!(publisher.first_by_key(), expected(&store).await);
    assert!(es_core::EventStore::head(&store).await.unwrap() == Position::new(400));
}
