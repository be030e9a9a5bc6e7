//! A store in memory with one defect: what it keeps for consumers, and what it delegates.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, atomic::AtomicUsize},
};

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Advance, BuildClaim, Checkpoint, Claimed, ConsumerName, ConsumerStore, Direction, Document, DocumentChange,
    DocumentQuery, GenerationInfo, GenerationStore, IdempotencyKey, Lease, LeaseHolder, LeaseStore, Leased, Membership,
    MemoryStore, MemoryTables, PageProjection, PartitionCheckpoint, PartitionStore, Position, ProjectionError,
    ProjectionStore, ReadModelDefinition, ReadModelSnapshot, RecordedEvent, SlotOffsets, Snapshot, SnapshotStore,
    StoreError, StreamId, Swapped, Version,
};
use tokio::task::yield_now;

use crate::defect::Defect;

#[derive(Debug, Clone)]
pub(crate) struct BrokenStore {
    pub(crate) store: MemoryStore,
    pub(crate) defect: Defect,
    pub(crate) shared: Arc<Shared>,
}

/// What defects remember.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) appends_under_way: AtomicUsize,
    pub(crate) refused_keys: Mutex<HashSet<IdempotencyKey>>,
    snapshots: Mutex<HashMap<StreamId, Snapshot>>,
    pub(crate) outbox: crate::outbox::Remembered,
    pub(crate) first_revisions: Mutex<crate::records::FirstRevisions>,
}

impl BrokenStore {
    /// How long a defect leaves the door open: long enough for a call that is dropped at random to be dropped here.
    pub(crate) const MOMENT_YIELDS: usize = 30;

    pub(crate) fn new(store: MemoryStore, defect: Defect) -> Self {
        Self { store, defect, shared: Arc::default() }
    }

    /// The store under the defect.
    pub(crate) fn intact(&self) -> &MemoryStore {
        &self.store
    }

    /// Keeps a snapshot by the rule of a defect.
    fn keep(&self, snapshot: &Snapshot) {
        let mut snapshots = self.shared.snapshots.lock().unwrap();
        let kept = snapshots.get(&snapshot.stream).map_or(Version::ZERO, |kept| kept.version);
        if self.defect == Defect::LetsOldSnapshotsWin || snapshot.version > kept {
            snapshots.insert(snapshot.stream.clone(), snapshot.clone());
        }
    }

    /// The partitions as a defect knows them.
    fn as_known(&self, mut partitions: Vec<PartitionCheckpoint>) -> Vec<PartitionCheckpoint> {
        if self.defect == Defect::ForgetsSlotOffsets {
            partitions.iter_mut().for_each(|reached| reached.slot_offsets = SlotOffsets::default());
        }
        partitions
    }

    pub(crate) async fn position_of(&self, consumer: &ConsumerName) -> Result<Position, StoreError> {
        let checkpoint = self.store.checkpoint(consumer).await?;
        Ok(checkpoint.map_or(Position::ZERO, |checkpoint| checkpoint.position))
    }
}

#[async_trait]
impl SnapshotStore for BrokenStore {
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError> {
        match self.defect {
            Defect::LetsOldSnapshotsWin | Defect::ComparesSnapshotsByVersionAlone => {
                Ok(self.shared.snapshots.lock().unwrap().get(stream).cloned())
            }
            _ => self.store.load_snapshot(stream, aggregate).await,
        }
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        snapshot.check()?;
        self.keep(snapshot);
        let mut snapshot = snapshot.clone();
        if self.defect == Defect::SnapshotsRunAhead {
            snapshot.version = snapshot.version.next();
        }
        self.store.save_snapshot(&snapshot).await
    }
}

#[async_trait]
impl ConsumerStore for BrokenStore {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        let mut found = self.store.checkpoint(consumer).await?;
        if let (Defect::ForgetsTheEventOfCheckpoints, Some(checkpoint)) = (self.defect, &mut found) {
            checkpoint.event_id = None;
        }
        Ok(found)
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        self.store.checkpoints().await
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        let checkpoint = self.store.start_checkpoint(consumer, at).await?;
        if self.defect == Defect::StartsAgain {
            self.store.move_checkpoint(&Advance::new(consumer, checkpoint.position, at)).await?;
            return Ok(Checkpoint::new(consumer.clone(), at, checkpoint.updated_at));
        }
        Ok(checkpoint)
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        let mut advance = self.parked(advance).await?;
        match self.defect {
            Defect::MovesWithoutComparing => advance.from = self.position_of(&advance.consumer).await?,
            Defect::ForgetsTheFence => advance.lease = None,
            Defect::MovesThoughTheLogWentBack => advance.seen = None,
            Defect::MovesInAnyPartitionEpoch => {
                let all = self.store.partitions(&advance.consumer).await?;
                let own = all.iter().find(|reached| reached.consumer == advance.consumer);
                advance.partition_epoch = own.map_or(advance.partition_epoch, |own| own.partition_epoch);
            }
            _ => {}
        }
        self.store.move_checkpoint(&advance).await
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.store.prepare_view(view).await
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        self.store.documents(view, keys).await
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        match query {
            DocumentQuery::TopByField { field, limit } if self.defect == Defect::SortsNumbersAsText => {
                let all = DocumentQuery::ByKey { after: None, limit: es_core::limits::MAX_DOCUMENTS_PER_READ };
                let mut documents = self.store.list_documents(view, &all).await?;
                let text_in = |document: &Document| -> Option<String> {
                    let body: serde_json::Value = serde_json::from_str(document.body.as_str()).ok()?;
                    Some(body.get(field)?.to_string())
                };
                documents.sort_by_key(|document| std::cmp::Reverse(text_in(document)));
                documents.truncate(*limit);
                Ok(documents)
            }
            DocumentQuery::ByKey { after, limit } if self.defect == Defect::ListsKeysWithoutRegardToCase => {
                let all = DocumentQuery::ByKey { after: None, limit: es_core::limits::MAX_DOCUMENTS_PER_READ };
                let mut documents = self.store.list_documents(view, &all).await?;
                let place_of = |key: &str| (key.to_lowercase(), key.to_owned());
                documents.sort_by_key(|document| place_of(&document.key));
                let after = after.as_deref().map(place_of);
                documents.retain(|document| Some(place_of(&document.key)) > after);
                documents.truncate(*limit);
                Ok(documents)
            }
            _ => self.store.list_documents(view, query).await,
        }
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        let advance = &self.parked(advance).await?;
        let Advance { consumer: view, from, to, .. } = advance;
        let (from, to) = (*from, *to);
        let actual = self.position_of(view).await?;
        match self.defect {
            Defect::SavesThoughTheLogWentBack => {
                self.store.save_documents(&advance.clone().having_seen(None), changes).await
            }
            Defect::SavesWithoutComparing => self.store.save_documents(&Advance::new(view, actual, to), changes).await,
            Defect::MovesTheCheckpointAfterTheDocuments if actual == from => {
                self.store.save_documents(&Advance::new(view, from, from), changes).await?;
                for _ in 0..Self::MOMENT_YIELDS {
                    yield_now().await;
                }
                self.store.move_checkpoint(&Advance::new(view, from, to)).await
            }
            Defect::SavesThoughRefused if actual != from => {
                self.store.save_documents(&Advance::new(view, actual, actual), changes).await?;
                self.store.move_checkpoint(&Advance::new(view, from, to)).await
            }
            _ => self.store.save_documents(advance, changes).await,
        }
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        let parked = self.all_parked(view).await?;
        self.store.clear_view(view).await?;
        self.keep_parked(view, parked).await
    }
}

#[async_trait]
impl GenerationStore for BrokenStore {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        self.store.generations(consumer).await
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        self.store.live_generation(consumer, definition).await
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        self.store.claim_build(claim).await
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        self.store.release_build(generation, by).await
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        self.store.make_live(generation, direction).await
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        self.store.drop_generation(generation).await
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        self.store.open_snapshot(generation).await
    }
}

#[async_trait]
impl LeaseStore for BrokenStore {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        match self.store.claim_lease(consumer, owner, time).await? {
            Leased::Taken(holder) if self.defect == Defect::GivesEveryoneTheLease => {
                self.store.claim_lease(consumer, &holder.owner, time).await
            }
            leased => Ok(leased),
        }
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        self.store.seize_lease(consumer, owner, time).await
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        self.store.release_lease(consumer, lease).await
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        self.store.heartbeat(member, consumers, time).await
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
        self.store.deregister(member).await
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        self.store.leases().await
    }
}

#[async_trait]
impl PartitionStore for BrokenStore {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        Ok(self.as_known(self.store.partitions(generation).await?))
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.store.start_partitions(generation, count, at).await
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        Ok(self.as_known(self.store.repartition(generation, count).await?))
    }
}

#[async_trait]
impl ProjectionStore for BrokenStore {
    type Connection = MemoryTables;

    async fn prepare_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        self.store.prepare_projection(projection).await
    }

    async fn apply_page(
        &self,
        projection: &dyn PageProjection<MemoryTables>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        let advance = &self.parked(advance).await?;
        let (from, to, name) = (advance.from, advance.to, projection.name());
        let actual = self.position_of(name).await?;
        match self.defect {
            Defect::AppliesTwice => self.store.apply_page(projection, &Advance::new(name, actual, to), events).await,
            Defect::AppliesEventByEvent if actual == from => {
                let mut from = from;
                for event in events {
                    let one = Advance::new(name, from, event.position());
                    self.store.apply_page(projection, &one, std::slice::from_ref(event)).await?;
                    from = event.position();
                }
                self.store.apply_page(projection, &Advance::new(name, from, to), &[]).await
            }
            Defect::MovesTheCheckpointAfterThePage if actual == from => {
                self.store.apply_page(projection, &Advance::new(name, actual, actual), events).await?;
                for _ in 0..Self::MOMENT_YIELDS {
                    yield_now().await;
                }
                Ok(self.store.move_checkpoint(advance).await?)
            }
            _ => self.store.apply_page(projection, advance, events).await,
        }
    }

    async fn finish_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        self.store.finish_projection(projection).await
    }

    async fn clear_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        let before = self.position_of(projection.name()).await?;
        let parked = self.all_parked(projection.name()).await?;
        self.store.clear_projection(projection).await?;
        self.keep_parked(projection.name(), parked).await?;
        if self.defect == Defect::ClearsRowsAlone {
            self.store.move_checkpoint(&Advance::new(projection.name(), Position::ZERO, before)).await?;
        }
        Ok(())
    }
}
