//! A relay that is killed at any moment.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use es_core::{LeaseStore, MemoryStore};
use es_messaging::{Broker, MemoryBroker, Outbox, OutboxRelay, Publisher, Subscription, Topology};
use es_testkit::SeededRng;

use crate::{
    outbox::{entries, message, owned},
    publisher::{Behaviour, Scripted},
    support::{builder, checkpoint, deposits, expected, runner},
};

/// Polls a future so often, or until it is ready; then it is dropped. The others go on in between.
pub(crate) async fn killed_after(polls: u64, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if matches!(poll, Poll::Ready(_)) {
            return true;
        }
        // Timers and tasks have their turn too.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// The leases of who was killed have run out.
async fn leases_run_out(store: &MemoryStore) {
    for (_, holder) in store.leases().await.unwrap() {
        store.deregister(&holder.owner).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_a_relay_is_killed_everything_arrives_under_the_same_ids() {
    let rng = SeededRng::from_env();
    let store = MemoryStore::new();
    let behaviour = Behaviour { lost: 2, unconfirmed: 2, ..Behaviour::default() };
    let publisher = Scripted::with(behaviour, SeededRng::new(rng.below(u64::MAX)), 100_000);
    let (mut kills, mut rounds) = (0, 0);
    deposits(&store, 1_000).await;
    while checkpoint(&store, "bank_out").await.get() < 1_000 {
        let (runner, _) = runner(&store, &publisher, builder().batch(10));
        let done = killed_after(rng.below(400), runner.catch_up()).await;
        leases_run_out(&store).await;
        kills += u64::from(!done);
        rounds += 1;
        assert!(rounds < 1_000, "it does not get anywhere");
    }
    assert!(kills > 3, "{kills} kills");
    assert_eq!(publisher.first_by_key(), expected(&store).await);
    println!("{kills} kills, {} published again", publisher.again().len());
}

#[tokio::test(start_paused = true)]
async fn killed_between_publishing_and_the_checkpoint_it_publishes_again_under_the_same_ids() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    deposits(&store, 10).await;
    let mut polls = 0;
    // Up to where all are confirmed, and the checkpoint is not moved.
    while publisher.seen.lock().unwrap().confirmed.len() < 10 {
        polls += 1;
        publisher.seen.lock().unwrap().confirmed.clear();
        publisher.seen.lock().unwrap().kept.clear();
        killed_after(polls, runner(&store, &publisher, builder()).0.catch_up()).await;
        leases_run_out(&store).await;
        assert!(polls < 1_000 && checkpoint(&store, "bank_out").await.get() == 0);
    }
    runner(&store, &publisher, builder()).0.catch_up().await.unwrap();
    assert_eq!((publisher.kept().len(), checkpoint(&store, "bank_out").await.get()), (20, 10));
    assert_eq!(publisher.first_by_key(), expected(&store).await);
}

#[tokio::test(start_paused = true)]
async fn whenever_the_relay_of_the_outbox_is_killed_everything_arrives() {
    let rng = SeededRng::from_env();
    let store = MemoryStore::new();
    let behaviour = Behaviour { lost: 5, unconfirmed: 5, ..Behaviour::default() };
    let publisher = Scripted::with(behaviour, SeededRng::new(rng.below(u64::MAX)), 100_000);
    let written = entries(&store, 200).await;
    let (mut kills, mut rounds) = (0, 0);
    while es_core::OutboxStore::outbox_stats(&store).await.unwrap().waiting > 0 {
        // The same name each time, or it would wait for its own lease.
        let relay = owned("one", &store, &publisher, OutboxRelay::builder().batch(30));
        kills += u64::from(!killed_after(rng.below(80), relay.catch_up()).await);
        rounds += 1;
        assert!(rounds < 10_000, "it does not get anywhere");
    }
    assert!(kills > 3, "{kills} kills");
    assert_eq!(publisher.first_by_key(), written);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_dies_in_the_middle_of_the_outbox_loses_nothing() {
    let store = MemoryStore::new();
    let broker = MemoryBroker::new();
    let all = Subscription::new("all", ["#"]);
    broker.declare(&Topology::new(["t"], vec![all.clone()])).await.unwrap();
    let publisher: Arc<dyn Publisher> = broker.publisher().await.unwrap().into();
    let relay = OutboxRelay::builder().breaker(crate::support::quick_breaker());
    let relay = relay.build(publisher, Arc::new(store.clone())).unwrap();
    let outbox = Outbox::new(store.clone());
    let write = async {
        for n in 0..100 {
            let mut transaction = store.begin().await;
            outbox.enqueue(transaction.connection(), "t", &message(n)).await.unwrap();
            transaction.commit().await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if n % 20 == 10 {
                broker.set_available(n % 40 == 30);
            }
        }
        broker.set_available(true);
        tokio::time::sleep(Duration::from_secs(60)).await;
    };
    relay.run(write).await;
    let subscriber = broker.subscriber(&all.prefetch(1_000)).await.unwrap();
    let mut received = 0;
    while let Some(delivery) = subscriber.receive(1, Duration::ZERO).await.unwrap().pop() {
        assert!(delivery.content.is_ok());
        subscriber.settle(vec![(delivery.receipt, es_messaging::Settlement::Ack)]).await.unwrap();
        received += 1;
    }
    assert_eq!(received, 100);
}
