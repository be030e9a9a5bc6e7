//! The status of a subscription, for people and for metrics.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use es_core::{Bookmark, Position, StoreError};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::SubscriptionError;
use crate::{
    error::Chain,
    serializing::{error_chain, seconds, shared_error_chain},
};

/// Shows the status of a [`Subscription`](super::Subscription) from any task. A clone is another handle to the same
/// subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionMonitor {
    notes: Arc<Notes>,
}

impl SubscriptionMonitor {
    pub(super) fn new(notes: Arc<Notes>) -> Self {
        Self { notes }
    }

    /// Returns the current status, without asking the store.
    pub fn status(&self) -> SubscriptionStatus {
        self.notes.status()
    }
}

/// The position and state of a subscription and, if it does not advance, the reason. `Display` formats it as one line
/// for people.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// Every event up to here was returned or is not wanted; see
    /// [`Subscription::position`](super::Subscription::position).
    pub position: Position,
    /// The last event that was returned; `None` if there was none yet.
    pub delivered: Option<Position>,
    /// What the subscription is doing.
    pub state: SubscriptionState,
    /// The last failure of the store, even if the subscription has recovered since.
    pub last_error: Option<SubscriptionFailure>,
}

impl fmt::Display for SubscriptionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}, {}", self.position, self.state)
    }
}

/// What a subscription is doing.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubscriptionState {
    /// It has not yet returned all events of the log. A subscription works only when it is polled for an event, so the
    /// subscriber may be the one that is slow.
    CatchingUp,
    /// It has returned all events and waits for new ones.
    CaughtUp,
    /// The store is busy or unreachable. The subscription retries for as long as necessary.
    WaitingForStore {
        /// The number of consecutive failures.
        attempt: u32,
        /// The time until the next attempt.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// The last failure.
        failure: SubscriptionFailure,
    },
    /// It ended with an error.
    Ended {
        /// The cause, and how to fix it.
        #[serde(serialize_with = "error_chain")]
        error: SubscriptionError,
    },
    /// The subscriber dropped it.
    Dropped,
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CatchingUp => f.write_str("catching up"),
            Self::CaughtUp => f.write_str("caught up"),
            Self::WaitingForStore { attempt, next_try_in, failure } => {
                write!(f, "waiting for the store, try {} in {next_try_in:.1?}: {failure}", attempt + 1)
            }
            Self::Ended { error } => write!(f, "ended: {}", Chain(error)),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

/// A failure of the store.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SubscriptionFailure {
    /// When it happened, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The error, with its causes as sources.
    #[serde(serialize_with = "shared_error_chain")]
    pub error: Arc<StoreError>,
}

impl fmt::Display for SubscriptionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Chain(&*self.error).fmt(f)
    }
}

/// The current status of a subscription, shared with its monitors.
#[derive(Debug)]
pub(super) struct Notes(Mutex<Noted>);

#[derive(Debug)]
struct Noted {
    position: Bookmark,
    delivered: Option<Position>,
    phase: Phase,
    last_error: Option<SubscriptionFailure>,
}

/// A [`SubscriptionState`] with points in time.
#[derive(Debug)]
pub(super) enum Phase {
    CatchingUp,
    CaughtUp,
    WaitingForStore { attempt: u32, next_try: Instant, failure: SubscriptionFailure },
    Ended(SubscriptionError),
    Dropped,
}

impl Notes {
    pub(super) fn new(start: Bookmark) -> Self {
        let (delivered, last_error) = (None, None);
        Self(Mutex::new(Noted { position: start, delivered, phase: Phase::CatchingUp, last_error }))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    pub(super) fn store_failed(&self, attempt: u32, next_try: Instant, error: Arc<StoreError>) {
        let failure = SubscriptionFailure { at: OffsetDateTime::now_utc(), error };
        let mut noted = self.lock();
        noted.last_error = Some(failure.clone());
        noted.phase = Phase::WaitingForStore { attempt, next_try, failure };
    }

    /// Notes that an event or a part of it was returned. `reached` is set for the last part.
    pub(super) fn given_out(&self, event: Position, reached: Option<Bookmark>) {
        let mut noted = self.lock();
        noted.delivered = Some(event);
        noted.position = reached.unwrap_or(noted.position);
    }

    /// Notes that there is nothing to return up to a position.
    pub(super) fn passed_over(&self, reached: Bookmark) {
        self.lock().position = reached;
    }

    /// Notes that the subscription was dropped. An ended subscription keeps its error.
    pub(super) fn dropped(&self) {
        let mut noted = self.lock();
        if !matches!(noted.phase, Phase::Ended(_)) {
            noted.phase = Phase::Dropped;
        }
    }

    pub(super) fn position(&self) -> Bookmark {
        self.lock().position
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        let noted = self.lock();
        let state = noted.phase.state_at(Instant::now());
        let (position, delivered) = (noted.position.position(), noted.delivered);
        SubscriptionStatus { position, delivered, state, last_error: noted.last_error.clone() }
    }

    /// No code panics halfway through a change while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phase {
    fn state_at(&self, now: Instant) -> SubscriptionState {
        match self {
            Self::CatchingUp => SubscriptionState::CatchingUp,
            Self::CaughtUp => SubscriptionState::CaughtUp,
            Self::WaitingForStore { attempt, next_try, failure } => SubscriptionState::WaitingForStore {
                attempt: *attempt,
                next_try_in: next_try.saturating_duration_since(now),
                failure: failure.clone(),
            },
            Self::Ended(error) => SubscriptionState::Ended { error: error.clone() },
            Self::Dropped => SubscriptionState::Dropped,
        }
    }
}
