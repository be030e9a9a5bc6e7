//! The health of all consumers, as one verdict.

use std::fmt;

use es_core::ConsumerName;
use serde::Serialize;

use crate::{
    error::RunnerError,
    limits,
    runner::Runner,
    status::{ConsumerState, ConsumerStatus},
};

/// The health of all consumers, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every consumer has caught up, or is catching up and advancing.
    Ready,
    /// A consumer is suspended, retrying, or waiting.
    Degraded,
    /// A consumer has stopped, or has not advanced for longer than [`limits::STALLED_AFTER`].
    Stalled,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Stalled => "stalled",
        })
    }
}

/// The reason why a consumer is not healthy.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct HealthReason {
    /// The consumer.
    pub consumer: ConsumerName,
    /// How severe the problem is.
    pub verdict: Verdict,
    /// What the consumer is doing.
    pub why: String,
}

/// The health of all consumers, with the reasons. `Display` formats it as one line.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The most severe verdict of the reasons.
    pub verdict: Verdict,
    /// One reason for each consumer that is not healthy, the most severe first.
    pub reasons: Vec<HealthReason>,
}

impl Health {
    /// Returns the health of consumers with these statuses.
    pub fn of(statuses: &[ConsumerStatus]) -> Self {
        let mut reasons: Vec<_> = statuses.iter().filter_map(reason).collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.verdict));
        Self { verdict: reasons.first().map_or(Verdict::Ready, |worst| worst.verdict), reasons }
    }
}

fn reason(status: &ConsumerStatus) -> Option<HealthReason> {
    let silent_for = status.silent_for.filter(|&time| time >= limits::STALLED_AFTER);
    let verdict = match &status.state {
        ConsumerState::Stopped { .. } | ConsumerState::ParkedLimit { .. } => Verdict::Stalled,
        _ if silent_for.is_some() || status.position > status.head => Verdict::Stalled,
        ConsumerState::CatchingUp | ConsumerState::CaughtUp | ConsumerState::RunsElsewhere { .. } => {
            return (status.parked.keys > 0).then(|| HealthReason {
                consumer: status.name.clone(),
                verdict: Verdict::Degraded,
                why: format!("{}, but {} of its keys are parked", status.state, status.parked.keys),
            });
        }
        _ => Verdict::Degraded,
    };
    let why = match silent_for {
        Some(time) => format!("{}; no heartbeat for {time:.0?}", status.state),
        None if status.position > status.head => "its checkpoint is beyond the end of the log".to_owned(),
        None => status.state.to_string(),
    };
    Some(HealthReason { consumer: status.name.clone(), verdict, why })
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        for (index, HealthReason { consumer, why, .. }) in self.reasons.iter().enumerate() {
            write!(f, "{} {consumer} is {why}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

impl Runner {
    /// Returns the health of this runner's consumers. Costs as much as [`status`](Self::status).
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn health(&self) -> Result<Health, RunnerError> {
        Ok(Health::of(&self.status().await?))
    }
}
