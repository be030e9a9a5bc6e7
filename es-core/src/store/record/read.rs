//! Records, and what a store answers.

use std::{collections::BTreeMap, fmt};

use time::OffsetDateTime;
use uuid::Uuid;

use super::key::RecordKey;
use crate::{codec::json_value::is_same_json, event::Payload};

/// Which commit wrote a record last. It is never used again, also not after a backup was restored or a standby
/// promoted: the process that commits makes it at random. Revisions have no order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision(Uuid);

impl Revision {
    /// Returns a revision that was never used. Stores call it once for each commit.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the revision that a store kept as [`as_uuid`](Self::as_uuid).
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Returns the revision as stores keep it.
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
    /// The revision of the commit that wrote the record last, also if it left the value as it was.
    pub revision: Revision,
}

impl Record {
    /// Returns a record, as stores report it.
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

/// Records of one snapshot: a commit is in all of them or in none.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordRead {
    /// The records that exist, by key.
    pub records: BTreeMap<RecordKey, Record>,
    /// The store's clock when it read them. All processes that use a store share this clock.
    pub now: OffsetDateTime,
    /// Of a scan that stopped at its limit, the key of the next record. Otherwise `None`.
    pub next: Option<RecordKey>,
}

impl RecordRead {
    /// Returns what a store has read.
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

/// A batch that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The revision that every record has now that the batch put or touched.
    pub revision: Revision,
    /// The store's clock at the commit.
    pub now: OffsetDateTime,
}

impl Committed {
    /// Returns what a store has committed.
    pub fn new(revision: Revision, now: OffsetDateTime) -> Self {
        Self { revision, now }
    }
}
