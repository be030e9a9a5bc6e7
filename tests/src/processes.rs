//! Processes that work on a store, to be killed, stopped and continued.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    str::FromStr,
    time::Duration,
};

use es_core::{Projection, ProjectionStore, RunnerStore};
use es_projections::{ConsumerOptions, RunnerBuilder};
use es_testkit::bank::Balance;

use crate::traces::{Effects, Gate, Place};

/// The traces of [`Plan::Everything`].
pub const TRACES: [&str; 3] = ["trace_one", "trace_two", "trace_three"];
/// The reactors of [`Plan::Everything`].
pub const REACTORS: [&str; 1] = ["effects"];
/// A trace and a reactor of [`Plan::Everything`] that run as several partitions.
pub const SPLIT: (&str, &str) = ("trace_split", "effects_split");
/// As how many, unless somebody changes that.
pub const PARTITIONS: u16 = 3;
/// The consumers of [`Plan::Six`].
pub const SIX: [&str; 6] = ["six_a", "six_b", "six_c", "six_d", "six_e", "six_f"];
/// The consumer of [`Plan::GatedTrace`].
pub const GATED_TRACE: &str = "gated_trace";
/// The consumer of [`Plan::GatedEffects`].
pub const GATED_EFFECTS: &str = "gated_effects";
/// The event before which the gated ones wait.
pub const GATED_AT: u64 = 3;

/// Which consumers a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A view, some traces, and reactors.
    Everything,
    /// One trace that waits at a gate in the middle of its page.
    GatedTrace,
    /// One reactor that does.
    GatedEffects,
    /// Six traces.
    Six,
    /// A view.
    View,
}

const PLANS: [(&str, Plan); 5] = [
    ("everything", Plan::Everything),
    ("gated-trace", Plan::GatedTrace),
    ("gated-effects", Plan::GatedEffects),
    ("six", Plan::Six),
    ("view", Plan::View),
];

impl Plan {
    fn word(self) -> &'static str {
        PLANS.into_iter().find(|(_, plan)| *plan == self).map_or("", |(word, _)| word)
    }
}

/// It is no plan.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not among the things that a worker can do")]
pub struct UnknownPlan(String);

impl FromStr for Plan {
    type Err = UnknownPlan;

    fn from_str(word: &str) -> Result<Self, UnknownPlan> {
        let known = PLANS.into_iter().find(|(known, _)| *known == word);
        known.map(|(_, plan)| plan).ok_or_else(|| UnknownPlan(word.to_owned()))
    }
}

/// What a process is to do.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Which consumers it has.
    pub plan: Plan,
    /// As it calls itself in what it leaves behind.
    pub process: String,
    /// The time of its leases.
    pub lease: Duration,
    /// Where it leaves files.
    pub folder: PathBuf,
    /// The store.
    pub place: Place,
}

impl Orders {
    /// What the arguments of the process said.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(words: &[String]) -> Result<Self, Box<dyn std::error::Error>> {
        let [plan, process, lease, folder, place @ ..] = words else {
            return Err(
                "give the plan, a name, a lease in milliseconds, a folder, and a file or a URL and a schema".into()
            );
        };
        let place = match place {
            [file] => Place::Sqlite { file: file.into() },
            [url, schema] => Place::Postgres { url: url.clone(), schema: schema.clone() },
            _ => return Err("the store is a file, or a URL and a schema".into()),
        };
        let lease = Duration::from_millis(lease.parse()?);
        Ok(Self { plan: plan.parse()?, process: process.clone(), lease, folder: folder.into(), place })
    }

    fn arguments(&self) -> Vec<OsString> {
        let lease = self.lease.as_millis().to_string();
        let mut words = vec![self.plan.word().into(), (&self.process).into(), lease.into(), (&self.folder).into()];
        match &self.place {
            Place::Sqlite { file } => words.push(file.into()),
            Place::Postgres { url, schema } => words.extend([url.into(), schema.into()]),
        }
        words
    }

    /// The consumers of the plan. `trace` makes one of the store's kind.
    pub fn consumers<S, P>(
        &self,
        builder: RunnerBuilder<S>,
        trace: impl Fn(&'static str, Gate) -> P,
    ) -> RunnerBuilder<S>
    where
        S: RunnerStore + ProjectionStore + Clone + 'static,
        P: Projection<Connection = <S as ProjectionStore>::Connection>,
    {
        let gate = || Gate::before(es_core::Position::new(GATED_AT), &self.folder, &self.process);
        let effects = |name, gate| {
            let (folder, process) = (self.folder.clone(), self.process.clone());
            Effects { name, folder, process, gate }
        };
        let builder = builder.lease_time(self.lease);
        match self.plan {
            Plan::Everything => {
                let builder = builder.view::<Balance>();
                let builder = TRACES.iter().fold(builder, |some, name| some.projection(trace(name, Gate::default())));
                let builder = REACTORS.iter().fold(builder, |some, name| some.reactor(effects(name, Gate::default())));
                let split = ConsumerOptions::default().partitions(PARTITIONS);
                let builder = builder.projection_with(trace(SPLIT.0, Gate::default()), split);
                builder.reactor_with(effects(SPLIT.1, Gate::default()), split)
            }
            Plan::GatedTrace => builder.projection(trace(GATED_TRACE, gate())),
            Plan::GatedEffects => builder.reactor(effects(GATED_EFFECTS, gate())),
            Plan::View => builder.view::<Balance>(),
            Plan::Six => SIX.iter().fold(builder, |some, name| some.projection(trace(name, Gate::default()))),
        }
    }
}

/// Where a process writes every second how its consumers are.
pub fn status_file(folder: &Path, process: &str) -> PathBuf {
    folder.join(format!("{process}.status"))
}

/// What all processes of a folder have said last of their consumers, as far as those are not well.
pub fn troubles(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "status"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let troubles = text.lines().filter(|line| !line.contains("lag 0,"));
        format!("{}:\n{}\n", path.display(), troubles.collect::<Vec<_>>().join("\n"))
    };
    files.map(read).collect()
}

/// The file in which a process notes how often it was told that somebody else has moved a checkpoint.
pub fn moved_file(folder: &Path, process: &str) -> PathBuf {
    folder.join(format!("moved.{process}"))
}

/// How often a process was told that its checkpoint is somebody else's now.
pub fn times_moved(folder: &Path, process: &str) -> u64 {
    fs::read_to_string(moved_file(folder, process)).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A process. It is killed when it is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a binary with orders.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(binary: &str, orders: &Orders) -> Self {
        let mut command = Command::new(binary);
        command.args(orders.arguments()).stdin(Stdio::null());
        Self(command.spawn().expect("the process starts"))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Stops it: SIGSTOP.
    ///
    /// # Panics
    /// If it has gone.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on: SIGCONT.
    ///
    /// # Panics
    /// If it has gone.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill {signal} {}: {status}", self.id());
    }

    /// Whether it has ended by itself.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("the state of the process").is_some()
    }
}

impl Drop for Process {
    /// Ends it as a power cut would: SIGKILL.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
