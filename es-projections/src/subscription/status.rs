//! Where a subscription stands, for people and for metrics.

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

/// Tells where a [`Subscription`](super::Subscription) stands, from any task. Cloning gives another handle to the same
/// subscription.
#[derive(Debug, Clone)]
pub struct SubscriptionMonitor {
    notes: Arc<Notes>,
}

impl SubscriptionMonitor {
    pub(super) fn new(notes: Arc<Notes>) -> Self {
        Self { notes }
    }

    /// Where it stands now, without asking the store.
    pub fn status(&self) -> SubscriptionStatus {
        self.notes.status()
    }
}

/// Where a subscription stands and, if it does not go on, why. Its `Display` is one line for people.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// Everything up to here was given out or is not wanted; see [`Subscription::position`](super::Subscription::position).
    pub position: Position,
    /// The last event that was given out; `None` if there was none yet.
    pub delivered: Option<Position>,
    /// What it is doing.
    pub state: SubscriptionState,
    /// What went wrong last with the store, even if all is well again.
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
    /// It has not given out all that is in the log. A subscription works when it is asked for an event, so it may be the
    /// subscriber that takes its time.
    CatchingUp,
    /// It has given out all there is and waits for new events.
    CaughtUp,
    /// The store is busy or cannot be reached. It is asked again for as long as it takes.
    WaitingForStore {
        /// How often it has failed in a row.
        attempt: u32,
        /// How long until the next try.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// Why it failed.
        failure: SubscriptionFailure,
    },
    /// It gave up.
    Ended {
        /// Why, and what to do.
        #[serde(serialize_with = "error_chain")]
        error: SubscriptionError,
    },
    /// The subscriber has dropped it.
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

/// One failure of the store.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SubscriptionFailure {
    /// When, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What went wrong, with its causes as sources.
    #[serde(serialize_with = "shared_error_chain")]
    pub error: Arc<StoreError>,
}

impl fmt::Display for SubscriptionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Chain(&*self.error).fmt(f)
    }
}

/// Where a subscription notes what it is doing.
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

    /// An event was given out, or a part of it; `reached` if that was all of it.
    pub(super) fn given_out(&self, event: Position, reached: Option<Bookmark>) {
        let mut noted = self.lock();
        noted.delivered = Some(event);
        noted.position = reached.unwrap_or(noted.position);
    }

    /// There is nothing to give out up to a position.
    pub(super) fn passed_over(&self, reached: Bookmark) {
        self.lock().position = reached;
    }

    /// An ended subscription keeps its reason.
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

    /// Nothing panics while it holds this lock half way through a change.
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
