//! The slice of the log that belongs to one partition.

use es_core::{Bookmark, EventKey, Partition, PartitionCheckpoint, Position, SlotOffsets, slot_of};

/// The events that belong to a partition: those of its keys that did not take effect earlier in another partition.
#[derive(Debug, Clone)]
pub(crate) struct PartitionSlice {
    partition: Partition,
    slot_offsets: SlotOffsets,
    /// The furthest place that it depends on, if there are slot offsets.
    rests_on: Option<Bookmark>,
}

impl PartitionSlice {
    /// Returns the slice that contains all events.
    pub(crate) fn everything() -> Self {
        Self { partition: Partition::UNPARTITIONED, slot_offsets: SlotOffsets::default(), rests_on: None }
    }

    pub(crate) fn of(reached: &PartitionCheckpoint) -> Self {
        let rests_on = (!reached.slot_offsets.is_empty()).then(|| reached.furthest_bookmark());
        Self { partition: reached.partition(), slot_offsets: reached.slot_offsets.clone(), rests_on }
    }

    /// Returns the furthest place in the log that it depends on, if that is beyond the checkpoint.
    pub(crate) fn rests_on(&self) -> Option<Bookmark> {
        self.rests_on
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.partition == Partition::UNPARTITIONED && self.slot_offsets.is_empty()
    }

    /// Returns whether every event after a position belongs to the slice.
    pub(crate) fn is_everything_after(&self, after: Position) -> bool {
        self.partition == Partition::UNPARTITIONED && self.slot_offsets.next_end(after).is_none()
    }

    /// Returns the end of the longest page after a position in which, for each key, either all events or none belong to
    /// the slice.
    pub(crate) fn end_after(&self, after: Position) -> Position {
        self.slot_offsets.next_end(after).unwrap_or(Position::new(u64::MAX))
    }

    /// Returns whether the events of a key belong to the slice, in a page that ends at `end` and is no longer than
    /// [`end_after`](Self::end_after).
    pub(crate) fn owns(&self, key: &EventKey, end: Position) -> bool {
        let slot = slot_of(&key.to_string());
        self.partition.contains(slot) && !self.slot_offsets.covers(slot, end)
    }

    /// Returns whether a key belongs to the partition, regardless of which of its events have taken effect.
    pub(crate) fn has_key(&self, key: &EventKey) -> bool {
        self.partition.contains(slot_of(&key.to_string()))
    }
}
