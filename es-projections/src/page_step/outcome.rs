//! What came of a step, and why it did not advance.

use es_core::{ConsumerName, Position, ProjectionError, StoreError, Suspension};

use super::UnknownEvent;
use crate::{error::RunnerError, failure_policy::event_of, lease_session::NotOurs};

/// What came of a step.
pub(crate) enum Step {
    /// It advanced; there may be more.
    Advanced(Position),
    /// There was nothing newer.
    CaughtUp(Position),
    /// The read model was emptied.
    Cleared,
}

impl Step {
    /// Everything up to here has taken effect.
    pub(crate) fn reached(&self) -> Position {
        match self {
            Self::Advanced(reached) | Self::CaughtUp(reached) => *reached,
            Self::Cleared => Position::ZERO,
        }
    }
}

/// Why a step did not advance.
pub(crate) enum StepFailure {
    /// Another runner moved the checkpoint. Look it up and continue.
    MovedByOther,
    /// The log went back to an earlier state. Everything that is in memory of it must be dropped.
    WentBack(StoreError),
    /// A page of several events failed; the next one will be smaller.
    Narrowed,
    /// Another process works for it.
    NotOurs(NotOurs),
    /// The consumer has another number of partitions by now.
    OtherPartitionEpoch(u16),
    /// An operator suspended the consumer.
    Suspended(Suspension),
    /// Code of another version wrote the live generation. It may be another one later.
    VersionMismatch { live: ConsumerName, live_version: u32, own_version: u32 },
    /// The code does not know the type of the next event.
    UnknownType(UnknownEvent),
    /// Something failed that may be tried again.
    Failed {
        /// The event, if it was one.
        event: Option<Position>,
        error: ProjectionError,
    },
    /// Trying again is of no use.
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

/// Whether the checkpoint is not where it was, or another generation is live.
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
