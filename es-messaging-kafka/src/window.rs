//! What one partition has in memory: records in their order, from the oldest unsettled one on.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::binding::Record;

/// The records of a partition that were read and not committed.
///
/// Offsets are committed up to the first record that is not settled; what is settled behind it is remembered here alone.
#[derive(Debug, Default)]
pub(crate) struct Window {
    entries: VecDeque<Entry>,
    /// Offsets of records that were not given yet, in order.
    fresh: VecDeque<i64>,
    /// Offsets of records that are held back, and until when. Of a key that is held back, all later ones are here too.
    held: BTreeMap<i64, Instant>,
    /// What is to be committed: the offset behind the last settled one without an unsettled one before it.
    settled_to: Option<i64>,
    /// What the broker knows of that.
    pub(crate) committed: Option<i64>,
    unsettled: usize,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    /// Until it is settled: many may have to wait for one before them, and nobody needs their content any more.
    record: Option<Arc<Record>>,
    attempt: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be given.
    Waiting,
    /// Given, under this receipt.
    InHand(u64),
    Settled,
}

/// A record to be given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) offset: i64,
    pub(crate) record: Arc<Record>,
    pub(crate) attempt: u32,
}

impl Window {
    /// A record that was read, behind all others.
    pub(crate) fn push(&mut self, offset: i64, record: Record) {
        // Read once more after a reset of the position: it is here already.
        if self.entries.back().is_some_and(|last| last.offset >= offset) {
            return;
        }
        self.entries.push_back(Entry { offset, record: Some(Arc::new(record)), attempt: 0, state: State::Waiting });
        self.fresh.push_back(offset);
        self.unsettled += 1;
    }

    /// Records that are not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Records in memory, settled or not.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the next record that is held back may be given: the first of its key, since the others wait for that.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let mut keys = HashSet::new();
        let firsts = self.held.iter().filter(|(offset, _)| self.key(**offset).is_none_or(|key| keys.insert(key)));
        firsts.map(|(_, due)| *due).min()
    }

    /// At most `max` records that may be given now, in their order; none of a key behind one that is held back.
    pub(crate) fn give(&mut self, max: usize, now: Instant, mut receipt: impl FnMut() -> u64) -> Vec<Given> {
        let mut offsets = Vec::new();
        let mut blocked: HashSet<Vec<u8>> = HashSet::new();
        for (&offset, &due) in &self.held {
            if offsets.len() >= max {
                break;
            }
            let key = self.key(offset);
            if due > now || key.as_ref().is_some_and(|key| blocked.contains(key)) {
                blocked.extend(key);
            } else {
                offsets.push(offset);
            }
        }
        for offset in &offsets {
            self.held.remove(offset);
        }
        // Whatever key is still held back.
        blocked.extend(self.held.keys().filter_map(|offset| self.key(*offset)));
        while offsets.len() < max {
            let Some(offset) = self.fresh.pop_front() else { break };
            if !blocked.is_empty() && self.key(offset).is_some_and(|key| blocked.contains(&key)) {
                // Its turn comes behind the others of its key.
                self.held.insert(offset, now);
            } else {
                offsets.push(offset);
            }
        }
        offsets.sort_unstable();
        let mut given = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let Some(entry) = self.entry(offset) else { continue };
            let Some(record) = entry.record.clone() else { continue };
            entry.attempt += 1;
            entry.state = State::InHand(receipt());
            given.push(Given { offset, record, attempt: entry.attempt });
        }
        given
    }

    /// The record that is in somebody's hands under this receipt.
    pub(crate) fn in_hand(&mut self, offset: i64, receipt: u64) -> Option<Arc<Record>> {
        let entry = self.entry(offset)?;
        if entry.state == State::InHand(receipt) { entry.record.clone() } else { None }
    }

    /// It was handled. Moves what is to be committed forward, as far as there is nothing unsettled; gives what nobody needs any more.
    pub(crate) fn settle(&mut self, offset: i64) -> Option<Arc<Record>> {
        let entry = self.entry(offset)?;
        let record = entry.record.take();
        if entry.state != State::Settled {
            entry.state = State::Settled;
            self.unsettled -= 1;
        }
        while let Some(first) = self.entries.front().filter(|first| first.state == State::Settled) {
            self.settled_to = Some(first.offset + 1);
            self.entries.pop_front();
        }
        record
    }

    /// It comes again, not before `due`; nothing of its key before it that is not in somebody's hands already.
    pub(crate) fn hold(&mut self, offset: i64, due: Instant) {
        if let Some(entry) = self.entry(offset) {
            entry.state = State::Waiting;
            self.held.insert(offset, due);
        }
    }

    /// Takes back what is in somebody's hands, to give it again.
    pub(crate) fn take_back(&mut self, now: Instant) {
        for entry in &mut self.entries {
            if matches!(entry.state, State::InHand(_)) {
                entry.state = State::Waiting;
                self.held.insert(entry.offset, now);
            }
        }
    }

    /// What is to be committed, if the broker does not know it.
    pub(crate) fn to_commit(&self) -> Option<i64> {
        self.settled_to.filter(|settled| self.committed.is_none_or(|committed| committed < *settled))
    }

    fn entry(&mut self, offset: i64) -> Option<&mut Entry> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.entries.get_mut(index)
    }

    fn key(&self, offset: i64) -> Option<Vec<u8>> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.entries[index].record.as_ref()?.key.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn window(keys: &[&str]) -> Window {
        let mut window = Window::default();
        for (offset, key) in (0..).zip(keys) {
            let key = (!key.is_empty()).then(|| key.as_bytes().to_vec());
            // Offsets have gaps, where transactions ended or a topic was compacted.
            window.push(offset * 10, Record { key, headers: Vec::new(), value: None });
        }
        window
    }

    fn give(window: &mut Window, max: usize, now: Instant) -> Vec<i64> {
        window.give(max, now, || 1).iter().map(|given| given.offset).collect()
    }

    #[test]
    fn what_is_settled_out_of_order_is_committed_once_nothing_is_missing_before_it() {
        let mut window = window(&["a", "b", "c"]);
        assert_eq!(give(&mut window, 10, Instant::now()), [0, 10, 20]);
        window.settle(10);
        assert_eq!(window.to_commit(), None);
        window.settle(0);
        assert_eq!(window.to_commit(), Some(11));
        window.committed = Some(11);
        assert_eq!(window.to_commit(), None);
        window.settle(20);
        assert_eq!((window.to_commit(), window.len(), window.unsettled()), (Some(21), 0, 0));
    }

    #[test]
    fn a_record_that_is_held_back_holds_back_its_key_alone() {
        let mut window = window(&["a", "b", "a", "", "a"]);
        let now = Instant::now();
        assert_eq!(give(&mut window, 1, now), [0]);
        window.hold(0, now + Duration::from_secs(1));
        assert_eq!(give(&mut window, 10, now), [10, 30]);
        assert!(give(&mut window, 10, now).is_empty());
        assert_eq!(window.next_due(), Some(now + Duration::from_secs(1)), "those behind it wait for it, too");
        assert_eq!(give(&mut window, 10, now + Duration::from_secs(1)), [0, 20, 40]);
    }

    #[test]
    fn what_is_settled_and_waits_for_one_before_it_is_remembered_without_its_content() {
        let mut window = window(&["a", "b", "c"]);
        let given = window.give(10, Instant::now(), || 1);
        let content: Vec<_> = given.iter().map(|given| Arc::downgrade(&given.record)).collect();
        drop(given);
        window.settle(10);
        window.settle(20);
        assert_eq!(content.iter().filter(|content| content.strong_count() > 0).count(), 1);
        assert_eq!(window.len(), 3);
    }

    #[test]
    fn what_is_tried_again_counts_its_attempts() {
        let mut window = window(&["a"]);
        let now = Instant::now();
        assert_eq!(window.give(1, now, || 1)[0].attempt, 1);
        window.hold(0, now);
        assert_eq!(window.give(1, now, || 2)[0].attempt, 2);
        assert!(window.in_hand(0, 1).is_none(), "the first receipt is void");
        assert!(window.in_hand(0, 2).is_some());
    }

    #[test]
    fn what_is_taken_back_comes_again_in_order_before_what_is_new() {
        let mut window = window(&["a", "a", "b", "a"]);
        let now = Instant::now();
        assert_eq!(give(&mut window, 3, now), [0, 10, 20]);
        window.settle(10);
        window.take_back(now);
        assert_eq!(give(&mut window, 1, now), [0]);
        assert_eq!(give(&mut window, 10, now), [20, 30]);
    }

    #[test]
    fn a_record_that_is_read_again_is_not_given_twice() {
        let mut window = window(&["a"]);
        window.push(0, Record { key: None, headers: Vec::new(), value: None });
        assert_eq!(give(&mut window, 10, Instant::now()), [0]);
    }
}
