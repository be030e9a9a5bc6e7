//! Checkpoints of partitions and unpartitioned consumers, in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Consumers, Log, MemoryStore, lock};
use crate::{
    advance::Advance,
    consumer_name::ConsumerName,
    consumer_store::Checkpoint,
    error::StoreError,
    generation_store::GenerationState,
    partition::{Partition, PartitionCheckpoint, SlotOffsets, redistributed},
    partition_store::PartitionStore,
    position::Position,
    timestamp::to_stored_precision,
};

/// How far a partition has processed the log, and when the checkpoint moved.
#[derive(Debug)]
pub(super) struct Kept {
    reached: PartitionCheckpoint,
    updated_at: OffsetDateTime,
}

impl Kept {
    fn new(reached: PartitionCheckpoint) -> Self {
        Self { reached, updated_at: to_stored_precision(OffsetDateTime::now_utc()) }
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let PartitionCheckpoint { consumer, position, event_id, .. } = &self.reached;
        Checkpoint::new(consumer.clone(), *position, self.updated_at).at_event(*event_id)
    }

    /// Moves the checkpoint. A checkpoint that moves back keeps no slot offsets.
    fn set(&mut self, log: &Log, position: Position, keeps_slot_offsets: bool) {
        let mut reached = PartitionCheckpoint { position, event_id: log.id_at(position), ..self.reached.clone() };
        if !keeps_slot_offsets {
            let partition_epoch = reached.partition_epoch + u64::from(!reached.slot_offsets.is_empty());
            reached = reached.with(SlotOffsets::default(), partition_epoch);
        }
        *self = Self::new(reached);
    }
}

impl Consumers {
    pub(super) fn check_not_retired(&self, consumer: &ConsumerName) -> Result<(), StoreError> {
        match self.generations.get(&consumer.unpartitioned()).map(|known| known.state) {
            Some(GenerationState::Retired) => Err(StoreError::StaleGeneration { generation: consumer.clone() }),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self, log: &Log, advance: &Advance) -> Result<(), StoreError> {
        let Advance { consumer, from: expected, .. } = advance;
        advance.check()?;
        advance.seen.map_or(Ok(()), |seen| log.check(seen))?;
        self.check_not_retired(consumer)?;
        self.leases.check(advance)?;
        let (actual, partition_epoch) = match self.checkpoints.get(consumer) {
            Some(kept) => (kept.reached.position, kept.reached.partition_epoch),
            None => {
                self.check_can_start(consumer)?;
                (Position::ZERO, 0)
            }
        };
        if partition_epoch != advance.partition_epoch {
            return Err(StoreError::StaleGeneration { generation: consumer.clone() });
        }
        if actual != *expected {
            return Err(StoreError::CheckpointMoved { consumer: consumer.clone(), expected: *expected, actual });
        }
        self.parked.check(&advance.queue(), &advance.parking)
    }

    pub(super) fn advance(&mut self, log: &Log, advance: &Advance) -> Result<(), StoreError> {
        self.check(log, advance)?;
        if advance.to < advance.from {
            self.parked.forget_after(&advance.queue(), advance.to);
        }
        self.parked.apply(log, &advance.queue(), &advance.parking);
        match self.checkpoints.get_mut(&advance.consumer) {
            Some(kept) => kept.set(log, advance.to, advance.to >= advance.from),
            None => self.keep(log, PartitionCheckpoint::new(advance.consumer.clone(), advance.to)),
        }
        Ok(())
    }

    pub(super) fn start(&mut self, log: &Log, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        if !self.checkpoints.contains_key(consumer) {
            self.check_can_start(consumer)?;
            self.keep(log, PartitionCheckpoint::new(consumer.clone(), at));
        }
        self.checkpoints.get(consumer).map(Kept::checkpoint).ok_or(NOT_STARTED)
    }

    /// Moves all partitions of a generation to the beginning.
    pub(super) fn reset(&mut self, log: &Log, generation: &ConsumerName) -> Result<(), StoreError> {
        self.check_not_retired(generation)?;
        let generation = generation.unpartitioned();
        self.parked.forget_after(&generation, Position::ZERO);
        let of_generation = |kept: &&mut Kept| kept.reached.consumer.unpartitioned() == generation;
        let mut is_known = false;
        for kept in self.checkpoints.values_mut().filter(of_generation) {
            kept.set(log, Position::ZERO, false);
            is_known = true;
        }
        if !is_known {
            self.keep(log, PartitionCheckpoint::new(generation, Position::ZERO));
        }
        Ok(())
    }

    /// Returns all checkpoints of a generation, ordered by partition.
    pub(super) fn partitions_of(&self, generation: &ConsumerName) -> Vec<PartitionCheckpoint> {
        let generation = generation.unpartitioned();
        let reached = self.checkpoints.values().map(|kept| &kept.reached);
        let mut own: Vec<_> =
            reached.filter(|reached| reached.consumer.unpartitioned() == generation).cloned().collect();
        own.sort_by_key(PartitionCheckpoint::partition);
        own
    }

    /// Redistributes the slots of a generation.
    ///
    /// # Errors
    /// Returns [`StoreError::LogWentBack`] if one of its checkpoints belongs to another log, and the errors of
    /// [`redistributed`].
    pub(super) fn redistribute(
        &mut self,
        log: &Log,
        generation: &ConsumerName,
        count: u16,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        let old = self.partitions_of(generation);
        old.iter().filter_map(PartitionCheckpoint::witness).try_for_each(|seen| log.check(seen))?;
        let new = redistributed(&old, generation, count)?;
        self.replace(log, generation, &new);
        Ok(self.partitions_of(generation))
    }

    /// Replaces the checkpoints of a generation.
    pub(super) fn replace(&mut self, log: &Log, generation: &ConsumerName, new: &[PartitionCheckpoint]) {
        self.remove(generation);
        new.iter().for_each(|reached| self.keep(log, reached.clone()));
    }

    /// Removes all checkpoints of a generation.
    pub(super) fn remove(&mut self, generation: &ConsumerName) {
        let generation = generation.unpartitioned();
        self.checkpoints.retain(|consumer, _| consumer.unpartitioned() != generation);
    }

    fn keep(&mut self, log: &Log, reached: PartitionCheckpoint) {
        let (event_id, slot_offsets_event_id) = (log.id_at(reached.position), log.id_at(reached.slot_offsets.end()));
        let reached = reached.at_events(event_id, slot_offsets_event_id);
        self.checkpoints.insert(reached.consumer.clone(), Kept::new(reached));
    }

    /// Checks that a checkpoint can be started for the consumer. A partition cannot be started alone, and neither can
    /// the unpartitioned name of a consumer that has partitions.
    fn check_can_start(&self, consumer: &ConsumerName) -> Result<(), StoreError> {
        if consumer.partition().is_none() && self.partitions_of(consumer).is_empty() {
            return Ok(());
        }
        Err(StoreError::StaleGeneration { generation: consumer.clone() })
    }
}

const NOT_STARTED: StoreError =
    StoreError::Refused { reason: "the consumer has no checkpoint yet; start its partitions first" };

#[async_trait]
impl PartitionStore for MemoryStore {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        Ok(lock(&self.shared.consumers).partitions_of(generation))
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        let all = Partition::all(count)?;
        let log = lock(&self.shared.log);
        let mut consumers = lock(&self.shared.consumers);
        consumers.check_not_retired(generation)?;
        if consumers.partitions_of(generation).is_empty() {
            for partition in all {
                consumers.keep(&log, PartitionCheckpoint::new(generation.in_partition(partition), at));
            }
        }
        Ok(consumers.partitions_of(generation))
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        Partition::all(count)?;
        let log = lock(&self.shared.log);
        let mut consumers = lock(&self.shared.consumers);
        consumers.check_not_retired(generation)?;
        if consumers.partitions_of(generation).is_empty() {
            return Err(NOT_STARTED);
        }
        consumers.redistribute(&log, generation, count)
    }
}
