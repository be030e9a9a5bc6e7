//! Percentiles of latencies, and the median of repetitions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long each operation of one run took.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// Nanoseconds, sorted.
    sorted: Vec<u64>,
}

impl Latencies {
    /// Takes nanoseconds in any order.
    pub fn new(mut nanoseconds: Vec<u64>) -> Self {
        nanoseconds.sort_unstable();
        Self { sorted: nanoseconds }
    }

    /// The latency that a share of all operations did not exceed (nearest rank); `None` without operations.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.sorted.len() as f64).ceil() as usize;
        let index = rank.clamp(1, self.sorted.len().max(1)) - 1;
        self.sorted.get(index).copied().map(Duration::from_nanos)
    }

    /// All of them, in nanoseconds.
    pub fn into_sorted(self) -> Vec<u64> {
        self.sorted
    }
}

/// The median of some repetitions, with the smallest and the largest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_smallest_value_that_covers_its_share() {
        let latencies = Latencies::new((1..=1_000).rev().collect());
        let nanos = |share| latencies.percentile(share).map(|time| time.as_nanos());
        assert_eq!(nanos(0.5), Some(500));
        assert_eq!(nanos(0.99), Some(990));
        assert_eq!(nanos(0.999), Some(999));
        assert_eq!(nanos(1.0), Some(1_000));
        assert_eq!(nanos(0.0), Some(1));
    }

    #[test]
    fn few_values_and_none_have_percentiles_too() {
        assert_eq!(Latencies::new(vec![7]).percentile(0.999), Some(Duration::from_nanos(7)));
        assert_eq!(Latencies::default().percentile(0.5), None);
    }

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        assert_eq!(Spread::of([3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
