//! The status of a rebuild beside the live read model, as visible to every process with access to the store.

use std::{fmt, time::Duration};

use es_core::{Builder, Checkpoint, ConsumerName, GenerationInfo, GenerationState, Position, timestamp::rfc3339};
use serde::Serialize;
use time::OffsetDateTime;

use crate::serializing::maybe_seconds;

/// A generation of a read model that is being built, or that was built and waits for a decision. The status is read
/// from the store, so every process sees the same status, whichever process runs the rebuild.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RebuildStatus {
    /// The consumer, in the generation that is built.
    pub generation: ConsumerName,
    /// The builder, since when it builds, and when its lease expires unless renewed. `None` if nothing is being built:
    /// the rebuild failed or was cancelled, or the result waits to be accepted or discarded. After the builder was
    /// killed, the expiration time is in the past.
    pub builder: Option<Builder>,
    /// The number of positions of the log that are finished.
    pub done: u64,
    /// The total number of positions: the head of the log, which may move.
    pub total: u64,
    /// The average number of positions per second, from the start to the latest checkpoint, including pauses.
    pub rate_per_second: f64,
    /// The estimated remaining time at this rate; `None` while there is no rate.
    #[serde(serialize_with = "maybe_seconds")]
    pub eta: Option<Duration>,
    /// When the rebuild began, by the store's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When its checkpoint last moved, by the store's clock; `None` if it has never moved.
    #[serde(with = "time::serde::rfc3339::option")]
    pub updated_at: Option<OffsetDateTime>,
}

impl RebuildStatus {
    /// Returns the status of the generation that is being built, if there is one.
    pub(crate) fn of<'a>(
        generations: &[GenerationInfo],
        checkpoint: impl Fn(&ConsumerName) -> Option<&'a Checkpoint>,
        head: Position,
    ) -> Option<Self> {
        let building = generations.iter().find(|info| info.state == GenerationState::Building)?;
        let checkpoint = checkpoint(&building.name);
        let done = checkpoint.map_or(Position::ZERO, |checkpoint| checkpoint.position).get();
        let updated_at = checkpoint.map(|checkpoint| checkpoint.updated_at);
        let elapsed = updated_at.map_or(0.0, |updated_at| (updated_at - building.created_at).as_seconds_f64());
        let rate_per_second = if elapsed > 0.0 { done as f64 / elapsed } else { 0.0 };
        let seconds_left = head.get().saturating_sub(done) as f64 / rate_per_second;
        Some(Self {
            generation: building.name.clone(),
            builder: building.builder.clone(),
            done,
            total: head.get().max(done),
            rate_per_second,
            eta: Duration::try_from_secs_f64(seconds_left).ok(),
            created_at: building.created_at,
            updated_at,
        })
    }
}

impl fmt::Display for RebuildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, builder, done, total, rate_per_second, eta, .. } = self;
        match builder {
            Some(Builder { by, since, until, .. }) => {
                let (since, until) = (rfc3339(*since), rfc3339(*until));
                write!(f, "{generation} is being built by {by} since {since} (theirs until {until})")?;
            }
            None => write!(f, "{generation} is built by nobody: rebuild again to go on, or accept or discard it")?,
        }
        let percent = if *total == 0 { 100.0 } else { *done as f64 * 100.0 / *total as f64 };
        write!(f, ": {done} of {total} ({percent:.1} %), {rate_per_second:.0}/s")?;
        match (builder, eta) {
            (Some(_), Some(eta)) => write!(f, ", {eta:.0?} to go"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use es_core::ReadModelDefinition;

    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    fn generation(name: &str, state: GenerationState, builder: Option<Builder>) -> GenerationInfo {
        let name = ConsumerName::parse(name).unwrap();
        GenerationInfo::new(name, state, ReadModelDefinition::default(), None, at(100), builder)
    }

    #[test]
    fn a_rebuild_shows_how_far_it_is_how_fast_and_by_whom() {
        let live = generation("balance", GenerationState::Live, None);
        let builder = Builder::new("ann".to_owned(), at(100), at(140));
        let building = generation("balance@2", GenerationState::Building, Some(builder));
        let head = Position::new(400);
        assert_eq!(RebuildStatus::of(std::slice::from_ref(&live), |_| None, head), None);
        let both = [live, building];
        let begun = RebuildStatus::of(&both, |_| None, head).unwrap();
        assert_eq!((begun.done, begun.total, begun.eta, begun.updated_at), (0, 400, None, None));
        let checkpoint = Checkpoint::new(both[1].name.clone(), Position::new(100), at(110));
        let quarter = RebuildStatus::of(&both, |name| (*name == both[1].name).then_some(&checkpoint), head).unwrap();
        assert_eq!((quarter.rate_per_second, quarter.eta), (10.0, Some(Duration::from_secs(30))));
        let text = quarter.to_string();
        assert!(
            text.starts_with(
                "balance@2 is being built by ann since 1970-01-01T00:01:40Z (theirs until 1970-01-01T00:02:20Z)"
            ),
            "{text}"
        );
        assert!(text.ends_with(": 100 of 400 (25.0 %), 10/s, 30s to go"), "{text}");
        let left = RebuildStatus { builder: None, ..quarter }.to_string();
        assert!(left.contains("by nobody: rebuild again to go on") && left.ends_with("10/s"), "{left}");
    }
}
