//! What operators do to consumers, here and in other processes.

use es_core::{
    Checkpoint, CheckpointOverride, ConsumerName, GenerationState, NewOperation, Operation, OperationKind,
    OperatorRequest, Position, Suspension, SuspensionKind, timestamp::rfc3339,
};
use time::OffsetDateTime;

use crate::{error::RunnerError, runner::Runner, side_by_side::in_state};

/// A consumer that the store has a checkpoint of, and this runner has not. Another process may have it, or its code is gone: then
/// it can be [retired](Runner::retire).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orphan {
    /// Its name.
    pub name: ConsumerName,
    /// Everything up to here has taken effect.
    pub position: Position,
    /// When its checkpoint was last moved, by the store's clock: a moment ago if another process runs it.
    pub updated_at: OffsetDateTime,
}

impl std::fmt::Display for Orphan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, position, updated_at } = self;
        let moved = rfc3339(*updated_at);
        write!(f, "{name}: not in this runner; at {position}, last moved {moved}; if its code is gone, retire it")
    }
}

/// What operators do. Every operation is kept in the log of operations, with who requested it and why, in one
/// transaction with what it does (rebuilds, swaps and going back: right after it). It takes effect wherever the
/// consumer runs.
impl Runner {
    /// Pauses a consumer: it finishes the page that is under way and waits. Runners notice within
    /// [`CONTROL_INTERVAL`](crate::limits::CONTROL_INTERVAL). Says whether it was not paused before.
    ///
    /// A projection that is also applied inline, by the appends themselves, is not suspended there.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`] if neither this runner nor the store knows it; [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Safe: it is paused or not.
    pub async fn pause(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.begin_suspension(consumer, SuspensionKind::Paused, request).await
    }

    /// Lets a paused consumer continue. Returns whether it was paused.
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// Safe: it is paused or not.
    pub async fn resume(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.end_suspension(consumer, SuspensionKind::Paused, request).await
    }

    /// Switches a consumer off, as a feature by its flag; the request must give a reason. Otherwise as
    /// [`pause`](Self::pause).
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// Safe: it is off or not.
    pub async fn disable(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.begin_suspension(consumer, SuspensionKind::Disabled, request).await
    }

    /// Switches a consumer on again. Says whether it was off.
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    ///
    /// # Cancel safety
    /// Safe: it is off or not.
    pub async fn enable(&self, consumer: &str, request: &OperatorRequest) -> Result<bool, RunnerError> {
        self.end_suspension(consumer, SuspensionKind::Disabled, request).await
    }

    /// Moves the checkpoint of a reactor back: it reacts to everything after `to` again. The request must give a
    /// reason. Returns where it was. Safe while it runs.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`]; [`StoreError::CannotMove`](es_core::StoreError::CannotMove) in
    /// [`RunnerError::Store`] for a position that is ahead, and for a view or projection, which would apply events twice:
    /// [rebuild](Self::rebuild_beside) it.
    ///
    /// # Cancel safety
    /// Safe: it was moved or not.
    pub async fn reset(
        &self,
        consumer: &str,
        to: Position,
        request: &OperatorRequest,
    ) -> Result<Position, RunnerError> {
        self.override_checkpoint(consumer, CheckpointOverride::Reset(to), request).await
    }

    /// The same for a view or projection too, whose handler does no harm if it is given an event again.
    ///
    /// # Errors
    /// As for [`reset`](Self::reset).
    ///
    /// # Cancel safety
    /// Safe: it was moved or not.
    pub async fn reset_idempotent(
        &self,
        consumer: &str,
        to: Position,
        request: &OperatorRequest,
    ) -> Result<Position, RunnerError> {
        self.override_checkpoint(consumer, CheckpointOverride::ResetIdempotent(to), request).await
    }

    /// Moves a checkpoint forwards: what lies between never takes effect, until the read model is rebuilt. The request
    /// must give a reason. Returns where it was. Safe while it runs.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`]; [`StoreError::CannotMove`](es_core::StoreError::CannotMove) in
    /// [`RunnerError::Store`] for a position that is behind, or beyond the end of the log.
    ///
    /// # Cancel safety
    /// Safe: it was moved or not.
    pub async fn skip(&self, consumer: &str, to: Position, request: &OperatorRequest) -> Result<Position, RunnerError> {
        self.override_checkpoint(consumer, CheckpointOverride::Skip(to), request).await
    }

    /// Changes the number of partitions of a consumer, here and in all processes that run it. No event is lost or repeated, wherever the
    /// partitions are. A number in its [options](crate::ConsumerOptions::partitions) counts again when a runner is next started.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`]; in [`RunnerError::Store`]
    /// [`LimitExceeded`](es_core::StoreError::LimitExceeded) over [`es_core::limits::MAX_PARTITIONS`] and
    /// [`Refused`](es_core::StoreError::Refused) for none, or for one that was never run.
    ///
    /// # Cancel safety
    /// Safe: it was changed or not.
    pub async fn repartition(&self, consumer: &str, count: u16, request: &OperatorRequest) -> Result<(), RunnerError> {
        let live = self.live_name(self.local(consumer)?.name()).await?;
        self.store().repartition(&live, count).await?;
        self.look_up_again(&live.base());
        self.note_request(OperationKind::REPARTITION, &live, request).await;
        Ok(())
    }

    /// Takes the leases of a consumer from the processes that have them, so that others need not wait until they run out. The
    /// request must give a reason. Returns how many a process had. Safe while it runs: what is written under a lease
    /// that was taken is refused, and a process that lives claims it again.
    ///
    /// # Errors
    /// [`RunnerError::UnknownConsumer`]; [`StoreError::Refused`](es_core::StoreError::Refused) in [`RunnerError::Store`] without a
    /// reason.
    ///
    /// # Cancel safety
    /// Safe: they were taken or not.
    pub async fn revoke_leases(&self, consumer: &str, request: &OperatorRequest) -> Result<u64, RunnerError> {
        Ok(self.store().revoke_leases(&self.known(consumer).await?, request).await?)
    }

    /// Returns which consumers are suspended, by whom and why.
    ///
    /// # Errors
    /// [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn suspensions(&self) -> Result<Vec<Suspension>, RunnerError> {
        Ok(self.store().suspensions().await?)
    }

    /// Consumers that the store knows and this runner has not, by name.
    ///
    /// # Errors
    /// [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn orphans(&self) -> Result<Vec<Orphan>, RunnerError> {
        let mut orphans: Vec<Orphan> = Vec::new();
        for Checkpoint { consumer, position, updated_at, .. } in self.store().checkpoints().await? {
            let name = consumer.base();
            if self.has(&name) {
                continue;
            }
            let other = Orphan { name, position, updated_at };
            match orphans.iter_mut().find(|orphan| orphan.name == other.name) {
                // The generation that moved last is the one that somebody runs, if anybody does.
                Some(orphan) if orphan.updated_at < other.updated_at => *orphan = other,
                Some(_) => {}
                None => orphans.push(other),
            }
        }
        orphans.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(orphans)
    }

    /// Removes everything that the store keeps for a consumer whose code is gone: its checkpoint, its read model in all
    /// generations, suspensions. The request must give a reason. Tables that a projection names itself stay.
    ///
    /// # Errors
    /// [`RunnerError::StillHere`] for a consumer of this runner; [`RunnerError::UnknownConsumer`] if the store does not know
    /// it; [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Safe: everything is removed or nothing.
    pub async fn retire(&self, consumer: &str, request: &OperatorRequest) -> Result<(), RunnerError> {
        let name = self.known(consumer).await?;
        if self.has(&name) {
            return Err(RunnerError::StillHere { consumer: name });
        }
        Ok(self.store().retire_consumer(&name, request).await?)
    }

    /// The log of operations, newest first: of one consumer or of all; of those with numbers below `before`, to read on.
    ///
    /// # Errors
    /// [`RunnerError::Store`], also over [`MAX_OPERATIONS_PER_READ`](es_core::limits::MAX_OPERATIONS_PER_READ).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn operations(
        &self,
        consumer: Option<&str>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, RunnerError> {
        let consumer = consumer.map(ConsumerName::new).transpose()?;
        Ok(self.store().operations(consumer.as_ref(), before, limit).await?)
    }

    /// Notes what was done to the generations of a read model: right after it, in a transaction of its own.
    pub(crate) async fn note(&self, kind: OperationKind, generation: &ConsumerName, by: &str) {
        match OperatorRequest::by(by) {
            Ok(request) => self.note_request(kind, generation, &request).await,
            Err(error) => tracing::error!(%generation, by, %error, "an operation is missing in the log of operations"),
        }
    }

    /// The same for what an operator requested.
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
        // Runners of this process need not wait for their next look.
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

    /// The name of a consumer that this runner or the store knows.
    async fn known(&self, consumer: &str) -> Result<ConsumerName, RunnerError> {
        let name = ConsumerName::new(consumer)?;
        let is_of_it = |found: &ConsumerName| found.base_text() == name.as_str();
        let is_known = self.has(&name)
            || self.store().checkpoints().await?.iter().any(|found| is_of_it(&found.consumer))
            || self.store().suspensions().await?.iter().any(|suspension| is_of_it(&suspension.consumer));
        if is_known { Ok(name) } else { Err(self.unknown(consumer)) }
    }
}
