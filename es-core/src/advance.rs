//! The update of a checkpoint.

use crate::{
    bookmark::Bookmark, consumer_name::ConsumerName, error::StoreError, lease_store::Lease, parking::Parking,
    position::Position,
};

/// The update of a consumer's checkpoint, by compare-and-set. If two runners attempt the same update, one succeeds.
///
/// ```
/// use es_core::{Advance, ConsumerName, Position};
/// let balance = ConsumerName::new("balance")?;
/// let advance = Advance::new(&balance, Position::new(100), Position::new(150));
/// assert_eq!(advance.lease, None);
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advance {
    /// The consumer whose checkpoint is updated.
    pub consumer: ConsumerName,
    /// The position at which the checkpoint must be. A consumer that has never started is at [`Position::ZERO`].
    pub from: Position,
    /// The new position: later, earlier, or the same.
    pub to: Position,
    /// The lease under which the checkpoint moves. A store refuses the update if another process has held the lease
    /// since. Without a lease, the store only compares positions.
    pub lease: Option<Lease>,
    /// The changes to parked events, in the same transaction. A move to an earlier position removes the events after
    /// `to` from the queue, because they are delivered again.
    pub parking: Parking,
    /// The partition epoch that the process assumes. See
    /// [`PartitionCheckpoint::partition_epoch`](crate::PartitionCheckpoint::partition_epoch). A store refuses the
    /// update in any other epoch.
    pub partition_epoch: u64,
    /// An event at `to` or later, from the log that the process has read. A store refuses the update with
    /// [`StoreError::LogWentBack`] unless its log contains exactly that event, because the applied events may be lost.
    /// Without this field, the process has read nothing.
    pub seen: Option<Bookmark>,
}

impl Advance {
    /// Creates an update without a lease, for a checkpoint whose partitions were never changed.
    pub fn new(consumer: &ConsumerName, from: Position, to: Position) -> Self {
        let parking = Parking::default();
        Self { consumer: consumer.clone(), from, to, lease: None, partition_epoch: 0, parking, seen: None }
    }

    /// Returns the update under a lease, if there is one.
    #[must_use]
    pub fn under(mut self, lease: Option<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// Returns the update with changes to parked events.
    #[must_use]
    pub fn with_parking(mut self, parking: Parking) -> Self {
        self.parking = parking;
        self
    }

    /// Returns the update by a process that has seen an event of the log, at `to` or later.
    #[must_use]
    pub fn having_seen(mut self, seen: Option<Bookmark>) -> Self {
        self.seen = seen.filter(|seen| seen.is_verifiable());
        self
    }

    /// Returns whether the update changes parked events, or may do so.
    pub fn changes_parking(&self) -> bool {
        self.to < self.from || !self.parking.is_empty()
    }

    /// Returns the consumer that owns the queue of parked events: the generation, with all of its partitions.
    pub fn queue(&self) -> ConsumerName {
        self.consumer.unpartitioned()
    }

    /// Checks the update as far as possible without the database. Stores call it.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] for a partition that moves back. The other partitions would keep their progress,
    /// and all partitions share the queue of parked events.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.to < self.from && self.consumer.partition().is_some() {
            return Err(StoreError::Refused {
                reason: "the partitions of a consumer move back together; reset the consumer",
            });
        }
        Ok(())
    }

    /// Returns the update in a partition epoch.
    #[must_use]
    pub fn in_partition_epoch(mut self, partition_epoch: u64) -> Self {
        self.partition_epoch = partition_epoch;
        self
    }
}
