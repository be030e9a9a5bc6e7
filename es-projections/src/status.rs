//! The status of consumers, for people and for metrics.

use std::{fmt, sync::Arc, time::Duration};

use es_core::{
    ConsumerName, DatabaseWait, LeaseHolder, ParkedTotals, Partition, Position, ProjectionError, Suspension,
    SuspensionKind, timestamp::rfc3339,
};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    error::{At, Chain, RunnerError},
    rebuild_status::RebuildStatus,
    serializing::{error_chain, maybe_seconds, seconds, shared_error_chain},
};

/// The kind of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConsumerKind {
    /// A pure fold into documents: a [`View`](es_core::View).
    View,
    /// A read model in its own tables: a [`Projection`](es_core::Projection).
    Projection,
    /// Effects outside the database: a [`Reactor`](es_core::Reactor).
    Reactor,
}

impl fmt::Display for ConsumerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "view",
            Self::Projection => "projection",
            Self::Reactor => "reactor",
        })
    }
}

/// The position and state of a consumer and, if it does not advance, the reason. `Display` formats it as one line for
/// people. In the serialized form, durations are seconds, times are RFC 3339, and errors are text with all their
/// causes.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// The name of the consumer.
    pub name: ConsumerName,
    /// The kind of the consumer.
    pub kind: ConsumerKind,
    /// All events up to this position have taken effect.
    pub position: Position,
    /// The last position of the log, read after `position`. If `position` is beyond it, the log was restored to an
    /// earlier state; see [`RunnerError::CheckpointBeyondHead`].
    pub head: Position,
    /// The number of positions between the consumer and the head; 0 if the consumer is beyond the head.
    pub lag: u64,
    /// Positions per second in this runner, over the last [`RATE_WINDOW_SECONDS`](crate::limits::RATE_WINDOW_SECONDS).
    pub rate_per_second: f64,
    /// What the consumer is doing in this runner. If it does not run here, whether another process holds its lease.
    pub state: ConsumerState,
    /// The process that holds its lease, since when, and until when; `None` if no process holds it.
    pub holder: Option<LeaseHolder>,
    /// How long the consumer has been applying its current page; `None` between pages. A long time means a slow or
    /// hanging handler.
    #[serde(serialize_with = "maybe_seconds")]
    pub applying_for: Option<Duration>,
    /// How long the consumer has neither advanced nor reported anything; `None` if it does not run here, or if it
    /// reports what it waits for. A long time means that its handler, the database, or a task hangs.
    #[serde(serialize_with = "maybe_seconds")]
    pub silent_for: Option<Duration>,
    /// The last failure in this runner, even if the consumer has recovered since.
    pub last_error: Option<ConsumerFailure>,
    /// How often a page of this runner was dropped because another runner had moved the checkpoint first.
    pub moved_by_others: u64,
    /// The number of events of unknown types that this runner has [passed over](crate::UnknownEventTypes::PassOver).
    pub passed_over: u64,
    /// When this runner last noticed that the log went back to an earlier state: a backup was restored, or a standby
    /// without the last events was promoted. A reactor may have handled events that no longer exist.
    pub log_went_back: Option<LogWentBack>,
    /// The numbers of its parked keys and events.
    pub parked: ParkedTotals,
    /// The partitions of the consumer, if it has several. `position` and `lag` are those of the partition that is
    /// furthest behind; `state` and `holder` are those of the partition in the worst state.
    pub partitions: Vec<PartitionStatus>,
    /// When the stored checkpoint last moved, by the store's clock; `None` if it has never moved.
    #[serde(with = "time::serde::rfc3339::option")]
    pub updated_at: Option<OffsetDateTime>,
    /// The rebuild beside the live read model, in any process, or the generation that it left.
    pub rebuild: Option<RebuildStatus>,
}

impl fmt::Display for ConsumerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, position, head, lag, rate_per_second, state, .. } = self;
        write!(f, "{name} ({kind}): at {position} of {head}, lag {lag}, {rate_per_second:.0}/s, {state}")?;
        if let (ConsumerState::RunsElsewhere { .. }, Some(holder)) = (state, &self.holder) {
            write!(f, ", which has had its lease since {}", holder.since)?;
        }
        if position > head {
            f.write_str("; its checkpoint is beyond the end of the log: rebuild it")?;
        }
        if let Some(time) = self.applying_for {
            write!(f, "; applying a page for {time:.1?}")?;
        } else if let Some(time) = self.silent_for.filter(|&time| time >= crate::limits::SLOW_PAGE) {
            write!(f, "; no heartbeat for {time:.1?}")?;
        }
        if self.parked.keys > 0 {
            write!(f, "; {} parked key(s) with {} event(s)", self.parked.keys, self.parked.events)?;
        }
        if self.passed_over > 0 {
            write!(f, "; passed over {} event(s) of unknown types", self.passed_over)?;
        }
        match self.moved_by_others {
            0 => {}
            1 => f.write_str("; another runner moved the checkpoint once")?,
            times => write!(f, "; another runner moved the checkpoint {times} times")?,
        }
        if let Some(LogWentBack { at, reached }) = self.log_went_back {
            write!(f, "; the log went back, noticed {at} at position {reached} of the former log")?;
        }
        if let Some(rebuild) = &self.rebuild {
            write!(f, "; {rebuild}")?;
        }
        Ok(())
    }
}

/// A return of the log to an earlier state, as noticed by a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogWentBack {
    /// When the runner noticed it, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The position that the consumer had reached in the former log. Effects of events that no longer exist may extend
    /// up to this position. For a view or projection, the database has undone them.
    pub reached: Position,
}

/// The status of one partition of a consumer.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The partition.
    pub partition: Partition,
    /// All events of this partition up to this position have taken effect.
    pub position: Position,
    /// The number of positions between the partition and the head.
    pub lag: u64,
    /// What the partition is doing in this runner. If it does not run here, whether another process holds its lease.
    pub state: ConsumerState,
    /// The process that holds its lease, since when, and until when; `None` if no process holds it.
    pub holder: Option<LeaseHolder>,
}

/// What a consumer is doing in this runner.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConsumerState {
    /// It does not run here.
    NotRunning,
    /// It is applying events that are already in the log.
    CatchingUp,
    /// It has applied all events and waits for new ones.
    CaughtUp,
    /// An event could not be applied and is retried. Later events wait.
    Retrying {
        /// The number of failures.
        attempt: u32,
        /// The time until the next attempt.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// The last failure.
        failure: ConsumerFailure,
    },
    /// The store is busy or unreachable, or the handler declared its failure
    /// [transient](es_core::HandlerError::transient). The consumer waits as long as necessary.
    WaitingForStore {
        /// The number of failures.
        attempt: u32,
        /// The time until the next attempt.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// The last failure.
        failure: ConsumerFailure,
    },
    /// Another process runs it: that process holds the lease, or the consumer is assigned to it.
    RunsElsewhere {
        /// The name of that process.
        by: String,
    },
    /// It is assigned to this runner, but another process still holds the lease. It waits until that process releases
    /// the lease, or the lease expires.
    WaitingForLease {
        /// The process that holds the lease, since when, and until when.
        holder: LeaseHolder,
    },
    /// Another version of the code wrote the live read model, and this version does not touch it. The consumer
    /// continues as soon as a generation of this version is live.
    VersionMismatch {
        /// The consumer, in its live generation.
        live: ConsumerName,
        /// The version of the code that wrote it.
        live_version: u32,
        /// The version of this process's code.
        own_version: u32,
    },
    /// The next event has a type that this process's code does not know, because newer code wrote it. The consumer is
    /// left to processes whose code knows the type, and none of them has moved past the event yet. See
    /// [`UnknownEventTypes`](crate::UnknownEventTypes).
    WaitingForCode {
        /// The position of the event.
        event: Position,
        /// The category of the event.
        category: String,
        /// The type of the event.
        event_type: String,
    },
    /// It stopped because its limit of parked keys is reached. Fix the cause, retry or discard parked keys, and run it
    /// again.
    ParkedLimit {
        /// What is wrong, with the last failure.
        #[serde(serialize_with = "error_chain")]
        error: RunnerError,
    },
    /// An operator paused it. It continues when it is [resumed](crate::Runner::resume).
    Paused {
        /// The operator.
        by: String,
        /// When it was paused, by the store's clock.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// The reason, if the operator stated one.
        why: Option<String>,
    },
    /// An operator disabled it. It continues when it is [enabled](crate::Runner::enable).
    Disabled {
        /// The operator.
        by: String,
        /// When it was disabled, by the store's clock.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// The reason, if the operator stated one.
        why: Option<String>,
    },
    /// It starts when another consumer has caught up once.
    WaitingForOther {
        /// The other consumer.
        consumer: ConsumerName,
    },
    /// The consumer does not advance because a call of the store waits for another session in the database.
    WaitingOnDatabase {
        /// The store's calls that wait, and what they wait for. If several consumers wait, each of them shows all
        /// calls.
        waits: Vec<DatabaseWait>,
    },
    /// Its task ended unexpectedly and will be restarted.
    Restarting {
        /// How often the task has ended.
        attempt: u32,
        /// The time until the restart.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// The message of the last panic.
        problem: String,
    },
    /// It stopped. Every event before the one that the error names took effect, and no later one did.
    Stopped {
        /// The cause, and how to fix it.
        #[serde(serialize_with = "error_chain")]
        error: RunnerError,
    },
}

impl From<Suspension> for ConsumerState {
    fn from(Suspension { kind, by, since, reason: why, .. }: Suspension) -> Self {
        match kind {
            SuspensionKind::Disabled => Self::Disabled { by, since, why },
            _ => Self::Paused { by, since, why },
        }
    }
}

impl ConsumerState {
    /// Returns a name of one to three words for the state, without details that change from moment to moment. It is
    /// meant for tables and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotRunning => "not running",
            Self::CatchingUp => "catching up",
            Self::CaughtUp => "caught up",
            Self::Retrying { .. } => "retrying",
            Self::WaitingForStore { .. } => "waiting for store",
            Self::RunsElsewhere { .. } => "runs elsewhere",
            Self::WaitingForLease { .. } => "waiting for lease",
            Self::VersionMismatch { .. } => "version mismatch",
            Self::WaitingForCode { .. } => "waiting for code",
            Self::Paused { .. } => "paused",
            Self::Disabled { .. } => "disabled",
            Self::WaitingForOther { .. } => "waiting for other",
            Self::WaitingOnDatabase { .. } => "waiting on database",
            Self::Restarting { .. } => "restarting",
            Self::ParkedLimit { .. } => "parked limit",
            Self::Stopped { .. } => "stopped",
        }
    }
}

impl fmt::Display for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("not running"),
            Self::CatchingUp => f.write_str("catching up"),
            Self::CaughtUp => f.write_str("caught up"),
            Self::Retrying { attempt, next_try_in, failure } => {
                write!(f, "trying again in {next_try_in:.1?} after {attempt} attempt(s): {failure}")
            }
            Self::WaitingForStore { attempt, next_try_in, failure } => {
                let what = match *failure.error {
                    ProjectionError::Handler { .. } => "what its handler needs",
                    _ => "the store",
                };
                write!(f, "waiting for {what}, next try in {next_try_in:.1?} after {attempt} attempt(s): {failure}")
            }
            Self::RunsElsewhere { by } => write!(f, "runs elsewhere: {by}"),
            Self::WaitingForLease { holder } => {
                let (owner, since, until) = (&holder.owner, rfc3339(holder.since), rfc3339(holder.until));
                write!(
                    f,
                    "waiting for the lease that {owner} has had since {since}, until {until} or the next heartbeat"
                )
            }
            Self::VersionMismatch { live, live_version, own_version } => write!(
                f,
                "waiting for a rebuild: {live} was written by version {live_version} of its code, this is version {own_version}"
            ),
            Self::WaitingForCode { event, category, event_type } => write!(
                f,
                "waiting for newer code: the type {event_type:?} of the category {category:?} at position {event} is not known here"
            ),
            Self::ParkedLimit { error } => write!(f, "stopped at the limit of parked keys: {}", Chain(error)),
            Self::Paused { by, since, why } | Self::Disabled { by, since, why } => {
                write!(f, "{} by {by} since {}", self.label(), rfc3339(*since))?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
            Self::WaitingForOther { consumer } => write!(f, "waiting until {consumer} has caught up"),
            Self::WaitingOnDatabase { waits } => {
                f.write_str("waiting on the database")?;
                waits.iter().try_for_each(|wait| write!(f, "; {wait}"))
            }
            Self::Restarting { attempt, next_try_in, problem } => {
                write!(f, "its task ended {attempt} time(s), starting again in {next_try_in:.1?}: {problem}")
            }
            Self::Stopped { error } => write!(f, "stopped: {}", Chain(error)),
        }
    }
}

/// A failure of a consumer.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConsumerFailure {
    /// When it happened, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The event that could not be applied, once the consumer has narrowed the failure down to one event.
    pub event: Option<Position>,
    /// The error, with its causes as sources.
    #[serde(serialize_with = "shared_error_chain")]
    pub error: Arc<ProjectionError>,
}

impl fmt::Display for ConsumerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed {}: {}", At(self.event), Chain(&*self.error))
    }
}
