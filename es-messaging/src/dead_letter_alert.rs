//! The alert for too many or too old dead letters.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use es_core::DeadLetterTotals;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::limits;

/// When the dead letters of a relay or consumer are too many or too old. The alert is reported by a gauge and by a
/// `tracing` warning, which is repeated every [`limits::ALERT_REPEAT`] while the alert lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterAlert {
    /// The maximum number of dead letters without an alert.
    pub max_depth: u64,
    /// The maximum age of a dead letter without an alert.
    pub max_age: Duration,
}

impl Default for DeadLetterAlert {
    /// Alerts about dead letters older than a day, and about more than 100 of them.
    fn default() -> Self {
        Self { max_depth: 100, max_age: Duration::from_secs(24 * 60 * 60) }
    }
}

impl DeadLetterAlert {
    /// Returns whether the dead letters are too many or too old.
    pub fn is_due(&self, totals: &DeadLetterTotals, now: OffsetDateTime) -> bool {
        let age = totals.oldest.map_or(time::Duration::ZERO, |oldest| now - oldest);
        totals.depth > self.max_depth || (totals.depth > 0 && age > self.max_age)
    }
}

/// Logs an alert, and repeats it while it lasts.
#[derive(Debug, Default)]
pub(crate) struct AlertTeller {
    told: Mutex<Option<Instant>>,
}

impl AlertTeller {
    /// Logs the alert if it is due. Returns whether there is an alert now.
    pub(crate) fn tell(&self, alert: &DeadLetterAlert, totals: &DeadLetterTotals) -> bool {
        let now = OffsetDateTime::now_utc();
        let is_due = alert.is_due(totals, now);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if is_due && told.is_none_or(|at| at.elapsed() >= limits::ALERT_REPEAT) {
            *told = Some(Instant::now());
            let DeadLetterTotals { consumer, depth, oldest, .. } = totals;
            tracing::warn!(%consumer, depth, ?oldest, "dead letters are too many or too old; retry or discard them");
        } else if !is_due && told.take().is_some() {
            tracing::info!(consumer = %totals.consumer, depth = totals.depth, "dead letters are fine again");
        }
        #[cfg(feature = "metrics")]
        crate::metrics::dead_letters(totals, now, is_due);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use es_core::ConsumerName;

    use super::*;

    #[test]
    fn too_many_or_too_old_is_due() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let totals = |depth, age: u64| {
            let oldest = (depth > 0).then(|| now - Duration::from_secs(age));
            DeadLetterTotals::new(ConsumerName::new("out").unwrap(), depth, oldest, 9)
        };
        let alert = DeadLetterAlert { max_depth: 2, max_age: Duration::from_secs(60) };
        let due = [(0, 0), (2, 60), (3, 0), (1, 61)].map(|(depth, age)| alert.is_due(&totals(depth, age), now));
        assert_eq!(due, [false, false, true, true]);
    }
}
