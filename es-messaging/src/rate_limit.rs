//! Limits the number of messages per second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::limits;

/// A maximum number of messages per second, and a maximum burst after a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
}

impl RateLimit {
    /// Returns a limit of `messages` per second, from 1 to [`limits::MAX_RATE`], and the same burst.
    pub fn per_second(messages: u32) -> Self {
        let per_second = messages.clamp(1, limits::MAX_RATE);
        Self { per_second, burst: per_second }
    }

    /// Sets another burst, at least 1.
    #[must_use]
    pub fn burst(mut self, messages: u32) -> Self {
        self.burst = messages.clamp(1, limits::MAX_RATE);
        self
    }

    /// Returns the number of messages that two seconds allow, which is how many a relay takes at once.
    pub(crate) fn handful(self) -> usize {
        self.per_second.saturating_mul(2).max(self.burst) as usize
    }
}

/// Enforces a [`RateLimit`] with a token bucket.
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimiter {
    /// Returns a limiter with a full bucket.
    pub fn new(limit: RateLimit) -> Self {
        let bucket = Bucket { tokens: f64::from(limit.burst), at: Instant::now() };
        Self { limit, bucket: Mutex::new(bucket) }
    }

    /// Waits until at least one message is allowed. Takes and returns as many as allowed, at most `max`.
    ///
    /// # Cancel safety
    /// Safe: if the future is dropped while it waits, it has taken none.
    pub async fn take(&self, max: usize) -> usize {
        if max == 0 {
            return 0;
        }
        loop {
            match self.try_take(max) {
                Ok(taken) => return taken,
                Err(at) => sleep_until(at).await,
            }
        }
    }

    /// Returns unused messages to the bucket.
    pub fn give_back(&self, messages: usize) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tokens = (bucket.tokens + messages as f64).min(f64::from(self.limit.burst));
    }

    /// Takes as many messages as allowed now, or returns when one is allowed.
    fn try_take(&self, max: usize) -> Result<usize, Instant> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, rate) = (Instant::now(), f64::from(self.limit.per_second));
        let filled = bucket.tokens + now.duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = filled.min(f64::from(self.limit.burst));
        bucket.at = now;
        // Slightly less than one counts as one, because times are rounded to nanoseconds.
        let there = (bucket.tokens + 1e-6).floor();
        if there < 1.0 {
            let missing = Duration::from_secs_f64((1.0 - bucket.tokens) / rate);
            return Err(now + missing.max(Duration::from_millis(1)));
        }
        let taken = max.min(there as usize);
        bucket.tokens -= taken as f64;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_go_than_the_burst_and_then_so_many_a_second() {
        let limiter = RateLimiter::new(RateLimit::per_second(10).burst(5));
        let begun = Instant::now();
        assert_eq!(limiter.take(100).await, 5);
        let mut sent = 0;
        while sent < 100 {
            sent += limiter.take(100 - sent).await;
        }
        let took = begun.elapsed();
        assert!((9.9..10.3).contains(&took.as_secs_f64()), "{took:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(limiter.take(100).await, 5);
        assert_eq!(limiter.take(0).await, 0);
    }
}
