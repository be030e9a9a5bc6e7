//! What operators do to consumers: suspend them, override their checkpoints, retire them.

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

/// How a consumer is suspended. It may be suspended in both ways at once, by different people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SuspensionKind {
    /// For a while: the operator who paused it means to resume it.
    Paused,
    /// Switched off, as a feature is by its flag.
    Disabled,
}

impl SuspensionKind {
    /// As stores keep it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }

    /// Parses what [`as_str`](Self::as_str) returned.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Paused, Self::Disabled].into_iter().find(|kind| kind.as_str() == text)
    }

    /// Returns the kind under which the log of operations records its beginning.
    pub fn begun(self) -> OperationKind {
        match self {
            Self::Paused => OperationKind::PAUSE,
            Self::Disabled => OperationKind::DISABLE,
        }
    }

    /// Returns the kind under which the log of operations records its end.
    pub fn ended(self) -> OperationKind {
        match self {
            Self::Paused => OperationKind::RESUME,
            Self::Disabled => OperationKind::ENABLE,
        }
    }

    /// Checks a request that begins such a suspension: switching a consumer off needs a reason. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
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

/// A suspended consumer: by whom it was suspended, since when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspension {
    /// Whose: a name without a generation.
    pub consumer: ConsumerName,
    /// In what way.
    pub kind: SuspensionKind,
    /// Who did it.
    pub by: String,
    /// Since when, by the store's clock.
    pub since: OffsetDateTime,
    /// Why, if they said so.
    pub reason: Option<String>,
}

impl Suspension {
    /// Creates a suspension, as stores report it.
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

/// How an operator overrides a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointOverride {
    /// Forwards: what lies between never takes effect.
    Skip(Position),
    /// Back: what lies between takes effect again. Refused for a read model, which holds it already: rebuild that.
    Reset(Position),
    /// The same for a read model too, whose handler does no harm if it is given an event again.
    ResetIdempotent(Position),
}

impl CheckpointOverride {
    /// Where to.
    pub fn to(self) -> Position {
        let (Self::Skip(to) | Self::Reset(to) | Self::ResetIdempotent(to)) = self;
        to
    }

    /// Returns the kind under which the log of operations records it.
    pub fn kind(self) -> OperationKind {
        match self {
            Self::Skip(_) => OperationKind::SKIP,
            Self::Reset(_) | Self::ResetIdempotent(_) => OperationKind::RESET,
        }
    }

    /// Checks an override of a checkpoint that is at `from`, in a log that ends at `head`. Stores call it while they
    /// lock the checkpoint; `from` is `None` for a consumer that never began.
    ///
    /// # Errors
    /// [`StoreError::CannotMove`].
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

/// What a store does for operators. Object-safe, as [`ConsumerStore`]. Each operation and its line in the log are one
/// transaction.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait ControlStore: ConsumerStore {
    /// Returns all suspensions, by name and kind. Runners ask for them all the time, so it is one quick call.
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError>;

    /// Suspends a consumer, in all its generations. Returns whether that changed anything: if the consumer is suspended
    /// in that way already, the earlier suspension stays as it is, and nothing is noted.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason where one is required; see [`SuspensionKind::check`].
    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Ends a suspension. Returns whether there was one; if not, nothing is noted.
    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Overrides a checkpoint, wherever it is, and returns where it was. A runner that is applying a page meanwhile
    /// loses that page, and continues from the new place. A step back takes later events out of the queue of parked
    /// ones, since they come again.
    ///
    /// The partitions of a consumer are moved together, each only in the direction of the override: see
    /// [`overridden_partitions`](crate::overridden_partitions).
    ///
    /// # Errors
    /// [`StoreError::CannotMove`] says why; [`StoreError::StaleGeneration`] for a generation that was live before;
    /// [`StoreError::Refused`] without a reason.
    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError>;

    /// Removes everything that the store keeps for a consumer: checkpoints, generations, suspensions, the documents of
    /// a view and the tables of a projection that has generations. Tables that a projection names itself stay, since
    /// the store does not know them. A process that runs it under a lease loses the lease; it must not be running
    /// without one, or it begins anew.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason, and if the store knows nobody of that name; [`StoreError::Busy`] if readers do
    /// not let go of the tables in time: nothing was changed.
    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError>;

    /// Takes the leases of a consumer, of all its generations and partitions, from the processes that have them. Returns how many
    /// a process had; if none, nothing is noted. A process that lives and still would run the consumer may claim its lease again.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason.
    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError>;

    /// Notes an operation that was done otherwise.
    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError>;

    /// The log of operations, newest first: of one consumer in all its generations or of all, and of those with numbers
    /// below `before`.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`MAX_OPERATIONS_PER_READ`](crate::limits::MAX_OPERATIONS_PER_READ).
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
