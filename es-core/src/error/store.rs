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

/// What is damaged, for the message.
fn damaged(position: Position) -> String {
    match position {
        Position::ZERO => "a stored row".to_owned(),
        position => format!("the stored event at position {position}"),
    }
}

/// What a store can answer instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The stream is not where the append expected it. Nothing was stored. Load the stream's tail and decide
    /// again; `Repository::execute` does so by itself.
    #[error(
        "stream {stream} is at version {actual}, but the append expected {expected}; load it again and decide again"
    )]
    Conflict {
        /// The first stream whose expectation failed.
        stream: StreamId,
        /// What the append expected.
        expected: ExpectedVersion,
        /// The stream's version. It equals an expected exact version only if the event at that version is
        /// another one than the decision was based on (a restored backup, a lost tail).
        actual: Version,
    },
    /// A lock could not be had in time, or the database chose this call as a deadlock's victim. Nothing was
    /// stored; try again after a moment.
    #[error("the store is busy: {waiting_for}; nothing was stored, try again")]
    Busy {
        /// What was waited for and, where the database knows, who holds it.
        waiting_for: String,
        /// The database's own error.
        source: Option<BoxError>,
    },
    /// An event id or idempotency key is already in the store for other content or in another place. Nothing
    /// was stored. Use a new id, or send exactly what was sent the first time.
    ///
    /// Of a key, [`EventStore::find_append`](crate::EventStore::find_append) returns the first use.
    #[error("{what} {id} was used before for something else; nothing was stored")]
    IdReused {
        /// "event id" or "idempotency key".
        what: &'static str,
        /// The id; or the key, with the position, the time and the streams of its first use.
        id: String,
    },
    /// Another runner moved the checkpoint first. Nothing was changed; read the checkpoint and go on from it.
    #[error("the checkpoint of {consumer} is at {actual}, not at {expected}: another runner moved it")]
    CheckpointMoved {
        /// Whose checkpoint.
        consumer: ConsumerName,
        /// Where the caller believed it to be.
        expected: Position,
        /// Where it is.
        actual: Position,
    },
    /// The generation is stale: another generation of the read model, or other partitions of it, have taken its place.
    /// Nothing was changed; look up the live generation and its partitions, and continue with those.
    #[error("{generation} is stale: another generation or other partitions took its place; nothing was changed")]
    StaleGeneration {
        /// The consumer, in the generation and partition that was written to.
        generation: ConsumerName,
    },
    /// The parked events of a key are not what the caller believed: the key was freed, or an event was discarded or took effect.
    /// Nothing was changed; look again.
    #[error("the parked events {key} of {consumer} have changed meanwhile; nothing was changed")]
    ParkingChanged {
        /// Whose events.
        consumer: ConsumerName,
        /// Their key.
        key: EventKey,
    },
    /// A record is not what the commit requires: another commit wrote, made or removed it. Nothing was changed; read the
    /// record again and decide again.
    #[error(
        "the record {key} has changed or is not what was required; nothing was changed, read it again and decide again"
    )]
    RecordChanged {
        /// The lowest key of which a condition does not hold.
        key: RecordKey,
    },
    /// The log does not hold the event that was seen at a position: the database was put back to an earlier state (a backup, a
    /// standby without the last events that was promoted), or the position is another log's. Nothing was changed. Discard everything
    /// that was read from the former log, and start from a position that both logs share.
    #[error(
        "the log went back to an earlier state, or the position is another log's: at position {position}, {}; nothing was changed, \
         start again from a position that both logs share",
        Standing { expected: *expected, found: *found, head: *head }
    )]
    LogWentBack {
        /// Where.
        position: Position,
        /// The event that was seen there, if it is known.
        expected: Option<Uuid>,
        /// The event that is there now; `None` if the log ends before.
        found: Option<Uuid>,
        /// Where the log ends now, if it ends before the position.
        head: Option<Position>,
    },
    /// A checkpoint cannot be overridden as requested. Nothing was changed; `why` says what to do.
    #[error("the checkpoint of {consumer} cannot be moved from {from} to {to}: {why}")]
    CannotMove {
        /// Whose checkpoint.
        consumer: ConsumerName,
        /// Where it is.
        from: Position,
        /// Where it was to go.
        to: Position,
        /// Why not, and what to do instead.
        why: &'static str,
    },
    /// Somebody else has had the consumer's lease since. Nothing was changed; claim it again before going on.
    #[error("the lease of {consumer} went to another process; nothing was changed")]
    LeaseLost {
        /// Whose lease.
        consumer: ConsumerName,
    },
    /// Something is larger than a named limit. Nothing was stored. Split or shrink it.
    #[error("{what}: {actual} is over the limit of {limit}; split or shrink it")]
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// The limit, from [`limits`](crate::limits) or the store's settings.
        limit: u64,
        /// The actual count or size.
        actual: u64,
    },
    /// A name cannot be used.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// The call itself is wrong, whatever the store holds; the reason says how to fix the caller. Nothing was
    /// stored, and trying again does not help.
    #[error("refused: {reason}")]
    Refused {
        /// What is wrong, and what to do instead.
        reason: &'static str,
    },
    /// The database cannot be used as it is: a missing folder, a wrong password, a schema of a newer version.
    #[error("the store cannot be used as it is: {problem}; {remedy}")]
    Setup {
        /// What was found.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The database's own error, if there was one.
        source: Option<BoxError>,
    },
    /// Stored data breaks the store's own rules. Stop writing, and restore or repair it.
    #[error("{} is damaged: {problem}", damaged(*position))]
    Corrupt {
        /// Where; [`Position::ZERO`] for a stored row that is not an event.
        position: Position,
        /// What is wrong with it.
        problem: String,
    },
    /// The connection failed and the outcome is unknown. Send the same append again, with the same event ids:
    /// it is stored once, whichever of the two arrived.
    #[error("the database cannot be reached, the outcome is unknown; try again with the same event ids")]
    Unavailable {
        /// The database's own error.
        source: BoxError,
    },
    /// The database refused for a reason that this library does not expect. Look at the source.
    #[error("the database failed")]
    Backend {
        /// The database's own error.
        source: BoxError,
    },
}

/// Streams of its first use that the error of a reused key names.
const NAMED_STREAMS: usize = 3;

impl StoreError {
    /// The error of an idempotency key that was used for another request: it names the first use.
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

/// What was seen at a position, and what is there now, as part of a sentence.
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
