//! The errors of a runner.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use es_core::{
    Bookmark, ConsumerName, DecodeError, EventKey, GenerationState, InvalidName, Position, ProjectionError, StoreError,
    Suspension, timestamp::rfc3339,
};
use time::OffsetDateTime;

use crate::{comparison::Comparison, limits, status::ConsumerState};

/// An error of a runner. Cloning is cheap: the status shows the same error that [`Runner::run`](crate::Runner::run)
/// returns at its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The failure policy of a consumer stopped it. Every event before the failing one took effect, and no later one
    /// did. Fix the cause, which the source describes, and run the consumer again: it continues with that event.
    #[error("{consumer} stopped {} after {attempts} attempt(s); mend the cause and run it again", At(*event))]
    Consumer {
        /// The consumer.
        consumer: ConsumerName,
        /// The event that could not be applied, if the failure concerns an event.
        event: Option<Position>,
        /// The number of attempts.
        attempts: u32,
        /// The cause.
        source: Arc<ProjectionError>,
    },
    /// A checkpoint is beyond the last event of the log. The log was restored to an earlier state (from a backup, or by
    /// promoting a stale replica), and the read model contains events that no longer exist. Rebuild it with
    /// [`Runner::rebuild`](crate::Runner::rebuild). For a reactor, decide which effects to repeat, and move its
    /// checkpoint with [`ConsumerStore::move_checkpoint`](es_core::ConsumerStore::move_checkpoint).
    #[error(
        "the checkpoint of {consumer} is at {checkpoint}, but the log ends at {head}: the log was restored to an earlier \
         state; rebuild the read model (of a reactor, move the checkpoint back)"
    )]
    CheckpointBeyondHead {
        /// The consumer.
        consumer: ConsumerName,
        /// The position of its checkpoint.
        checkpoint: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The log does not contain the events that the consumer has applied. Either it went back to an earlier state
    /// without the checkpoint, or it went back repeatedly. Nothing was applied. Rebuild a read model. For a reactor,
    /// decide what to do about effects of events that are gone. Then [reset](crate::Runner::reset) it to a position up
    /// to which the log is unchanged, or [skip](crate::Runner::skip) it forward.
    #[error(
        "{consumer} has applied events that the log no longer holds: rebuild the read model (of a reactor, check its \
         effects, then reset it to a position up to which the log is as it was, or skip it forward)"
    )]
    LogWentBack {
        /// The consumer.
        consumer: ConsumerName,
        /// What the consumer has seen, and what the log contains now.
        source: Arc<StoreError>,
    },
    /// [`StartFrom::After`](crate::StartFrom::After) names a position that the log has not reached. Nothing was
    /// started. Use a position that exists, or [`StartFrom::Now`](crate::StartFrom::Now).
    #[error("{consumer} is to start after position {start}, but the log ends at {head}; use a position that exists")]
    StartBeyondHead {
        /// The consumer.
        consumer: ConsumerName,
        /// The position after which it was to start.
        start: Position,
        /// The last position of the log.
        head: Position,
    },
    /// The name of a consumer is invalid. Change it.
    #[error("{0}")]
    InvalidName(#[from] InvalidName),
    /// The events of a consumer can never be read: an upcaster can never apply, or a type is not an enum. Change the
    /// code as the source describes.
    #[error("{consumer} cannot read its events")]
    Events {
        /// The consumer.
        consumer: ConsumerName,
        /// What is wrong, and how to fix it.
        source: Arc<DecodeError>,
    },
    /// A consumer asks for events that no store can look up: a category or type is invalid. Change its events.
    #[error("{consumer} asks for events that cannot be looked for")]
    Filter {
        /// The consumer.
        consumer: ConsumerName,
        /// What is wrong.
        source: Arc<StoreError>,
    },
    /// Two consumers have the same name, and would therefore share one checkpoint. Rename one of them.
    #[error("two consumers are called {name}; they would share one checkpoint: rename one of them")]
    DuplicateName {
        /// The name.
        name: ConsumerName,
    },
    /// A failure policy has more retries than [`limits::MAX_RETRIES`](crate::limits::MAX_RETRIES). Use fewer.
    #[error("{consumer} asks for {retries} retries, the limit is {limit}; ask for fewer")]
    TooManyRetries {
        /// The consumer.
        consumer: ConsumerName,
        /// The number of retries in the policy.
        retries: u32,
        /// The limit.
        limit: u32,
    },
    /// A lease time is shorter than [`limits::MIN_LEASE_TIME`](crate::limits::MIN_LEASE_TIME) or longer than
    /// [`limits::MAX_LEASE_TIME`](crate::limits::MAX_LEASE_TIME).
    #[error("a lease of {time:?} is asked for; ask for {:?} to {:?}", limits::MIN_LEASE_TIME, limits::MAX_LEASE_TIME)]
    LeaseTime {
        /// The requested time.
        time: Duration,
    },
    /// A failure policy allows more parked keys than [`limits::MAX_PARKED_KEYS`](crate::limits::MAX_PARKED_KEYS). Allow
    /// fewer.
    #[error("{consumer} allows {asked} parked keys, the limit is {limit}; allow fewer")]
    TooManyParkedKeys {
        /// The consumer.
        consumer: ConsumerName,
        /// The number of parked keys that the policy allows.
        asked: u64,
        /// The limit.
        limit: u64,
    },
    /// A consumer stopped because parking another key would exceed the limit of its policy. The problem affects more
    /// than single events. Fix it, retry or discard the parked keys, and run the consumer again.
    #[error(
        "{consumer} stopped {}: its limit of {limit} parked keys is reached; mend the cause, retry or discard parked keys, and run \
         it again",
        At(Some(*event))
    )]
    ParkedLimit {
        /// The consumer.
        consumer: ConsumerName,
        /// The event that could no longer be parked.
        event: Position,
        /// The limit.
        limit: u64,
        /// The cause of the event's failure.
        source: Arc<ProjectionError>,
    },
    /// No process retried a parked key in time. The request remains in effect. Check that a process runs the consumer.
    #[error(
        "no process has retried {key} of {consumer} within {waited:?}; the request stands: does any process run {consumer}?"
    )]
    RetryTimeout {
        /// The consumer.
        consumer: ConsumerName,
        /// The key.
        key: EventKey,
        /// The time that the caller waited.
        waited: Duration,
    },
    /// The code of a consumer with several partitions cannot determine the key of an event, or cannot read the event at
    /// all, so that no partition can move past it. Fix the code: a key must depend only on the event. Or run the
    /// consumer unpartitioned ([`Runner::repartition`](crate::Runner::repartition)), so that the failure policy decides
    /// about the event.
    #[error(
        "the partition key of the event at {event} cannot be told for {consumer}: {problem}; fix the code, or run it as one partition"
    )]
    PartitionKey {
        /// The consumer.
        consumer: ConsumerName,
        /// The event.
        event: Position,
        /// What is wrong.
        problem: String,
    },
    /// This runner has no consumer of that name, and the store has no checkpoint for it. Check the spelling.
    #[error("there is no consumer called {name:?}; this runner has {}", List(known))]
    UnknownConsumer {
        /// The name.
        name: String,
        /// The names that this runner knows.
        known: Vec<ConsumerName>,
    },
    /// The next event of a consumer has a type that its code does not know. Newer code wrote it, in a category of which
    /// the consumer's enum claims to know every type. The checkpoint stays before the event, so that the newer code
    /// receives it. Run the newer code. Alternatively, let the enum [retire](es_core::Upcasters::retire) the type,
    /// declare that the enum knows only [some types](es_core::Coverage::Part), or let the consumer [pass
    /// over](crate::UnknownEventTypes::PassOver) unknown types.
    #[error(
        "{consumer} is stopped before the event at position {event}: its code does not know the type {event_type:?} of the \
         category {category:?}, which newer code wrote; run the newer code, or let the enum retire the type"
    )]
    UnknownType {
        /// The consumer.
        consumer: ConsumerName,
        /// The position of the event.
        event: Position,
        /// The category of the event.
        category: String,
        /// The type of the event.
        event_type: String,
    },
    /// Another version of the code wrote the live read model, so this version does not write to it. Rebuild it with
    /// this version ([`Runner::rebuild_beside`](crate::Runner::rebuild_beside)), or run the version that wrote it.
    #[error(
        "the live read model {live} was written by version {live_version} of its code, and this is version {own_version}; \
         rebuild it with this version, or run that one"
    )]
    VersionMismatch {
        /// The consumer, in its live generation.
        live: ConsumerName,
        /// The version of the code that wrote it.
        live_version: u32,
        /// The version of this process's code.
        own_version: u32,
    },
    /// A projection that names its own tables has only one generation. Rebuild it in place with
    /// [`Runner::rebuild`](crate::Runner::rebuild), or take the table names from
    /// [`Projection::in_generation`](es_core::Projection::in_generation).
    #[error(
        "{consumer} names its tables itself and so cannot be built side by side; rebuild it in place, or let it take their \
         names from in_generation"
    )]
    NoGenerations {
        /// The projection.
        consumer: ConsumerName,
    },
    /// Another builder is rebuilding the read model. Wait until it is done. If it has died, its build can be taken over
    /// when its lease has expired.
    #[error(
        "{generation} is being built by {by} since {}; wait for them, or until {} if they are gone",
        rfc3339(*since),
        rfc3339(*until)
    )]
    RebuildRunning {
        /// The consumer, in the generation that is built.
        generation: ConsumerName,
        /// The name of the builder.
        by: String,
        /// When it began, by the store's clock.
        since: OffsetDateTime,
        /// When its lease expires, unless the builder renews it.
        until: OffsetDateTime,
    },
    /// A projection that names its own tables cannot be compared, because its tables are not known. Skip the
    /// verification, or take the table names from [`Projection::in_generation`](es_core::Projection::in_generation).
    #[error(
        "{consumer} names its tables itself, so that nobody knows what to compare; skip the verification, or let it take their \
         names from in_generation"
    )]
    NotComparable {
        /// The projection.
        consumer: ConsumerName,
    },
    /// A read model was rebuilt in place and is complete, but it was not at the same position as the previous one when
    /// the two were to be compared. Either another runner works on it, or the log is now shorter. Stop the other
    /// runners to compare.
    #[error(
        "{consumer} was rebuilt, but is at {after} and was at {before}, so the two could not be compared; if other runners \
         work on it, stop them and rebuild it again"
    )]
    NotCompared {
        /// The consumer, in its live generation.
        consumer: ConsumerName,
        /// The position of the previous read model.
        before: Position,
        /// The position of the rebuilt read model when the two were to be compared.
        after: Position,
    },
    /// The rebuilt read model differs from the live one although the two must match. After a rebuild beside the live
    /// one, it is kept for inspection, and for [`Runner::accept_rebuild`](crate::Runner::accept_rebuild) or
    /// [`Runner::discard_rebuild`](crate::Runner::discard_rebuild). After a rebuild in place, readers already see it.
    #[error("the rebuilt read model differs from the live one: {0}")]
    ReadModelsDiffer(Box<Comparison>),
    /// The read model has no generation in the required state: no rebuilt one that waits to be accepted, or no previous
    /// one to roll back to.
    #[error("{consumer} has no generation that is {wanted}: {}", remedy(*wanted))]
    NoGeneration {
        /// The consumer.
        consumer: ConsumerName,
        /// The required state.
        wanted: GenerationState,
    },
    /// Another version of the code built the generation that waits to be accepted, so this version cannot keep it up to
    /// date. Accept it with the version that built it, rebuild it with this version, or discard it.
    #[error(
        "{generation} was built by version {built_version} of its code, and this is version {own_version}; accept it with that \
         version, or rebuild it with this one"
    )]
    BuiltByOtherVersion {
        /// The consumer, in the generation that was built.
        generation: ConsumerName,
        /// The version of the code that built it.
        built_version: u32,
        /// The version of this process's code.
        own_version: u32,
    },
    /// A reactor has no read model to rebuild. To repeat its effects, move its checkpoint back.
    #[error(
        "{consumer} is a reactor and has no read model to rebuild; to repeat its effects, move its checkpoint back"
    )]
    NoReadModel {
        /// The reactor.
        consumer: ConsumerName,
    },
    /// A consumer did not reach the position in time. Wait again, or answer from the older state. The state explains
    /// why the consumer does not advance.
    #[error("{consumer} has reached {reached}, not {position}, after {waited:?}; it is {state}")]
    WaitTimeout {
        /// The consumer.
        consumer: ConsumerName,
        /// The position that the caller waited for.
        position: Position,
        /// The position that the consumer has reached.
        reached: Position,
        /// The time that the caller waited.
        waited: Duration,
        /// What the consumer is doing, as far as this runner knows.
        state: Box<ConsumerState>,
    },
    /// The write that a reader waits for is no longer in the log, because the log went back to an earlier state. Tell
    /// the user that the write is lost, or decide again.
    #[error("the write at {place} is lost: the log went back to an earlier state; decide again")]
    WriteLost {
        /// The last event of the write.
        place: Bookmark,
        /// What the log contains there now.
        source: Arc<StoreError>,
    },
    /// The consumer is suspended; the message names the operator and the reason. Ask the operator, or
    /// [resume](crate::Runner::resume) or [enable](crate::Runner::enable) the consumer.
    #[error("{consumer} was {suspension}; resume or enable it first")]
    Suspended {
        /// The consumer.
        consumer: ConsumerName,
        /// The operator, the time, and the reason.
        suspension: Box<Suspension>,
    },
    /// The start order of the consumers is impossible. Fix the [`start_after`](crate::ConsumerOptions::start_after)
    /// options.
    #[error("{consumer} is to start after {after}, {problem}")]
    StartOrder {
        /// The consumer.
        consumer: ConsumerName,
        /// The consumer that it was to start after.
        after: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A consumer was not started because the consumer that it starts after failed. That consumer's error explains why.
    #[error("{consumer} was not started, since {after} did not get there")]
    NotStarted {
        /// The consumer.
        consumer: ConsumerName,
        /// The consumer that it was to start after.
        after: ConsumerName,
    },
    /// A consumer of this runner cannot be retired, because it would start again from the beginning. First remove it
    /// from the code of all processes.
    #[error("{consumer} is in this runner and would begin anew; take it out of the code before it is retired")]
    StillHere {
        /// The consumer.
        consumer: ConsumerName,
    },
    /// The task of a consumer repeatedly ended unexpectedly. This is a bug in this library or in the store, not in the
    /// handler. The read model is correct up to its checkpoint.
    #[error("the task of {consumer} ended unexpectedly, {restarts} restart(s) did not help: {problem}")]
    TaskEnded {
        /// The consumer.
        consumer: ConsumerName,
        /// The number of restarts.
        restarts: u32,
        /// The message of the last panic.
        problem: String,
    },
    /// The store refused or failed; see [`StoreError`].
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
}

/// Returns what to do if there is no generation in a state.
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

/// The error of a handler that panicked. It is the source of a [`ProjectionError::Handler`], and the failure policy
/// counts it like any other error.
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

    /// Returns the panic message.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The error of a handler that took too long and was dropped, and whose transaction was rolled back. It is the source
/// of a [`ProjectionError::Handler`], and the failure policy counts it like any other error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the handler did not return within {limit:?}")]
pub struct HandlerTimeout {
    /// The time limit of the handler.
    pub limit: Duration,
}

/// The place of a failure, as part of a sentence.
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

/// Displays an error with all its causes on one line. A cause that the error's own message already contains is not
/// repeated.
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
