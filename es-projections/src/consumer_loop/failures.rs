//! Decides what a consumer loop does about a failure: wait and try again, park the event, or stop.

use std::{sync::Arc, time::Duration};

use es_core::{Position, ProjectionError, StoreError, is_transient};
use tokio::time::Instant;

use super::ConsumerLoop;
use crate::{
    backoff::Backoff,
    consumer_state::Phase,
    error::{Chain, RunnerError},
    goal::Goal,
    limits,
    page_step::{StepFailure, UnknownEvent},
    parking::{Failing, is_of_the_event},
    status::ConsumerKind,
};

/// Counts consecutive failures.
#[derive(Default)]
pub(super) struct Attempts {
    pub(super) failures: u32,
    pub(super) store_failures: u32,
    pub(super) moves: u32,
    /// The event of an unknown type because of which the consumer is left to other processes.
    pub(super) unknown: Option<UnknownEvent>,
    pub(super) returns: u32,
    /// The event to park in the next step.
    pub(super) to_park: Option<Failing>,
}

impl ConsumerLoop {
    /// Decides what to do about a failure: returns how long to wait before the next attempt, or gives up.
    pub(super) fn judge(
        &self,
        failure: StepFailure,
        goal: Goal,
        attempts: &mut Attempts,
    ) -> Result<Duration, RunnerError> {
        match failure {
            StepFailure::Narrowed | StepFailure::NotOurs(_) | StepFailure::OtherPartitionEpoch(_) => Ok(Duration::ZERO),
            StepFailure::Suspended(suspension) => {
                Err(RunnerError::Suspended { consumer: self.name.clone(), suspension: Box::new(suspension) })
            }
            StepFailure::MovedByOther => {
                let times = self.consumer_state.note_moved_by_other();
                tracing::info!(times, "another runner moved the checkpoint; continuing from there");
                // The losing runner backs off for a moment; otherwise the two would race for every page.
                attempts.moves = attempts.moves.saturating_add(1);
                Ok(Backoff::new(limits::FIRST_YIELD, limits::MAX_YIELD).wait(attempts.moves))
            }
            StepFailure::WentBack(error) => {
                let reached = self.consumer_state.note_log_went_back().reached.get();
                let is_reactor = self.kind == ConsumerKind::Reactor;
                attempts.returns = attempts.returns.saturating_add(1);
                if attempts.returns > limits::MAX_RETURNS {
                    return Err(self.stopped(self.of_other_log(error)));
                }
                tracing::error!(
                    reached, is_reactor, error = %Chain(&error),
                    "the log went back to an earlier state: everything read from the former one is dropped, and the consumer continues from \
                     its stored checkpoint; a reactor may have reacted to events that are gone, up to position `reached`"
                );
                self.consumer_state.note_failure(None, Arc::new(error.into()));
                Ok(Backoff::new(limits::FIRST_YIELD, limits::MAX_YIELD).wait(attempts.returns))
            }
            StepFailure::VersionMismatch { live, live_version, own_version } if goal == Goal::Follow => {
                tracing::warn!(%live, live_version, own_version, "another version of the code wrote the live read model; waiting for a rebuild");
                self.consumer_state.set_phase(Phase::VersionMismatch { live, live_version, own_version });
                Ok(limits::VERSION_CHECK_INTERVAL)
            }
            StepFailure::VersionMismatch { live, live_version, own_version } => {
                Err(self.stopped(RunnerError::VersionMismatch { live, live_version, own_version }))
            }
            StepFailure::UnknownType(unknown) if goal == Goal::Follow => {
                if attempts.unknown.replace(unknown.clone()).as_ref() != Some(&unknown) {
                    let UnknownEvent { event, category, event_type } = &unknown;
                    let position = event.get();
                    tracing::warn!(
                        category,
                        event_type,
                        position,
                        "the code does not know the type of the next event; left to newer code"
                    );
                }
                self.consumer_state.set_phase(Phase::WaitingForCode(unknown));
                Ok(limits::VERSION_CHECK_INTERVAL)
            }
            StepFailure::UnknownType(unknown) => Err(self.stopped(unknown.into_error(self.name.clone()))),
            StepFailure::Failed { event, error } if goal == Goal::Follow && is_transient(&error) => {
                attempts.store_failures = attempts.store_failures.saturating_add(1);
                let (attempt, wait) =
                    (attempts.store_failures, self.options.on_failure.backoff().wait(attempts.store_failures));
                tracing::warn!(attempt, ?wait, error = %Chain(&error), "waiting for the store");
                let failure = self.consumer_state.note_failure(event, Arc::new(error));
                self.consumer_state.set_phase(Phase::WaitingForStore {
                    attempt,
                    next_try: Instant::now() + wait,
                    failure,
                });
                Ok(wait)
            }
            StepFailure::Failed { event, error } => {
                attempts.failures = attempts.failures.saturating_add(1);
                self.retry_or_stop(event, error, attempts)
            }
            StepFailure::Fatal(error) => Err(self.stopped(error)),
        }
    }

    fn retry_or_stop(
        &self,
        event: Option<Position>,
        error: ProjectionError,
        attempts: &mut Attempts,
    ) -> Result<Duration, RunnerError> {
        let attempt = attempts.failures;
        let error = Arc::new(error);
        let failure = self.consumer_state.note_failure(event, Arc::clone(&error));
        if attempt > self.options.on_failure.retries() {
            if let (Some(event), Some(limit)) = (event, self.options.on_failure.parked_keys())
                && is_of_the_event(&error)
            {
                attempts.to_park = Some(Failing { event, error, attempts: attempt, limit });
                return Ok(Duration::ZERO);
            }
            let (consumer, attempts, source) = (self.name.clone(), attempt, error);
            return Err(self.stopped(RunnerError::Consumer { consumer, event, attempts, source }));
        }
        let wait = self.options.on_failure.backoff().wait(attempt);
        let position = event.map(Position::get);
        tracing::warn!(attempt, position, ?wait, error = %Chain(&*error), "consumer failed and will try again");
        self.consumer_state.set_phase(Phase::Retrying { attempt, next_try: Instant::now() + wait, failure });
        Ok(wait)
    }

    pub(super) fn of_other_log(&self, error: StoreError) -> RunnerError {
        RunnerError::LogWentBack { consumer: self.name.clone(), source: Arc::new(error) }
    }

    fn stopped(&self, error: RunnerError) -> RunnerError {
        tracing::error!(error = %Chain(&error), "consumer stopped");
        self.consumer_state.set_phase(Phase::Stopped(error.clone()));
        error
    }
}
