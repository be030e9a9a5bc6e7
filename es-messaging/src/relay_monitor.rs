//! The status of a relay.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use es_core::{ConsumerName, NewDeadLetter, OutboxStats, Suspension};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{
    causes::with_causes,
    circuit_breaker::{BreakerState, CircuitBreaker},
};

/// Shows what a relay is doing while it runs. A clone is another handle to the same relay.
#[derive(Clone)]
pub struct RelayMonitor {
    pub(crate) shared: Arc<Counts>,
}

#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) consumer: ConsumerName,
    pub(crate) breaker: CircuitBreaker,
    pub(crate) published: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unconfirmed: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last_error: Option<LastError>,
    outbox: Option<OutboxStats>,
    work: OutboxWork,
}

/// The last error of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When it occurred, by this process's clock.
    pub at: OffsetDateTime,
    /// The error with its causes.
    pub error: String,
}

/// What a relay is currently doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboxWork {
    /// It does not run here.
    #[default]
    Stopped,
    /// It publishes, or waits for messages.
    Working,
    /// An operator suspended it.
    Suspended(Box<Suspension>),
    /// Another process publishes.
    Elsewhere {
        /// The name of that process.
        owner: String,
    },
    /// The store does not answer.
    WaitingForStore,
    /// It is a relay of events, which a runner runs, and currently has nothing to publish. The runner's status shows
    /// more.
    Idle,
}

impl OutboxWork {
    /// Returns a short name.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Working => "working",
            Self::Suspended(_) => "suspended",
            Self::Elsewhere { .. } => "elsewhere",
            Self::WaitingForStore => "waiting for store",
            Self::Idle => "idle",
        }
    }
}

/// The status of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStatus {
    /// The name of the relay.
    pub consumer: ConsumerName,
    /// The state of its circuit breaker.
    pub breaker: BreakerState,
    /// When the circuit breaker entered that state.
    pub since: Instant,
    /// Messages of this relay that the broker confirmed.
    pub published: u64,
    /// Messages that became dead letters.
    pub refused: u64,
    /// How often a message was not confirmed and had to be published again.
    pub unconfirmed: u64,
    /// Messages that wait for the broker's confirmation.
    pub in_flight: u64,
    /// The last error; the relay may have recovered since.
    pub last_error: Option<LastError>,
    /// For the relay of the outbox: how much was waiting at the last check.
    pub outbox: Option<OutboxStats>,
    /// What the relay is doing.
    pub work: OutboxWork,
}

impl RelayMonitor {
    pub(crate) fn new(consumer: ConsumerName, breaker: CircuitBreaker) -> Self {
        let (published, refused, unconfirmed, in_flight) = Default::default();
        let said = Mutex::default();
        Self { shared: Arc::new(Counts { consumer, breaker, published, refused, unconfirmed, in_flight, said }) }
    }

    pub(crate) fn note_published(&self, messages: usize) {
        self.shared.published.fetch_add(messages as u64, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        crate::metrics::published(&self.shared.consumer, messages);
        self.note_breaker();
    }

    pub(crate) fn note_refused(&self, letters: &[NewDeadLetter]) {
        self.shared.refused.fetch_add(letters.len() as u64, Ordering::Relaxed);
        if let Some(NewDeadLetter { error, message_id, .. }) = letters.last() {
            let (consumer, count) = (&self.shared.consumer, letters.len());
            tracing::warn!(%consumer, count, message_id, error, "messages are dead letters now");
            self.shared.note_error_text(error.clone());
        }
        #[cfg(feature = "metrics")]
        crate::metrics::refused(&self.shared.consumer, letters.len());
    }

    pub(crate) fn note_unconfirmed(&self, messages: u64, error: &(dyn std::error::Error + 'static)) {
        self.shared.unconfirmed.fetch_add(messages, Ordering::Relaxed);
        self.shared.note_error(error);
        #[cfg(feature = "metrics")]
        crate::metrics::unconfirmed(&self.shared.consumer, messages);
        self.note_breaker();
    }

    pub(crate) fn note_latency(&self, _took: Duration) {
        #[cfg(feature = "metrics")]
        crate::metrics::latency(&self.shared.consumer, _took);
    }

    pub(crate) fn note_breaker(&self) {
        #[cfg(feature = "metrics")]
        crate::metrics::breaker(&self.shared.consumer, self.shared.breaker.state().0);
    }

    /// Returns the current status of the relay.
    pub fn status(&self) -> RelayStatus {
        let (shared, count) = (&*self.shared, |of: &AtomicU64| of.load(Ordering::Relaxed));
        let (breaker, since) = shared.breaker.state();
        let said = shared.said.lock().unwrap_or_else(PoisonError::into_inner);
        RelayStatus {
            consumer: shared.consumer.clone(),
            breaker,
            since,
            published: count(&shared.published),
            refused: count(&shared.refused),
            unconfirmed: count(&shared.unconfirmed),
            in_flight: count(&shared.in_flight),
            last_error: said.last_error.clone(),
            outbox: said.outbox.clone(),
            work: said.work.clone(),
        }
    }
}

impl Counts {
    pub(crate) fn note_error(&self, error: &(dyn std::error::Error + 'static)) {
        self.note_error_text(with_causes(error));
    }

    fn note_error_text(&self, error: String) {
        let at = OffsetDateTime::now_utc();
        self.said.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(LastError { at, error });
    }

    pub(crate) fn note_outbox(&self, stats: OutboxStats) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).outbox = Some(stats);
    }

    pub(crate) fn note_work(&self, work: OutboxWork) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).work = work;
    }

    /// Shows the relay as working until the guard is dropped. Used by relays of events, which only know the pages that
    /// their runner passes to them.
    pub(crate) fn working(&self) -> Working<'_> {
        self.note_work(OutboxWork::Working);
        Working { of: self }
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.last_error.as_ref().map(|last| last.error.clone())
    }

    /// Counts messages as in flight until the guard is dropped.
    pub(crate) fn in_flight(&self, messages: usize) -> InFlight<'_> {
        let messages = messages as u64;
        self.in_flight.fetch_add(messages, Ordering::Relaxed);
        InFlight { of: &self.in_flight, messages }
    }
}

/// Marks a relay of events as working.
pub(crate) struct Working<'a> {
    of: &'a Counts,
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.of.note_work(OutboxWork::Idle);
    }
}

/// Counts messages in flight.
pub(crate) struct InFlight<'a> {
    of: &'a AtomicU64,
    messages: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.messages, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for RelayMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.status(), f)
    }
}
