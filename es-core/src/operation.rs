//! The log of operations: what operators did, to whom, when and why.

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

/// Who requests an operation, and why. It is kept in the log of operations.
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
    /// Creates a request without a reason, by a person or a program as they call themselves.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, over [`limits::MAX_METADATA_TEXT_BYTES`] or holds a control character.
    pub fn by(by: &str) -> Result<Self, InvalidName> {
        check_text("author of a request", by, limits::MAX_METADATA_TEXT_BYTES)?;
        Ok(Self { by: by.to_owned(), reason: None })
    }

    /// The same with a reason.
    ///
    /// # Errors
    /// [`InvalidName`] if it is empty, over [`limits::MAX_REASON_BYTES`] or holds a control character.
    pub fn because(mut self, reason: &str) -> Result<Self, InvalidName> {
        check_text("reason of a request", reason, limits::MAX_REASON_BYTES)?;
        self.reason = Some(reason.to_owned());
        Ok(self)
    }

    /// Returns who requests it.
    pub fn author(&self) -> &str {
        &self.by
    }

    /// Returns why, if they said so.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The same with a few words before its reason, which is cut to [`limits::MAX_REASON_BYTES`].
    pub(crate) fn about(mut self, words: &str) -> Self {
        let mut reason = match self.reason {
            Some(reason) => format!("{words}: {reason}"),
            None => words.to_owned(),
        };
        reason.truncate(reason.floor_char_boundary(limits::MAX_REASON_BYTES));
        self.reason = Some(reason);
        self
    }

    /// Checks that there is a reason, where one is required. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub fn check_reason(&self) -> Result<(), StoreError> {
        match self.reason {
            Some(_) => Ok(()),
            None => Err(StoreError::Refused {
                reason: "this operation needs a reason: give one with OperatorRequest::because",
            }),
        }
    }
}

/// What was done, as the log of operations calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperationKind(Cow<'static, str>);

impl OperationKind {
    /// It was paused.
    pub const PAUSE: Self = Self(Cow::Borrowed("pause"));
    /// It was resumed.
    pub const RESUME: Self = Self(Cow::Borrowed("resume"));
    /// It was switched off.
    pub const DISABLE: Self = Self(Cow::Borrowed("disable"));
    /// It was switched on again.
    pub const ENABLE: Self = Self(Cow::Borrowed("enable"));
    /// Its checkpoint was moved back.
    pub const RESET: Self = Self(Cow::Borrowed("reset"));
    /// Its checkpoint was moved forwards.
    pub const SKIP: Self = Self(Cow::Borrowed("skip"));
    /// Everything that the store kept for it was removed.
    pub const RETIRE: Self = Self(Cow::Borrowed("retire"));
    /// The number of its partitions was changed.
    pub const REPARTITION: Self = Self(Cow::Borrowed("repartition"));
    /// Its leases were taken from the processes that had them.
    pub const LEASE_REVOKED: Self = Self(Cow::Borrowed("lease-revoked"));
    /// A retry of the parked events of a key was requested.
    pub const PARKED_RETRY: Self = Self(Cow::Borrowed("parked-retry"));
    /// A parked event was edited, and its retry was requested.
    pub const PARKED_EDIT: Self = Self(Cow::Borrowed("parked-edit"));
    /// Parked events were thrown away.
    pub const PARKED_DISCARD: Self = Self(Cow::Borrowed("parked-discard"));
    /// A rebuild of its read model was begun.
    pub const REBUILD_STARTED: Self = Self(Cow::Borrowed("rebuild-started"));
    /// A rebuilt read model was put in the live one's place.
    pub const REBUILD_ACCEPTED: Self = Self(Cow::Borrowed("rebuild-accepted"));
    /// A rebuilt read model was thrown away.
    pub const REBUILD_DISCARDED: Self = Self(Cow::Borrowed("rebuild-discarded"));
    /// The read model from before a rebuild was put in the live one's place.
    pub const ROLLED_BACK: Self = Self(Cow::Borrowed("rolled-back"));

    /// A retry of dead letters was requested.
    pub const DEAD_LETTER_RETRY: Self = Self(Cow::Borrowed("dead-letter-retry"));
    /// A dead letter was edited, and its retry was requested.
    pub const DEAD_LETTER_EDIT: Self = Self(Cow::Borrowed("dead-letter-edit"));
    /// Dead letters were thrown away.
    pub const DEAD_LETTER_DISCARD: Self = Self(Cow::Borrowed("dead-letter-discard"));

    /// Another kind.
    ///
    /// # Errors
    /// [`InvalidName`] unless it is of ASCII letters, digits, `_`, `-` and `.`, and at most
    /// [`limits::MAX_OPERATION_KIND_BYTES`] long.
    pub fn new(kind: &str) -> Result<Self, InvalidName> {
        check_word("kind of an operation", kind, limits::MAX_OPERATION_KIND_BYTES)?;
        Ok(Self(kind.to_owned().into()))
    }

    /// As stores keep it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is to be noted in the log of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewOperation {
    /// What was done.
    pub kind: OperationKind,
    /// To whom, in its generation.
    pub consumer: ConsumerName,
    /// From where its checkpoint was moved, if it was.
    pub from: Option<Position>,
    /// Where to.
    pub to: Option<Position>,
    /// By whom, and why.
    pub request: OperatorRequest,
}

impl NewOperation {
    /// An operation that moves nothing.
    pub fn new(kind: OperationKind, consumer: ConsumerName, request: OperatorRequest) -> Self {
        Self { kind, consumer, from: None, to: None, request }
    }

    /// The same with the positions between which something moved.
    #[must_use]
    pub fn moved(mut self, from: Option<Position>, to: Option<Position>) -> Self {
        (self.from, self.to) = (from, to);
        self
    }
}

/// One line of the log of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Its number: later ones have larger numbers, not always without gaps.
    pub id: u64,
    /// When, by the store's clock.
    pub at: OffsetDateTime,
    /// What was done, to whom, by whom and why.
    pub what: NewOperation,
}

impl Operation {
    /// An operation, as stores report it.
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
/// [`StoreError::LimitExceeded`] over [`limits::MAX_OPERATIONS_PER_READ`].
pub fn check_operation_count(count: usize) -> Result<(), StoreError> {
    let limit = limits::MAX_OPERATIONS_PER_READ;
    match count > limit {
        true => {
            Err(StoreError::LimitExceeded { what: "operations in one read", limit: limit as u64, actual: count as u64 })
        }
        false => Ok(()),
    }
}
