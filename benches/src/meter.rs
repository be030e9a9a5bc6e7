//! Measures one run: time, latencies, processor time, memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{Error, process, stats::Latencies};

/// What one run of a workload or floor took.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// What was done: commands, events or rows.
    pub units: u64,
    pub elapsed: Duration,
    pub latencies: Latencies,
    /// Processor time of this process, so without that of a database server.
    pub cpu: Duration,
    /// The most memory that was resident at once, in KiB.
    pub peak_kib: u64,
}

impl Sample {
    /// Units a second.
    pub fn rate(&self) -> f64 {
        self.units as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub fn cpu_us_per_unit(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.units.max(1) as f64
    }
}

/// Measures from its start to its end.
pub struct Meter {
    cpu: Duration,
    start: Instant,
}

impl Meter {
    pub fn start() -> Self {
        // Where it is not allowed, the peak is that of the whole process: too much, never too little.
        let _ = process::reset_peak();
        Self { cpu: process::cpu_time(), start: Instant::now() }
    }

    pub fn stop(self, units: u64, latencies: Vec<u64>) -> Sample {
        let elapsed = self.start.elapsed();
        let cpu = process::cpu_time().saturating_sub(self.cpu);
        let peak_kib = process::peak_kib();
        Sample { units, elapsed, latencies: Latencies::new(latencies), cpu, peak_kib }
    }
}

/// A duration in the unit of latencies.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs an operation so many times, by some tasks that take the next one as soon as they are free. The operation is
/// given its number.
pub async fn run_tasks<F, Fut>(tasks: usize, operations: u64, operation: F) -> Result<Sample, Error>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Error>> + Send + 'static,
{
    let (operation, next) = (Arc::new(operation), Arc::new(AtomicU64::new(0)));
    let meter = Meter::start();
    let mut running = JoinSet::new();
    for _ in 0..tasks {
        let (operation, next) = (Arc::clone(&operation), Arc::clone(&next));
        running.spawn(async move {
            let mut latencies = Vec::with_capacity((operations as usize / tasks).saturating_mul(2));
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= operations {
                    return Ok::<_, Error>(latencies);
                }
                let start = Instant::now();
                operation(number).await?;
                latencies.push(nanos(start.elapsed()));
            }
        });
    }
    let mut latencies = Vec::with_capacity(operations as usize);
    while let Some(ended) = running.join_next().await {
        latencies.extend(ended??);
    }
    Ok(meter.stop(operations, latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_operation_is_run_once_and_timed() {
        let sum = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&sum);
        let operation = move |number| {
            let sum = Arc::clone(&seen);
            async move {
                sum.fetch_add(number, Ordering::Relaxed);
                Ok(())
            }
        };
        let sample = run_tasks(3, 100, operation).await.unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), 4_950);
        assert_eq!(sample.units, 100);
        assert_eq!(sample.latencies.into_sorted().len(), 100);
    }
}
