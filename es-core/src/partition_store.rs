//! What a store does for consumers that run as several partitions.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    consumer_name::ConsumerName, consumer_store::ConsumerStore, error::StoreError, partition::PartitionCheckpoint,
    position::Position,
};

/// The checkpoints of the partitions of a consumer. Object-safe, as [`ConsumerStore`].
///
/// A generation runs unpartitioned, with a checkpoint of its name, or as several partitions, each with a checkpoint
/// under a name of its own: never as both. An [`Advance`](crate::Advance) of a partition moves its own checkpoint. One
/// in a partition epoch that is over gets [`StoreError::StaleGeneration`], also from a process that has not begun yet.
/// All partitions move back together, by a reset or an override
/// ([`ControlStore::override_checkpoint`](crate::ControlStore::override_checkpoint)), and their slot offsets are taken
/// back too.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait PartitionStore: ConsumerStore {
    /// The checkpoints of a generation, by partition: one of its own name if it is unpartitioned, none if it never
    /// started.
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError>;

    /// Gives a generation a number of partitions at a position, unless it has been started; gives what it has then, which may be
    /// another number of them.
    ///
    /// # Errors
    /// [`StoreError::StaleGeneration`] for a generation that was live and is not any more, and those of
    /// [`Partition::new`](crate::Partition::new).
    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError>;

    /// Changes the number of partitions of a generation: no event is lost or repeated, whatever their positions. Gives the new ones.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if it never started, [`StoreError::StaleGeneration`] as above, and those of
    /// [`Partition::new`](crate::Partition::new); nothing was changed.
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
