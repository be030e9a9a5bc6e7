//! A circuit breaker: stops sending to a broker that does not confirm.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use es_projections::Backoff;
use tokio::time::Instant;

use crate::limits;

/// When a relay stops sending to its broker, and for how long.
#[derive(Clone)]
pub struct BreakerOptions {
    threshold: u32,
    backoff: Backoff,
    jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl BreakerOptions {
    /// Sets after how many consecutive batches without any confirmation the breaker opens; at least 1. The default is
    /// [`limits::BREAKER_THRESHOLD`].
    #[must_use]
    pub fn threshold(mut self, failures: u32) -> Self {
        self.threshold = failures.max(1);
        self
    }

    /// Sets the upper bounds of the waits. By default, they double from [`limits::BREAKER_FIRST_WAIT`] to
    /// [`limits::BREAKER_LONGEST_WAIT`]. Each wait is between half of its upper bound and the whole.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the source of randomness for the waits, which returns numbers from 0 to 1. For tests.
    #[must_use]
    pub fn jitter(mut self, jitter: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        self.jitter = Arc::new(jitter);
        self
    }

    fn wait(&self, failures: u32) -> Duration {
        let longest = self.backoff.longest(failures);
        longest.mul_f64(0.5 + (self.jitter)().clamp(0.0, 1.0) / 2.0)
    }
}

impl Default for BreakerOptions {
    fn default() -> Self {
        // Every `RandomState` has its own keys, which is random enough to spread retries.
        let jitter = || {
            let bits = RandomState::new().build_hasher().finish() >> 11;
            bits as f64 / ((1_u64 << 53) - 1) as f64
        };
        Self {
            threshold: limits::BREAKER_THRESHOLD,
            backoff: Backoff::new(limits::BREAKER_FIRST_WAIT, limits::BREAKER_LONGEST_WAIT),
            jitter: Arc::new(jitter),
        }
    }
}

impl fmt::Debug for BreakerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threshold, backoff, .. } = self;
        f.debug_struct("BreakerOptions").field("threshold", threshold).field("backoff", backoff).finish_non_exhaustive()
    }
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BreakerState {
    /// The broker confirms, or has not failed often enough to open the breaker.
    Closed,
    /// The relay does not send to the broker.
    Open {
        /// When the relay next tests the broker.
        next_try: Instant,
    },
    /// One message is being sent to test whether the broker is back.
    HalfOpen,
}

impl BreakerState {
    /// Returns `closed`, `open`, or `half_open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The circuit breaker of one broker, shared by all tasks that publish to it for one relay.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    options: BreakerOptions,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: BreakerState,
    since: Instant,
    /// The earliest time of the next attempt while the breaker is closed.
    retry_at: Option<Instant>,
    /// The number of consecutive batches without any confirmation.
    failures: u32,
    /// The number of consecutive batches whose first message was not confirmed.
    stalls: u32,
}

/// What may be published now.
#[derive(Debug)]
pub(crate) enum Admit<'a> {
    /// A batch.
    Batch,
    /// One message.
    Probe(#[expect(dead_code, reason = "held until the try is over")] Probe<'a>),
    /// Nothing until this time.
    Wait(Instant),
}

impl CircuitBreaker {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        let state = BreakerState::Closed;
        let inner = Inner { state, since: Instant::now(), retry_at: None, failures: 0, stalls: 0 };
        Self { options, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state, and when the breaker entered it.
    pub(crate) fn state(&self) -> (BreakerState, Instant) {
        let inner = self.lock();
        (inner.state, inner.since)
    }

    pub(crate) fn admit(&self) -> Admit<'_> {
        let (mut inner, now) = (self.lock(), Instant::now());
        match inner.state {
            BreakerState::Closed => match inner.retry_at.filter(|&at| at > now) {
                Some(at) => Admit::Wait(at),
                None => Admit::Batch,
            },
            BreakerState::Open { next_try } if next_try > now => Admit::Wait(next_try),
            BreakerState::Open { .. } => {
                inner.enter(BreakerState::HalfOpen);
                Admit::Probe(Probe { breaker: self })
            }
            BreakerState::HalfOpen => Admit::Wait(now + limits::PROBE_INTERVAL),
        }
    }

    /// Records that the broker confirmed or permanently refused a message, and therefore answers. `is_stalled` states
    /// that the first message is still not confirmed. `after` is how long the broker asks to wait.
    pub(crate) fn note_progress(&self, is_stalled: bool, after: Option<Duration>) {
        let mut inner = self.lock();
        inner.enter(BreakerState::Closed);
        inner.failures = 0;
        inner.stalls = if is_stalled { inner.stalls.saturating_add(1) } else { 0 };
        let wait = is_stalled.then(|| self.options.wait(inner.stalls));
        let wait = wait.max(after.map(|after| after.min(limits::MAX_THROTTLE)));
        inner.retry_at = wait.map(|wait| Instant::now() + wait);
    }

    /// Records that nothing was confirmed. Returns whether that opened the breaker. `after` is how long the broker asks
    /// to wait.
    pub(crate) fn note_failure(&self, after: Option<Duration>) -> bool {
        let mut inner = self.lock();
        inner.failures = inner.failures.saturating_add(1);
        let wait = self.options.wait(inner.failures).max(after.unwrap_or_default().min(limits::MAX_THROTTLE));
        let next_try = Instant::now() + wait;
        let opens = inner.failures >= self.options.threshold || inner.state == BreakerState::HalfOpen;
        if opens {
            let was_closed = inner.state == BreakerState::Closed;
            inner.enter(BreakerState::Open { next_try });
            was_closed
        } else {
            inner.retry_at = Some(next_try);
            false
        }
    }
}

impl Inner {
    fn enter(&mut self, state: BreakerState) {
        if self.state.as_str() != state.as_str() {
            self.since = Instant::now();
        }
        self.state = state;
    }
}

/// The right to test whether the broker is back. If it is dropped without a result, another task may test the broker.
#[derive(Debug)]
pub(crate) struct Probe<'a> {
    breaker: &'a CircuitBreaker,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let mut inner = self.breaker.lock();
        if inner.state == BreakerState::HalfOpen {
            inner.enter(BreakerState::Open { next_try: Instant::now() });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn breaker() -> CircuitBreaker {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        CircuitBreaker::new(BreakerOptions::default().threshold(2).backoff(backoff).jitter(|| 1.0))
    }

    fn wait(breaker: &CircuitBreaker) -> Duration {
        match breaker.admit() {
            Admit::Wait(at) => at - Instant::now(),
            _ => Duration::ZERO,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_half_opens_and_closes() {
        let breaker = breaker();
        assert!(!breaker.note_failure(None));
        assert_eq!((breaker.state().0, wait(&breaker)), (BreakerState::Closed, Duration::from_secs(1)));
        advance(Duration::from_secs(1)).await;
        assert!(breaker.note_failure(None));
        assert_eq!(wait(&breaker), Duration::from_secs(2));
        advance(Duration::from_secs(2)).await;
        let probe = breaker.admit();
        assert!(matches!(probe, Admit::Probe(_)));
        assert_eq!(wait(&breaker), limits::PROBE_INTERVAL);
        assert!(!breaker.note_failure(None));
        drop(probe);
        assert_eq!(wait(&breaker), Duration::from_secs(4));
        advance(Duration::from_secs(4)).await;
        let probe = breaker.admit();
        breaker.note_progress(false, None);
        drop(probe);
        assert!(matches!(breaker.admit(), Admit::Batch));
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_is_dropped_is_somebody_elses() {
        let breaker = breaker();
        breaker.note_failure(None);
        breaker.note_failure(None);
        advance(Duration::from_secs(10)).await;
        drop(breaker.admit());
        assert!(matches!(breaker.admit(), Admit::Probe(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_asks_for_more_time_gets_it_and_a_stalled_one_is_not_pressed() {
        let breaker = breaker();
        breaker.note_failure(Some(Duration::from_secs(20)));
        assert_eq!(wait(&breaker), Duration::from_secs(20));
        for seconds in [1, 2, 4, 8, 8] {
            breaker.note_progress(true, None);
            assert_eq!(wait(&breaker), Duration::from_secs(seconds));
        }
        breaker.note_progress(false, None);
        assert!(matches!(breaker.admit(), Admit::Batch));
    }
}
