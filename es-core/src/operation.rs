//! The operations log: what operators did, to which consumer, when, and why.

use std::{borrow::Cow, fmt};

use time::OffsetDateTime;

use crate::{
    consumer_name::ConsumerName,
    error::{InvalidName, StoreError},
    limits,
    name::{check_text, check_word},
    position::Position,
    timestamp::rfc3339,
};

/// The operator and the reason of an action. The request is kept in the operations log.
///
/// ```
/// use es_core::OperatorRequest;
/// let request = OperatorRequest::by("ann")?.because("the mail server is being moved")?;
/// assert_eq!((request.author(), request.reason()), ("ann", Some("the mail server is being moved")));
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRequest {
    by: String,
    reason: Option<String>,
}

impl OperatorRequest {
    /// Creates a request without a reason. The text is the name by which a person or a program identifies itself.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if it is empty, longer than [`limits::MAX_METADATA_TEXT_BYTES`], or contains a control
    /// character.
    pub fn by(by: &str) -> Result<Self, InvalidName> {
        check_text("author of a request", by, limits::MAX_METADATA_TEXT_BYTES)?;
        Ok(Self { by: by.to_owned(), reason: None })
    }

    /// Returns the request with a reason.
    ///
    /// # Errors
    /// Returns [`InvalidName`] if it is empty, longer than [`limits::MAX_REASON_BYTES`], or contains a control
    /// character.
    pub fn because(mut self, reason: &str) -> Result<Self, InvalidName> {
        check_text("reason of a request", reason, limits::MAX_REASON_BYTES)?;
        self.reason = Some(reason.to_owned());
        Ok(self)
    }

    /// Returns the operator.
    pub fn author(&self) -> &str {
        &self.by
    }

    /// Returns the reason, if the operator specified one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns the request with a few words before its reason, which is cut to [`limits::MAX_REASON_BYTES`].
    pub(crate) fn about(mut self, words: &str) -> Self {
        let mut reason = match self.reason {
            Some(reason) => format!("{words}: {reason}"),
            None => words.to_owned(),
        };
        reason.truncate(reason.floor_char_boundary(limits::MAX_REASON_BYTES));
        self.reason = Some(reason);
        self
    }

    /// Checks that there is a reason, for actions that require one. Stores call it.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a reason.
    pub fn check_reason(&self) -> Result<(), StoreError> {
        match self.reason {
            Some(_) => Ok(()),
            None => Err(StoreError::Refused {
                reason: "this operation needs a reason: give one with OperatorRequest::because",
            }),
        }
    }
}

/// The kind of an operation, as named in the operations log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperationKind(Cow<'static, str>);

impl OperationKind {
    /// A consumer was paused.
    pub const PAUSE: Self = Self(Cow::Borrowed("pause"));
    /// A consumer was resumed.
    pub const RESUME: Self = Self(Cow::Borrowed("resume"));
    /// A consumer was disabled.
    pub const DISABLE: Self = Self(Cow::Borrowed("disable"));
    /// A consumer was enabled again.
    pub const ENABLE: Self = Self(Cow::Borrowed("enable"));
    /// The checkpoint was moved back.
    pub const RESET: Self = Self(Cow::Borrowed("reset"));
    /// The checkpoint was moved forward.
    pub const SKIP: Self = Self(Cow::Borrowed("skip"));
    /// Everything that the store kept for a consumer was removed.
    pub const RETIRE: Self = Self(Cow::Borrowed("retire"));
    /// The number of partitions was changed.
    pub const REPARTITION: Self = Self(Cow::Borrowed("repartition"));
    /// The leases were taken from the processes that held them.
    pub const LEASE_REVOKED: Self = Self(Cow::Borrowed("lease-revoked"));
    /// A retry of the parked events of a key was requested.
    pub const PARKED_RETRY: Self = Self(Cow::Borrowed("parked-retry"));
    /// A parked event was edited, and its retry was requested.
    pub const PARKED_EDIT: Self = Self(Cow::Borrowed("parked-edit"));
    /// Parked events were discarded.
    pub const PARKED_DISCARD: Self = Self(Cow::Borrowed("parked-discard"));
    /// A rebuild of a read model was started.
    pub const REBUILD_STARTED: Self = Self(Cow::Borrowed("rebuild-started"));
    /// A rebuilt read model was made live.
    pub const REBUILD_ACCEPTED: Self = Self(Cow::Borrowed("rebuild-accepted"));
    /// A rebuilt read model was discarded.
    pub const REBUILD_DISCARDED: Self = Self(Cow::Borrowed("rebuild-discarded"));
    /// The read model from before a rebuild was made live again.
    pub const ROLLED_BACK: Self = Self(Cow::Borrowed("rolled-back"));

    /// A retry of dead letters was requested.
    pub const DEAD_LETTER_RETRY: Self = Self(Cow::Borrowed("dead-letter-retry"));
    /// A dead letter was edited, and its retry was requested.
    pub const DEAD_LETTER_EDIT: Self = Self(Cow::Borrowed("dead-letter-edit"));
    /// Dead letters were discarded.
    pub const DEAD_LETTER_DISCARD: Self = Self(Cow::Borrowed("dead-letter-discard"));

    /// Creates another kind.
    ///
    /// # Errors
    /// Returns [`InvalidName`] unless the text consists of ASCII letters, digits, `_`, `-`, and `.`, and is at most
    /// [`limits::MAX_OPERATION_KIND_BYTES`] long.
    pub fn new(kind: &str) -> Result<Self, InvalidName> {
        check_word("kind of an operation", kind, limits::MAX_OPERATION_KIND_BYTES)?;
        Ok(Self(kind.to_owned().into()))
    }

    /// Returns the text under which stores keep the kind.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An operation that is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewOperation {
    /// The kind of the operation.
    pub kind: OperationKind,
    /// The consumer, in its generation.
    pub consumer: ConsumerName,
    /// The position from which the checkpoint was moved, if it was moved.
    pub from: Option<Position>,
    /// The position to which the checkpoint was moved.
    pub to: Option<Position>,
    /// The operator and the reason.
    pub request: OperatorRequest,
}

impl NewOperation {
    /// Creates an operation that moves no checkpoint.
    pub fn new(kind: OperationKind, consumer: ConsumerName, request: OperatorRequest) -> Self {
        Self { kind, consumer, from: None, to: None, request }
    }

    /// Returns the operation with the positions between which something moved.
    #[must_use]
    pub fn moved(mut self, from: Option<Position>, to: Option<Position>) -> Self {
        (self.from, self.to) = (from, to);
        self
    }
}

/// One entry of the operations log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// The number of the entry. Later entries have larger numbers, possibly with gaps.
    pub id: u64,
    /// When the operation happened, by the store's clock.
    pub at: OffsetDateTime,
    /// The operation, with its consumer, operator, and reason.
    pub what: NewOperation,
}

impl Operation {
    /// Creates an entry. Stores report entries in this way.
    pub fn new(id: u64, at: OffsetDateTime, what: NewOperation) -> Self {
        Self { id, at, what }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NewOperation { kind, consumer, from, to, request } = &self.what;
        write!(f, "{} {}: {kind} {consumer}", rfc3339(self.at), request.by)?;
        if let Some(from) = from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = to {
            write!(f, " to {to}")?;
        }
        request.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}

/// Checks how many operations one call may read. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_OPERATIONS_PER_READ`].
pub fn check_operation_count(count: usize) -> Result<(), StoreError> {
    let limit = limits::MAX_OPERATIONS_PER_READ;
    match count > limit {
        true => {
            Err(StoreError::LimitExceeded { what: "operations in one read", limit: limit as u64, actual: count as u64 })
        }
        false => Ok(()),
    }
}
