//! Every call of a store, through [`FaultyStore::call`].

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Advance, Append, Appended, Bookmark, BuildClaim, Checkpoint, Claimed, CommandQueue, ConsumerName, ConsumerStore,
    Direction, Document, DocumentChange, DocumentQuery, EventFilter, EventPage, EventStore, GenerationInfo,
    GenerationStore, IdempotencyKey, Lease, LeaseHolder, LeaseStore, Leased, Membership, PageProjection, PageSize,
    PartitionCheckpoint, PartitionStore, Position, ProjectionError, ProjectionStore, ReadModelDefinition,
    ReadModelSnapshot, RecordedEvent, Snapshot, SnapshotStore, StoreError, StreamId, StreamPage, Swapped, Version,
    Wakeups,
};

use super::{FaultyStore, Operation};

#[async_trait]
impl<S: EventStore> EventStore for FaultyStore<S> {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.call(Operation::Append, self.store.append(append)).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.call(Operation::Read, self.store.find_append(key)).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.call(Operation::Read, self.store.read_stream(stream, after, page)).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.call(Operation::Read, self.store.read_all(after, filter, page)).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.call(Operation::Read, self.store.head()).await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        self.call(Operation::Read, self.store.verify(seen)).await
    }

    fn forget_recent(&self) {
        self.store.forget_recent();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.call(Operation::Read, self.store.wait_durable(position)).await
    }

    fn wakeups(&self) -> Wakeups {
        self.store.wakeups()
    }

    fn command_queue(&self) -> CommandQueue {
        self.store.command_queue()
    }
}

#[async_trait]
impl<S: SnapshotStore> SnapshotStore for FaultyStore<S> {
    async fn load_snapshot(&self, stream: &StreamId, aggregate: &str) -> Result<Option<Snapshot>, StoreError> {
        self.call(Operation::Snapshot, self.store.load_snapshot(stream, aggregate)).await
    }

    async fn save_snapshot(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.call(Operation::Snapshot, self.store.save_snapshot(snapshot)).await
    }
}

#[async_trait]
impl<S: ConsumerStore> ConsumerStore for FaultyStore<S> {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        self.call(Operation::Consumer, self.store.checkpoint(consumer)).await
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        self.call(Operation::Consumer, self.store.checkpoints()).await
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        self.call(Operation::Consumer, self.store.start_checkpoint(consumer, at)).await
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        self.call(Operation::Consumer, self.store.move_checkpoint(advance)).await
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.call(Operation::Consumer, self.store.prepare_view(view)).await
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        self.call(Operation::Consumer, self.store.documents(view, keys)).await
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        self.call(Operation::Consumer, self.store.list_documents(view, query)).await
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.call(Operation::Consumer, self.store.save_documents(advance, changes)).await
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.call(Operation::Consumer, self.store.clear_view(view)).await
    }
}

#[async_trait]
impl<S: GenerationStore> GenerationStore for FaultyStore<S> {
    async fn generations(&self, consumer: &ConsumerName) -> Result<Vec<GenerationInfo>, StoreError> {
        self.call(Operation::Generation, self.store.generations(consumer)).await
    }

    async fn live_generation(
        &self,
        consumer: &ConsumerName,
        definition: &ReadModelDefinition,
    ) -> Result<GenerationInfo, StoreError> {
        self.call(Operation::Generation, self.store.live_generation(consumer, definition)).await
    }

    async fn claim_build(&self, claim: &BuildClaim) -> Result<Claimed, StoreError> {
        self.call(Operation::Generation, self.store.claim_build(claim)).await
    }

    async fn release_build(&self, generation: &ConsumerName, by: &str) -> Result<(), StoreError> {
        self.call(Operation::Generation, self.store.release_build(generation, by)).await
    }

    async fn make_live(&self, generation: &ConsumerName, direction: Direction) -> Result<Swapped, StoreError> {
        self.call(Operation::Generation, self.store.make_live(generation, direction)).await
    }

    async fn drop_generation(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        self.call(Operation::Generation, self.store.drop_generation(generation)).await
    }

    async fn open_snapshot(&self, generation: &ConsumerName) -> Result<ReadModelSnapshot, StoreError> {
        self.call(Operation::Generation, self.store.open_snapshot(generation)).await
    }
}

#[async_trait]
impl<S: LeaseStore> LeaseStore for FaultyStore<S> {
    async fn claim_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Leased, StoreError> {
        self.call(Operation::Lease, self.store.claim_lease(consumer, owner, time)).await
    }

    async fn seize_lease(&self, consumer: &ConsumerName, owner: &str, time: Duration) -> Result<Lease, StoreError> {
        self.call(Operation::Lease, self.store.seize_lease(consumer, owner, time)).await
    }

    async fn release_lease(&self, consumer: &ConsumerName, lease: Lease) -> Result<(), StoreError> {
        self.call(Operation::Lease, self.store.release_lease(consumer, lease)).await
    }

    async fn heartbeat(
        &self,
        member: &str,
        consumers: &[ConsumerName],
        time: Duration,
    ) -> Result<Membership, StoreError> {
        self.call(Operation::Lease, self.store.heartbeat(member, consumers, time)).await
    }

    async fn deregister(&self, member: &str) -> Result<(), StoreError> {
        self.call(Operation::Lease, self.store.deregister(member)).await
    }

    async fn leases(&self) -> Result<Vec<(ConsumerName, LeaseHolder)>, StoreError> {
        self.call(Operation::Lease, self.store.leases()).await
    }
}

#[async_trait]
impl<S: PartitionStore> PartitionStore for FaultyStore<S> {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.call(Operation::Consumer, self.store.partitions(generation)).await
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.call(Operation::Consumer, self.store.start_partitions(generation, count, at)).await
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        self.call(Operation::Consumer, self.store.repartition(generation, count)).await
    }
}

#[async_trait]
impl<S: ProjectionStore> ProjectionStore for FaultyStore<S> {
    type Connection = S::Connection;

    async fn prepare_projection(&self, projection: &dyn PageProjection<S::Connection>) -> Result<(), ProjectionError> {
        self.call(Operation::Projection, self.store.prepare_projection(projection)).await
    }

    async fn apply_page(
        &self,
        projection: &dyn PageProjection<S::Connection>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        self.call(Operation::Projection, self.store.apply_page(projection, advance, events)).await
    }

    async fn finish_projection(&self, projection: &dyn PageProjection<S::Connection>) -> Result<(), ProjectionError> {
        self.call(Operation::Projection, self.store.finish_projection(projection)).await
    }

    async fn clear_projection(&self, projection: &dyn PageProjection<S::Connection>) -> Result<(), ProjectionError> {
        self.call(Operation::Projection, self.store.clear_projection(projection)).await
    }
}
