//! Errors of a store.

use std::fmt;

use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{BoxError, InvalidName};
use crate::{
    append::{Appended, IdempotencyKey},
    consumer_name::ConsumerName,
    event_key::EventKey,
    expected_version::ExpectedVersion,
    position::Position,
    store::RecordKey,
    stream_id::StreamId,
    version::Version,
};

/// Returns what is damaged, for the message.
fn damaged(position: Position) -> String {
    match position {
        Position::ZERO => "a stored row".to_owned(),
        position => format!("the stored event at position {position}"),
    }
}

/// The error of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The stream does not have the version that the append expected. Nothing was stored. Load the tail of the stream
    /// and decide again, as `Repository::execute` does automatically.
    #[error(
        "stream {stream} is at version {actual}, but the append expected {expected}; load it again and decide again"
    )]
    Conflict {
        /// The first stream whose expectation failed.
        stream: StreamId,
        /// The expectation of the append.
        expected: ExpectedVersion,
        /// The version of the stream. It equals an exact expected version only if the event at that version differs
        /// from the one that the decision was based on (after a restored backup or a lost tail).
        actual: Version,
    },
    /// A lock was not available in time, or the database aborted this call to resolve a deadlock. Nothing was stored.
    /// Try again after a moment.
    #[error("the store is busy: {waiting_for}; nothing was stored, try again")]
    Busy {
        /// What the call waited for and, if the database knows it, which process holds it.
        waiting_for: String,
        /// The database's own error.
        source: Option<BoxError>,
    },
    /// The event ID or idempotency key already exists in the store, for other content or in another place. Nothing was
    /// stored. Use a new ID, or send exactly what was sent the first time.
    ///
    /// For a key, [`EventStore::find_append`](crate::EventStore::find_append) returns the first use.
    #[error("{what} {id} was used before for something else; nothing was stored")]
    IdReused {
        /// "event id" or "idempotency key".
        what: &'static str,
        /// The ID; or the key, with the position, the time, and the streams of its first use.
        id: String,
    },
    /// Another runner moved the checkpoint first. Nothing was changed. Read the checkpoint and continue from it.
    #[error("the checkpoint of {consumer} is at {actual}, not at {expected}: another runner moved it")]
    CheckpointMoved {
        /// The consumer.
        consumer: ConsumerName,
        /// The position that the caller expected.
        expected: Position,
        /// The current position.
        actual: Position,
    },
    /// The generation is stale: another generation of the read model, or other partitions of it, have replaced it.
    /// Nothing was changed. Look up the live generation and its partitions, and continue with those.
    #[error("{generation} is stale: another generation or other partitions took its place; nothing was changed")]
    StaleGeneration {
        /// The consumer, in the generation and partition that was written to.
        generation: ConsumerName,
    },
    /// The parked events of a key are not those that the caller expected: the key was released, or an event was
    /// discarded or took effect. Nothing was changed. Read the parked events again.
    #[error("the parked events {key} of {consumer} have changed meanwhile; nothing was changed")]
    ParkingChanged {
        /// The consumer.
        consumer: ConsumerName,
        /// The key of the events.
        key: EventKey,
    },
    /// A record does not match the conditions of the commit: another commit wrote, created, or removed it. Nothing was
    /// changed. Read the record again and decide again.
    #[error(
        "the record {key} has changed or is not what was required; nothing was changed, read it again and decide again"
    )]
    RecordChanged {
        /// The lowest key whose condition does not hold.
        key: RecordKey,
    },
    /// The log does not contain the event that was seen at a position. Either the database was restored to an earlier
    /// state (a backup, or a promoted standby without the last events), or the position belongs to another log. Nothing
    /// was changed. Discard everything that was read from the former log, and start from a position that both logs
    /// share.
    #[error(
        "the log went back to an earlier state, or the position is another log's: at position {position}, {}; nothing was changed, \
         start again from a position that both logs share",
        Standing { expected: *expected, found: *found, head: *head }
    )]
    LogWentBack {
        /// The position.
        position: Position,
        /// The event that was seen there, if it is known.
        expected: Option<Uuid>,
        /// The event that is there now, or `None` if the log ends before the position.
        found: Option<Uuid>,
        /// The current end of the log, if it is before the position.
        head: Option<Position>,
    },
    /// A checkpoint cannot be overridden as requested. Nothing was changed; `why` says what to do.
    #[error("the checkpoint of {consumer} cannot be moved from {from} to {to}: {why}")]
    CannotMove {
        /// The consumer.
        consumer: ConsumerName,
        /// The current position.
        from: Position,
        /// The requested position.
        to: Position,
        /// The reason, and what to do instead.
        why: &'static str,
    },
    /// Another process has held the lease of the consumer since. Nothing was changed. Claim the lease again before you
    /// continue.
    #[error("the lease of {consumer} went to another process; nothing was changed")]
    LeaseLost {
        /// The consumer.
        consumer: ConsumerName,
    },
    /// A value exceeds a named limit. Nothing was stored. Split it or make it smaller.
    #[error("{what}: {actual} is over the limit of {limit}; split or shrink it")]
    LimitExceeded {
        /// The value that was measured.
        what: &'static str,
        /// The limit, from [`limits`](crate::limits) or the store's settings.
        limit: u64,
        /// The actual count or size.
        actual: u64,
    },
    /// A name cannot be used.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// The call itself is invalid, whatever the store contains. The reason says how to fix the caller. Nothing was
    /// stored, and trying again does not help.
    #[error("refused: {reason}")]
    Refused {
        /// What is wrong, and what to do instead.
        reason: &'static str,
    },
    /// The database cannot be used in its current state: a folder is missing, a password is wrong, or the schema is of
    /// a newer version.
    #[error("the store cannot be used as it is: {problem}; {remedy}")]
    Setup {
        /// The problem.
        problem: String,
        /// The remedy.
        remedy: String,
        /// The database's own error, if there was one.
        source: Option<BoxError>,
    },
    /// Stored data violates the store's own rules. Stop writing, and restore or repair the data.
    #[error("{} is damaged: {problem}", damaged(*position))]
    Corrupt {
        /// The position of the damaged event, or [`Position::ZERO`] for a stored row that is not an event.
        position: Position,
        /// The problem.
        problem: String,
    },
    /// The connection failed, and the outcome is unknown. Send the same append again, with the same event IDs. It is
    /// stored once, even if both calls arrive.
    #[error("the database cannot be reached, the outcome is unknown; try again with the same event ids")]
    Unavailable {
        /// The database's own error.
        source: BoxError,
    },
    /// The database failed for a reason that this library does not expect. See the source.
    #[error("the database failed")]
    Backend {
        /// The database's own error.
        source: BoxError,
    },
}

/// Number of streams of the first use that the error of a reused key names.
const NAMED_STREAMS: usize = 3;

impl StoreError {
    /// Creates the error for an idempotency key that was used for another request. It names the first use.
    pub fn key_reused(key: &IdempotencyKey, first: &Appended) -> Self {
        let names: Vec<_> = first.streams.iter().take(NAMED_STREAMS).map(|part| part.stream.as_str()).collect();
        let more = match first.streams.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more streams"),
        };
        let (position, names) = (first.first_position, names.join(", "));
        let time = first.recorded_at.format(&Rfc3339).unwrap_or_else(|_| first.recorded_at.to_string());
        let id = format!("{key} (first used at position {position}, {time}, for {names}{more})");
        Self::IdReused { what: "idempotency key", id }
    }
}

/// What was seen at a position and what is there now, as part of a sentence.
struct Standing {
    expected: Option<Uuid>,
    found: Option<Uuid>,
    head: Option<Position>,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expected {
            Some(expected) => write!(f, "event {expected} was seen, and ")?,
            None => f.write_str("an event was seen, and ")?,
        }
        match (self.found, self.head) {
            (Some(found), _) => write!(f, "event {found} is there now"),
            (None, Some(head)) => write!(f, "the log ends at {head} now"),
            (None, None) => f.write_str("no event is there now"),
        }
    }
}
