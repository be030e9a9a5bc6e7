//! A memory store that is watched and can be told to fail.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Advance, Append, Appended, Bookmark, BuildClaim, Checkpoint, Claimed, ConsumerName, ConsumerStore, DatabaseWait,
    Direction, Document, DocumentChange, DocumentQuery, EventFilter, EventPage, EventStore, GenerationInfo,
    GenerationStore, IdempotencyKey, Lease, LeaseHolder, LeaseStore, Leased, Membership, MemoryStore, MemoryTables,
    PageProjection, PageSize, PartitionCheckpoint, PartitionStore, Position, ProjectionError, ProjectionStore,
    ReadModelDefinition, ReadModelSnapshot, RecordedEvent, StoreError, StreamId, StreamPage, Swapped, Version,
    WakeupSender, Wakeups,
};
use tokio::sync::Semaphore;

#[derive(Clone, Default)]
pub(crate) struct SpyStore {
    pub(crate) inner: MemoryStore,
    pub(crate) seen: Arc<Seen>,
}

/// What was asked of the store, and what it is told to do.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) reads: AtomicUsize,
    pub(crate) largest_page: AtomicUsize,
    pub(crate) pages_applied: AtomicUsize,
    pub(crate) checkpoint_reads: AtomicUsize,
    pub(crate) checkpoint_moves: AtomicUsize,
    pub(crate) document_reads: AtomicUsize,
    pub(crate) parked_lookups: AtomicUsize,
    pub(crate) request_lookups: AtomicUsize,
    pub(crate) waited_durable: Mutex<Vec<u64>>,
    /// What the next reads of the log answer.
    pub(crate) read_failures: Mutex<VecDeque<StoreError>>,
    pub(crate) save_failures: Mutex<VecDeque<StoreError>>,
    /// The store cannot be reached.
    pub(crate) is_down: AtomicBool,
    /// Heartbeats do not get through.
    pub(crate) is_mute: AtomicBool,
    /// The store sends no hints.
    pub(crate) is_silent: AtomicBool,
    /// Pages say that nothing after this is durable; 0 for no such bound.
    pub(crate) durable_to: AtomicU64,
    /// The log seems to end here; 0 for no such bound.
    pub(crate) head: AtomicU64,
    /// For whom in the database the store's calls wait.
    pub(crate) waits: Mutex<Vec<DatabaseWait>>,
    /// How often it was asked which consumers are suspended.
    pub(crate) suspension_reads: AtomicUsize,
    /// Every read of the log panics, as often as this says.
    pub(crate) panics: AtomicUsize,
    /// Before each swap an event is appended to this account, and whoever runs the live generation is waited for.
    pub(crate) overtaken_by: Mutex<Option<&'static str>>,
    /// Before each snapshot of a read model an event is appended to this account, and there is time to apply it.
    pub(crate) snapshot_after: Mutex<Option<&'static str>>,
    /// Holds whoever has read documents, as long as there is one.
    pub(crate) documents_gate: Mutex<Option<Arc<Semaphore>>>,
}

pub(crate) fn unavailable() -> StoreError {
    StoreError::Unavailable { source: "connection reset".into() }
}

impl SpyStore {
    pub(crate) fn count(&self, counter: impl Fn(&Seen) -> &AtomicUsize) -> usize {
        counter(&self.seen).load(Ordering::SeqCst)
    }

    /// Every call of the store is a place to be overtaken or dropped.
    pub(crate) async fn check_up(&self) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        if self.seen.is_down.load(Ordering::SeqCst) { Err(unavailable()) } else { Ok(()) }
    }
}

impl SpyStore {
    /// Appends an event, and returns when it has taken effect in the first generation of a consumer, or cannot because somebody else
    /// than a runner has the lease.
    async fn overtake(&self, live: &ConsumerName, account: &str) -> Result<(), StoreError> {
        let position = crate::support::deposit(self, account, 1).await;
        loop {
            let all = self.inner.partitions(live).await?;
            let is_held = self.inner.leases().await?.iter().any(|(_, holder)| holder.owner.starts_with("the swap to"));
            if is_held || all.iter().all(|reached| reached.position >= position) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn next_failure(failures: &Mutex<VecDeque<StoreError>>) -> Result<(), StoreError> {
    failures.lock().unwrap().pop_front().map_or(Ok(()), Err)
}

#[async_trait]
impl EventStore for SpyStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.inner.append(append).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.inner.find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.inner.read_stream(stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.seen.reads.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        let panics = self.seen.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(panics.is_err(), "the store lost its head");
        next_failure(&self.seen.read_failures)?;
        let mut page = self.inner.read_all(after, filter, page).await?;
        self.seen.largest_page.fetch_max(page.events.len(), Ordering::SeqCst);
        match self.seen.durable_to.load(Ordering::SeqCst) {
            0 => {}
            bound => page.durable_to = page.durable_to.min(Position::new(bound)),
        }
        Ok(page)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.check_up().await?;
        match self.seen.head.load(Ordering::SeqCst) {
            0 => self.inner.head().await,
            head => Ok(Position::new(head)),
        }
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        self.check_up().await?;
        let (position, expected, head) = (seen.position(), seen.event_id(), self.seen.head.load(Ordering::SeqCst));
        if (1..position.get()).contains(&head) {
            let head = Some(Position::new(head));
            return Err(StoreError::LogWentBack { position, expected, found: None, head });
        }
        self.inner.verify(seen).await
    }

    fn forget_recent(&self) {
        self.inner.forget_recent();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.seen.waited_durable.lock().unwrap().push(position.get());
        Ok(())
    }

    fn wakeups(&self) -> Wakeups {
        match self.seen.is_silent.load(Ordering::SeqCst) {
            true => WakeupSender::new().subscribe(),
            false => self.inner.wakeups(),
        }
    }
}

#[async_trait]
impl ConsumerStore for SpyStore {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        self.seen.checkpoint_reads.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        self.inner.checkpoint(consumer).await
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        self.inner.checkpoints().await
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        self.inner.start_checkpoint(consumer, at).await
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        self.seen.checkpoint_moves.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        self.inner.move_checkpoint(advance).await
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.inner.prepare_view(view).await
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        self.seen.document_reads.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        let found = self.inner.documents(view, keys).await;
        let gate = self.seen.documents_gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            let _ = gate.acquire().await;
        }
        found
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        self.inner.list_documents(view, query).await
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.seen.pages_applied.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        next_failure(&self.seen.save_failures)?;
        self.inner.save_documents(advance, changes).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.inner.clear_view(view).await
    }
}

#[async_trait]
impl GenerationStore for SpyStore {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        self.inner.generations(consumer).await
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        self.inner.live_generation(consumer, definition).await
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        self.inner.claim_build(claim).await
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        self.inner.release_build(generation, by).await
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        let overtaken_by = *self.seen.overtaken_by.lock().unwrap();
        if let Some(account) = overtaken_by {
            self.overtake(&generation.base(), account).await?;
        }
        self.inner.make_live(generation, direction).await
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        self.inner.drop_generation(generation).await
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        let account = *self.seen.snapshot_after.lock().unwrap();
        if let Some(account) = account {
            crate::support::deposit(self, account, 1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.inner.open_snapshot(generation).await
    }
}

#[async_trait]
impl LeaseStore for SpyStore {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        self.inner.claim_lease(consumer, owner, time).await
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        self.inner.seize_lease(consumer, owner, time).await
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        self.inner.release_lease(consumer, lease).await
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        if self.seen.is_mute.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.inner.heartbeat(member, consumers, time).await
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
        self.inner.deregister(member).await
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        self.inner.leases().await
    }
}

#[async_trait]
impl PartitionStore for SpyStore {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.inner.partitions(generation).await
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.inner.start_partitions(generation, count, at).await
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.inner.repartition(generation, count).await
    }
}

#[async_trait]
impl ProjectionStore for SpyStore {
    type Connection = MemoryTables;

    async fn prepare_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        self.inner.prepare_projection(projection).await
    }

    async fn apply_page(
        &self,
        projection: &dyn PageProjection<MemoryTables>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        self.seen.pages_applied.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        next_failure(&self.seen.save_failures)?;
        self.inner.apply_page(projection, advance, events).await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn finish_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        self.inner.finish_projection(projection).await
    }

    async fn clear_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        self.inner.clear_projection(projection).await
    }
}
