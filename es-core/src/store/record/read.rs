//! Records, and the results of a store.

use std::{collections::BTreeMap, fmt};

use time::OffsetDateTime;
use uuid::Uuid;

use super::key::RecordKey;
use crate::{codec::json_value::is_same_json, event::Payload};

/// The identifier of the last commit that wrote a record. It is never reused, not even after a backup was restored or a
/// standby was promoted: the process that commits generates it randomly. Revisions have no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(Uuid);

impl Revision {
    /// Returns a revision that was never used before. Stores call it once for each commit.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the revision that a store kept as [`as_uuid`](Self::as_uuid).
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Returns the revision in the form that stores keep.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A small JSON value, and the commit that wrote it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Record {
    /// The value.
    pub value: Payload,
    /// The revision of the commit that last wrote the record, even if that commit did not change the value.
    pub revision: Revision,
}

impl Record {
    /// Creates a record. Stores report records in this way.
    pub fn new(value: Payload, revision: Revision) -> Self {
        Self { value, revision }
    }
}

impl PartialEq for Record {
    /// Compares values as JSON.
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && is_same_json(self.value.as_str(), other.value.as_str())
    }
}

/// Records of one snapshot: each commit is visible in all of them or in none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordRead {
    /// The records that exist, by key.
    pub records: BTreeMap<RecordKey, Record>,
    /// The time of the read, by the store's clock. All processes that use a store share this clock.
    pub now: OffsetDateTime,
    /// The key of the next record, if a scan stopped at its limit. Otherwise `None`.
    pub next: Option<RecordKey>,
}

impl RecordRead {
    /// Creates the result of a read. Stores call it.
    pub fn new(records: BTreeMap<RecordKey, Record>, now: OffsetDateTime, next: Option<RecordKey>) -> Self {
        Self { records, now, next }
    }

    /// Returns the record of a key, if it exists and was read.
    pub fn get(&self, key: &RecordKey) -> Option<&Record> {
        self.records.get(key)
    }

    /// Returns the revision of a record, if the record exists and was read.
    pub fn revision(&self, key: &RecordKey) -> Option<Revision> {
        self.get(key).map(|record| record.revision)
    }
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The new revision of every record that the batch put or touched.
    pub revision: Revision,
    /// The time of the commit, by the store's clock.
    pub now: OffsetDateTime,
}

impl Committed {
    /// Creates the result of a commit. Stores call it.
    pub fn new(revision: Revision, now: OffsetDateTime) -> Self {
        Self { revision, now }
    }
}
