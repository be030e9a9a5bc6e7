//! The part of a store that keeps the partitions of consumers.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    consumer_name::ConsumerName, consumer_store::ConsumerStore, error::StoreError, partition::PartitionCheckpoint,
    position::Position,
};

/// The checkpoints of the partitions of a consumer. The trait is object-safe, like [`ConsumerStore`].
///
/// A generation runs either unpartitioned, with a checkpoint under its own name, or as several partitions, each with a
/// checkpoint under the partition's name. An [`Advance`](crate::Advance) of a partition moves the partition's own
/// checkpoint. A move in a partition epoch that is over fails with [`StoreError::StaleGeneration`], even for a process
/// that has not started yet. All partitions move back together, by a reset or an override
/// ([`ControlStore::override_checkpoint`](crate::ControlStore::override_checkpoint)), and their slot offsets move back
/// too.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait PartitionStore: ConsumerStore {
    /// Returns the checkpoints of a generation, ordered by partition. An unpartitioned generation has one, under its
    /// own name. A generation that has never started has none.
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError>;

    /// Starts a generation with a number of partitions at a position, unless it has been started. Returns the
    /// checkpoints that it has then, possibly of another number of partitions.
    ///
    /// # Errors
    /// Returns [`StoreError::StaleGeneration`] for a generation that is no longer live, and the errors of
    /// [`Partition::new`](crate::Partition::new).
    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError>;

    /// Changes the number of partitions of a generation. No event is lost or repeated, whatever the positions of the
    /// partitions are. Returns the new checkpoints.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if the generation has never started, [`StoreError::StaleGeneration`] for a
    /// generation that is no longer live, and the errors of [`Partition::new`](crate::Partition::new). In all cases
    /// nothing was changed.
    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError>;
}

#[async_trait]
impl<S: PartitionStore + ?Sized> PartitionStore for Arc<S> {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        (**self).partitions(generation).await
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        (**self).start_partitions(generation, count, at).await
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        (**self).repartition(generation, count).await
    }
}
