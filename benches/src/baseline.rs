//! The committed ratios, and what is far below them.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, line::Line};

/// What is left of a committed ratio when somebody should look into it.
const TOLERANCE: f64 = 0.7;

/// Ratios by store and line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baseline {
    ratios: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A line whose ratio is far below the committed one.
#[derive(Debug, Clone, PartialEq)]
pub struct Fallen {
    pub key: String,
    pub workload: String,
    pub ratio: f64,
    pub committed: f64,
}

impl Baseline {
    fn file() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.json"))
    }

    /// The committed one; an empty one if there is none.
    pub fn read() -> Result<Self, Error> {
        match std::fs::read_to_string(Self::file()) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn write(&self) -> Result<(), Error> {
        Ok(std::fs::write(Self::file(), serde_json::to_string_pretty(self)? + "\n")?)
    }

    /// Lowers the committed ratios to those of a store's lines; others stay. The lowest repetition counts: small numbers
    /// scatter, from one machine to another still more, and what is looked for is a fall below everything seen before.
    pub fn lower(&mut self, store: &str, lines: &[Line]) {
        let ratios = self.ratios.entry(store.to_owned()).or_default();
        for line in lines {
            if let Some(ratio) = line.ratio {
                // Two digits: the rest is noise.
                let lowest = (ratio.min * 100.0).round() / 100.0;
                ratios.entry(line.key()).and_modify(|committed| *committed = committed.min(lowest)).or_insert(lowest);
            }
        }
    }

    /// The lines of a store that are far below.
    pub fn fallen(&self, store: &str, lines: &[Line]) -> Vec<Fallen> {
        let Some(ratios) = self.ratios.get(store) else { return Vec::new() };
        let fallen = |line: &Line| {
            let (key, ratio) = (line.key(), line.ratio?.median);
            let committed = *ratios.get(&key)?;
            let workload = line.workload.clone();
            (ratio < committed * TOLERANCE).then_some(Fallen { key, workload, ratio, committed })
        };
        lines.iter().filter_map(fallen).collect()
    }
}

/// What has fallen the first time and again.
pub fn fallen_twice(first: &[Fallen], again: Vec<Fallen>) -> Vec<Fallen> {
    again.into_iter().filter(|fallen| first.iter().any(|earlier| earlier.key == fallen.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{meter::Sample, stats::Spread};

    fn line(workload: &str, ratio: f64) -> Line {
        let mut line = Line::of(workload, "", "commands", 0, &[Sample::default()]);
        line.ratio = Spread::of([ratio]);
        line
    }

    fn baseline() -> Baseline {
        let mut baseline = Baseline::default();
        baseline.lower("sqlite", &[line("W1", 1.0), line("W2", 2.0)]);
        baseline
    }

    #[test]
    fn a_ratio_falls_only_if_it_is_below_its_share_of_the_committed_one() {
        assert_eq!(baseline().fallen("sqlite", &[line("W1", 0.71), line("W2", 1.41)]), []);
        let fallen = baseline().fallen("sqlite", &[line("W1", 0.69), line("W2", 1.41)]);
        assert_eq!(fallen.iter().map(|fallen| fallen.key.as_str()).collect::<Vec<_>>(), ["W1"]);
    }

    #[test]
    fn a_committed_ratio_is_the_lowest_that_was_ever_seen() {
        let mut baseline = baseline();
        baseline.lower("sqlite", &[line("W1", 1.2), line("W2", 1.5)]);
        let ratios: Vec<f64> = baseline.ratios["sqlite"].values().copied().collect();
        assert_eq!(ratios, [1.0, 1.5]);
    }

    #[test]
    fn what_was_never_committed_does_not_fall() {
        assert_eq!(baseline().fallen("postgres", &[line("W1", 0.0)]), []);
        assert_eq!(baseline().fallen("sqlite", &[line("W9", 0.0)]), []);
    }

    #[test]
    fn only_what_falls_twice_counts() {
        let first = baseline().fallen("sqlite", &[line("W1", 0.1), line("W2", 0.1)]);
        let again = baseline().fallen("sqlite", &[line("W1", 1.0), line("W2", 0.2)]);
        let twice = fallen_twice(&first, again);
        assert_eq!(twice.iter().map(|fallen| fallen.key.as_str()).collect::<Vec<_>>(), ["W2"]);
        let only_later = baseline().fallen("sqlite", &[line("W1", 0.1)]);
        assert_eq!(fallen_twice(&[], only_later), []);
    }

    #[test]
    fn a_baseline_survives_its_file() {
        let text = serde_json::to_string(&baseline()).unwrap();
        assert_eq!(serde_json::from_str::<Baseline>(&text).unwrap(), baseline());
    }
}
