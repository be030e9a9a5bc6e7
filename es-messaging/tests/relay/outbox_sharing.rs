//! Several processes with one outbox.

use std::{collections::HashSet, sync::Arc, time::Duration};

use es_core::{LeaseStore, MemoryStore, OutboxStore};
use es_messaging::{OutboxRelay, OutboxRelayError, OutboxWork};
use tokio::{sync::Notify, time::sleep};

use crate::{
    outbox::{entries, outbox_name, owned},
    publisher::{Behaviour, Scripted},
};

#[tokio::test(start_paused = true)]
async fn of_two_one_publishes_and_the_other_takes_over_when_it_stops() {
    let (store, publishers) = (MemoryStore::new(), [Scripted::confirming(), Scripted::confirming()]);
    let [first, second] = [0, 1].map(|n| owned(["one", "two"][n], &store, &publishers[n], OutboxRelay::builder()));
    let monitor = second.monitor();
    let (stop, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let task = {
        let (stop, stopped) = (Arc::clone(&stop), Arc::clone(&stopped));
        tokio::spawn(async move {
            first.run(stop.notified()).await;
            stopped.notify_one();
        })
    };
    sleep(Duration::from_secs(1)).await;
    let done = async {
        entries(&store, 50).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!((publishers[0].kept().len(), publishers[1].kept().len()), (50, 0));
        assert_eq!(monitor.status().work, OutboxWork::Elsewhere { owner: "one".to_owned() });
        stop.notify_one();
        stopped.notified().await;
        entries(&store, 50).await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!((publishers[0].kept().len(), publishers[1].kept().len()), (50, 50));
    };
    second.run(done).await;
    task.await.unwrap();
    assert_eq!(store.outbox_stats().await.unwrap().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_in_the_middle_of_a_batch_confirms_nothing() {
    let store = MemoryStore::new();
    let slow = Scripted::new(Behaviour { latency: Duration::from_secs(1), ..Behaviour::default() });
    let quick = Scripted::confirming();
    entries(&store, 20).await;
    let sleeper = owned("sleeper", &store, &slow, OutboxRelay::builder().batch(10));
    let other = owned("other", &store, &quick, OutboxRelay::builder());
    let task = tokio::spawn(async move { sleeper.run(sleep(Duration::from_secs(30))).await });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(slow.calls(), 1);
    assert!(matches!(other.catch_up().await, Err(OutboxRelayError::Elsewhere { owner }) if owner == "sleeper"));
    // The store takes the sleeper for dead, and somebody else has the lease.
    store.deregister("sleeper").await.unwrap();
    let es_core::Leased::Yours(lease) =
        store.claim_lease(&outbox_name(), "thief", Duration::from_secs(3_600)).await.unwrap()
    else {
        panic!("the lease was free")
    };
    sleep(Duration::from_secs(10)).await;
    // Its first batch is at the broker, and not confirmed to the outbox.
    assert_eq!((slow.kept().len(), store.outbox_stats().await.unwrap().waiting), (10, 20));
    store.release_lease(&outbox_name(), lease).await.unwrap();
    other.catch_up().await.err().inspect(|error| println!("the sleeper was quicker: {error}"));
    task.await.unwrap();
    assert_eq!(store.outbox_stats().await.unwrap().waiting, 0);
    let ids: HashSet<String> =
        slow.kept().iter().chain(&quick.kept()).map(|outgoing| outgoing.message.id().to_owned()).collect();
    assert_eq!(ids.len(), 20);
}
