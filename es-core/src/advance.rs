//! The move of a checkpoint.

use crate::{
    bookmark::Bookmark, consumer_name::ConsumerName, error::StoreError, lease_store::Lease, parking::Parking,
    position::Position,
};

/// The move of a consumer's checkpoint, by compare-and-set: of two runners with the same move one makes it.
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
    /// Whose checkpoint.
    pub consumer: ConsumerName,
    /// Where it must be. A consumer that never started is at [`Position::ZERO`].
    pub from: Position,
    /// Where it goes: forwards, back, or nowhere.
    pub to: Position,
    /// The lease under which it moves. A store refuses the move once somebody else has had the lease; without one, it only
    /// compares positions.
    pub lease: Option<Lease>,
    /// What becomes of parked events with it, in the same transaction. A move back takes those after `to` out of the queue,
    /// since they come again.
    pub parking: Parking,
    /// The partition epoch in which the mover believes; see
    /// [`PartitionCheckpoint::partition_epoch`](crate::PartitionCheckpoint::partition_epoch). A store refuses the move
    /// in any other.
    pub partition_epoch: u64,
    /// An event at `to` or after it, of the log that the mover has read. A store refuses the move with
    /// [`StoreError::LogWentBack`] unless its log holds exactly that event: what was applied may be gone. Without one, the
    /// mover has read nothing.
    pub seen: Option<Bookmark>,
}

impl Advance {
    /// A move without a lease, of a checkpoint whose partitions were never changed.
    pub fn new(consumer: &ConsumerName, from: Position, to: Position) -> Self {
        let parking = Parking::default();
        Self { consumer: consumer.clone(), from, to, lease: None, partition_epoch: 0, parking, seen: None }
    }

    /// The same move under a lease, if there is one.
    #[must_use]
    pub fn under(mut self, lease: Option<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// The same move with changes to parked events.
    #[must_use]
    pub fn with_parking(mut self, parking: Parking) -> Self {
        self.parking = parking;
        self
    }

    /// The same move by a mover that has seen an event of the log, at `to` or after it.
    #[must_use]
    pub fn having_seen(mut self, seen: Option<Bookmark>) -> Self {
        self.seen = seen.filter(|seen| seen.is_verifiable());
        self
    }

    /// Whether it changes what is parked, or may do so.
    pub fn changes_parking(&self) -> bool {
        self.to < self.from || !self.parking.is_empty()
    }

    /// Whose queue of parked events it is: the generation's, with all its partitions.
    pub fn queue(&self) -> ConsumerName {
        self.consumer.unpartitioned()
    }

    /// Checks the move by itself. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a partition that moves back: the others would keep what it has taken back, and the queue of parked
    /// events is everybody's.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.to < self.from && self.consumer.partition().is_some() {
            return Err(StoreError::Refused {
                reason: "the partitions of a consumer move back together; reset the consumer",
            });
        }
        Ok(())
    }

    /// The same move in a partition epoch.
    #[must_use]
    pub fn in_partition_epoch(mut self, partition_epoch: u64) -> Self {
        self.partition_epoch = partition_epoch;
        self
    }
}
