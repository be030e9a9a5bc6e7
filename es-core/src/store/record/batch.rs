//! Batches of records that are committed together.

use std::collections::BTreeMap;

use super::{check_limit, key::RecordKey, read::Revision};
use crate::{error::StoreError, event::Payload, limits};

/// A condition that must hold when a batch is committed. No other commit can invalidate it before this commit is
/// complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The record exists, and this commit wrote it last.
    At(Revision),
    /// The record does not exist.
    Absent,
    /// The record exists, with any value.
    Present,
}

impl Condition {
    /// Returns whether the condition holds for a record of this revision. `None` stands for a record that does not
    /// exist.
    pub fn holds(self, current: Option<Revision>) -> bool {
        match self {
            Self::At(revision) => current == Some(revision),
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
        }
    }
}

/// A batch's change to a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Writes the record, whether or not it exists.
    Put(Payload),
    /// Assigns a new revision and keeps the value. Fails if the record does not exist.
    Touch,
    /// Removes the record. This has no effect if the record does not exist.
    Delete,
}

/// Conditions and changes that are committed together: all of them, or none. An empty batch is allowed.
///
/// ```
/// use es_core::{Payload, store::{Condition, RecordBatch, RecordKey}};
///
/// let (lease, log) = (RecordKey::of(["lease", "orders"])?, RecordKey::of(["log", "1"])?);
/// let batch = RecordBatch::new()
///     .require(lease.clone(), Condition::Absent)
///     .put(lease, Payload::from_json(r#"{"owner":"a"}"#)?)
///     .put(log, Payload::from_json(r#""a took orders""#)?);
/// assert!(batch.check().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordBatch {
    conditions: BTreeMap<RecordKey, Condition>,
    changes: BTreeMap<RecordKey, Change>,
    /// Whether a key occurs twice among the conditions, or twice among the changes. Such a batch is refused.
    has_repeated_key: bool,
}

impl RecordBatch {
    /// Returns an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition. A batch holds at most one condition per key.
    #[must_use]
    pub fn require(mut self, key: RecordKey, condition: Condition) -> Self {
        self.has_repeated_key |= self.conditions.insert(key, condition).is_some();
        self
    }

    /// Writes a record, whether or not it exists. A batch holds at most one change per key.
    #[must_use]
    pub fn put(self, key: RecordKey, value: Payload) -> Self {
        self.change(key, Change::Put(value))
    }

    /// Assigns a new revision to a record and keeps its value. A batch holds at most one change per key.
    #[must_use]
    pub fn touch(self, key: RecordKey) -> Self {
        self.change(key, Change::Touch)
    }

    /// Removes a record, if it exists. A batch holds at most one change per key.
    #[must_use]
    pub fn delete(self, key: RecordKey) -> Self {
        self.change(key, Change::Delete)
    }

    fn change(mut self, key: RecordKey, change: Change) -> Self {
        self.has_repeated_key |= self.changes.insert(key, change).is_some();
        self
    }

    /// Returns the conditions, by key.
    pub fn conditions(&self) -> &BTreeMap<RecordKey, Condition> {
        &self.conditions
    }

    /// Returns the changes, by key.
    pub fn changes(&self) -> &BTreeMap<RecordKey, Change> {
        &self.changes
    }

    /// Checks the form of the batch. Stores call it first.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if a key occurs twice among the conditions, or twice among the changes. Returns
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_RECORDS_PER_BATCH`] conditions and changes, and for a value
    /// over [`limits::MAX_RECORD_BYTES`].
    pub fn check(&self) -> Result<(), StoreError> {
        if self.has_repeated_key {
            return Err(StoreError::Refused {
                reason: "a batch has two conditions, or two changes, for one record key; give one of each at most",
            });
        }
        let count = self.conditions.len() + self.changes.len();
        check_limit("conditions and changes of a record batch", limits::MAX_RECORDS_PER_BATCH, count)?;
        self.changes.values().try_for_each(|change| match change {
            Change::Put(value) => check_limit("bytes of a record", limits::MAX_RECORD_BYTES, value.as_str().len()),
            Change::Touch | Change::Delete => Ok(()),
        })
    }

    /// Checks the batch against the current records. Stores call it while no other commit can change these records.
    ///
    /// # Errors
    /// Returns [`StoreError::RecordChanged`] with the lowest key whose condition does not hold, or whose record would
    /// be touched and does not exist.
    pub fn check_against(&self, current: impl Fn(&RecordKey) -> Option<Revision>) -> Result<(), StoreError> {
        let conditions = self.conditions.iter().map(|(key, condition)| (key, *condition));
        let touched = self.changes.iter().filter(|(_, change)| matches!(change, Change::Touch));
        let failed = conditions
            .chain(touched.map(|(key, _)| (key, Condition::Present)))
            .filter(|(key, condition)| !condition.holds(current(key)))
            .map(|(key, _)| key)
            .min();
        failed.map_or(Ok(()), |key| Err(StoreError::RecordChanged { key: key.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RecordKey {
        RecordKey::parse(text).unwrap()
    }

    #[test]
    fn a_key_may_have_one_condition_and_one_change() {
        let value = Payload::trusted("1");
        let batch = || RecordBatch::new().require(key("a"), Condition::Absent).put(key("a"), value.clone());
        assert!(batch().touch(key("b")).check().is_ok());
        for repeated in
            [batch().require(key("a"), Condition::Absent), batch().delete(key("a")), batch().touch(key("a"))]
        {
            assert!(matches!(repeated.check(), Err(StoreError::Refused { .. })), "{repeated:?}");
        }
    }

    #[test]
    fn the_lowest_key_that_fails_is_named() {
        let batch = RecordBatch::new().require(key("c"), Condition::Present).touch(key("b")).delete(key("a"));
        let failed = batch.check_against(|_| None);
        assert!(matches!(&failed, Err(StoreError::RecordChanged { key: failed }) if *failed == key("b")), "{failed:?}");
        assert!(batch.check_against(|_| Some(Revision::generate())).is_ok());
    }
}
