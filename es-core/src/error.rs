//! Errors: one enum a layer. Each variant says what the caller should do.

use crate::{
    consumer_name::ConsumerName, event_key::EventKey, expected_version::ExpectedVersion, position::Position,
    stream_id::StreamId, version::Version,
};

/// Any error of somebody else's code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A name, key or other short text that cannot be used: mend the caller. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} {problem}")]
pub struct InvalidName {
    what: &'static str,
    name: String,
    problem: NameProblem,
}

impl InvalidName {
    /// Characters of the offending text that an error shows.
    const SHOWN_CHARS: usize = 80;

    pub(crate) fn new(what: &'static str, text: &str, problem: NameProblem) -> Self {
        let mut name: String = text.chars().take(Self::SHOWN_CHARS).collect();
        if name.len() < text.len() {
            name.push('…');
        }
        Self { what, name, problem }
    }

    /// What kind of name it is: "category", "event type", "idempotency key" …
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &NameProblem {
        &self.problem
    }
}

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameProblem {
    /// It has no characters.
    #[error("is empty: give it at least one character")]
    Empty,
    /// It is longer than its limit.
    #[error("has {bytes} bytes, the limit is {max_bytes}: shorten it")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit, from [`limits`](crate::limits).
        max_bytes: usize,
    },
    /// It holds a NUL, a line end or another control character.
    #[error("has a control character at byte {at}: remove it")]
    ControlCharacter {
        /// Byte offset of the first one.
        at: usize,
    },
    /// It holds a character that its kind of name does not allow.
    #[error("has a forbidden character at byte {at}: allowed are {allowed}")]
    ForbiddenCharacter {
        /// Byte offset of the first one.
        at: usize,
        /// What may be used instead.
        allowed: &'static str,
    },
    /// The text form of a stream id has no `/` between category and id.
    #[error("has no '/': write category/id or tenant@category/id")]
    NoSeparator,
}

/// What a store can answer instead of a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The stream is not where the append expected it. Nothing was stored. Load the stream's tail and decide
    /// again; `Repository::execute` does so by itself.
    #[error(
        "stream {stream} is at version {actual}, but the append expected {expected}; load it again and decide again"
    )]
    Conflict {
        /// The first stream whose expectation failed.
        stream: StreamId,
        /// What the append expected.
        expected: ExpectedVersion,
        /// The stream's version. It equals an expected exact version only if the event at that version is
        /// another one than the decision was based on (a restored backup, a lost tail).
        actual: Version,
    },
    /// A lock could not be had in time, or the database chose this call as a deadlock's victim. Nothing was
    /// stored; try again after a moment.
    #[error("the store is busy: {waiting_for}; nothing was stored, try again")]
    Busy {
        /// What was waited for and, where the database knows, who holds it.
        waiting_for: String,
        /// The database's own error.
        source: Option<BoxError>,
    },
    /// An event id or idempotency key is already in the store for other content or in another place. Nothing
    /// was stored. Use a new id, or send exactly what was sent the first time.
    #[error("{what} {id} was used before for something else; nothing was stored")]
    IdReused {
        /// "event id" or "idempotency key".
        what: &'static str,
        /// The id or key.
        id: String,
    },
    /// Another runner moved the checkpoint first. Nothing was changed; read the checkpoint and go on from it.
    #[error("the checkpoint of {consumer} is at {actual}, not at {expected}: another runner moved it")]
    CheckpointMoved {
        /// Whose checkpoint.
        consumer: ConsumerName,
        /// Where the caller believed it to be.
        expected: Position,
        /// Where it is.
        actual: Position,
    },
    /// Another generation of the read model, or other partitions of it, have taken this one's place. Nothing was changed; look
    /// for the live one and its partitions, and go on with those.
    #[error("{generation} is not live any more, another one or other partitions took its place; nothing was changed")]
    Retired {
        /// The consumer, in the generation and partition that was written to.
        generation: ConsumerName,
    },
    /// The parked events of a key are not what the caller believed: it was freed, or an event was thrown away or took effect.
    /// Nothing was changed; look again.
    #[error("the parked events {key} of {consumer} have changed meanwhile; nothing was changed")]
    ParkingChanged {
        /// Whose events.
        consumer: ConsumerName,
        /// Their key.
        key: EventKey,
    },
    /// A checkpoint cannot be moved by hand as it was asked for. Nothing was changed; `why` says what to do.
    #[error("the checkpoint of {consumer} cannot be moved from {from} to {to}: {why}")]
    CannotMove {
        /// Whose checkpoint.
        consumer: ConsumerName,
        /// Where it is.
        from: Position,
        /// Where it was to go.
        to: Position,
        /// Why not, and what to do instead.
        why: &'static str,
    },
    /// Somebody else has had the consumer's lease since. Nothing was changed; claim it again before going on.
    #[error("the lease of {consumer} went to another process; nothing was changed")]
    LeaseLost {
        /// Whose lease.
        consumer: ConsumerName,
    },
    /// Something is larger than a named limit. Nothing was stored. Split or shrink it.
    #[error("{what}: {actual} is over the limit of {limit}; split or shrink it")]
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// The limit, from [`limits`](crate::limits) or the store's settings.
        limit: u64,
        /// The actual count or size.
        actual: u64,
    },
    /// A name cannot be used.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// The call itself is wrong, whatever the store holds; the reason says how to mend the caller. Nothing was
    /// stored, and trying again does not help.
    #[error("refused: {reason}")]
    Refused {
        /// What is wrong, and what to do instead.
        reason: &'static str,
    },
    /// The database cannot be used as it is: a missing folder, a wrong password, a schema of a newer version.
    #[error("cannot open the store: {problem}; {remedy}")]
    Setup {
        /// What was found.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The database's own error, if there was one.
        source: Option<BoxError>,
    },
    /// Stored data breaks the store's own rules. Stop writing, and restore or repair it.
    #[error("the stored event at position {position} is damaged: {problem}")]
    Corrupt {
        /// Where.
        position: Position,
        /// What is wrong with it.
        problem: String,
    },
    /// The connection failed and the outcome is unknown. Send the same append again, with the same event ids:
    /// it is stored once, whichever of the two arrived.
    #[error("the database cannot be reached, the outcome is unknown; try again with the same event ids")]
    Unavailable {
        /// The database's own error.
        source: BoxError,
    },
    /// The database refused for a reason that this library does not expect. Look at the source.
    #[error("the database failed")]
    Backend {
        /// The database's own error.
        source: BoxError,
    },
}

/// Why a domain event could not be turned into a stored one. Nothing was sent to the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The type is not an externally tagged enum, serde's default. Remove `#[serde(tag)]`, `#[serde(untagged)]`
    /// or the surrounding struct.
    #[error("{type_name} cannot be stored: an event must be an enum in serde's default (externally tagged) form")]
    NotExternallyTagged {
        /// The Rust type.
        type_name: &'static str,
    },
    /// A float is NaN or infinite, which JSON cannot hold. Decide in the domain what to record instead.
    #[error("an event of type {event_type} holds a float that is not a finite number, which JSON cannot hold")]
    NotFinite {
        /// The event's type.
        event_type: String,
    },
    /// A text holds the character NUL, which databases refuse. Reject it where it enters the domain.
    #[error("an event of type {event_type} holds a text with a NUL character, which cannot be stored")]
    NulCharacter {
        /// The event's type.
        event_type: String,
    },
    /// The variant's name cannot be an event type.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// serde_json could not write the value (for example a map whose keys are not texts).
    #[error("an event of type {event_type} cannot be written as JSON")]
    Json {
        /// The event's type.
        event_type: String,
        /// serde_json's own error.
        source: serde_json::Error,
    },
}

/// Why a stored event could not be turned into a domain event. It is never skipped: mend the code and go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The code has no variant and no upcaster for this type. Add one, or retire the type in `upcasters()`.
    #[error(
        "the event at position {position} (stream {stream}, version {version}) has the type {event_type:?}, which \
         {type_name} does not know; add a variant or an upcaster, or retire the type"
    )]
    UnknownType {
        /// Where the event is.
        position: Position,
        /// Its stream.
        stream: StreamId,
        /// Its version in the stream.
        version: Version,
        /// Its stored type.
        event_type: String,
        /// The Rust type that was asked for.
        type_name: &'static str,
    },
    /// The payload does not fit the variant. Make the code read it (a serde default, an upcaster).
    #[error(
        "the event at position {position} (stream {stream}, version {version}, type {event_type:?}) does not fit {type_name}; \
         give new fields a default or add an upcaster"
    )]
    Payload {
        /// Where the event is.
        position: Position,
        /// Its stream.
        stream: StreamId,
        /// Its version in the stream.
        version: Version,
        /// Its stored type.
        event_type: String,
        /// The Rust type that was asked for.
        type_name: &'static str,
        /// serde_json's own error.
        source: serde_json::Error,
    },
    /// A view's document does not fit the view's type. Rebuild the view.
    #[error("the document {key:?} of the view {view} does not fit its type; rebuild the view")]
    Document {
        /// The view.
        view: ConsumerName,
        /// The document's key.
        key: String,
        /// serde_json's own error.
        source: serde_json::Error,
    },
}

/// Why an aggregate could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store did not answer with events.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event could not be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream has not reached the version that was asked for.
    #[error("stream {stream} is at version {actual}; version {asked} does not exist yet")]
    VersionInFuture {
        /// The stream.
        stream: StreamId,
        /// The version that was asked for.
        asked: Version,
        /// The stream's version.
        actual: Version,
    },
}

impl From<InvalidName> for LoadError {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}

/// Why a command was not carried out. `E` is the aggregate's own error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecuteError<E: std::error::Error + 'static> {
    /// The domain refused the command. Nothing was stored.
    #[error(transparent)]
    Rejected(E),
    /// Another aggregate type that takes part in the command refused it. Nothing was stored.
    #[error("the command was refused by {stream}")]
    RejectedBy {
        /// The stream of the aggregate that refused.
        stream: StreamId,
        /// Its domain error.
        source: BoxError,
    },
    /// The store refused or failed; see [`StoreError`]. A `Conflict` here means that the retries are used up, or that
    /// `expecting(..)` does not hold.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An aggregate could not be loaded because an event could not be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A decided event cannot be stored.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl<E: std::error::Error + 'static> ExecuteError<E> {
    /// The domain's own refusal, if this is one.
    pub fn rejection(&self) -> Option<&E> {
        match self {
            Self::Rejected(error) => Some(error),
            _ => None,
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> ExecuteError<E> {
    /// The same error for a command of another aggregate type: a refusal becomes one by `stream`.
    pub(crate) fn by_participant<F: std::error::Error + 'static>(self, stream: &StreamId) -> ExecuteError<F> {
        match self {
            Self::Rejected(error) => ExecuteError::RejectedBy { stream: stream.clone(), source: Box::new(error) },
            Self::RejectedBy { stream, source } => ExecuteError::RejectedBy { stream, source },
            Self::Store(error) => ExecuteError::Store(error),
            Self::Decode(error) => ExecuteError::Decode(error),
            Self::Encode(error) => ExecuteError::Encode(error),
        }
    }
}

impl<E: std::error::Error + 'static> From<InvalidName> for ExecuteError<E> {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}

impl<E: std::error::Error + 'static> From<LoadError> for ExecuteError<E> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Store(error) => Self::Store(error),
            LoadError::Decode(error) => Self::Decode(error),
            LoadError::VersionInFuture { stream, asked, actual } => {
                Self::Store(StoreError::Conflict { stream, expected: ExpectedVersion::Exact(asked), actual })
            }
        }
    }
}

/// The error of a projection's or reactor's own code: made from any error by `?`.
///
/// It does not implement [`std::error::Error`] itself, so that every error converts into it.
#[derive(Debug)]
pub struct HandlerError {
    position: Option<Position>,
    source: BoxError,
}

impl HandlerError {
    /// An error that belongs to the event at a position. Handlers of whole pages use it to name the event.
    pub fn at(position: Position, source: impl Into<BoxError>) -> Self {
        Self { position: Some(position), source: source.into() }
    }

    /// A failure that will pass without anybody's help: a service that does not answer, a rate limit. The runner waits and
    /// tries the event again for as long as it takes, and says so in the status, instead of counting it as a failure
    /// of the event and stopping in the end.
    ///
    /// ```
    /// # use es_core::HandlerError;
    /// # fn send() -> Result<(), std::io::Error> { Ok(()) }
    /// fn react() -> Result<(), HandlerError> {
    ///     send().map_err(HandlerError::transient)
    /// }
    /// # assert!(react().is_ok());
    /// ```
    pub fn transient(source: impl Into<BoxError>) -> Self {
        Self { position: None, source: Box::new(TransientFailure { source: source.into() }) }
    }

    /// The event's position, if it is known.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Names the event, unless one is named already.
    #[must_use]
    pub fn or_at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }

    /// The error itself.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

/// What [`HandlerError::transient`] wraps an error in; runners look for it among the causes of a failure.
#[derive(Debug, thiserror::Error)]
#[error("a failure that will pass")]
pub struct TransientFailure {
    source: BoxError,
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { position: None, source: Box::new(error) }
    }
}

/// Why a projection, view or reactor did not advance. Its checkpoint and its read model are as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The store refused or failed; see [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An event or document could not be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The handler's own code failed.
    #[error("{consumer} failed on the event at position {}", position.map_or_else(|| "(unknown)".to_owned(), |p| p.to_string()))]
    Handler {
        /// Whose handler.
        consumer: ConsumerName,
        /// The event, if the handler said which.
        position: Option<Position>,
        /// The handler's error.
        source: BoxError,
    },
    /// A view's changed document cannot be stored.
    #[error("the document {key:?} of the view {view} cannot be written")]
    Document {
        /// The view.
        view: ConsumerName,
        /// The document's key.
        key: String,
        /// What is wrong with it.
        source: EncodeError,
    },
}

impl ProjectionError {
    /// Tells whose code failed on which event.
    pub fn handler(consumer: &ConsumerName, error: HandlerError) -> Self {
        Self::Handler { consumer: consumer.clone(), position: error.position, source: error.source }
    }
}

impl From<InvalidName> for ProjectionError {
    fn from(error: InvalidName) -> Self {
        Self::Store(error.into())
    }
}
