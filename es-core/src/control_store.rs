//! What operators do with consumers: suspend them, override their checkpoints, and retire them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    consumer_name::ConsumerName,
    consumer_store::ConsumerStore,
    error::StoreError,
    operation::{NewOperation, Operation, OperationKind, OperatorRequest},
    position::Position,
    timestamp::rfc3339,
};

/// The kind of a suspension. A consumer may be suspended in both ways at once, by different operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SuspensionKind {
    /// Temporarily: the operator intends to resume the consumer.
    Paused,
    /// Switched off, like a feature by its flag.
    Disabled,
}

impl SuspensionKind {
    /// Returns the text under which stores keep the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Parses the text that [`as_str`](Self::as_str) returned.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Paused, Self::Disabled].into_iter().find(|kind| kind.as_str() == text)
    }

    /// Returns the kind of operation that records the beginning of such a suspension.
    pub fn begun(self) -> OperationKind {
        match self {
            Self::Paused => OperationKind::PAUSE,
            Self::Disabled => OperationKind::DISABLE,
        }
    }

    /// Returns the kind of operation that records the end of such a suspension.
    pub fn ended(self) -> OperationKind {
        match self {
            Self::Paused => OperationKind::RESUME,
            Self::Disabled => OperationKind::ENABLE,
        }
    }

    /// Checks a request that begins such a suspension. Disabling a consumer requires a reason. Stores call it.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if the required reason is missing.
    pub fn check(self, request: &OperatorRequest) -> Result<(), StoreError> {
        match self {
            Self::Paused => Ok(()),
            Self::Disabled => request.check_reason(),
        }
    }
}

impl fmt::Display for SuspensionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The suspension of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspension {
    /// The consumer, as a name without a generation.
    pub consumer: ConsumerName,
    /// The kind of the suspension.
    pub kind: SuspensionKind,
    /// The operator who suspended the consumer.
    pub by: String,
    /// When the suspension began, by the store's clock.
    pub since: OffsetDateTime,
    /// The reason, if the operator specified one.
    pub reason: Option<String>,
}

impl Suspension {
    /// Creates a suspension. Stores report suspensions in this way.
    pub fn new(
        consumer: ConsumerName,
        kind: SuspensionKind,
        by: String,
        since: OffsetDateTime,
        reason: Option<String>,
    ) -> Self {
        Self { consumer, kind, by, since, reason }
    }
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, by, since, reason, .. } = self;
        write!(f, "{kind} by {by} since {}", rfc3339(*since))?;
        reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// An operator's override of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointOverride {
    /// Moves the checkpoint forward. The events in between never take effect.
    Skip(Position),
    /// Moves the checkpoint back. The events in between take effect again. This is refused for a read model, which
    /// already contains those events; rebuild it instead.
    Reset(Position),
    /// Moves the checkpoint back, for a read model too. Its handler must be able to process an event again without
    /// harm.
    ResetIdempotent(Position),
}

impl CheckpointOverride {
    /// Returns the new position.
    pub fn to(self) -> Position {
        let (Self::Skip(to) | Self::Reset(to) | Self::ResetIdempotent(to)) = self;
        to
    }

    /// Returns the kind of operation that records the override.
    pub fn kind(self) -> OperationKind {
        match self {
            Self::Skip(_) => OperationKind::SKIP,
            Self::Reset(_) | Self::ResetIdempotent(_) => OperationKind::RESET,
        }
    }

    /// Checks an override of a checkpoint at `from` in a log that ends at `head`. Stores call it while they hold a lock
    /// on the checkpoint. `from` is `None` for a consumer that has never started.
    ///
    /// # Errors
    /// Returns [`StoreError::CannotMove`] with the reason.
    pub fn check(
        self,
        consumer: &ConsumerName,
        from: Option<Position>,
        head: Position,
        is_read_model: bool,
    ) -> Result<Position, StoreError> {
        let to = self.to();
        let refuse = |from, why| Err(StoreError::CannotMove { consumer: consumer.clone(), from, to, why });
        let Some(from) = from else {
            return refuse(Position::ZERO, "it never began; run it first, or check the name");
        };
        match self {
            _ if to > head => refuse(from, "the log does not reach that far"),
            Self::Skip(_) if to < from => refuse(from, "that is back; to apply events again, reset it or rebuild it"),
            Self::Reset(_) | Self::ResetIdempotent(_) if to > from => {
                refuse(from, "that is forwards; to leave events out, skip them")
            }
            Self::Reset(_) if is_read_model => {
                refuse(from, "its read model holds these events already and would apply them twice; rebuild it")
            }
            _ => Ok(from),
        }
    }
}

/// The part of a store that carries out operators' requests. The trait is object-safe, like [`ConsumerStore`]. Each
/// operation and its entry in the operations log are one transaction.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait ControlStore: ConsumerStore {
    /// Returns all suspensions, ordered by name and kind. Runners call this method frequently, so it must be one fast
    /// call.
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError>;

    /// Suspends a consumer in all of its generations. Returns whether this changed anything. If the consumer is already
    /// suspended in that way, the earlier suspension is kept, and nothing is recorded.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if a required reason is missing; see [`SuspensionKind::check`].
    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Ends a suspension. Returns whether there was one. If there was none, nothing is recorded.
    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Overrides a checkpoint, wherever it is, and returns where it was. A runner that is applying a page at that
    /// moment loses the page and continues from the new position. A move back removes later events from the queue of
    /// parked events, because they are delivered again.
    ///
    /// The partitions of a consumer are moved together, each only in the direction of the override: see
    /// [`overridden_partitions`](crate::overridden_partitions).
    ///
    /// # Errors
    /// Returns [`StoreError::CannotMove`] with the reason, [`StoreError::StaleGeneration`] for a generation that is no
    /// longer live, and [`StoreError::Refused`] without a reason.
    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError>;

    /// Removes everything that the store keeps for a consumer: checkpoints, generations, suspensions, the documents of
    /// a view, and the tables of a projection that has generations.
    ///
    /// Tables that a projection names itself are kept, because the store does not know them. A process that runs the
    /// consumer under a lease loses the lease. The consumer must not be running without a lease, because it would start
    /// again.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a reason, or if the store knows no consumer of that name. Returns
    /// [`StoreError::Busy`] if readers do not release the tables in time; nothing was changed.
    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError>;

    /// Revokes the leases of a consumer, for all generations and partitions. Returns the number of leases that a
    /// process held; if there were none, nothing is recorded. A process that is still running and assigned to the
    /// consumer may claim its lease again.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a reason.
    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError>;

    /// Records an operation that was carried out elsewhere.
    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError>;

    /// Returns the operations log, newest first: of one consumer in all of its generations, or of all consumers. Only
    /// entries with numbers below `before` are returned.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`MAX_OPERATIONS_PER_READ`](crate::limits::MAX_OPERATIONS_PER_READ).
    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError>;
}

#[async_trait]
impl<S: ControlStore + ?Sized> ControlStore for Arc<S> {
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        (**self).suspensions().await
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        (**self).suspend(consumer, kind, request).await
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        (**self).resume(consumer, kind, request).await
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        (**self).override_checkpoint(consumer, checkpoint_override, request).await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        (**self).retire_consumer(consumer, request).await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        (**self).revoke_leases(consumer, request).await
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        (**self).note(operation).await
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        (**self).operations(consumer, before, limit).await
    }
}
