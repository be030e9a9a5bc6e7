//! The actions of operators on consumers, which take effect in this and in other processes.

use es_core::{
    Checkpoint, CheckpointOverride, ConsumerName, GenerationState, NewOperation, Operation, OperationKind,
    OperatorRequest, Position, Suspension, SuspensionKind, timestamp::rfc3339,
};
use time::OffsetDateTime;

use crate::{error::RunnerError, runner::Runner, side_by_side::in_state};

/// A consumer that has a checkpoint in the store but is not part of this runner. Either another process runs it, or its
/// code is gone; in the latter case it can be [retired](Runner::retire).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// The name of the consumer.
    pub name: ConsumerName,
    /// All events up to this position have taken effect.
    pub position: Position,
    /// When the checkpoint last moved, by the store's clock. A recent time means that another process runs the
    /// consumer.
    pub updated_at: OffsetDateTime,
}

impl std::fmt::Display for Orphan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, position, updated_at } = self;
        let moved = rfc3339(*updated_at);
        write!(f, "{name}: not in this runner; at {position}, last moved {moved}; if its code is gone, retire it")
    }
}

/// Operator actions. The operations log records each action together with the operator and the reason, in the same
/// transaction as the action (for rebuilds, swaps, and rollbacks: immediately afterward). Each action takes effect in
/// the process that runs the consumer.
impl Runner {
    /// Pauses a consumer: it finishes its current page and then waits. Runners notice the pause within
    /// [`CONTROL_INTERVAL`](crate::limits::CONTROL_INTERVAL). Returns whether the pause is new.
    ///
    /// This does not suspend inline updates: a projection that is also applied by the appends themselves continues to
    /// be applied there.
    ///
    /// # Errors
    /// Returns [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows the consumer, and
    /// [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: the consumer is either paused or not.
    pub async fn pause(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.begin_suspension(consumer, SuspensionKind::Paused, request).await
    }

    /// Lets a paused consumer continue. Returns whether it was paused.
    ///
    /// # Errors
    /// Same as [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// Safe: the consumer is either paused or not.
    pub async fn resume(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.end_suspension(consumer, SuspensionKind::Paused, request).await
    }

    /// Disables a consumer, like a feature behind a flag. The request must include a reason. Otherwise the same as
    /// [`pause`](Self::pause).
    ///
    /// # Errors
    /// Same as [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// Safe: the consumer is either disabled or not.
    pub async fn disable(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.begin_suspension(consumer, SuspensionKind::Disabled, request).await
    }

    /// Enables a disabled consumer. Returns whether it was disabled.
    ///
    /// # Errors
    /// Same as [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// Safe: the consumer is either disabled or not.
    pub async fn enable(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.end_suspension(consumer, SuspensionKind::Disabled, request).await
    }

    /// Moves the checkpoint of a reactor back, so that it processes all events after `to` again. The request must
    /// include a reason. Returns the previous position. Safe while the reactor runs.
    ///
    /// # Errors
    /// Returns [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows the consumer. Returns
    /// [`StoreError::CannotMove`](es_core::StoreError::CannotMove) in [`RunnerError::Store`] if `to` is ahead of the
    /// checkpoint, and for a view or projection, which would apply events twice; [rebuild](Self::rebuild_beside) it
    /// instead.
    ///
    /// # Cancel safety
    /// Safe: the checkpoint has either moved or not.
    pub async fn reset(
        &self,
        consumer: &str,
        to: Position,
        request: &OperatorRequest,
    ) -> Result<Position, RunnerError> {
        self.override_checkpoint(consumer, CheckpointOverride::Reset(to), request).await
    }

    /// Moves a checkpoint back like [`reset`](Self::reset), and also accepts a view or projection. Use it only if the
    /// handler is idempotent, so that applying an event again does no harm.
    ///
    /// # Errors
    /// Same as [`reset`](Self::reset).
    ///
    /// # Cancel safety
    /// Safe: the checkpoint has either moved or not.
    pub async fn reset_idempotent(
        &self,
        consumer: &str,
        to: Position,
        request: &OperatorRequest,
    ) -> Result<Position, RunnerError> {
        self.override_checkpoint(consumer, CheckpointOverride::ResetIdempotent(to), request).await
    }

    /// Moves a checkpoint forward. The events in between never take effect unless the read model is rebuilt. The
    /// request must include a reason. Returns the previous position. Safe while the consumer runs.
    ///
    /// # Errors
    /// Returns [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows the consumer. Returns
    /// [`StoreError::CannotMove`](es_core::StoreError::CannotMove) in [`RunnerError::Store`] if `to` is behind the
    /// checkpoint or beyond the end of the log.
    ///
    /// # Cancel safety
    /// Safe: the checkpoint has either moved or not.
    pub async fn skip(&self, consumer: &str, to: Position, request: &OperatorRequest) -> Result<Position, RunnerError> {
        self.override_checkpoint(consumer, CheckpointOverride::Skip(to), request).await
    }

    /// Changes the number of partitions of a consumer, in all processes that run it. No event is lost or repeated,
    /// whatever the positions of the partitions. When a runner is next started, a number in the consumer's
    /// [options](crate::ConsumerOptions::partitions) takes precedence again.
    ///
    /// # Errors
    /// Returns [`RunnerError::UnknownConsumer`] if this runner does not have the consumer. In [`RunnerError::Store`],
    /// returns [`LimitExceeded`](es_core::StoreError::LimitExceeded) if `count` is above
    /// [`es_core::limits::MAX_PARTITIONS`], and [`Refused`](es_core::StoreError::Refused) if `count` is zero or the
    /// consumer has never run.
    ///
    /// # Cancel safety
    /// Safe: the number has either changed or not.
    pub async fn repartition(&self, consumer: &str, count: u16, request: &OperatorRequest) -> Result<(), RunnerError> {
        let live = self.live_name(self.local(consumer)?.name()).await?;
        self.store().repartition(&live, count).await?;
        self.look_up_again(&live.base());
        self.note_request(OperationKind::REPARTITION, &live, request).await;
        Ok(())
    }

    /// Revokes the leases of a consumer, so that other processes do not have to wait until the leases expire. The
    /// request must include a reason. Returns the number of leases that were held. Safe while the consumer runs: the
    /// store refuses writes under a revoked lease, and a process that is still alive claims it again.
    ///
    /// # Errors
    /// Returns [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows the consumer, and
    /// [`StoreError::Refused`](es_core::StoreError::Refused) in [`RunnerError::Store`] if the request has no reason.
    ///
    /// # Cancel safety
    /// Safe: the leases are either revoked or not.
    pub async fn revoke_leases(&self, consumer: &str, request: &OperatorRequest) -> Result<u64, RunnerError> {
        Ok(self.store().revoke_leases(&self.known(consumer).await?, request).await?)
    }

    /// Returns which consumers are suspended, by whom, and why.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn suspensions(&self) -> Result<Vec<Suspension>, RunnerError> {
        Ok(self.store().suspensions().await?)
    }

    /// Returns the consumers that the store knows but this runner does not have, sorted by name.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn orphans(&self) -> Result<Vec<Orphan>, RunnerError> {
        let mut orphans: Vec<Orphan> = Vec::new();
        for Checkpoint { consumer, position, updated_at, .. } in self.store().checkpoints().await? {
            let name = consumer.base();
            if self.has(&name) {
                continue;
            }
            let other = Orphan { name, position, updated_at };
            match orphans.iter_mut().find(|orphan| orphan.name == other.name) {
                // If a process runs one of the generations, it is the one that moved last.
                Some(orphan) if orphan.updated_at < other.updated_at => *orphan = other,
                Some(_) => {}
                None => orphans.push(other),
            }
        }
        orphans.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(orphans)
    }

    /// Removes everything that the store keeps for a consumer whose code is gone: its checkpoint, all generations of
    /// its read model, and its suspensions. The request must include a reason. Tables that a projection names itself
    /// are not removed.
    ///
    /// # Errors
    /// Returns [`RunnerError::StillHere`] for a consumer of this runner, [`RunnerError::UnknownConsumer`] if the store
    /// does not know the consumer, and [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: either everything is removed or nothing.
    pub async fn retire(&self, consumer: &str, request: &OperatorRequest) -> Result<(), RunnerError> {
        let name = self.known(consumer).await?;
        if self.has(&name) {
            return Err(RunnerError::StillHere { consumer: name });
        }
        Ok(self.store().retire_consumer(&name, request).await?)
    }

    /// Returns the operations log, newest first, of one consumer or of all. To read the next page, pass the lowest
    /// number that was returned as `before`: only operations with smaller numbers are returned.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails, or if `limit` is above
    /// [`MAX_OPERATIONS_PER_READ`](es_core::limits::MAX_OPERATIONS_PER_READ).
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn operations(
        &self,
        consumer: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, RunnerError> {
        let consumer = consumer.map(ConsumerName::new).transpose()?;
        Ok(self.store().operations(consumer.as_ref(), before, limit).await?)
    }

    /// Records an action on the generations of a read model, immediately after the action, in a separate transaction.
    pub(crate) async fn note(&self, kind: OperationKind, generation: &ConsumerName, by: &str) {
        match OperatorRequest::by(by) {
            Ok(request) => self.note_request(kind, generation, &request).await,
            Err(error) => tracing::error!(%generation, by, %error, "an operation is missing in the log of operations"),
        }
    }

    /// Like [`note`](Self::note), for an action with an operator's request.
    pub(crate) async fn note_request(&self, kind: OperationKind, generation: &ConsumerName, request: &OperatorRequest) {
        let operation = NewOperation::new(kind, generation.clone(), request.clone());
        if let Err(error) = self.store().note(&operation).await {
            let by = request.author();
            tracing::error!(%generation, by, %error, "an operation is missing in the log of operations");
        }
    }

    async fn begin_suspension(
        &self,
        consumer: &str,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, RunnerError> {
        let is_new = self.store().suspend(&self.known(consumer).await?, kind, request).await?;
        // The runners of this process then need not wait for their next check.
        self.known_suspensions().refresh().await?;
        Ok(is_new)
    }

    async fn end_suspension(
        &self,
        consumer: &str,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, RunnerError> {
        let was_suspended = self.store().resume(&self.known(consumer).await?, kind, request).await?;
        self.known_suspensions().refresh().await?;
        Ok(was_suspended)
    }

    async fn override_checkpoint(
        &self,
        consumer: &str,
        to: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, RunnerError> {
        let name = self.known(consumer).await?;
        let live = in_state(self.store(), &name, GenerationState::Live).await?;
        let from = self.store().override_checkpoint(live.first().unwrap_or(&name), to, request).await?;
        self.look_up_again(&name);
        Ok(from)
    }

    /// Returns the name of a consumer if this runner or the store knows it.
    async fn known(&self, consumer: &str) -> Result<ConsumerName, RunnerError> {
        let name = ConsumerName::new(consumer)?;
        let is_of_it = |found: &ConsumerName| found.base_text() == name.as_str();
        let is_known = self.has(&name)
            || self.store().checkpoints().await?.iter().any(|found| is_of_it(&found.consumer))
            || self.store().suspensions().await?.iter().any(|suspension| is_of_it(&suspension.consumer));
        if is_known { Ok(name) } else { Err(self.unknown(consumer)) }
    }
}
