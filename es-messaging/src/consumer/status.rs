//! What a consumer says of itself.

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
    /// Nobody runs it here.
    Stopped,
    /// It waits for the broker, which does not answer.
    WaitingForBroker,
    /// It waits for the store, which does not answer or is busy.
    WaitingForStore,
    /// It receives and handles messages.
    Running,
    /// An operator suspended it.
    Suspended(Suspension),
    /// It was told to stop, and finishes what it has in hand.
    Draining,
}

impl ConsumerState {
    /// A word for it, as in metrics.
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

/// Where a consumer of messages stands, in this process. Counts are since it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub name: ConsumerName,
    /// What it is doing.
    pub state: ConsumerState,
    /// Messages that took effect.
    pub handled: u64,
    /// Messages that had taken effect before.
    pub duplicates: u64,
    /// Messages of types that nobody handles, which were passed over.
    pub skipped: u64,
    /// Messages that had expired, and were thrown away.
    pub expired: u64,
    /// Attempts that failed and were followed by another one.
    pub retried: u64,
    /// Messages that became dead letters.
    pub dead: u64,
    /// Dead letters that took effect when they were tried again.
    pub revived: u64,
    /// Messages that are received and not settled.
    pub in_hand: usize,
    /// How long before it took effect the last message was recorded where it comes from
    /// ([`recorded_at`](crate::Message::recorded_at)), or, if it does not say, happened.
    pub lag: Option<Duration>,
    /// The last error, with its causes; it may be over.
    pub last_error: Option<String>,
    /// When that was, by this process's clock.
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

/// What is counted.
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

/// The state of a consumer: its parts note in it what they do.
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
    /// Lanes that wait for the store.
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

    /// A message took effect that was recorded at a time.
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

    /// A lane begins to wait for the store, or does not any more.
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

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
