//! How long to wait between two attempts.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

use crate::limits;

/// How long to wait between two attempts: capped exponential growth with full jitter. The wait before retry `n` is a
/// random time between zero and `min(cap, first * factor^(n - 1))`, so that clients that failed at the same time do not
/// retry at the same time.
///
/// ```
/// use es_projections::Backoff;
/// use std::time::Duration;
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
/// assert_eq!(backoff.longest(1), Duration::from_millis(100));
/// assert_eq!(backoff.longest(3), Duration::from_millis(400));
/// assert_eq!(backoff.longest(50), Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    factor: u32,
}

impl Backoff {
    /// Returns a backoff that doubles from `first` to `cap`. Both are limited to [`limits::MAX_BACKOFF`].
    pub fn new(first: Duration, cap: Duration) -> Self {
        let cap = cap.min(limits::MAX_BACKOFF);
        Self { first: first.min(cap), cap, factor: 2 }
    }

    /// Returns the backoff with another growth factor. A factor of 1 keeps the first wait, and 0 counts as 1.
    #[must_use]
    pub fn with_factor(mut self, factor: u32) -> Self {
        self.factor = factor.max(1);
        self
    }

    /// Returns the longest wait before a retry. The first retry is number 1.
    pub fn longest(&self, retry: u32) -> Duration {
        let growth = self.factor.saturating_pow(retry.saturating_sub(1));
        self.first.saturating_mul(growth).min(self.cap)
    }

    /// Returns a random wait before a retry, from zero to [`longest`](Self::longest).
    pub fn wait(&self, retry: u32) -> Duration {
        self.longest(retry).mul_f64(random_fraction())
    }
}

impl Default for Backoff {
    /// Returns a backoff that doubles from [`limits::DEFAULT_FIRST_BACKOFF`] to [`limits::DEFAULT_BACKOFF_CAP`].
    fn default() -> Self {
        Self::new(limits::DEFAULT_FIRST_BACKOFF, limits::DEFAULT_BACKOFF_CAP)
    }
}

/// Returns a number from 0 to 1. Every `RandomState` has its own keys, which is random enough to spread retries.
fn random_fraction() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / ((1_u64 << 53) - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_over_the_whole_range_and_never_longer() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let waits: Vec<f64> = (0..1_000).map(|_| backoff.wait(4).as_secs_f64()).collect();
        assert!(waits.iter().all(|&wait| (0.0..=8.0).contains(&wait)));
        for quarter in 0..4 {
            let from = f64::from(quarter) * 2.0;
            assert!(waits.iter().filter(|&&wait| (from..from + 2.0).contains(&wait)).count() > 150, "{quarter}");
        }
    }

    #[test]
    fn growth_is_capped_however_many_retries_there_are() {
        let backoff = Backoff::new(Duration::from_millis(1), Duration::MAX).with_factor(10);
        assert_eq!(backoff.longest(4), Duration::from_secs(1));
        assert_eq!(backoff.longest(u32::MAX), limits::MAX_BACKOFF);
        assert_eq!(backoff.with_factor(0).longest(9), Duration::from_millis(1));
    }
}
