//! A store that fails while the broker does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use es_core::{BlobStore, Enqueue, LeaseStore, Leased, MemoryStore, OutboxMessage, StoreError};
use es_messaging::{ClaimCheck, Message, OutboxRelay, OutboxWork, Publisher, Relay, claim_check::resolve, extension};
use es_projections::Runner;
use es_testkit::{Fault, FaultPlan, FaultyStore, Operation, SeededRng};
use time::OffsetDateTime;
use tokio::time::sleep;

use crate::{
    claim_check::bytes_out,
    dead_letters::letters,
    outbox::{entries, outbox_name, owned},
    publisher::{Behaviour, Scripted},
    support::{NAME, arrival, builder, checkpoint, deposit, deposits, quick_breaker, runner},
};

#[tokio::test(start_paused = true)]
async fn what_is_refused_waits_until_it_can_be_kept() {
    let store = MemoryStore::new();
    deposit(&store, "ann", 666).await;
    deposits(&store, 10).await;
    let faulty = Arc::new(FaultyStore::new(store.clone(), FaultPlan::none()));
    let publisher = Scripted::new(Behaviour { refuses: Some("666"), ..Behaviour::default() });
    let relay = builder().build(publisher.clone() as Arc<dyn Publisher>, faulty.clone()).unwrap();
    let runner = Runner::builder(&store).reactor_with(relay, Relay::options()).build().unwrap();
    (0..200).for_each(|_| faulty.plan().fail_next(Operation::DeadLetter, Fault::LostRequest));
    let done = async {
        sleep(Duration::from_secs(30)).await;
        assert_eq!((checkpoint(&store, NAME).await.get(), letters(&store).await.len()), (0, 0));
        arrival(&store, es_core::Position::new(11)).await;
    };
    runner.run(done).await.unwrap();
    assert_eq!((letters(&store).await.len(), publisher.kept().len(), publisher.again().len()), (1, 10, 0));
}

/// A store of blobs that can be away.
struct Blobs {
    store: MemoryStore,
    is_away: AtomicBool,
}

#[async_trait]
impl BlobStore for Blobs {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match self.is_away.load(SeqCst) {
            true => Err(StoreError::Unavailable { source: "away".into() }),
            false => self.store.put_blob(name, bytes).await,
        }
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.blob(name).await
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        self.store.drop_blobs_before(time).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_until_its_content_is_in_the_blob_store() {
    let (store, publisher) = (MemoryStore::new(), Scripted::with(Behaviour::default(), SeededRng::new(1), 10_000));
    let last = deposit(&store, "ann", 50_000).await;
    let blobs = Arc::new(Blobs { store: store.clone(), is_away: AtomicBool::new(true) });
    let (runner, _) = runner(&store, &publisher, bytes_out().claim_check(ClaimCheck::new(blobs.clone())));
    let done = async {
        sleep(Duration::from_secs(300)).await;
        assert_eq!((publisher.calls(), checkpoint(&store, "bytes_out").await.get()), (0, 0));
        blobs.is_away.store(false, SeqCst);
        while checkpoint(&store, "bytes_out").await < last {
            sleep(Duration::from_millis(100)).await;
        }
    };
    runner.run(done).await.unwrap();
    let kept = publisher.kept();
    assert!(kept.len() == 1 && kept[0].message.extension(extension::DATA_REF).is_some());
    assert_eq!(resolve(&*blobs, kept[0].message.clone()).await.unwrap().data().len(), 50_000);
    assert_eq!(letters(&store).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_with_a_key_that_is_too_long_to_be_kept_does_not_block_the_outbox() {
    let (store, publisher) =
        (MemoryStore::new(), Scripted::new(Behaviour { refuses: Some("666"), ..Behaviour::default() }));
    let key = "é".repeat(2_000);
    let message = Message::builder("t", "/mails").id("long").key(key.as_str()).json(&666).unwrap().build().unwrap();
    let mut transaction = store.begin().await;
    // Written without its key.
    store.enqueue(transaction.connection(), &OutboxMessage::new("mails", message.to_raw())).await.unwrap();
    transaction.commit().await.unwrap();
    entries(&store, 5).await;
    owned("one", &store, &publisher, OutboxRelay::builder()).catch_up().await.unwrap();
    let letters = letters(&store).await;
    assert_eq!((letters.len(), publisher.kept().len()), (1, 5));
    assert!(key.starts_with(letters[0].letter.key.as_deref().unwrap()));
    assert_eq!(Message::from_raw(&letters[0].letter.message).unwrap().key(), Some(&*key));
}

async fn steal(store: &MemoryStore, from: &str) {
    store.deregister(from).await.unwrap();
    let stolen = store.claim_lease(&outbox_name(), "thief", Duration::from_secs(3_600)).await.unwrap();
    assert!(matches!(stolen, Leased::Yours(_)));
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_of_the_outbox_stops_sending() {
    let (store, publisher) = (MemoryStore::new(), Scripted::new(Behaviour { hangs: true, ..Behaviour::default() }));
    entries(&store, 10).await;
    let relay = owned("sleeper", &store, &publisher, OutboxRelay::builder());
    let monitor = relay.monitor();
    let done = async {
        sleep(Duration::from_millis(500)).await;
        assert_eq!(monitor.status().in_flight, 10);
        steal(&store, "sleeper").await;
        sleep(Duration::from_secs(3)).await;
        let status = monitor.status();
        assert_eq!((status.in_flight, status.work), (0, OutboxWork::Elsewhere { owner: "thief".to_owned() }));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(publisher.calls(), 1);
    };
    relay.run(done).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_to_send_notices_too_that_the_lease_is_lost() {
    let (store, publisher) = (MemoryStore::new(), Scripted::confirming());
    let relay = owned("idle", &store, &publisher, OutboxRelay::builder());
    let monitor = relay.monitor();
    let done = async {
        sleep(Duration::from_millis(500)).await;
        steal(&store, "idle").await;
        sleep(Duration::from_secs(4)).await;
        assert_eq!(monitor.status().work, OutboxWork::Elsewhere { owner: "thief".to_owned() });
        entries(&store, 10).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(publisher.calls(), 0);
    };
    relay.run(done).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_extended_is_over_when_its_time_is() {
    let store = MemoryStore::new();
    let faulty = Arc::new(FaultyStore::new(store.clone(), FaultPlan::none()));
    entries(&store, 10).await;
    let publisher = Scripted::new(Behaviour { hangs: true, ..Behaviour::default() });
    let relay = OutboxRelay::builder().owner("cut off").breaker(quick_breaker());
    let relay = relay.build(publisher.clone() as Arc<dyn Publisher>, faulty.clone()).unwrap();
    let monitor = relay.monitor();
    let done = async {
        sleep(Duration::from_millis(500)).await;
        (0..1_000).for_each(|_| faulty.plan().fail_next(Operation::Lease, Fault::LostRequest));
        sleep(Duration::from_secs(9)).await;
        assert_eq!(monitor.status().in_flight, 10, "it holds still");
        sleep(Duration::from_secs(1)).await;
        let status = monitor.status();
        assert_eq!((status.in_flight, status.work), (0, OutboxWork::WaitingForStore));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(publisher.calls(), 1);
    };
    relay.run(done).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_the_batch_under_way_be_confirmed() {
    let store = MemoryStore::new();
    let publisher = Scripted::new(Behaviour { latency: Duration::from_secs(2), ..Behaviour::default() });
    entries(&store, 10).await;
    let relay = owned("one", &store, &publisher, OutboxRelay::builder());
    relay.run(sleep(Duration::from_secs(1))).await;
    assert_eq!(publisher.kept().len(), 10);
    assert_eq!(es_core::OutboxStore::outbox_stats(&store).await.unwrap().waiting, 0);
    assert_eq!(store.leases().await.unwrap(), []);
}
