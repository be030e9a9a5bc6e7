//! What a consumer is doing, for people and for metrics.

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

/// What kind of consumer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConsumerKind {
    /// A pure fold into documents: a [`View`](es_core::View).
    View,
    /// A read model in tables of its own: a [`Projection`](es_core::Projection).
    Projection,
    /// Effects elsewhere: a [`Reactor`](es_core::Reactor).
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

/// Where a consumer stands and, if it does not advance, why. Its `Display` is one line for people.
/// Serialized, durations are seconds, times are RFC 3339 and errors are text with all their causes.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub name: ConsumerName,
    /// What kind it is.
    pub kind: ConsumerKind,
    /// Everything up to here has taken effect.
    pub position: Position,
    /// The last position of the log, read after `position`. A position beyond it means that the log was restored to an
    /// earlier state; see [`RunnerError::CheckpointBeyondHead`].
    pub head: Position,
    /// How many positions it is behind the head; 0 if it is beyond it.
    pub lag: u64,
    /// Positions per second, over the last [`RATE_WINDOW_SECONDS`](crate::limits::RATE_WINDOW_SECONDS), by this runner.
    pub rate_per_second: f64,
    /// What it is doing in this runner or, if nobody runs it here, that another process has its lease.
    pub state: ConsumerState,
    /// The process that has its lease, since when and until when; `None` if no process has it.
    pub holder: Option<LeaseHolder>,
    /// For how long it has been applying its present page; `None` between pages. A long time means a slow or hanging
    /// handler.
    #[serde(serialize_with = "maybe_seconds")]
    pub applying_for: Option<Duration>,
    /// For how long it has neither advanced nor said anything new; `None` if nobody runs it here, or it says what it waits for.
    /// A long time means that its handler, the database or a task hangs.
    #[serde(serialize_with = "maybe_seconds")]
    pub silent_for: Option<Duration>,
    /// What went wrong last in this runner, even if all is well again.
    pub last_error: Option<ConsumerFailure>,
    /// How often another runner had moved the checkpoint first, so that a page of this one was dropped.
    pub moved_by_others: u64,
    /// How many events of types that its code does not know this runner has [passed
    /// over](crate::UnknownEventTypes::PassOver).
    pub passed_over: u64,
    /// When this runner last noticed that the log had gone back under this consumer: a backup was restored, or a standby without the
    /// last events was promoted. A reactor may have reacted to events that are gone.
    pub log_went_back: Option<LogWentBack>,
    /// How much of it is parked.
    pub parked: ParkedTotals,
    /// Its partitions, if it has several; `position` and `lag` are those of the one that is furthest behind, `state` and `holder`
    /// those of the one that is worst off.
    pub partitions: Vec<PartitionStatus>,
    /// When the stored checkpoint was last moved, by the store's clock; `None` if it never was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub updated_at: Option<OffsetDateTime>,
    /// The rebuild beside the live read model, here or elsewhere, or what it left.
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

/// A log that went back to an earlier state, as a runner noticed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogWentBack {
    /// When it was noticed, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How far the consumer had come in the former log. What it did for events that are gone may reach up to here; for a view
    /// or a projection the database has taken that back.
    pub reached: Position,
}

/// Where one partition of a consumer stands.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Which one.
    pub partition: Partition,
    /// Everything of its own up to here has taken effect.
    pub position: Position,
    /// How many positions it is behind the head.
    pub lag: u64,
    /// What it is doing in this runner or, if nobody runs it here, that another process has its lease.
    pub state: ConsumerState,
    /// The process that has its lease, since when and until when; `None` if no process has it.
    pub holder: Option<LeaseHolder>,
}

/// What a consumer is doing in this runner.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConsumerState {
    /// Nobody runs it here.
    NotRunning,
    /// It is applying events that are already in the log.
    CatchingUp,
    /// It has applied all there is and waits for new events.
    CaughtUp,
    /// An event could not be applied and is tried again. What comes after it waits.
    Retrying {
        /// How often it has failed.
        attempt: u32,
        /// How long until the next try.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// Why it failed.
        failure: ConsumerFailure,
    },
    /// The store is busy or cannot be reached, or the handler called its failure
    /// [transient](es_core::HandlerError::transient). It waits for as long as it takes.
    WaitingForStore {
        /// How often it has failed.
        attempt: u32,
        /// How long until the next try.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// Why it failed.
        failure: ConsumerFailure,
    },
    /// Another process runs it: it has the lease, or is to have it as the work is spread among those that are there.
    RunsElsewhere {
        /// Which, as it calls itself.
        by: String,
    },
    /// It is assigned to this runner, but another process has the lease: until it gives it back, or the lease runs out.
    WaitingForLease {
        /// Who has it, since when, until when.
        holder: LeaseHolder,
    },
    /// The live read model was written by another version of the code, which this one leaves alone. It continues as
    /// soon as a generation of this version is live.
    VersionMismatch {
        /// The consumer, in its live generation.
        live: ConsumerName,
        /// The version of the code that writes it.
        live_version: u32,
        /// The version of the code here.
        own_version: u32,
    },
    /// The next event is of a type that the code here does not know: newer code wrote it. The consumer is left to processes
    /// whose code knows the type, and none of them has moved past the event yet. See [`UnknownEventTypes`](crate::UnknownEventTypes).
    WaitingForCode {
        /// Where the event is.
        event: Position,
        /// Its category.
        category: String,
        /// Its type.
        event_type: String,
    },
    /// It gave up because its limit of parked keys is reached. Mend the cause, retry or discard parked keys, and run it again.
    ParkedLimit {
        /// What is wrong, with the last failure.
        #[serde(serialize_with = "error_chain")]
        error: RunnerError,
    },
    /// Somebody paused it. It goes on when it is [resumed](crate::Runner::resume).
    Paused {
        /// Who did it.
        by: String,
        /// Since when, by the store's clock.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// Why, if they said so.
        why: Option<String>,
    },
    /// Somebody switched it off. It goes on when it is [enabled](crate::Runner::enable).
    Disabled {
        /// Who did it.
        by: String,
        /// Since when, by the store's clock.
        #[serde(with = "time::serde::rfc3339")]
        since: OffsetDateTime,
        /// Why, if they said so.
        why: Option<String>,
    },
    /// It starts when another consumer has caught up once.
    WaitingForOther {
        /// Which one.
        consumer: ConsumerName,
    },
    /// A call of the store waits for somebody else in the database, while this consumer does not advance.
    WaitingOnDatabase {
        /// The store's calls that wait, and for whom. Where several consumers wait, they are shown with each.
        waits: Vec<DatabaseWait>,
    },
    /// Its task ended unexpectedly and is started again.
    Restarting {
        /// How often it ended.
        attempt: u32,
        /// How long until then.
        #[serde(serialize_with = "seconds")]
        next_try_in: Duration,
        /// What it said in the end.
        problem: String,
    },
    /// It gave up. Everything before the event that the error names took effect, nothing after it did.
    Stopped {
        /// Why, and what to do.
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
    /// One word or two for it, without what changes from moment to moment: for tables and metrics.
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

/// One failure of a consumer.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConsumerFailure {
    /// When, by this machine's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The event that could not be applied, once it has been narrowed down to one.
    pub event: Option<Position>,
    /// What went wrong, with its causes as sources.
    #[serde(serialize_with = "shared_error_chain")]
    pub error: Arc<ProjectionError>,
}

impl fmt::Display for ConsumerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed {}: {}", At(self.event), Chain(&*self.error))
    }
}
