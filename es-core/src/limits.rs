//! Every bound of the framework, by name.
//!
//! Whatever a caller, a page, a queue or a retry can ask for ends at one of these numbers. Going past
//! one is a [`StoreError::LimitExceeded`](crate::StoreError::LimitExceeded) or an
//! [`InvalidName`](crate::InvalidName) that carries the limit and the actual value; nothing is stored.

use std::time::Duration;

/// Longest category of a stream, in bytes.
pub const MAX_CATEGORY_BYTES: usize = 64;
/// Longest tenant of a stream, in bytes.
pub const MAX_TENANT_BYTES: usize = 64;
/// Longest id of a stream within its category, in bytes.
pub const MAX_ID_BYTES: usize = 200;
/// Longest event type, in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 128;
/// Longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 200;
/// Longest name of a projection, view or reactor, in bytes. Short enough to be part of a table's name.
pub const MAX_CONSUMER_NAME_BYTES: usize = 40;
/// Most partitions of one consumer.
pub const MAX_PARTITIONS: u16 = 64;
/// Slots over which the keys of a consumer are spread; each belongs to one of its partitions. Never to be changed.
pub const PARTITION_SLOTS: u16 = 1_024;
/// Longest single text in metadata (actor, source, correlation …), in bytes.
pub const MAX_METADATA_TEXT_BYTES: usize = 1_024;
/// Longest name under which readers find a table of a projection that has generations, in bytes.
pub const MAX_TABLE_NAME_BYTES: usize = 50;
/// Largest metadata of one event as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 64 * 1_024;

/// Deepest nesting of arrays and objects in the JSON of an event, a snapshot, a document or a value of metadata.
/// serde_json reads 127 levels; the rest is room for what is put around such JSON on its way, as the envelope of a
/// message.
pub const MAX_JSON_DEPTH: usize = 120;
/// Deepest nesting of JSON that is compared by value; deeper texts are the same only if they are so byte for byte.
pub const MAX_COMPARED_JSON_DEPTH: usize = 500;
/// First year in which an event may have occurred, by UTC. PostgreSQL knows no earlier one.
pub const MIN_OCCURRED_YEAR: i32 = -4_712;
/// Largest payload of one event, in bytes of JSON, unless the store was opened with another limit.
pub const MAX_PAYLOAD_BYTES: usize = 1_024 * 1_024;
/// Most events in one append, over all its streams.
pub const MAX_EVENTS_PER_APPEND: usize = 10_000;
/// Most streams in one append.
pub const MAX_STREAMS_PER_APPEND: usize = 1_000;
/// Most bytes of payload and metadata in one append.
pub const MAX_APPEND_BYTES: usize = 64 * 1_024 * 1_024;

/// Most events that one page may be asked for.
pub const MAX_PAGE_EVENTS: usize = 10_000;
/// Events in a page unless the caller says otherwise.
pub const DEFAULT_PAGE_EVENTS: usize = 1_000;
/// A page ends after the event that brings it to this many bytes of payload, however many were asked for.
pub const MAX_PAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Most positions that one read of the whole log looks at, however few events match its filter. A read for
/// rare events therefore comes back in bounded time, with its `scanned_to` moved on.
pub const MAX_SCAN_POSITIONS: u64 = 100_000;
/// Most events that a store keeps in memory of those it has just stored, while a reader follows the log.
pub const MAX_RECENT_EVENTS: usize = 1_000;
/// Most bytes of payload and metadata of these events.
pub const MAX_RECENT_BYTES: usize = 1_024 * 1_024;
/// For how long a store answers from these events after it has stored the last of them.
pub const MAX_RECENT_AGE: Duration = Duration::from_millis(50);
/// Most selectors in one filter.
pub const MAX_FILTER_SELECTORS: usize = 1_000;

/// Longest key of a view's document, in bytes.
pub const MAX_DOCUMENT_KEY_BYTES: usize = 400;
/// Largest document of a view as JSON, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1_024 * 1_024;
/// Most documents of a view that one event may concern.
pub const MAX_KEYS_PER_EVENT: usize = 1_000;
/// Documents that a query by a field reads, unless it says otherwise.
pub const DEFAULT_DOCUMENTS_PER_READ: usize = 100;
/// Most documents that one call reads.
pub const MAX_DOCUMENTS_PER_READ: usize = 10_000;

/// Longest partition key of a projection or reactor, in bytes. Of an event with a longer one the stream is the key.
pub const MAX_PARTITION_KEY_BYTES: usize = 400;
/// Most parked keys, events or records that one call names or reads.
pub const MAX_PARKED_PER_READ: usize = 10_000;
/// Most bytes that are kept of the error of a parked event.
pub const MAX_PARKED_ERROR_BYTES: usize = 4 * 1_024;
/// Most parked keys that are to be tried again, of one consumer, that one call gives.
pub const RETRY_REQUESTS_PER_READ: usize = 100;
/// Longest reason of an operator's order, in bytes.
pub const MAX_REASON_BYTES: usize = 1_024;
/// Longest name of a kind of operation, in bytes.
pub const MAX_OPERATION_KIND_BYTES: usize = 64;
/// Most lines of the log of operations that one call reads.
pub const MAX_OPERATIONS_PER_READ: usize = 1_000;
/// Most characters of a statement that the report of a wait in the database shows.
pub const MAX_SHOWN_QUERY_CHARS: usize = 300;
/// Most waits in the database that one report holds.
pub const MAX_DATABASE_WAITS: usize = 100;

/// Largest message that an outbox or the dead letters keep, with its headers, in bytes.
pub const MAX_RAW_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Longest topic, subject or routing key, in bytes.
pub const MAX_TOPIC_BYTES: usize = 1_024;
/// Longest key within which the order of messages is kept, in bytes.
pub const MAX_MESSAGE_KEY_BYTES: usize = 1_024;
/// Longest id of a message, in bytes.
pub const MAX_MESSAGE_ID_BYTES: usize = 400;
/// Most messages of the outbox that one call reads.
pub const MAX_OUTBOX_PER_READ: usize = 1_000;
/// How many waiting messages of the outbox are counted before it is enough to know that there are so many.
pub const MAX_COUNTED_OUTBOX: u64 = 100_000;
/// Most messages that take effect in one transaction.
pub const MAX_MESSAGES_PER_UNIT: usize = 1_000;
/// Most appends in one such transaction.
pub const MAX_APPENDS_PER_UNIT: usize = 1_000;
/// Partitions in which the ids of handled messages are remembered: one takes new ones, the others grow old.
pub const INBOX_PARTITIONS: u32 = 4;
/// Most dead letters that one call writes or reads.
pub const MAX_DEAD_LETTERS_PER_READ: usize = 1_000;
/// Largest payload that a blob store keeps, in bytes.
pub const MAX_BLOB_BYTES: usize = 256 * 1_024 * 1_024;
/// Longest name of a payload in a blob store, in bytes.
pub const MAX_BLOB_NAME_BYTES: usize = 200;

/// Longest key of a record, in bytes of its escaped text.
pub const MAX_RECORD_KEY_BYTES: usize = 512;
/// Largest record as JSON, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1_024;
/// Most conditions and changes of records, taken together, in one commit.
pub const MAX_RECORDS_PER_BATCH: usize = 1_000;
/// Most records that one call reads.
pub const MAX_RECORDS_PER_READ: usize = 1_000;
/// Most records in the ranges that one update reads.
pub const MAX_RECORDS_PER_UPDATE: usize = 10_000;
/// How often an update of records is decided again because the database gave it up to end a deadlock.
pub const RECORD_UPDATE_RETRIES: u32 = 5;

/// Longest name of an aggregate under which its snapshots are kept, in bytes. Of a longer one the end is replaced by a
/// hash.
pub const MAX_AGGREGATE_NAME_BYTES: usize = 200;
/// Most parts of an aggregate's state that are looked at to notice that its form has changed.
pub const MAX_OUTLINE_PARTS: usize = 2_000;
/// How deep these parts are looked for.
pub const MAX_OUTLINE_DEPTH: usize = 32;
/// Largest snapshot of one aggregate as JSON, in bytes. A larger state is not saved as a snapshot.
pub const MAX_SNAPSHOT_BYTES: usize = 16 * 1_024 * 1_024;
/// Most aggregates that one command may change together.
pub const MAX_AGGREGATES_PER_COMMAND: usize = 100;
/// Aggregates of one command that are loaded at the same time.
pub const PARALLEL_LOADS: usize = 8;
/// Most aggregates that a repository caches, unless it is told otherwise.
pub const DEFAULT_CACHED_STATES: usize = 10_000;
/// Most bytes of aggregates that a repository caches, as far as it knows their sizes, unless it is told otherwise.
pub const DEFAULT_CACHED_BYTES: usize = 64 * 1_024 * 1_024;
/// Most earlier states that a repository keeps for commands that are sent again under their idempotency keys.
pub const RECALLED_STATES: usize = 1_000;
/// Most bytes of these states.
pub const RECALLED_BYTES: usize = 8 * 1_024 * 1_024;
/// Most aggregates whose states as of a moment one call reads.
pub const MAX_STATES_AT: usize = 100_000;
/// How often a command is decided again after a conflict, unless the repository is told otherwise.
pub const DEFAULT_CONFLICT_RETRIES: u32 = 1_000;
/// Most conflict retries that a repository accepts as its setting.
pub const MAX_CONFLICT_RETRIES: u32 = 1_000;
/// How long a command is decided again after conflicts, unless the repository is told otherwise. It ends with the first
/// conflict after this time.
pub const DEFAULT_CONFLICT_RETRY_TIME: Duration = Duration::from_secs(10);
/// Longest such time that a repository accepts as its setting.
pub const MAX_CONFLICT_RETRY_TIME: Duration = Duration::from_secs(300);
/// Longest pause of a command after the first conflict that it lost. The pauses get shorter with each further one.
pub const MAX_CONFLICT_PAUSE: Duration = Duration::from_millis(16);
/// How often an append that found the store busy is sent again, before the command says so. The store has waited for its lock
/// each time.
pub const BUSY_RETRIES: u32 = 2;
/// How often a call is repeated on a fresh connection because the one that it used had been closed while it was idle.
pub const RECONNECTS_PER_CALL: u32 = 2;
/// How often an append whose outcome is unknown is sent again (the same events with the same ids).
pub const UNKNOWN_OUTCOME_RETRIES: u32 = 3;
