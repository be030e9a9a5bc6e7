//! The progress of a rebuild.

use std::{fmt, time::Duration};

use es_core::{ConsumerName, Position};
use serde::Serialize;
use tokio::time::Instant;

use crate::serializing::{maybe_seconds, seconds};

/// The progress of a rebuild, in positions of the log, whether or not the consumer wants the event at a position.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RebuildProgress {
    /// The consumer that is rebuilt.
    pub consumer: ConsumerName,
    /// The number of finished positions. It never decreases, and equals `total` at the end.
    pub done: u64,
    /// The total number of positions: the head of the log when the rebuild began.
    pub total: u64,
    /// Positions per second since the rebuild began; 0 at first.
    pub rate_per_second: f64,
    /// The time since the rebuild began.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// The estimated remaining time at this rate; `None` while there is no rate.
    #[serde(serialize_with = "maybe_seconds")]
    pub eta: Option<Duration>,
}

impl fmt::Display for RebuildProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, done, total, rate_per_second, eta, .. } = self;
        let percent = if *total == 0 { 100.0 } else { *done as f64 * 100.0 / *total as f64 };
        write!(f, "rebuilding {consumer}: {done} of {total} ({percent:.1} %), {rate_per_second:.0}/s")?;
        match eta {
            Some(eta) => write!(f, ", {eta:.0?} to go"),
            None => Ok(()),
        }
    }
}

/// Converts positions into progress reports.
pub(crate) struct RebuildMeter {
    consumer: ConsumerName,
    total: u64,
    done: u64,
    started: Instant,
}

impl RebuildMeter {
    pub(crate) fn start(consumer: ConsumerName, head: Position) -> Self {
        Self { consumer, total: head.get(), done: 0, started: Instant::now() }
    }

    /// Returns the progress at a position. If another runner moves the position back, the progress stays the same.
    pub(crate) fn at(&mut self, position: Position) -> RebuildProgress {
        self.done = self.done.max(position.get().min(self.total));
        #[cfg(feature = "metrics")]
        crate::metrics::rebuild(&self.consumer, self.done, self.total);
        let elapsed = self.started.elapsed();
        let rate_per_second = if elapsed.is_zero() { 0.0 } else { self.done as f64 / elapsed.as_secs_f64() };
        let seconds_left = (self.total - self.done) as f64 / rate_per_second;
        RebuildProgress {
            consumer: self.consumer.clone(),
            done: self.done,
            total: self.total,
            rate_per_second,
            elapsed,
            eta: Duration::try_from_secs_f64(seconds_left).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_is_monotonic_and_knows_how_long_it_will_take() {
        let mut meter = RebuildMeter::start(ConsumerName::new("balance").unwrap(), Position::new(400));
        let first = meter.at(Position::ZERO);
        assert_eq!((first.done, first.total, first.eta), (0, 400, None));
        tokio::time::advance(Duration::from_secs(10)).await;
        let quarter = meter.at(Position::new(100));
        assert_eq!((quarter.rate_per_second, quarter.eta), (10.0, Some(Duration::from_secs(30))));
        assert_eq!(quarter.to_string(), "rebuilding balance: 100 of 400 (25.0 %), 10/s, 30s to go");
        assert_eq!(meter.at(Position::new(50)).done, 100);
        assert_eq!(meter.at(Position::new(900)).done, 400);
    }
}
