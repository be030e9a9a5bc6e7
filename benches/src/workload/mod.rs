//! The workloads, by the names that the results give them.

pub mod catch_up;
pub mod commands;
pub mod delay;
pub mod floors;
pub mod import;
pub mod processes;
pub mod reading;
pub mod rebuild;
mod size;

use std::sync::Arc;

use crate::{
    Error,
    args::StoreKind,
    database::{Database, Place},
    line::Line,
    meter::Sample,
    scale::Scale,
};

/// What every workload is given.
pub struct Bench {
    pub kind: StoreKind,
    /// The URL of the server, where there is one.
    pub url: Option<String>,
    pub database: Arc<dyn Database>,
    pub scale: Scale,
    pub repetitions: usize,
    /// What was resident before anything was measured.
    pub idle_kib: u64,
}

/// Every name, in the order in which they are run.
pub const NAMES: [&str; 14] = ["F1", "F2", "F3", "F4", "W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8", "W9", "W10"];

impl Bench {
    /// Runs a workload by its name.
    pub async fn run(&self, name: &str) -> Result<Vec<Line>, Error> {
        match name {
            "F1" => floors::single(self).await,
            "F2" => floors::shared(self).await,
            "F3" => floors::bulk(self).await,
            "F4" => reading::rows(self).await,
            "W1" => commands::new_aggregates(self).await,
            "W2" => commands::shared_aggregates(self).await,
            "W3" => commands::many_events(self).await,
            "W4" => reading::rehydrate(self).await,
            "W5" => catch_up::all(self).await,
            "W6" => delay::append_to_read_model(self).await,
            "W7" => processes::commands_from_processes(self).await,
            "W8" => size::on_a_full_store(self).await,
            "W9" => import::bulk(self).await,
            "W10" => rebuild::all(self).await,
            other => Err(format!("there is no workload {other}").into()),
        }
    }

    /// Runs a floor and a workload by turns, each repetition in places of their own, and sums them up.
    async fn compare(
        &self,
        names: Names<'_>,
        mut floor: impl AsyncFnMut(&Place) -> Result<Sample, Error>,
        mut workload: impl AsyncFnMut(&Place) -> Result<Sample, Error>,
    ) -> Result<Line, Error> {
        let (mut floors, mut samples) = (Vec::new(), Vec::new());
        for _ in 0..self.repetitions {
            floors.push(self.in_new_place(&mut floor).await?);
            samples.push(self.in_new_place(&mut workload).await?);
        }
        let line = Line::of(names.workload, names.variant, names.unit, self.idle_kib, &samples);
        Ok(line.over(names.floor, &samples, &floors))
    }

    /// Runs something alone, each repetition in a place of its own.
    async fn alone(
        &self,
        (name, variant, unit): (&str, &str, &str),
        mut run: impl AsyncFnMut(&Place) -> Result<Sample, Error>,
    ) -> Result<Line, Error> {
        let mut samples = Vec::new();
        for _ in 0..self.repetitions {
            samples.push(self.in_new_place(&mut run).await?);
        }
        Ok(Line::of(name, variant, unit, self.idle_kib, &samples))
    }

    async fn in_new_place(&self, run: &mut impl AsyncFnMut(&Place) -> Result<Sample, Error>) -> Result<Sample, Error> {
        let place = self.database.create().await?;
        let sample = run(&place).await?;
        self.database.discard(place).await?;
        Ok(sample)
    }
}

/// What a line is called.
struct Names<'a> {
    workload: &'a str,
    variant: &'a str,
    unit: &'a str,
    floor: &'a str,
}
