//! The store in memory: the simplest implementation of the contracts. Use it in tests, and read it before the SQL
//! stores.

mod blob_store;
mod control_store;
mod dead_letter_store;
mod event_store;
mod generation_store;
mod inbox_store;
mod lease_store;
mod message_unit;
mod outbox_store;
mod parking_store;
mod partition_store;
mod projection_store;
mod record_store;
mod snapshot_store;
mod transaction;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use uuid::Uuid;

pub use message_unit::MemoryUnit;

use crate::{
    append::{Appended, IdempotencyKey},
    consumer_name::ConsumerName,
    control_store::{Suspension, SuspensionKind},
    event::{Payload, RecordedEvent},
    generation_store::GenerationInfo,
    limits,
    operation::Operation,
    outbox_store::OutboxMessage,
    repository::CommandQueue,
    snapshot_store::Snapshot,
    stream_id::StreamId,
    wakeups::WakeupSender,
};

pub use transaction::MemoryTransaction;

/// A store that keeps everything in memory until its last clone is dropped.
///
/// It provides every guarantee of [`EventStore`](crate::EventStore) except durability. Cloning returns another handle
/// to the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    wakeups: WakeupSender,
    command_queue: CommandQueue,
    /// Held while a projection or a unit writes. The tables change one page or unit at a time.
    tables: Arc<tokio::sync::Mutex<MemoryTables>>,
    consumers: Mutex<Consumers>,
    /// Locked after the consumers, if both are locked.
    outbox: Mutex<outbox_store::Outbox>,
    /// By stream and aggregate.
    snapshots: Mutex<HashMap<(StreamId, String), Snapshot>>,
    inbox: Mutex<inbox_store::Inbox>,
    /// Changed only while `tables` is held, so that a unit can prepare a change.
    dead_letters: Mutex<dead_letter_store::DeadLetters>,
    blobs: Mutex<blob_store::Blobs>,
    records: Mutex<record_store::Records>,
}

/// The log and its indexes. `events[n]` has position `n + 1`.
#[derive(Debug, Default)]
struct Log {
    events: Vec<RecordedEvent>,
    by_stream: HashMap<StreamId, Vec<usize>>,
    by_id: HashMap<Uuid, usize>,
    by_key: HashMap<IdempotencyKey, Appended>,
}

#[derive(Debug, Default)]
struct Consumers {
    generations: BTreeMap<ConsumerName, GenerationInfo>,
    checkpoints: BTreeMap<ConsumerName, partition_store::Kept>,
    documents: HashMap<ConsumerName, BTreeMap<String, Payload>>,
    parked: parking_store::Parked,
    suspensions: BTreeMap<(ConsumerName, SuspensionKind), Suspension>,
    operations: Vec<Operation>,
    leases: lease_store::Leases,
}

/// The tables that projections on a [`MemoryStore`] write: named tables of JSON rows by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryTables {
    tables: BTreeMap<String, BTreeMap<String, Value>>,
    /// The tables of live generations, by the names that readers use.
    live: BTreeMap<String, String>,
    /// The messages to publish after the commit. Empty outside a transaction.
    enqueued: Vec<OutboxMessage>,
}

impl MemoryTables {
    /// Returns a table by name. It is empty at first use.
    pub fn table(&mut self, name: &str) -> &mut BTreeMap<String, Value> {
        let name = self.live.get(name).map_or(name, String::as_str).to_owned();
        self.tables.entry(name).or_default()
    }
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what projections have written so far.
    pub async fn tables(&self) -> MemoryTables {
        self.shared.tables.lock().await.clone()
    }
}

/// No code panics in the middle of a change while it holds one of these locks, so the data behind a poisoned lock is
/// complete.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes items until the page is full by count or by bytes.
fn fill_page<'a>(
    events: impl Iterator<Item = &'a RecordedEvent>,
    page: crate::event_store::PageSize,
) -> (Vec<RecordedEvent>, bool) {
    let (mut page_events, mut bytes) = (Vec::new(), 0);
    for event in events {
        if page_events.len() == page.get() || bytes >= limits::MAX_PAGE_BYTES {
            return (page_events, false);
        }
        bytes += event.payload().as_str().len();
        page_events.push(event.clone());
    }
    (page_events, true)
}
