//! One line of the results: a workload, its floor, and how they compare.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{meter::Sample, stats::Spread};

/// What is measured: medians over repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// `W1` to `W10`, `F1` to `F4`.
    pub workload: String,
    /// Which form of it; empty if there is one.
    pub variant: String,
    /// What the rate counts.
    pub unit: String,
    /// Units a second; for a delay, none.
    pub rate: Option<Spread>,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub cpu_us: Option<f64>,
    /// The peak above what was resident before the workload.
    pub memory_kib: Option<u64>,
    pub floor: Option<FloorRate>,
    /// Rate by floor, of each repetition.
    pub ratio: Option<Spread>,
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FloorRate {
    pub name: String,
    pub rate: Spread,
}

impl Line {
    /// Sums up the repetitions of a workload. `idle_kib` was resident before.
    pub fn of(workload: &str, variant: impl Into<String>, unit: &str, idle_kib: u64, samples: &[Sample]) -> Self {
        let percentile = |share| {
            let times = samples.iter().filter_map(|sample| sample.latencies.percentile(share));
            Spread::of(times.map(micros)).map(|spread| spread.median)
        };
        let peak = samples.iter().map(|sample| sample.peak_kib).max();
        Self {
            workload: workload.to_owned(),
            variant: variant.into(),
            unit: unit.to_owned(),
            rate: Spread::of(samples.iter().map(Sample::rate)),
            p50_us: percentile(0.5),
            p99_us: percentile(0.99),
            p999_us: percentile(0.999),
            cpu_us: Spread::of(samples.iter().map(Sample::cpu_us_per_unit)).map(|spread| spread.median),
            memory_kib: peak.map(|peak| peak.saturating_sub(idle_kib)),
            floor: None,
            ratio: None,
        }
    }

    /// Compares it with its floor, of which there was one run before each of its own.
    #[must_use]
    pub fn over(mut self, name: &str, samples: &[Sample], floors: &[Sample]) -> Self {
        let rate = Spread::of(floors.iter().map(Sample::rate));
        self.floor = rate.map(|rate| FloorRate { name: name.to_owned(), rate });
        self.ratio = Spread::of(samples.iter().zip(floors).map(|(sample, floor)| sample.rate() / floor.rate()));
        self
    }

    /// Names it among all lines of a store.
    pub fn key(&self) -> String {
        format!("{} {}", self.workload, self.variant).trim_end().to_owned()
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
