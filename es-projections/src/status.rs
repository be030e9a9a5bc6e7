//! What a consumer is doing, for people and for metrics.

use std::{fmt, sync::Arc, time::Duration};

use es_core::{
    ConsumerName, DatabaseWait, Hold, HoldKind, LeaseHolder, ParkedTotals, Partition, Position, ProjectionError,
};
use time::OffsetDateTime;

use crate::{
    error::{At, Chain, RunnerError},
    rebuild_status::RebuildStatus,
};

/// What kind of consumer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone)]
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
    /// What it is doing in this runner. It may run in another process besides.
    pub state: ConsumerState,
    /// For how long it has been applying its present page; `None` between pages. A long time means a slow or hanging
    /// handler.
    pub applying_for: Option<Duration>,
    /// For how long it has neither advanced nor said anything new; `None` if nobody runs it here, or it says what it waits for.
    /// A long time means that its handler, the database or a task hangs.
    pub silent_for: Option<Duration>,
    /// What went wrong last in this runner, even if all is well again.
    pub last_error: Option<ConsumerFailure>,
    /// How often another runner had moved the checkpoint first, so that a page of this one was dropped.
    pub moved_by_others: u64,
    /// How much of it is parked.
    pub parked: ParkedTotals,
    /// Its partitions, if it has several; `position`, `lag` and `state` are those of the one that is worst off.
    pub partitions: Vec<PartitionStatus>,
    /// When the stored checkpoint was last moved, by the store's clock; `None` if it never was.
    pub updated_at: Option<OffsetDateTime>,
    /// The rebuild beside the live read model, here or elsewhere, or what it left.
    pub rebuild: Option<RebuildStatus>,
}

impl fmt::Display for ConsumerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, position, head, lag, rate_per_second, state, .. } = self;
        write!(f, "{name} ({kind}): at {position} of {head}, lag {lag}, {rate_per_second:.0}/s, {state}")?;
        if position > head {
            f.write_str("; its checkpoint is beyond the end of the log: rebuild it")?;
        }
        if let Some(time) = self.applying_for {
            write!(f, "; applying a page for {time:.1?}")?;
        } else if let Some(time) = self.silent_for.filter(|&time| time >= crate::limits::SLOW_PAGE) {
            write!(f, "; no sign of life for {time:.1?}")?;
        }
        if self.parked.keys > 0 {
            write!(f, "; {} parked key(s) with {} event(s)", self.parked.keys, self.parked.events)?;
        }
        match self.moved_by_others {
            0 => {}
            1 => f.write_str("; another runner moved the checkpoint once")?,
            times => write!(f, "; another runner moved the checkpoint {times} times")?,
        }
        if let Some(rebuild) = &self.rebuild {
            write!(f, "; {rebuild}")?;
        }
        Ok(())
    }
}

/// Where one partition of a consumer stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Which one.
    pub partition: Partition,
    /// Everything of its own up to here has taken effect.
    pub position: Position,
    /// How many positions it is behind the head.
    pub lag: u64,
    /// What it is doing in this runner.
    pub state: ConsumerState,
}

/// What a consumer is doing in this runner.
#[derive(Debug, Clone)]
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
        next_try_in: Duration,
        /// Why it failed.
        failure: ConsumerFailure,
    },
    /// Another process runs it, as the work is spread among those that are there.
    RunsElsewhere {
        /// Which, as it calls itself.
        by: String,
    },
    /// It is this runner's turn, but another process has the lease: until it gives it back, or the lease runs out.
    WaitingForLease {
        /// Who has it, since when, until when.
        holder: LeaseHolder,
    },
    /// The live read model was written by another version of the code, which this one leaves alone. It goes on as soon as a
    /// generation of this version is live.
    OtherCode {
        /// The consumer, in its live generation.
        live: ConsumerName,
        /// The version of the code that writes it.
        live_version: u32,
        /// The version of the code here.
        own_version: u32,
    },
    /// It gave up because its limit of parked keys is reached. Mend the cause, retry or discard parked keys, and run it again.
    ParkedLimit {
        /// What is wrong, with the last failure.
        error: RunnerError,
    },
    /// Somebody paused it. It goes on when it is [resumed](crate::Runner::resume).
    Paused {
        /// Who did it.
        by: String,
        /// Since when, by the store's clock.
        since: OffsetDateTime,
        /// Why, if they said so.
        why: Option<String>,
    },
    /// Somebody switched it off. It goes on when it is [enabled](crate::Runner::enable).
    Disabled {
        /// Who did it.
        by: String,
        /// Since when, by the store's clock.
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
        next_try_in: Duration,
        /// What it said in the end.
        problem: String,
    },
    /// It gave up. Everything before the event that the error names took effect, nothing after it did.
    Stopped {
        /// Why, and what to do.
        error: RunnerError,
    },
}

impl From<Hold> for ConsumerState {
    fn from(Hold { kind, by, since, reason: why, .. }: Hold) -> Self {
        match kind {
            HoldKind::Disabled => Self::Disabled { by, since, why },
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
            Self::OtherCode { .. } => "other code",
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
                let LeaseHolder { owner, since, until, .. } = holder;
                write!(
                    f,
                    "waiting for the lease that {owner} has had since {since}, until {until} or the next sign of life"
                )
            }
            Self::OtherCode { live, live_version, own_version } => write!(
                f,
                "waiting for a rebuild: {live} was written by version {live_version} of its code, this is version {own_version}"
            ),
            Self::ParkedLimit { error } => write!(f, "stopped at the limit of parked keys: {}", Chain(error)),
            Self::Paused { by, since, why } | Self::Disabled { by, since, why } => {
                write!(f, "{} by {by} since {since}", self.label())?;
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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerFailure {
    /// When, by this machine's clock.
    pub at: OffsetDateTime,
    /// The event that could not be applied, once it has been narrowed down to one.
    pub event: Option<Position>,
    /// What went wrong, with its causes as sources.
    pub error: Arc<ProjectionError>,
}

impl fmt::Display for ConsumerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed {}: {}", At(self.event), Chain(&*self.error))
    }
}
