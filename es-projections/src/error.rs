//! What a runner can answer instead of a result.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use es_core::{
    Bookmark, ConsumerName, DecodeError, EventKey, GenerationState, InvalidName, Position, ProjectionError, StoreError,
    Suspension, timestamp::rfc3339,
};
use time::OffsetDateTime;

use crate::{comparison::Comparison, limits, status::ConsumerState};

/// What a runner can answer instead of a result. Cloning is cheap: the status shows the same error that
/// [`Runner::run`](crate::Runner::run) returns at its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// A consumer stopped by its failure policy. Everything before the event took effect, nothing after it did. Mend
    /// the cause (the source says what it is) and run again: it goes on with that event.
    #[error("{consumer} stopped {} after {attempts} attempt(s); mend the cause and run it again", At(*event))]
    Consumer {
        /// Which consumer.
        consumer: ConsumerName,
        /// The event that could not be applied, if it was an event.
        event: Option<Position>,
        /// How often it was tried.
        attempts: u32,
        /// Why.
        source: Arc<ProjectionError>,
    },
    /// A checkpoint stands beyond the last event of the log: the log was restored to an earlier state (a backup, a
    /// stale replica that was promoted), and the read model holds events that no longer exist. Rebuild it with
    /// [`Runner::rebuild`](crate::Runner::rebuild). For a reactor, decide which effects to repeat and move its checkpoint
    /// with [`ConsumerStore::move_checkpoint`](es_core::ConsumerStore::move_checkpoint).
    #[error(
        "the checkpoint of {consumer} is at {checkpoint}, but the log ends at {head}: the log was restored to an earlier \
         state; rebuild the read model (of a reactor, move the checkpoint back)"
    )]
    CheckpointBeyondHead {
        /// Whose checkpoint.
        consumer: ConsumerName,
        /// Where it stands.
        checkpoint: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The log does not hold what the consumer has applied: it went back to an earlier state without the checkpoint, or again and
    /// again. Nothing was applied. Rebuild a read model. Of a reactor, decide what its effects mean that rest on events which are gone,
    /// then [reset](crate::Runner::reset) it to a position up to which the log is as it was, or [skip](crate::Runner::skip) it forward.
    #[error(
        "{consumer} has applied events that the log no longer holds: rebuild the read model (of a reactor, check its \
         effects, then reset it to a position up to which the log is as it was, or skip it forward)"
    )]
    LogWentBack {
        /// Whose checkpoint.
        consumer: ConsumerName,
        /// What was seen, and what is there now.
        source: Arc<StoreError>,
    },
    /// [`StartFrom::After`](crate::StartFrom::After) names a position that the log has not reached. Nothing was started;
    /// use a position that exists, or [`StartFrom::Now`](crate::StartFrom::Now).
    #[error("{consumer} is to start after position {start}, but the log ends at {head}; use a position that exists")]
    StartBeyondHead {
        /// Which consumer.
        consumer: ConsumerName,
        /// Where it was to start.
        start: Position,
        /// The last position of the log.
        head: Position,
    },
    /// A consumer's name cannot be used. Change it.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// A consumer's events cannot be read, whatever is stored: an upcaster that can never apply, or a type that is not
    /// an enum. Change the code as the source says.
    #[error("{consumer} cannot read its events")]
    Events {
        /// Which consumer.
        consumer: ConsumerName,
        /// What is wrong, and what to change.
        source: Arc<DecodeError>,
    },
    /// A consumer asks for events that no store can look for: a category or a type that cannot be one. Change its
    /// events.
    #[error("{consumer} asks for events that cannot be looked for")]
    Filter {
        /// Which consumer.
        consumer: ConsumerName,
        /// What is wrong.
        source: Arc<StoreError>,
    },
    /// Two consumers have one name, and so would share one checkpoint. Rename one of them.
    #[error("two consumers are called {name}; they would share one checkpoint: rename one of them")]
    DuplicateName {
        /// The name.
        name: ConsumerName,
    },
    /// A failure policy asks for more retries than [`limits::MAX_RETRIES`](crate::limits::MAX_RETRIES). Ask for fewer.
    #[error("{consumer} asks for {retries} retries, the limit is {limit}; ask for fewer")]
    TooManyRetries {
        /// Which consumer.
        consumer: ConsumerName,
        /// What it asks for.
        retries: u32,
        /// The limit.
        limit: u32,
    },
    /// A lease is to hold for less than [`limits::MIN_LEASE_TIME`](crate::limits::MIN_LEASE_TIME) or longer than
    /// [`limits::MAX_LEASE_TIME`](crate::limits::MAX_LEASE_TIME).
    #[error("a lease of {time:?} is asked for; ask for {:?} to {:?}", limits::MIN_LEASE_TIME, limits::MAX_LEASE_TIME)]
    LeaseTime {
        /// What was asked for.
        time: Duration,
    },
    /// A failure policy allows more parked keys than [`limits::MAX_PARKED_KEYS`](crate::limits::MAX_PARKED_KEYS). Allow fewer.
    #[error("{consumer} allows {asked} parked keys, the limit is {limit}; allow fewer")]
    TooManyParkedKeys {
        /// Which consumer.
        consumer: ConsumerName,
        /// What it allows.
        asked: u64,
        /// The limit.
        limit: u64,
    },
    /// A consumer stopped because so many of its keys are parked that one more would be over its policy's limit. Something more
    /// than single events is wrong: mend it, try the parked keys again or discard them, and run it again.
    #[error(
        "{consumer} stopped {}: its limit of {limit} parked keys is reached; mend the cause, retry or discard parked keys, and run \
         it again",
        At(Some(*event))
    )]
    ParkedLimit {
        /// Which consumer.
        consumer: ConsumerName,
        /// The event that could not be parked any more.
        event: Position,
        /// The limit.
        limit: u64,
        /// Why it failed.
        source: Arc<ProjectionError>,
    },
    /// No process has retried a parked key in time. The request stands; check that a process runs the consumer.
    #[error(
        "no process has retried {key} of {consumer} within {waited:?}; the request stands: does any process run {consumer}?"
    )]
    RetryTimeout {
        /// Which consumer.
        consumer: ConsumerName,
        /// Which key.
        key: EventKey,
        /// How long was waited.
        waited: Duration,
    },
    /// The code of a consumer with several partitions cannot tell the key of an event, or not read it at all, so that no partition
    /// may go past it. Fix the code: a key comes of the event alone. Or run the consumer unpartitioned
    /// ([`Runner::repartition`](crate::Runner::repartition)): the failure policy says what becomes of the event then.
    #[error(
        "the partition key of the event at {event} cannot be told for {consumer}: {problem}; fix the code, or run it as one partition"
    )]
    PartitionKey {
        /// Which consumer.
        consumer: ConsumerName,
        /// The event.
        event: Position,
        /// What is wrong.
        problem: String,
    },
    /// No consumer of this runner has the name, and the store knows no checkpoint of it. Check the spelling.
    #[error("there is no consumer called {name:?}; this runner has {}", List(known))]
    UnknownConsumer {
        /// The name.
        name: String,
        /// The names that this runner knows.
        known: Vec<ConsumerName>,
    },
    /// The next event of a consumer is of a type that its code does not know, in a category of which its enum is to know every
    /// type: newer code wrote it. The checkpoint stays before the event, so that the newer code receives it. Run that code; or
    /// let the enum [retire](es_core::Upcasters::retire) the type, say that it knows only
    /// [some types](es_core::Coverage::Part), or let the consumer
    /// [pass over](crate::UnknownEventTypes::PassOver) what it does not know.
    #[error(
        "{consumer} is stopped before the event at position {event}: its code does not know the type {event_type:?} of the \
         category {category:?}, which newer code wrote; run the newer code, or let the enum retire the type"
    )]
    UnknownType {
        /// Which consumer.
        consumer: ConsumerName,
        /// Where the event is.
        event: Position,
        /// Its category.
        category: String,
        /// Its type.
        event_type: String,
    },
    /// The live read model was written by another version of the code, so this one does not write it. Rebuild it with this
    /// version ([`Runner::rebuild_beside`](crate::Runner::rebuild_beside)), or run the version that wrote it.
    #[error(
        "the live read model {live} was written by version {live_version} of its code, and this is version {own_version}; \
         rebuild it with this version, or run that one"
    )]
    VersionMismatch {
        /// The consumer, in its live generation.
        live: ConsumerName,
        /// The version of the code that writes it.
        live_version: u32,
        /// The version of the code here.
        own_version: u32,
    },
    /// A projection that names its tables itself has one generation only: rebuild it in place with
    /// [`Runner::rebuild`](crate::Runner::rebuild), or let it take their names from
    /// [`Projection::in_generation`](es_core::Projection::in_generation).
    #[error(
        "{consumer} names its tables itself and so cannot be built side by side; rebuild it in place, or let it take their \
         names from in_generation"
    )]
    NoGenerations {
        /// The projection.
        consumer: ConsumerName,
    },
    /// Somebody else is rebuilding the read model. Wait for them; what they leave can be taken over when their lease has
    /// run out.
    #[error(
        "{generation} is being built by {by} since {}; wait for them, or until {} if they are gone",
        rfc3339(*since),
        rfc3339(*until)
    )]
    RebuildRunning {
        /// The consumer, in the generation that is built.
        generation: ConsumerName,
        /// Who builds it.
        by: String,
        /// Since when, by the store's clock.
        since: OffsetDateTime,
        /// Until when they have it, unless they go on.
        until: OffsetDateTime,
    },
    /// A projection that names its tables itself cannot be compared, since nobody knows what to read. Skip the verification, or
    /// let it take their names from [`Projection::in_generation`](es_core::Projection::in_generation).
    #[error(
        "{consumer} names its tables itself, so that nobody knows what to compare; skip the verification, or let it take their \
         names from in_generation"
    )]
    NotComparable {
        /// The projection.
        consumer: ConsumerName,
    },
    /// A read model was rebuilt in place and is complete, but was not at the position of the one before when they were to be
    /// compared: a runner elsewhere works on it, or the log is shorter than it was. Stop the others to compare.
    #[error(
        "{consumer} was rebuilt, but is at {after} and was at {before}, so the two could not be compared; if other runners \
         work on it, stop them and rebuild it again"
    )]
    NotCompared {
        /// The consumer, in its live generation.
        consumer: ConsumerName,
        /// Where it was before.
        before: Position,
        /// Where it was when they were to be compared.
        after: Position,
    },
    /// The rebuilt read model is not the same as the live one, and was to be. Rebuilt beside it, it is kept for a look, and for
    /// [`Runner::accept_rebuild`](crate::Runner::accept_rebuild) or [`Runner::discard_rebuild`](crate::Runner::discard_rebuild).
    /// Rebuilt in place, it is what readers are given.
    #[error("the rebuilt read model differs from the live one: {0}")]
    ReadModelsDiffer(Box<Comparison>),
    /// The read model has no generation of the kind that was asked for: none that was built and waits to be accepted, or none to
    /// go back to.
    #[error("{consumer} has no generation that is {wanted}: {}", remedy(*wanted))]
    NoGeneration {
        /// Whose.
        consumer: ConsumerName,
        /// What it should be.
        wanted: GenerationState,
    },
    /// What was built and not accepted was built by another version of the code than the one that is to keep it up to date.
    /// Accept it with the version that built it, or rebuild it with this one, or discard it.
    #[error(
        "{generation} was built by version {built_version} of its code, and this is version {own_version}; accept it with that \
         version, or rebuild it with this one"
    )]
    BuiltByOtherVersion {
        /// The consumer, in the generation that was built.
        generation: ConsumerName,
        /// The version of the code that built it.
        built_version: u32,
        /// The version of the code here.
        own_version: u32,
    },
    /// A reactor has no read model, so there is nothing to rebuild. To repeat its effects, move its checkpoint back.
    #[error(
        "{consumer} is a reactor and has no read model to rebuild; to repeat its effects, move its checkpoint back"
    )]
    NoReadModel {
        /// The reactor.
        consumer: ConsumerName,
    },
    /// A consumer did not reach the position in time. Wait again, or answer from the older state. The state says why
    /// it does not advance, if it does not.
    #[error("{consumer} has reached {reached}, not {position}, after {waited:?}; it is {state}")]
    WaitTimeout {
        /// Which consumer.
        consumer: ConsumerName,
        /// What was waited for.
        position: Position,
        /// How far it has come.
        reached: Position,
        /// How long was waited.
        waited: Duration,
        /// What it is doing, as far as this runner knows.
        state: Box<ConsumerState>,
    },
    /// The write for which a reader waits is no longer in the log: the log went back to an earlier state. Tell the user that it is
    /// lost, or decide again.
    #[error("the write at {place} is lost: the log went back to an earlier state; decide again")]
    WriteLost {
        /// The last event of the write.
        place: Bookmark,
        /// What is there now.
        source: Arc<StoreError>,
    },
    /// The consumer is suspended; the message says by whom and why. Ask them, or
    /// [resume](crate::Runner::resume) or [enable](crate::Runner::enable) it.
    #[error("{consumer} was {suspension}; resume or enable it first")]
    Suspended {
        /// Which consumer.
        consumer: ConsumerName,
        /// By whom, since when and why.
        suspension: Box<Suspension>,
    },
    /// The order in which consumers are to start cannot be kept. Mend what [`start_after`](crate::ConsumerOptions::start_after)
    /// says.
    #[error("{consumer} is to start after {after}, {problem}")]
    StartOrder {
        /// Which consumer.
        consumer: ConsumerName,
        /// After which one.
        after: String,
        /// Why not.
        problem: &'static str,
    },
    /// A consumer that is to start later was not started, because the one before it failed; that one's error says why.
    #[error("{consumer} was not started, since {after} did not get there")]
    NotStarted {
        /// Which consumer.
        consumer: ConsumerName,
        /// After which one it was to start.
        after: ConsumerName,
    },
    /// A consumer that this runner has cannot be retired: it would begin anew. Take it out of the code first, everywhere.
    #[error("{consumer} is in this runner and would begin anew; take it out of the code before it is retired")]
    StillHere {
        /// Which consumer.
        consumer: ConsumerName,
    },
    /// The task of a consumer ended again and again where it should not: a fault of this library or of the store, not of the
    /// handler. The read model is right up to its checkpoint.
    #[error("the task of {consumer} ended unexpectedly, {restarts} restart(s) did not help: {problem}")]
    TaskEnded {
        /// Which consumer.
        consumer: ConsumerName,
        /// How often it was started again.
        restarts: u32,
        /// What it said in the end.
        problem: String,
    },
    /// The store refused or failed; see [`StoreError`].
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

/// What to do if there is no generation of a kind.
fn remedy(wanted: GenerationState) -> &'static str {
    match wanted {
        GenerationState::Building => "nothing waits to be accepted or discarded; rebuild it beside the live one first",
        GenerationState::Retired => {
            "no earlier one is kept to go back to; rebuild it instead, with the code that it should have"
        }
        _ => "run its consumer first",
    }
}

impl From<StoreError> for RunnerError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// A handler panicked. It is the source of a [`ProjectionError::Handler`]; the failure policy counts it like any error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the handler panicked: {message}")]
pub struct HandlerPanic {
    message: String,
}

impl HandlerPanic {
    pub(crate) fn new(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
        Self { message: text.unwrap_or("(no message)").to_owned() }
    }

    /// What it said.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A handler took too long and was dropped; its transaction was rolled back. It is the source of a
/// [`ProjectionError::Handler`]; the failure policy counts it like any error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the handler did not return within {limit:?}")]
pub struct HandlerTimeout {
    /// How long it had.
    pub limit: Duration,
}

/// Where something failed, as part of a sentence.
pub(crate) struct At(pub(crate) Option<Position>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(position) => write!(f, "at the event at position {position}"),
            None => f.write_str("between events"),
        }
    }
}

struct List<'a>(&'a [ConsumerName]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// An error with all its causes on one line. A cause that the error tells itself is not told once more.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            (last, cause) = (text, error.source());
        }
        Ok(())
    }
}
