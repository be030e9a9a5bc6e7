//! Parked events: events that could not be applied, and later events of the same key that wait behind them.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{consumer_name::ConsumerName, event::Payload, event_key::EventKey, limits, position::Position};

/// The changes that a move of a checkpoint makes to the parked events of its consumer, in the same transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parking {
    /// Events that are parked instead of taking effect.
    pub park: Vec<Park>,
    /// Parked events that take effect with this move, or that are parked under another key.
    pub unpark: Vec<Unpark>,
}

impl Parking {
    /// Creates a change that parks events.
    pub fn of(park: Vec<Park>) -> Self {
        Self { park, unpark: Vec::new() }
    }

    /// Returns the change with parked events that take effect.
    #[must_use]
    pub fn and_unpark(mut self, unpark: Vec<Unpark>) -> Self {
        self.unpark = unpark;
        self
    }

    /// Returns whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.park.is_empty() && self.unpark.is_empty()
    }
}

/// An event that is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Park {
    /// The key under which the event waits.
    pub key: EventKey,
    /// The position of the event in the log.
    pub position: Position,
    /// The failure, if the event itself failed. Without a failure, it waits behind others of its key, and a store
    /// refuses it if none of them is still parked.
    pub failure: Option<ParkFailure>,
}

impl Park {
    /// Creates an event that failed.
    pub fn failed(key: EventKey, position: Position, failure: ParkFailure) -> Self {
        Self { key, position, failure: Some(failure) }
    }

    /// Creates an event that waits behind others of its key.
    pub fn behind(key: EventKey, position: Position) -> Self {
        Self { key, position, failure: None }
    }
}

/// A parked event that leaves the queue. A store refuses the move if the event is not in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpark {
    /// The key under which the event waits.
    pub key: EventKey,
    /// The position of the event in the log.
    pub position: Position,
}

/// The reason why an event was parked, or failed when it was retried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkFailure {
    /// The error with its causes, as text.
    pub error: String,
    /// The number of attempts.
    pub attempts: u32,
}

impl ParkFailure {
    /// Creates a failure. The text is cut to [`limits::MAX_PARKED_ERROR_BYTES`], and control characters become spaces.
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

/// The number of parked keys and events of a consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct ParkedTotals {
    /// The number of keys.
    pub keys: u64,
    /// The number of events of all keys.
    pub events: u64,
}

/// The queue of parked events of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedQueue {
    /// The key.
    pub key: EventKey,
    /// The number of waiting events.
    pub events: u64,
    /// When the key was parked, by the store's clock.
    pub parked_at: OffsetDateTime,
    /// The error for which the first event was parked.
    pub first_error: String,
    /// The error of the last attempt.
    pub last_error: String,
    /// The total number of attempts on the first event.
    pub attempts: u32,
    /// The time of the last attempt.
    pub tried_at: OffsetDateTime,
    /// The pending retry request, if there is one.
    pub retry: Option<RetryRequest>,
}

impl ParkedQueue {
    /// Creates a queue whose first event has just failed. Stores report queues in this way.
    pub fn new(key: EventKey, events: u64, failure: &ParkFailure, now: OffsetDateTime) -> Self {
        let ParkFailure { error, attempts } = failure.clone();
        let (first_error, last_error) = (error.clone(), error);
        Self { key, events, parked_at: now, first_error, last_error, attempts, tried_at: now, retry: None }
    }
}

/// A request to retry a parked key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryRequest {
    /// The operator.
    pub by: String,
    /// The time of the request, by the store's clock.
    pub at: OffsetDateTime,
    /// The reason, if the operator specified one.
    pub reason: Option<String>,
}

impl RetryRequest {
    /// Creates a request. Stores report requests in this way.
    pub fn new(by: String, at: OffsetDateTime, reason: Option<String>) -> Self {
        Self { by, at, reason }
    }
}

/// One parked event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The position of the event in the log.
    pub position: Position,
    /// When the event was parked, by the store's clock.
    pub parked_at: OffsetDateTime,
    /// The payload with which the event is retried instead of its own, if an operator edited it. The log is not
    /// changed.
    pub edited: Option<Payload>,
    /// The ID of the event, if the store knows it. Another event at the same position is not the parked one.
    pub event_id: Option<Uuid>,
}

impl ParkedEvent {
    /// Creates a parked event. Stores report parked events in this way.
    pub fn new(position: Position, parked_at: OffsetDateTime, edited: Option<Payload>) -> Self {
        Self { position, parked_at, edited, event_id: None }
    }

    /// Returns the parked event with its ID.
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
    /// The position of the event.
    pub position: Position,
    /// The payload with which the event is retried.
    pub payload: Payload,
}

impl ParkedEdit {
    /// Creates an edit of one event.
    pub fn new(position: Position, payload: Payload) -> Self {
        Self { position, payload }
    }
}

/// An operator's action on parked events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParkingAction {
    /// A retry of a key was requested.
    Retry,
    /// The payload of an event was edited.
    Edit,
    /// An event was discarded.
    Discard,
}

impl ParkingAction {
    /// Returns the text under which stores keep the action.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Edit => "edit",
            Self::Discard => "discard",
        }
    }

    /// Parses the text that [`as_str`](Self::as_str) returned.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Retry, Self::Edit, Self::Discard].into_iter().find(|action| action.as_str() == text)
    }
}

/// One entry of the history of operators' actions on parked events. It is kept after the events are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkingRecord {
    /// The number of the entry. Later entries have larger numbers, possibly with gaps.
    pub id: u64,
    /// When the action happened, by the store's clock.
    pub at: OffsetDateTime,
    /// The consumer that parked the events.
    pub consumer: ConsumerName,
    /// The key.
    pub key: EventKey,
    /// The position of the event, or `None` for the whole key.
    pub position: Option<Position>,
    /// The action.
    pub action: ParkingAction,
    /// The operator.
    pub by: String,
    /// The reason.
    pub reason: Option<String>,
    /// The payload of an edit.
    pub payload: Option<Payload>,
}

impl ParkingRecord {
    /// Creates a record of an action on a whole key. Stores report records in this way.
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
