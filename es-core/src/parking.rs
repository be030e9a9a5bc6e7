//! Parked events: those that could not be applied, and those of the same key that wait behind them.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{consumer_name::ConsumerName, event::Payload, event_key::EventKey, limits, position::Position};

/// What the move of a checkpoint does to the parked events of its consumer, in the same transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parking {
    /// Events that are put aside instead of taking effect.
    pub park: Vec<Park>,
    /// Parked events that take effect with this move, or are put aside under another key.
    pub unpark: Vec<Unpark>,
}

impl Parking {
    /// Events that are put aside.
    pub fn of(park: Vec<Park>) -> Self {
        Self { park, unpark: Vec::new() }
    }

    /// The same with parked events that take effect.
    #[must_use]
    pub fn and_unpark(mut self, unpark: Vec<Unpark>) -> Self {
        self.unpark = unpark;
        self
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.park.is_empty() && self.unpark.is_empty()
    }
}

/// An event that is put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Park {
    /// The key under which it waits.
    pub key: EventKey,
    /// Where it is in the log.
    pub position: Position,
    /// Why, if it failed itself. Without, it waits behind others of its key: a store refuses it if none is parked any more.
    pub failure: Option<ParkFailure>,
}

impl Park {
    /// An event that failed.
    pub fn failed(key: EventKey, position: Position, failure: ParkFailure) -> Self {
        Self { key, position, failure: Some(failure) }
    }

    /// An event behind others of its key.
    pub fn behind(key: EventKey, position: Position) -> Self {
        Self { key, position, failure: None }
    }
}

/// A parked event that leaves the queue. A store refuses the move if it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpark {
    /// The key under which it waits.
    pub key: EventKey,
    /// Where it is in the log.
    pub position: Position,
}

/// Why an event was parked, or could not be applied when it was tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkFailure {
    /// The error with its causes, as text.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl ParkFailure {
    /// A failure; the text is cut to [`limits::MAX_PARKED_ERROR_BYTES`], and control characters become spaces.
    pub fn new(error: &str, attempts: u32) -> Self {
        let mut text = String::with_capacity(error.len().min(limits::MAX_PARKED_ERROR_BYTES));
        for c in error.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if text.len() + c.len_utf8() > limits::MAX_PARKED_ERROR_BYTES {
                break;
            }
            text.push(c);
        }
        Self { error: text, attempts }
    }
}

/// How many keys and events of a consumer are parked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ParkedTotals {
    /// Keys.
    pub keys: u64,
    /// Events of all of them.
    pub events: u64,
}

/// The parked queue of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedQueue {
    /// The key.
    pub key: EventKey,
    /// How many events wait.
    pub events: u64,
    /// Since when, by the store's clock.
    pub parked_at: OffsetDateTime,
    /// Why its first event was parked.
    pub first_error: String,
    /// Why it failed last.
    pub last_error: String,
    /// How often its first event was tried in all.
    pub attempts: u32,
    /// When it was tried last.
    pub tried_at: OffsetDateTime,
    /// Who requested a retry; `None` if there is no request at the moment.
    pub retry: Option<RetryRequest>,
}

impl ParkedQueue {
    /// A queue of events whose first failed just now, as stores report it.
    pub fn new(key: EventKey, events: u64, failure: &ParkFailure, now: OffsetDateTime) -> Self {
        let ParkFailure { error, attempts } = failure.clone();
        let (first_error, last_error) = (error.clone(), error);
        Self { key, events, parked_at: now, first_error, last_error, attempts, tried_at: now, retry: None }
    }
}

/// A request that a parked key is retried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryRequest {
    /// Who.
    pub by: String,
    /// When, by the store's clock.
    pub at: OffsetDateTime,
    /// Why, if they said so.
    pub reason: Option<String>,
}

impl RetryRequest {
    /// Creates a request, as stores report it.
    pub fn new(by: String, at: OffsetDateTime, reason: Option<String>) -> Self {
        Self { by, at, reason }
    }
}

/// One parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// Where it is in the log.
    pub position: Position,
    /// Since when it waits, by the store's clock.
    pub parked_at: OffsetDateTime,
    /// What it is to be tried with instead of its own payload, if somebody edited it. The log is as it was.
    pub edited: Option<Payload>,
    /// Its id, if the store knows it: another event at its position is not the one that was parked.
    pub event_id: Option<Uuid>,
}

impl ParkedEvent {
    /// A parked event, as stores report it.
    pub fn new(position: Position, parked_at: OffsetDateTime, edited: Option<Payload>) -> Self {
        Self { position, parked_at, edited, event_id: None }
    }

    /// The same with its id.
    #[must_use]
    pub fn at_event(mut self, event_id: Option<Uuid>) -> Self {
        self.event_id = event_id;
        self
    }
}

/// Another payload for a parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEdit {
    /// Which event.
    pub position: Position,
    /// What it is to be tried with.
    pub payload: Payload,
}

impl ParkedEdit {
    /// An edit of one event.
    pub fn new(position: Position, payload: Payload) -> Self {
        Self { position, payload }
    }
}

/// What was done to parked events by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkingAction {
    /// A retry of a key was requested.
    Retry,
    /// An event was given another payload.
    Edit,
    /// An event was thrown away.
    Discard,
}

impl ParkingAction {
    /// As stores keep it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Edit => "edit",
            Self::Discard => "discard",
        }
    }

    /// Reads what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Retry, Self::Edit, Self::Discard].into_iter().find(|action| action.as_str() == text)
    }
}

/// One line of the history of what was done to parked events by hand. It is kept when the events are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkingRecord {
    /// Its number: later ones have larger numbers, not always without gaps.
    pub id: u64,
    /// When, by the store's clock.
    pub at: OffsetDateTime,
    /// Whose event.
    pub consumer: ConsumerName,
    /// The key.
    pub key: EventKey,
    /// The event; `None` for the whole key.
    pub position: Option<Position>,
    /// What was done.
    pub action: ParkingAction,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// The payload of an edit.
    pub payload: Option<Payload>,
}

impl ParkingRecord {
    /// A record of what was done to a whole key, as stores report it.
    pub fn new(id: u64, at: OffsetDateTime, consumer: ConsumerName, key: EventKey, action: ParkingAction) -> Self {
        Self { id, at, consumer, key, position: None, action, by: String::new(), reason: None, payload: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_failure_is_bounded_and_can_be_stored_anywhere() {
        let failure = ParkFailure::new(&"é\0\n".repeat(limits::MAX_PARKED_ERROR_BYTES), 3);
        assert!((limits::MAX_PARKED_ERROR_BYTES - 1..=limits::MAX_PARKED_ERROR_BYTES).contains(&failure.error.len()));
        assert!(failure.error.starts_with("é  é"));
        assert_eq!(ParkFailure::new("no room: disk full", 1).error, "no room: disk full");
    }

    #[test]
    fn actions_are_read_back() {
        for action in [ParkingAction::Retry, ParkingAction::Edit, ParkingAction::Discard] {
            assert_eq!(ParkingAction::parse(action.as_str()), Some(action));
        }
        assert_eq!(ParkingAction::parse("drop"), None);
    }
}
