//! All limits of the framework, by name.
//!
//! Every request of a caller, every page, every queue, and every retry is bounded by one of these numbers. Exceeding
//! one is a [`StoreError::LimitExceeded`](crate::StoreError::LimitExceeded) or an [`InvalidName`](crate::InvalidName)
//! that contains the limit and the actual value. In this case nothing is stored.

use std::time::Duration;

/// Maximum length of a stream's category, in bytes.
pub const MAX_CATEGORY_BYTES: usize = 64;
/// Maximum length of a stream's tenant, in bytes.
pub const MAX_TENANT_BYTES: usize = 64;
/// Maximum length of a stream's ID within its category, in bytes.
pub const MAX_ID_BYTES: usize = 200;
/// Maximum length of an event type, in bytes.
pub const MAX_EVENT_TYPE_BYTES: usize = 128;
/// Maximum length of an idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 200;
/// Maximum length of the name of a projection, view, or reactor, in bytes. It is short enough to be part of a table's
/// name.
pub const MAX_CONSUMER_NAME_BYTES: usize = 40;
/// Maximum number of partitions of one consumer.
pub const MAX_PARTITIONS: u16 = 64;
/// Number of slots over which the keys of a consumer are distributed. Each slot belongs to one partition. This number
/// must never change.
pub const PARTITION_SLOTS: u16 = 1_024;
/// Maximum length of a single text in metadata (actor, source, correlation …), in bytes.
pub const MAX_METADATA_TEXT_BYTES: usize = 1_024;
/// Maximum length of the name under which readers find a table of a projection that has generations, in bytes.
pub const MAX_TABLE_NAME_BYTES: usize = 50;
/// Maximum size of the metadata of one event as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 64 * 1_024;

/// Maximum nesting of arrays and objects in the JSON of an event, a snapshot, a document, or a metadata value.
/// serde_json reads 127 levels. The rest is reserved for structures that enclose such JSON, such as the envelope of a
/// message.
pub const MAX_JSON_DEPTH: usize = 120;
/// Maximum nesting of JSON that is compared by value. Texts with deeper nesting are only equal if all bytes are equal.
pub const MAX_COMPARED_JSON_DEPTH: usize = 500;
/// First year in which an event may have occurred, in UTC. PostgreSQL does not support earlier ones.
pub const MIN_OCCURRED_YEAR: i32 = -4_712;
/// Maximum payload of one event, in bytes of JSON, unless the store was opened with another limit.
pub const MAX_PAYLOAD_BYTES: usize = 1_024 * 1_024;
/// Maximum number of events in one append, over all of its streams.
pub const MAX_EVENTS_PER_APPEND: usize = 10_000;
/// Maximum number of streams in one append.
pub const MAX_STREAMS_PER_APPEND: usize = 1_000;
/// Maximum size of payloads and metadata in one append, in bytes.
pub const MAX_APPEND_BYTES: usize = 64 * 1_024 * 1_024;

/// Maximum number of events that a caller may request in one page.
pub const MAX_PAGE_EVENTS: usize = 10_000;
/// Default number of events in a page.
pub const DEFAULT_PAGE_EVENTS: usize = 1_000;
/// Size of payloads at which a page ends, in bytes. The page ends after the event that reaches this size, however many
/// events were requested.
pub const MAX_PAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Maximum number of positions that one read of the whole log examines, however few events match its filter. A read for
/// rare events therefore returns in bounded time, with an advanced `scanned_to`.
pub const MAX_SCAN_POSITIONS: u64 = 100_000;
/// Maximum number of recently stored events that a store keeps in memory while a reader follows the log.
pub const MAX_RECENT_EVENTS: usize = 1_000;
/// Maximum size of payloads and metadata of these events, in bytes.
pub const MAX_RECENT_BYTES: usize = 1_024 * 1_024;
/// How long a store answers from these events after it has stored the last of them.
pub const MAX_RECENT_AGE: Duration = Duration::from_millis(50);
/// Maximum number of selectors in one filter.
pub const MAX_FILTER_SELECTORS: usize = 1_000;

/// Maximum length of the key of a view's document, in bytes.
pub const MAX_DOCUMENT_KEY_BYTES: usize = 400;
/// Maximum size of a view's document as JSON, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1_024 * 1_024;
/// Maximum number of documents of a view that one event may concern.
pub const MAX_KEYS_PER_EVENT: usize = 1_000;
/// Default number of documents that a query by a field reads.
pub const DEFAULT_DOCUMENTS_PER_READ: usize = 100;
/// Maximum number of documents that one call reads.
pub const MAX_DOCUMENTS_PER_READ: usize = 10_000;

/// Maximum length of the partition key of a projection or reactor, in bytes. For an event with a longer one, the stream
/// is the key.
pub const MAX_PARTITION_KEY_BYTES: usize = 400;
/// Maximum number of parked keys, events, or records that one call names or reads.
pub const MAX_PARKED_PER_READ: usize = 10_000;
/// Maximum size of the stored error of a parked event, in bytes.
pub const MAX_PARKED_ERROR_BYTES: usize = 4 * 1_024;
/// Maximum number of parked keys with a requested retry that one call returns for a consumer.
pub const RETRY_REQUESTS_PER_READ: usize = 100;
/// Maximum length of the reason of an operator's request, in bytes.
pub const MAX_REASON_BYTES: usize = 1_024;
/// Maximum length of the name of an operation kind, in bytes.
pub const MAX_OPERATION_KIND_BYTES: usize = 64;
/// Maximum number of entries of the operations log that one call reads.
pub const MAX_OPERATIONS_PER_READ: usize = 1_000;
/// Maximum number of characters of a statement that the report of a wait in the database shows.
pub const MAX_SHOWN_QUERY_CHARS: usize = 300;
/// Maximum number of waits in the database in one report.
pub const MAX_DATABASE_WAITS: usize = 100;

/// Maximum size of a message in an outbox or among the dead letters, including its headers, in bytes.
pub const MAX_RAW_MESSAGE_BYTES: usize = 16 * 1_024 * 1_024;
/// Maximum length of a topic, subject, or routing key, in bytes.
pub const MAX_TOPIC_BYTES: usize = 1_024;
/// Maximum length of the key whose messages stay in order, in bytes.
pub const MAX_MESSAGE_KEY_BYTES: usize = 1_024;
/// Maximum length of the ID of a message, in bytes.
pub const MAX_MESSAGE_ID_BYTES: usize = 400;
/// Maximum number of outbox messages that one call reads.
pub const MAX_OUTBOX_PER_READ: usize = 1_000;
/// Maximum number of waiting outbox messages that are counted. If there are more, the count stops there.
pub const MAX_COUNTED_OUTBOX: u64 = 100_000;
/// Maximum number of messages that take effect in one transaction.
pub const MAX_MESSAGES_PER_UNIT: usize = 1_000;
/// Maximum number of appends in one such transaction.
pub const MAX_APPENDS_PER_UNIT: usize = 1_000;
/// Number of partitions that keep the IDs of handled messages. One partition receives new IDs, and the others age.
pub const INBOX_PARTITIONS: u32 = 4;
/// Maximum number of dead letters that one call writes or reads.
pub const MAX_DEAD_LETTERS_PER_READ: usize = 1_000;
/// Maximum size of a payload in a blob store, in bytes.
pub const MAX_BLOB_BYTES: usize = 256 * 1_024 * 1_024;
/// Maximum length of the name of a payload in a blob store, in bytes.
pub const MAX_BLOB_NAME_BYTES: usize = 200;

/// Maximum length of the key of a record, in bytes of its escaped text.
pub const MAX_RECORD_KEY_BYTES: usize = 512;
/// Maximum size of a record as JSON, in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1_024;
/// Maximum number of conditions and changes of records, added together, in one commit.
pub const MAX_RECORDS_PER_BATCH: usize = 1_000;
/// Maximum number of records that one call reads.
pub const MAX_RECORDS_PER_READ: usize = 1_000;
/// Maximum number of records in the ranges that one update reads.
pub const MAX_RECORDS_PER_UPDATE: usize = 10_000;
/// How often an update of records is decided again because the database aborted it to resolve a deadlock.
pub const RECORD_UPDATE_RETRIES: u32 = 5;

/// Maximum length of the aggregate name under which snapshots are kept, in bytes. The end of a longer name is replaced
/// with a hash.
pub const MAX_AGGREGATE_NAME_BYTES: usize = 200;
/// Maximum number of parts of an aggregate's state that are examined to detect that its form has changed.
pub const MAX_OUTLINE_PARTS: usize = 2_000;
/// Maximum depth to which these parts are examined.
pub const MAX_OUTLINE_DEPTH: usize = 32;
/// Maximum size of a snapshot of one aggregate as JSON, in bytes. A larger state is not saved as a snapshot.
pub const MAX_SNAPSHOT_BYTES: usize = 16 * 1_024 * 1_024;
/// Maximum number of aggregates that one command may change together.
pub const MAX_AGGREGATES_PER_COMMAND: usize = 100;
/// Number of aggregates of one command that are loaded at the same time.
pub const PARALLEL_LOADS: usize = 8;
/// Default maximum number of aggregates that a repository caches.
pub const DEFAULT_CACHED_STATES: usize = 10_000;
/// Default maximum size of the aggregates that a repository caches, in bytes, as far as their sizes are known.
pub const DEFAULT_CACHED_BYTES: usize = 64 * 1_024 * 1_024;
/// Maximum number of earlier states that a repository keeps for commands that are sent again under their idempotency
/// keys.
pub const RECALLED_STATES: usize = 1_000;
/// Maximum size of these states, in bytes.
pub const RECALLED_BYTES: usize = 8 * 1_024 * 1_024;
/// Maximum number of aggregates whose states as of a moment one call reads.
pub const MAX_STATES_AT: usize = 100_000;
/// Default number of times that a command is decided again after a conflict.
pub const DEFAULT_CONFLICT_RETRIES: u32 = 1_000;
/// Maximum number of conflict retries that a repository accepts as its setting.
pub const MAX_CONFLICT_RETRIES: u32 = 1_000;
/// Default time for which a command is decided again after conflicts. The retries end with the first conflict after
/// this time.
pub const DEFAULT_CONFLICT_RETRY_TIME: Duration = Duration::from_secs(10);
/// Maximum such time that a repository accepts as its setting.
pub const MAX_CONFLICT_RETRY_TIME: Duration = Duration::from_secs(300);
/// Maximum pause of a command after the first conflict that it lost. The pauses get shorter with each further conflict.
pub const MAX_CONFLICT_PAUSE: Duration = Duration::from_millis(16);
/// How often an append that found the store busy is sent again before the command returns the error. Each time, the
/// store has waited for its lock.
pub const BUSY_RETRIES: u32 = 2;
/// How often a call is repeated on a new connection because its connection had been closed while it was idle.
pub const RECONNECTS_PER_CALL: u32 = 2;
/// How often an append whose outcome is unknown is sent again (the same events with the same IDs).
pub const UNKNOWN_OUTCOME_RETRIES: u32 = 3;
