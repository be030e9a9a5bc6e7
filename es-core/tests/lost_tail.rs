//! A history that is not the one a state was built from: a restored backup, a tail that a crash took (G6).

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use es_core::{
    Aggregate, Append, Appended, Bookmark, EventFilter, EventPage, EventStore, IdempotencyKey, MemoryStore, PageSize,
    Payload, Position, Repository, Snapshot, SnapshotStore, StoreError, StreamId, StreamPage, Version, Wakeups,
};
use es_testkit::bank::{Account, AccountCommand, AccountEvent};
use uuid::Uuid;

/// One store until it fails over to another one, which lacks the first one's last events.
#[derive(Clone)]
struct FailsOver {
    before: MemoryStore,
    after: MemoryStore,
    has_failed: Arc<AtomicBool>,
}

impl FailsOver {
    fn store(&self) -> &MemoryStore {
        if self.has_failed.load(Ordering::SeqCst) { &self.after } else { &self.before }
    }
}

#[async_trait]
impl EventStore for FailsOver {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.store().append(append).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.store().find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.store().read_stream(stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.store().read_all(after, filter, page).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store().head().await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        self.store().verify(seen).await
    }

    fn forget_recent(&self) {
        self.store().forget_recent();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store().wait_durable(position).await
    }

    fn wakeups(&self) -> Wakeups {
        self.store().wakeups()
    }
}

async fn bank(deposits: &[i64]) -> (MemoryStore, Repository<Account>) {
    let store = MemoryStore::new();
    let accounts = Repository::new(&store).without_cache();
    accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).await.unwrap();
    for &cents in deposits {
        accounts.execute("ann", AccountCommand::Deposit { cents }).await.unwrap();
    }
    (store, accounts)
}

/// Withdraws everything that the decision sees, after the store has failed over in the middle of the first decision.
async fn withdraw_all(before: MemoryStore, after: MemoryStore) -> i64 {
    let store = FailsOver { before, after, has_failed: Arc::default() };
    let has_failed = Arc::clone(&store.has_failed);
    let accounts = Repository::<Account>::new(&store);
    let done = accounts
        .execute_with("ann", move |account| {
            has_failed.store(true, Ordering::SeqCst);
            std::future::ready(Ok(vec![AccountEvent::Withdrawn { cents: account.cents }]))
        })
        .await
        .unwrap();
    assert_eq!(done.state.cents, 0, "the decision rests on another history than the outcome");
    accounts.load("ann").await.unwrap().state.cents
}

#[tokio::test]
async fn no_decision_rests_on_an_event_that_was_lost() {
    // As long as the lost history, shorter, and longer.
    for deposits in [&[100, 7][..], &[100], &[100, 7, 1], &[100, 7, 1, 2, 3]] {
        let ((before, _), (after, _)) = (bank(&[100, 1_000]).await, bank(deposits).await);
        assert_eq!(withdraw_all(before, after).await, 0, "after failing over to {deposits:?}");
    }
}

#[tokio::test]
async fn a_snapshot_of_another_history_is_not_used() {
    for version in [1, 2, 3, 4, 100] {
        let (store, plain) = bank(&[100, 7]).await;
        let accounts = plain.clone().with_snapshots(&store, NonZeroU64::MIN);
        accounts.execute("ann", AccountCommand::Deposit { cents: 1 }).await.unwrap();
        let stream = accounts.stream_id("ann").unwrap();
        let fingerprint = store.load_snapshot(&stream, Account::aggregate_name()).await.unwrap().unwrap().fingerprint;

        let (other, _) = bank(&[100, 7, 1]).await;
        let accounts = Repository::<Account>::new(&other).with_snapshots(&other, NonZeroU64::MIN);
        let state = Payload::from_json(r#"{"owner":"Ann","cents":1000000}"#).unwrap();
        let lie =
            Snapshot::new(stream, Account::aggregate_name(), Version::new(version), Uuid::now_v7(), fingerprint, state);
        other.save_snapshot(&lie).await.unwrap();
        let loaded = accounts.load("ann").await.unwrap();
        assert_eq!((loaded.state.cents, loaded.version.get()), (108, 4), "a false snapshot at version {version}");
        let refused = accounts.execute("ann", AccountCommand::Withdraw { cents: 109 }).await;
        assert!(refused.is_err_and(|error| error.rejection().is_some()));
    }
}
