//! How many messages a second.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// How many messages a second are let through, and how many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
}

impl RateLimit {
    /// So many messages a second, at least 1, and as many at once.
    pub fn per_second(messages: u32) -> Self {
        Self { per_second: messages.max(1), burst: messages.max(1) }
    }

    /// The same with another number of messages that may go at once, at least 1.
    #[must_use]
    pub fn burst(mut self, messages: u32) -> Self {
        self.burst = messages.max(1);
        self
    }
}

/// A token bucket: a message takes a token, and tokens come back with time.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    as_of: Instant,
}

impl RateLimiter {
    /// A full bucket.
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, bucket: Mutex::new(Bucket { tokens: limit.burst.into(), as_of: Instant::now() }) }
    }

    /// Waits until there is at least one token, and takes as many as there are, at most `max`.
    ///
    /// # Cancel safety
    /// Dropped, it has taken nothing.
    pub(crate) async fn acquire(&self, max: usize) -> usize {
        loop {
            match self.take(max) {
                Ok(taken) => return taken,
                Err(wait) => sleep(wait).await,
            }
        }
    }

    /// Gives back tokens that were not used.
    pub(crate) fn give_back(&self, tokens: usize) {
        let mut bucket = self.lock();
        bucket.tokens = (bucket.tokens + tokens as f64).min(self.limit.burst.into());
    }

    /// Takes tokens, or says how long it is until there is one.
    fn take(&self, max: usize) -> Result<usize, Duration> {
        let rate = f64::from(self.limit.per_second);
        let mut bucket = self.lock();
        let now = Instant::now();
        let earned = now.duration_since(bucket.as_of).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + earned).min(self.limit.burst.into());
        bucket.as_of = now;
        if bucket.tokens >= 1.0 {
            let taken = (bucket.tokens as usize).min(max);
            bucket.tokens -= taken as f64;
            return Ok(taken);
        }
        // A little more than it takes, so that rounding does not ask for a second wait.
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate) + Duration::from_millis(1))
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_then_so_many_a_second() {
        let limiter = RateLimiter::new(RateLimit::per_second(10).burst(3));
        let started = Instant::now();
        assert_eq!(limiter.acquire(100).await, 3);
        assert_eq!(started.elapsed(), Duration::ZERO);
        let mut taken = 0;
        while taken < 20 {
            taken += limiter.acquire(100).await;
        }
        let took = started.elapsed().as_secs_f64();
        assert!((1.9..2.5).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_used_comes_back_and_a_long_pause_earns_no_more_than_a_burst() {
        let limiter = RateLimiter::new(RateLimit::per_second(1).burst(2));
        assert_eq!(limiter.acquire(2).await, 2);
        limiter.give_back(2);
        assert_eq!(limiter.acquire(1).await, 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(limiter.acquire(9).await, 2);
    }
}
