//! How a relay publishes.

use crate::{circuit_breaker::BreakerOptions, claim_check::ClaimCheck, limits, rate_limit::RateLimit};

/// What the relay of events and that of the outbox can be told alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct SenderSettings {
    pub(crate) breaker: BreakerOptions,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) claim_check: Option<ClaimCheck>,
    pub(crate) batch: Option<usize>,
}

impl SenderSettings {
    pub(crate) fn batch(&self) -> usize {
        let batch = self.batch.unwrap_or(limits::DEFAULT_RELAY_BATCH).clamp(1, limits::MAX_RELAY_BATCH);
        self.rate_limit.map_or(batch, |limit| batch.min(limit.handful()))
    }
}
