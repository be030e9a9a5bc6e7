//! The result of a step, and the reasons why a step does not advance.

use es_core::{ConsumerName, Position, ProjectionError, StoreError, Suspension};

use super::UnknownEvent;
use crate::{error::RunnerError, failure_policy::event_of, lease_session::NotOurs};

/// The result of a step.
pub(crate) enum Step {
    /// It advanced, and there may be more events.
    Advanced(Position),
    /// There were no newer events.
    CaughtUp(Position),
    /// The read model was emptied.
    Cleared,
}

impl Step {
    /// Returns the position up to which all events have taken effect.
    pub(crate) fn reached(&self) -> Position {
        match self {
            Self::Advanced(reached) | Self::CaughtUp(reached) => *reached,
            Self::Cleared => Position::ZERO,
        }
    }
}

/// The reason why a step did not advance.
pub(crate) enum StepFailure {
    /// Another runner moved the checkpoint. Look it up and continue.
    MovedByOther,
    /// The log went back to an earlier state. Everything in memory that was read from it must be dropped.
    WentBack(StoreError),
    /// A page of several events failed; the next page will be smaller.
    Narrowed,
    /// Another process runs the consumer.
    NotOurs(NotOurs),
    /// The number of the consumer's partitions has changed.
    OtherPartitionEpoch(u16),
    /// An operator suspended the consumer.
    Suspended(Suspension),
    /// Code of another version wrote the live generation. Another generation may become live later.
    VersionMismatch { live: ConsumerName, live_version: u32, own_version: u32 },
    /// The code does not know the type of the next event.
    UnknownType(UnknownEvent),
    /// A failure that may be retried.
    Failed {
        /// The event, if the failure concerns one.
        event: Option<Position>,
        error: ProjectionError,
    },
    /// A failure for which retrying is useless.
    Fatal(RunnerError),
}

impl From<ProjectionError> for StepFailure {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Store(error) if is_elsewhere(&error) => Self::MovedByOther,
            ProjectionError::Store(error @ StoreError::LogWentBack { .. }) => Self::WentBack(error),
            error => Self::Failed { event: event_of(&error), error },
        }
    }
}

/// Returns whether the checkpoint has moved, or another generation is live.
pub(crate) fn is_elsewhere(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::CheckpointMoved { .. }
            | StoreError::StaleGeneration { .. }
            | StoreError::LeaseLost { .. }
            | StoreError::ParkingChanged { .. }
    )
}

impl From<StoreError> for StepFailure {
    fn from(error: StoreError) -> Self {
        ProjectionError::Store(error).into()
    }
}
