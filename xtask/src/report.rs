//! The table at the end of a check.

use std::fmt;
use std::time::Duration;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// It did not run, for this reason.
    NotRun(&'static str),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("FAILED"),
            Self::NotRun(reason) => write!(f, "not run: {reason}"),
        }
    }
}

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<(&'static str, Duration, Verdict)>,
}

impl Report {
    /// Adds a step that has ended.
    pub(crate) fn add(&mut self, step: &'static str, took: Duration, verdict: Verdict) {
        self.steps.push((step, took, verdict));
    }

    /// Whether a step of this name is in the report.
    pub(crate) fn has(&self, step: &str) -> bool {
        self.steps.iter().any(|(name, ..)| *name == step)
    }

    /// Whether nothing failed.
    pub(crate) fn passed(&self) -> bool {
        !self.steps.iter().any(|(.., verdict)| *verdict == Verdict::Failed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<12} {:>8}  verdict", "step", "seconds")?;
        for (step, took, verdict) in &self.steps {
            writeln!(f, "{step:<12} {:>8.1}  {verdict}", took.as_secs_f64())?;
        }
        f.write_str(if self.passed() { "The check passed." } else { "The check FAILED." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_check_and_one_that_did_not_run_says_why() {
        let mut report = Report::default();
        report.add("format", Duration::from_millis(1250), Verdict::Passed);
        report.add("docs", Duration::ZERO, Verdict::NotRun("an earlier step failed"));
        assert!(report.passed());
        report.add("clippy", Duration::ZERO, Verdict::Failed);
        assert!(!report.passed());
        let text = report.to_string();
        assert!(text.contains("docs              0.0  not run: an earlier step failed"), "{text}");
        assert!(text.ends_with("The check FAILED."), "{text}");
    }
}
