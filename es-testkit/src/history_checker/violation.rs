//! What can be wrong with a history.

use std::fmt;

use es_core::{Position, StreamId, Version};
use uuid::Uuid;

/// One thing that must not happen, with where it happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// An acknowledged event is not in the log.
    #[error("event {event} of {stream} was acknowledged at position {position} and is lost")]
    Lost {
        /// The event.
        event: Uuid,
        /// Its stream.
        stream: StreamId,
        /// Where it was said to be.
        position: Position,
    },
    /// One event is in the log twice.
    #[error("event {event} is stored at position {first} and again at {second}")]
    Duplicated {
        /// The event.
        event: Uuid,
        /// Its first place.
        first: Position,
        /// Its second place.
        second: Position,
    },
    /// An acknowledged event is in another place than the store said.
    #[error("event {event} was acknowledged at position {told} and is at {found}")]
    Moved {
        /// The event.
        event: Uuid,
        /// Where it was said to be.
        told: Position,
        /// Where it is.
        found: Position,
    },
    /// An acknowledged event has other content or another envelope than was sent.
    #[error("event {event} at position {position} is not what was appended")]
    Changed {
        /// The event.
        event: Uuid,
        /// Where it is.
        position: Position,
    },
    /// Some events of an append are there and some are not.
    #[error("of {sent} events of an append (first: {event} of {stream}), {stored} are stored")]
    Torn {
        /// The stream of the append's first event.
        stream: StreamId,
        /// The append's first event.
        event: Uuid,
        /// How many of its events are there.
        stored: usize,
        /// How many events it had.
        sent: usize,
    },
    /// An event of an append that was refused is in the log.
    #[error("event {event} of {stream} is stored, although the append was refused")]
    StoredThoughRefused {
        /// The event.
        event: Uuid,
        /// Its stream.
        stream: StreamId,
    },
    /// A position is missing, used twice or out of order.
    #[error("after position {after} comes {next}")]
    Gap {
        /// The last position that was right.
        after: Position,
        /// The next one in the log.
        next: Position,
    },
    /// A version is missing, used twice or out of order in its stream.
    #[error("the event at position {position} has version {found} of {stream}, not {expected}")]
    OutOfOrder {
        /// The stream.
        stream: StreamId,
        /// Where the event is.
        position: Position,
        /// The version that comes next in the stream.
        expected: u64,
        /// The version that it has.
        found: Version,
    },
    /// An event was recorded before the one in front of it.
    #[error("the event at position {position} was recorded before one in front of it")]
    TimeWentBack {
        /// Where the event is.
        position: Position,
    },
    /// A reader passed an event without seeing it.
    #[error("{reader} went past position {position} without seeing event {event}")]
    Skipped {
        /// The reader.
        reader: String,
        /// The event.
        event: Uuid,
        /// Where it is.
        position: Position,
    },
    /// A reader got a position again, or an earlier one.
    #[error("{reader} got position {position} after having gone past it")]
    ReadTwice {
        /// The reader.
        reader: String,
        /// The position.
        position: Position,
    },
    /// A reader saw an event that is not in the log, or not there.
    #[error("{reader} saw event {event} at position {position}, which is not in the log")]
    Vanished {
        /// The reader.
        reader: String,
        /// The event.
        event: Uuid,
        /// Where it was seen.
        position: Position,
    },
    /// A reader did not go on where its page had ended: the test itself is wrong.
    #[error("{reader} had read to {from} and went on after {to}")]
    ReaderJumped {
        /// The reader.
        reader: String,
        /// Where its page had ended.
        from: Position,
        /// Where it went on.
        to: Position,
    },
}

/// What a [`HistoryChecker`](crate::HistoryChecker) found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report tells nothing until it is looked at"]
pub struct HistoryReport {
    violations: Vec<Violation>,
}

impl HistoryReport {
    pub(super) fn new(violations: Vec<Violation>) -> Self {
        Self { violations }
    }

    /// Everything that is wrong.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Nothing is wrong.
    ///
    /// # Panics
    /// With everything that is wrong, if something is.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for HistoryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} violations", self.violations.len())?;
        // A broken store breaks everything that follows; the first lines tell the story.
        self.violations.iter().take(20).try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
