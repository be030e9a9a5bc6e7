//! The status of a consumer.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use es_core::{ConsumerName, DeadReason, Suspension};
use time::OffsetDateTime;

/// What a consumer is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerState {
    /// It does not run here.
    Stopped,
    /// It waits for the broker, which does not answer.
    WaitingForBroker,
    /// It waits for the store, which does not answer or is busy.
    WaitingForStore,
    /// It receives and handles messages.
    Running,
    /// An operator suspended it.
    Suspended(Suspension),
    /// It was asked to stop and finishes the messages that it holds.
    Draining,
}

impl ConsumerState {
    /// Returns a short name for the state, as in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::WaitingForBroker => "waiting for broker",
            Self::WaitingForStore => "waiting for store",
            Self::Running => "running",
            Self::Suspended(_) => "suspended",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suspended(suspension) => suspension.fmt(f),
            other => f.write_str(other.label()),
        }
    }
}

/// The status of a consumer of messages in this process. Counters start when it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// The name of the consumer.
    pub name: ConsumerName,
    /// What the consumer is doing.
    pub state: ConsumerState,
    /// Messages that took effect.
    pub handled: u64,
    /// Messages that had already taken effect.
    pub duplicates: u64,
    /// Messages of types without a handler that were skipped.
    pub skipped: u64,
    /// Messages that had expired and were discarded.
    pub expired: u64,
    /// Failed attempts that were followed by another attempt.
    pub retried: u64,
    /// Messages that became dead letters.
    pub dead: u64,
    /// Dead letters that took effect when they were retried.
    pub revived: u64,
    /// Messages that are received and not settled.
    pub in_hand: usize,
    /// The time from when the last message was recorded at its source ([`recorded_at`](crate::Message::recorded_at))
    /// until it took effect. If the message does not state when it was recorded, the time from when the event happened.
    pub lag: Option<Duration>,
    /// The last error, with its causes; the consumer may have recovered since.
    pub last_error: Option<String>,
    /// When the last error occurred, by this process's clock.
    pub last_error_at: Option<OffsetDateTime>,
}

impl fmt::Display for ConsumerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, state, handled, duplicates, dead, in_hand, .. } = self;
        write!(f, "{name}: {state}, {handled} handled, {duplicates} duplicates, {dead} dead, {in_hand} in hand")?;
        if let Some(lag) = self.lag {
            write!(f, ", {:.1} s behind", lag.as_secs_f64())?;
        }
        match (&self.last_error, self.last_error_at) {
            (Some(error), Some(at)) => write!(f, "; last error, at {at}: {error}"),
            _ => Ok(()),
        }
    }
}

/// The counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Handled,
    Duplicate,
    Skipped,
    Expired,
    Retried,
    Dead(DeadReason),
    Revived,
}

/// The state of a consumer, in which its parts record what they are doing.
#[derive(Debug)]
pub(crate) struct ConsumerStateCell {
    name: ConsumerName,
    said: Mutex<Said>,
    handled: AtomicU64,
    duplicates: AtomicU64,
    skipped: AtomicU64,
    expired: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    revived: AtomicU64,
    in_hand: AtomicUsize,
    /// The number of lanes that wait for the store.
    lanes_away: AtomicUsize,
}

#[derive(Debug)]
struct Said {
    state: ConsumerState,
    lag: Option<Duration>,
    last_error: Option<(OffsetDateTime, String)>,
}

impl ConsumerStateCell {
    pub(crate) fn new(name: ConsumerName) -> Self {
        let said = Said { state: ConsumerState::Stopped, lag: None, last_error: None };
        Self {
            name,
            said: Mutex::new(said),
            handled: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            revived: AtomicU64::new(0),
            in_hand: AtomicUsize::new(0),
            lanes_away: AtomicUsize::new(0),
        }
    }

    pub(crate) fn count(&self, what: Count) {
        let counter = match what {
            Count::Handled => &self.handled,
            Count::Duplicate => &self.duplicates,
            Count::Skipped => &self.skipped,
            Count::Expired => &self.expired,
            Count::Retried => &self.retried,
            Count::Dead(_) => &self.dead,
            Count::Revived => &self.revived,
        };
        counter.fetch_add(1, Relaxed);
        #[cfg(feature = "metrics")]
        super::metrics::counted(&self.name, what);
    }

    /// Records that a message took effect. `of` is when it was recorded.
    pub(crate) fn handled(&self, of: Option<OffsetDateTime>) {
        self.count(Count::Handled);
        if let Some(time) = of {
            let lag = Duration::try_from(OffsetDateTime::now_utc() - time).unwrap_or_default();
            self.lock().lag = Some(lag);
            #[cfg(feature = "metrics")]
            super::metrics::lag(&self.name, lag);
        }
    }

    pub(crate) fn set_in_hand(&self, messages: usize) {
        self.in_hand.store(messages, Relaxed);
        #[cfg(feature = "metrics")]
        super::metrics::in_hand(&self.name, messages);
    }

    pub(crate) fn set_state(&self, state: ConsumerState) {
        let mut said = self.lock();
        #[cfg(feature = "metrics")]
        super::metrics::state(&self.name, &said.state, &state);
        said.state = state;
    }

    /// Records that a lane begins or stops to wait for the store.
    pub(crate) fn lane_waits_for_store(&self, waits: bool) {
        if waits {
            self.lanes_away.fetch_add(1, Relaxed);
        } else {
            self.lanes_away.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn set_error(&self, error: String) {
        self.lock().last_error = Some((OffsetDateTime::now_utc(), error));
    }

    pub(crate) fn status(&self) -> ConsumerStatus {
        let said = self.lock();
        let state = match (&said.state, self.lanes_away.load(Relaxed)) {
            (ConsumerState::Running, 1..) => ConsumerState::WaitingForStore,
            (state, _) => state.clone(),
        };
        ConsumerStatus {
            name: self.name.clone(),
            state,
            handled: self.handled.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            expired: self.expired.load(Relaxed),
            retried: self.retried.load(Relaxed),
            dead: self.dead.load(Relaxed),
            revived: self.revived.load(Relaxed),
            in_hand: self.in_hand.load(Relaxed),
            lag: said.lag,
            last_error: said.last_error.as_ref().map(|(_, error)| error.clone()),
            last_error_at: said.last_error.as_ref().map(|(at, _)| *at),
        }
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
