//! The slice of the log that belongs to one partition.

use es_core::{Bookmark, EventKey, Partition, PartitionCheckpoint, Position, SlotOffsets, slot_of};

/// The events that are a partition's own: those of its keys that have not taken effect before it came by them.
#[derive(Debug, Clone)]
pub(crate) struct PartitionSlice {
    partition: Partition,
    slot_offsets: SlotOffsets,
    /// The furthest place that it rests on, if there are slot offsets.
    rests_on: Option<Bookmark>,
}

impl PartitionSlice {
    /// Everything.
    pub(crate) fn everything() -> Self {
        Self { partition: Partition::UNPARTITIONED, slot_offsets: SlotOffsets::default(), rests_on: None }
    }

    pub(crate) fn of(reached: &PartitionCheckpoint) -> Self {
        let rests_on = (!reached.slot_offsets.is_empty()).then(|| reached.furthest_bookmark());
        Self { partition: reached.partition(), slot_offsets: reached.slot_offsets.clone(), rests_on }
    }

    /// The furthest place in the log that it rests on, if that is beyond the checkpoint.
    pub(crate) fn rests_on(&self) -> Option<Bookmark> {
        self.rests_on
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.partition == Partition::UNPARTITIONED && self.slot_offsets.is_empty()
    }

    /// Whether every event after a position is own.
    pub(crate) fn is_everything_after(&self, after: Position) -> bool {
        self.partition == Partition::UNPARTITIONED && self.slot_offsets.next_end(after).is_none()
    }

    /// The end of the longest page after a position in which of each key either all events are own or none is.
    pub(crate) fn end_after(&self, after: Position) -> Position {
        self.slot_offsets.next_end(after).unwrap_or(Position::new(u64::MAX))
    }

    /// Whether the events of a key are own, in a page that ends at `end` and is no longer than
    /// [`end_after`](Self::end_after) says.
    pub(crate) fn owns(&self, key: &EventKey, end: Position) -> bool {
        let slot = slot_of(&key.to_string());
        self.partition.contains(slot) && !self.slot_offsets.covers(slot, end)
    }

    /// Whether a key is the partition's, whatever has taken effect of it.
    pub(crate) fn has_key(&self, key: &EventKey) -> bool {
        self.partition.contains(slot_of(&key.to_string()))
    }
}
