//! Partitions of a consumer: which events belong to which partition, and how the work is redistributed.

use std::{fmt, ops::Range};

use uuid::Uuid;

use crate::{
    bookmark::Bookmark, consumer_name::ConsumerName, control_store::CheckpointOverride, error::StoreError, hash::fnv1a,
    limits, position::Position,
};

/// One of the groups of keys that move between partitions as a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// Returns the number, which is less than [`limits::PARTITION_SLOTS`].
    pub fn get(self) -> u16 {
        self.0
    }

    /// Returns all slots, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..limits::PARTITION_SLOTS).map(Self)
    }
}

/// Returns the slot of a key. It is the same in every version and on every platform, because checkpoints depend on it.
///
/// ```
/// assert_eq!(es_core::slot_of("account/ann").get(), 301);
/// ```
pub fn slot_of(key: &str) -> Slot {
    // The highest bits hardly depend on the last bytes of the key, so they are mixed (the last step of MurmurHash3).
    let mut hash = fnv1a(key);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    // The value is less than the number of slots, so no bit is lost.
    Slot((hash % u64::from(limits::PARTITION_SLOTS)) as u16)
}

/// One of the partitions of a consumer. It processes every event whose key is in its slots.
///
/// ```
/// use es_core::{Partition, slot_of};
///
/// let all = Partition::all(8)?;
/// let owner = all.iter().find(|partition| partition.contains(slot_of("account/ann")));
/// assert_eq!(owner.map(ToString::to_string).as_deref(), Some("2of8"));
/// # Ok::<(), es_core::StoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    index: u16,
    count: u16,
}

impl Partition {
    /// The only partition of an unpartitioned consumer.
    pub const UNPARTITIONED: Self = Self { index: 0, count: 1 };

    /// Creates the partition with an index, starting at 0, of a number of partitions.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PARTITIONS`], and [`StoreError::Refused`] for a count
    /// of 0 or an index that is not less than the count.
    pub fn new(index: u16, count: u16) -> Result<Self, StoreError> {
        if count > limits::MAX_PARTITIONS {
            return Err(StoreError::LimitExceeded {
                what: "partitions of one consumer",
                limit: limits::MAX_PARTITIONS.into(),
                actual: count.into(),
            });
        }
        if count == 0 {
            return Err(StoreError::Refused { reason: "a consumer has at least one partition" });
        }
        if index >= count {
            return Err(StoreError::Refused { reason: "the index of a partition is below their number" });
        }
        Ok(Self { index, count })
    }

    /// Returns all partitions of a consumer with this number of them.
    ///
    /// # Errors
    /// Returns the errors of [`new`](Self::new).
    pub fn all(count: u16) -> Result<Vec<Self>, StoreError> {
        Self::new(0, count)?;
        (0..count).map(|index| Self::new(index, count)).collect()
    }

    /// Parses the text that `Display` writes, such as `3of8`.
    pub fn parse(text: &str) -> Option<Self> {
        let (index, count) = text.split_once("of")?;
        let partition = Self::new(index.parse().ok()?, count.parse().ok()?).ok()?;
        (partition.to_string() == text).then_some(partition)
    }

    /// Returns the index, starting at 0.
    pub fn index(self) -> u16 {
        self.index
    }

    /// Returns the number of partitions.
    pub fn count(self) -> u16 {
        self.count
    }

    /// Returns whether a slot belongs to this partition.
    pub fn contains(self, slot: Slot) -> bool {
        self.slots().contains(&slot.0)
    }

    fn slots(self) -> Range<u16> {
        let slots = u32::from(limits::PARTITION_SLOTS);
        // The value is at most the number of slots, so no bit is lost.
        let begin = |index: u16| (u32::from(index) * slots / u32::from(self.count)) as u16;
        begin(self.index)..begin(self.index + 1)
    }
}

/// Serialized as text, such as `3of8`.
impl serde::Serialize for Partition {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}of{}", self.index, self.count)
    }
}

/// The slots of a partition that are ahead of its checkpoint, and the positions up to which they are. Another partition
/// had processed these slots further before they moved to this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SlotOffsets {
    /// Ordered, without overlap. Adjacent ranges have different positions. There are therefore at most as many ranges
    /// as slots.
    ranges: Vec<(Range<u16>, Position)>,
}

impl SlotOffsets {
    /// Returns whether an event of a slot at a position has already taken effect.
    pub fn covers(&self, slot: Slot, position: Position) -> bool {
        self.position_of(slot).is_some_and(|to| position <= to)
    }

    /// Returns the position up to which the events of a slot have already taken effect, if the slot is ahead.
    pub fn position_of(&self, slot: Slot) -> Option<Position> {
        let after = self.ranges.partition_point(|(slots, _)| slots.start <= slot.0);
        let (slots, position) = self.ranges.get(after.checked_sub(1)?)?;
        slots.contains(&slot.0).then_some(*position)
    }

    /// Returns whether no slot is ahead.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Returns the furthest position of any slot. No event after it is covered.
    pub fn end(&self) -> Position {
        self.ranges.iter().map(|(_, position)| *position).max().unwrap_or_default()
    }

    /// Returns the next position after `after` at which a slot is no longer ahead. Up to there, the same slots are
    /// covered.
    pub fn next_end(&self, after: Position) -> Option<Position> {
        self.ranges.iter().map(|(_, position)| *position).filter(|position| *position > after).min()
    }

    /// Parses the text that `Display` writes; an empty text means that no slot is ahead.
    pub fn parse(text: &str) -> Option<Self> {
        let mut slot_offsets = Self::default();
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (slots, position) = range.split_once(':')?;
            let (start, end) = slots.split_once('-')?;
            let (start, end, position) = (start.parse().ok()?, end.parse().ok()?, position.parse().ok()?);
            let is_later = slot_offsets.ranges.last().is_none_or(|(last, _)| last.end <= start);
            if !is_later || start >= end || end > limits::PARTITION_SLOTS {
                return None;
            }
            slot_offsets.ranges.push((start..end, Position::new(position)));
        }
        Some(slot_offsets)
    }

    /// Returns the offsets as if nothing after a position had taken effect.
    fn up_to(&self, position: Position) -> Self {
        let mut slot_offsets = Self::default();
        for (slots, reached) in &self.ranges {
            slots.clone().for_each(|slot| slot_offsets.push(Slot(slot), (*reached).min(position)));
        }
        slot_offsets
    }

    /// Adds a slot. It must come after all slots that were added before.
    fn push(&mut self, slot: Slot, position: Position) {
        match self.ranges.last_mut() {
            Some((slots, at)) if slots.end == slot.0 && *at == position => slots.end += 1,
            _ => self.ranges.push((slot.0..slot.0 + 1, position)),
        }
    }
}

/// Writes the text that stores keep, such as `0-256:1200,300-301:1500`. The ends are exclusive.
impl fmt::Display for SlotOffsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (slots, position)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}-{}:{}", slots.start, slots.end, position.get())?;
        }
        Ok(())
    }
}

/// How far a partition has processed the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionCheckpoint {
    /// The name of the partition, or of the unpartitioned consumer.
    pub consumer: ConsumerName,
    /// The position up to which every event of the partition's slots has taken effect.
    pub position: Position,
    /// The ID of the event at the position, if the store knows it.
    pub event_id: Option<Uuid>,
    /// The ID of the event at the end of the [`slot_offsets`](Self::slot_offsets), if the store knows it.
    pub slot_offsets_event_id: Option<Uuid>,
    /// The slots whose events beyond the position have already taken effect. The owner of the partition skips these
    /// events.
    pub slot_offsets: SlotOffsets,
    /// A number that increases whenever the partition receives slots from other partitions, or its
    /// [`slot_offsets`](Self::slot_offsets) are moved back. A process that moves the checkpoint passes the epoch that
    /// it assumes ([`Advance::in_partition_epoch`](crate::Advance::in_partition_epoch)). A position alone could not
    /// distinguish a partition from one of the same name that existed before the partitions were changed twice.
    pub partition_epoch: u64,
}

impl PartitionCheckpoint {
    /// Creates a checkpoint without slot offsets, in the first partition epoch.
    pub fn new(consumer: ConsumerName, position: Position) -> Self {
        Self {
            consumer,
            position,
            event_id: None,
            slot_offsets_event_id: None,
            slot_offsets: SlotOffsets::default(),
            partition_epoch: 0,
        }
    }

    /// Returns the checkpoint with the IDs of the events at its position and at the end of its slot offsets.
    #[must_use]
    pub fn at_events(mut self, event_id: Option<Uuid>, slot_offsets_event_id: Option<Uuid>) -> Self {
        (self.event_id, self.slot_offsets_event_id) = (event_id, slot_offsets_event_id);
        self
    }

    /// Returns the checkpoint's place in the log.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark::from_parts(self.position, self.event_id)
    }

    /// Returns the event that proves the checkpoint, if it is known. If a log contains this event, it contains every
    /// event that has taken effect.
    pub fn witness(&self) -> Option<Bookmark> {
        Some(self.furthest_bookmark()).filter(|furthest| furthest.event_id().is_some())
    }

    /// Returns the furthest place in the log up to which an event has taken effect.
    pub fn furthest_bookmark(&self) -> Bookmark {
        match self.slot_offsets.end() {
            end if end > self.position => Bookmark::from_parts(end, self.slot_offsets_event_id),
            _ => self.bookmark(),
        }
    }

    /// Returns the checkpoint with slot offsets, in a partition epoch.
    #[must_use]
    pub fn with(mut self, slot_offsets: SlotOffsets, partition_epoch: u64) -> Self {
        (self.slot_offsets, self.partition_epoch) = (slot_offsets, partition_epoch);
        self
    }

    /// Returns the partition.
    pub fn partition(&self) -> Partition {
        self.consumer.partition().unwrap_or(Partition::UNPARTITIONED)
    }

    /// Returns the position up to which the events of one of the partition's slots have taken effect.
    pub fn position_of(&self, slot: Slot) -> Position {
        self.slot_offsets.position_of(slot).map_or(self.position, |slot_offsets| slot_offsets.max(self.position))
    }

    /// Returns the position up to which at least one event could have taken effect.
    pub fn furthest(&self) -> Position {
        self.slot_offsets.end().max(self.position)
    }
}

/// Returns the checkpoints after the slots have been redistributed over another number of partitions. Each event that
/// has taken effect is before a checkpoint or covered by its slot offsets, and no other event is. If the number is the
/// same, the checkpoints do not change.
///
/// # Errors
/// Returns the errors of [`Partition::new`].
pub fn redistributed(
    old: &[PartitionCheckpoint],
    generation: &ConsumerName,
    count: u16,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let partitions = Partition::all(count)?;
    if old.len() == partitions.len() {
        return Ok(old.to_vec());
    }
    let partition_epoch = old.iter().map(|old| old.partition_epoch).max().map_or(0, |newest| newest + 1);
    let mut reached = vec![Position::ZERO; limits::PARTITION_SLOTS.into()];
    for old in old {
        for slot in old.partition().slots() {
            reached[usize::from(slot)] = old.position_of(Slot(slot));
        }
    }
    let begin = |partition: Partition| {
        let own = || partition.slots().map(|slot| (Slot(slot), reached[usize::from(slot)]));
        let position = own().map(|(_, position)| position).min().unwrap_or_default();
        let mut slot_offsets = SlotOffsets::default();
        own().filter(|(_, reached)| *reached > position).for_each(|(slot, reached)| slot_offsets.push(slot, reached));
        PartitionCheckpoint::new(generation.in_partition(partition), position).with(slot_offsets, partition_epoch)
    };
    Ok(partitions.into_iter().map(begin).collect())
}

/// Returns all checkpoints of a generation after an override, given those before it. A reset moves no slot forward, and
/// a skip moves no slot back. Also returns where the consumer was: for a skip the lowest position of its partitions,
/// and for a reset the furthest one. It is `None` if the consumer has never started.
pub fn overridden_partitions(
    all: &[PartitionCheckpoint],
    checkpoint_override: CheckpointOverride,
) -> (Option<Position>, Vec<PartitionCheckpoint>) {
    let to = checkpoint_override.to();
    if matches!(checkpoint_override, CheckpointOverride::Skip(_)) {
        let forwards =
            |was: &PartitionCheckpoint| PartitionCheckpoint { position: was.position.max(to), ..was.clone() };
        return (all.iter().map(|was| was.position).min(), all.iter().map(forwards).collect());
    }
    let back = |was: &PartitionCheckpoint| {
        let position = was.position.min(to);
        let slot_offsets = if position == to { SlotOffsets::default() } else { was.slot_offsets.up_to(to) };
        let partition_epoch = was.partition_epoch + u64::from(slot_offsets != was.slot_offsets);
        PartitionCheckpoint { position, ..was.clone() }.with(slot_offsets, partition_epoch)
    };
    (all.iter().map(PartitionCheckpoint::furthest).max(), all.iter().map(back).collect())
}

/// Returns the position that all checkpoints of a generation share, or the start if there are no checkpoints.
///
/// # Errors
/// Returns [`StoreError::Busy`] if they are at different positions, or have slot offsets.
pub fn position_of_all(all: &[PartitionCheckpoint]) -> Result<Position, StoreError> {
    let Some(first) = all.first() else { return Ok(Position::ZERO) };
    if all.iter().all(|reached| (reached.position, reached.furthest()) == (first.position, first.position)) {
        return Ok(first.position);
    }
    let waiting_for = format!("all partitions of {} at one position", first.consumer.unpartitioned());
    Err(StoreError::Busy { waiting_for, source: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_a_key_never_changes() {
        for (key, slot) in
            [("", 294), ("account/ann", 301), ("account/bob", 340), ("acme@account/a/b", 910), ("ü", 289)]
        {
            assert_eq!(slot_of(key).get(), slot, "{key}");
        }
    }

    #[test]
    fn keys_that_differ_little_are_spread_evenly() {
        for count in [2, 3, 7, 64] {
            let all = Partition::all(count).unwrap();
            let mut keys = vec![0_u32; count.into()];
            for number in 0..64_000 {
                let slot = slot_of(&format!("account/{number}"));
                let owners: Vec<_> = all.iter().filter(|partition| partition.contains(slot)).collect();
                assert_eq!(owners.len(), 1);
                keys[usize::from(owners[0].index())] += 1;
            }
            let fair = 64_000 / u32::from(count);
            assert!(keys.iter().all(|keys| keys.abs_diff(fair) < fair / 4), "{count}: {keys:?}");
        }
    }

    #[test]
    fn every_slot_belongs_to_one_partition_whatever_their_number() {
        for count in 1..=limits::MAX_PARTITIONS {
            let ends: Vec<_> = Partition::all(count).unwrap().into_iter().map(Partition::slots).collect();
            assert_eq!((ends[0].start, ends[ends.len() - 1].end), (0, limits::PARTITION_SLOTS));
            assert!(ends.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }

    #[test]
    fn a_partition_that_cannot_be_is_refused() {
        assert!(matches!(Partition::new(0, 0), Err(StoreError::Refused { .. })));
        assert!(matches!(Partition::new(8, 8), Err(StoreError::Refused { .. })));
        assert!(matches!(Partition::new(0, 65), Err(StoreError::LimitExceeded { limit: 64, actual: 65, .. })));
        assert!(matches!(Partition::all(u16::MAX), Err(StoreError::LimitExceeded { .. })));
        assert_eq!(Partition::new(63, 64).unwrap().to_string(), "63of64");
    }

    #[test]
    fn slot_offsets_are_read_back_and_nothing_else_is() {
        let text = "0-256:1200,256-257:1300,300-1024:1200";
        let slot_offsets = SlotOffsets::parse(text).unwrap();
        assert_eq!((slot_offsets.to_string().as_str(), slot_offsets.end()), (text, Position::new(1_300)));
        for (slot, position) in
            [(0, Some(1_200)), (255, Some(1_200)), (256, Some(1_300)), (257, None), (299, None), (300, Some(1_200))]
        {
            assert_eq!(slot_offsets.position_of(Slot(slot)), position.map(Position::new), "{slot}");
        }
        assert!(
            slot_offsets.covers(Slot(1_023), Position::new(1_200))
                && !slot_offsets.covers(Slot(1_023), Position::new(1_201))
        );
        assert_eq!(SlotOffsets::parse(""), Some(SlotOffsets::default()));
        for text in [",", "0-1", "1-1:5", "2-1:5", "0-1025:5", "0-2:5,1-3:5", "3-4:5,0-1:5", "0-1:x"] {
            assert_eq!(SlotOffsets::parse(text), None, "{text}");
        }
    }
}
