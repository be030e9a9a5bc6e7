//! Three processes run the same consumers, and are killed, stopped, continued and started again at random, while events come
//! in: each projection has each event once, in order within a stream, and each reactor has reacted to each. Some run as
//! several partitions, whose number changes all the time.
//!
//! `ES_SOAK_SECONDS` says for how long, `ES_TEST_SEED` at which moments.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use es_core::{
    ConsumerName, ConsumerStore, ConsumerStoreExt, EventFilter, EventPage, EventStore, EventStoreExt, PartitionStore,
    Position, RecordedEvent, StoreError, View,
};
use es_e2e::{
    processes::{Orders, Plan, Process, REACTORS, SPLIT, TRACES, troubles},
    progress::Progress,
    server::{Folder, shared_postgres_url, unique_schema},
    traces::{Applied, Place, effects},
    workload::{ACCOUNTS, Workload, fresh_fold},
};
use es_postgres::PgOptions;
use es_sqlite::SqliteStore;
use es_testkit::{SeededRng, bank::Balance};
use futures_util::TryStreamExt;

const PROCESSES: usize = 3;
const LEASE: Duration = Duration::from_millis(500);
const SECONDS: u64 = 18;
/// The longest time between two things that happen to the processes.
const LONGEST_PEACE_MS: u64 = 350;
/// The longest time for which a process stays stopped, or away.
const LONGEST_ABSENCE_MS: u64 = 2_500;

fn soak_time() -> Duration {
    let asked = std::env::var("ES_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(SECONDS))
}

/// A place for a process, and what became of the one that is in it.
enum Slot {
    Runs(Process),
    Stopped(Process, Instant),
    Gone(Instant),
}

/// What was done to the processes.
#[derive(Debug, Default)]
struct Fate {
    started: u64,
    kills: u64,
    stops: u64,
    stops_past_the_lease: u64,
}

struct Driver {
    /// Its own numbers: the same for the same seed, whatever the writers do.
    random: SeededRng,
    orders: Orders,
    slots: Vec<Slot>,
    fate: Fate,
}

impl Driver {
    fn start(&mut self) -> Process {
        self.fate.started += 1;
        let orders = Orders { process: format!("p{}", self.fate.started), ..self.orders.clone() };
        Process::start(env!("CARGO_BIN_EXE_trace-worker"), &orders)
    }

    fn until(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.random.below(LONGEST_ABSENCE_MS))
    }

    fn cont(&mut self, process: Process, since: Instant) -> Slot {
        // By this clock: a little less than what the process sees.
        self.fate.stops_past_the_lease += u64::from(since.elapsed() > LEASE);
        process.go_on();
        Slot::Runs(process)
    }

    /// Does something to one process, and what is due to the others.
    fn disturb(&mut self, stopped: &mut HashMap<u32, Instant>) {
        let victim = self.random.below(PROCESSES as u64) as usize;
        for index in 0..PROCESSES {
            let until = self.until();
            let slot = std::mem::replace(&mut self.slots[index], Slot::Gone(until));
            self.slots[index] = match slot {
                Slot::Gone(until) if until <= Instant::now() => Slot::Runs(self.start()),
                Slot::Stopped(process, until) if until <= Instant::now() => {
                    let since = stopped.remove(&process.id()).unwrap_or(until);
                    self.cont(process, since)
                }
                Slot::Runs(mut process) if index == victim => {
                    assert!(!process.has_ended(), "a process ended by itself");
                    if self.random.percent(50) {
                        self.fate.kills += 1;
                        drop(process);
                        Slot::Gone(until)
                    } else {
                        self.fate.stops += 1;
                        process.stop();
                        stopped.insert(process.id(), Instant::now());
                        Slot::Stopped(process, until)
                    }
                }
                // A stopped process can be killed too.
                Slot::Stopped(process, _) if index == victim && self.random.percent(30) => {
                    self.fate.kills += 1;
                    drop(process);
                    Slot::Gone(until)
                }
                slot => slot,
            };
        }
    }

    /// Disturbs them for a time, and leaves all running.
    async fn drive(&mut self, time: Duration) {
        let (end, mut stopped) = (Instant::now() + time, HashMap::new());
        while Instant::now() < end {
            let peace = Duration::from_millis(self.random.below(LONGEST_PEACE_MS));
            tokio::time::sleep(peace.min(end.saturating_duration_since(Instant::now()))).await;
            self.disturb(&mut stopped);
        }
        for index in 0..PROCESSES {
            let slot = std::mem::replace(&mut self.slots[index], Slot::Gone(end));
            self.slots[index] = match slot {
                Slot::Gone(_) => Slot::Runs(self.start()),
                Slot::Stopped(process, until) => {
                    let since = stopped.remove(&process.id()).unwrap_or(until);
                    self.cont(process, since)
                }
                slot => slot,
            };
        }
        // On a busy machine it may not have happened by chance.
        if self.fate.stops_past_the_lease == 0
            && let Slot::Runs(process) = &self.slots[0]
        {
            process.stop();
            tokio::time::sleep(2 * LEASE).await;
            process.go_on();
            self.fate.stops_past_the_lease += 1;
        }
    }
}

/// Waits until all checkpoints of some consumers are at the head.
async fn wait_for_all(store: &(impl EventStore + ConsumerStore), names: &[&str], folder: &Path) -> Position {
    let head = store.head().await.expect("the head can be read");
    let mut progress = Progress::new();
    loop {
        let checkpoints = store.checkpoints().await.expect("the checkpoints can be read");
        let is_done = |name: &&str| {
            let name = ConsumerName::new(name).expect("a valid name");
            let mut own = checkpoints.iter().filter(|checkpoint| checkpoint.consumer.base() == name).peekable();
            own.peek().is_some() && own.all(|checkpoint| checkpoint.position == head)
        };
        if names.iter().all(is_done) {
            return head;
        }
        let reached = checkpoints.iter().map(|checkpoint| (checkpoint.consumer.clone(), checkpoint.position));
        progress.note_or_explain((head, reached.collect::<Vec<_>>()), || troubles(folder));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tells the history checker that each stream was read as a trace has it: every event once, in order.
fn note_order(workload: &Workload, log: &[RecordedEvent], name: &str, trace: &[Applied]) {
    let head = Position::new(log.len() as u64);
    let streams: HashSet<_> = log.iter().map(|event| event.stream()).collect();
    for stream in streams {
        let own = trace.iter().filter(|applied| applied.stream == stream.as_str());
        let event = |applied: &Applied| {
            let known = log.get((applied.position.get() as usize).wrapping_sub(1));
            known.unwrap_or_else(|| panic!("{name} has {applied:?}, which does not exist")).clone()
        };
        let (filter, events) = (EventFilter::default().or_stream(stream.clone()), own.map(event).collect());
        workload.history.read(
            &format!("{name} of {stream}"),
            &filter,
            Position::ZERO,
            &EventPage::new(events, head, head),
        );
    }
}

/// Whether all have reacted to each event, and never before they had reacted to the one before it in its stream. Gives how
/// many reactions were repeats.
fn check_effects(name: &str, log: &[RecordedEvent], effects: &[Applied]) -> usize {
    let mut before: HashMap<Position, Option<Position>> = HashMap::new();
    let mut last = HashMap::new();
    for event in log {
        before.insert(event.position(), last.insert(event.stream().clone(), event.position()));
    }
    let mut seen = HashSet::new();
    for effect in effects {
        let Some(before) = before.get(&effect.position) else { panic!("{name}: {effect:?} of no event") };
        assert!(before.is_none_or(|before| seen.contains(&before)), "{name}: {effect:?} before that of {before:?}");
        seen.insert(effect.position);
    }
    let missing: Vec<_> = log.iter().map(|event| event.position()).filter(|at| !seen.contains(at)).collect();
    assert!(missing.is_empty(), "{name} has not reacted to {missing:?}");
    effects.len() - seen.len()
}

fn take_overs(trace: &[Applied]) -> usize {
    trace.windows(2).filter(|pair| pair[0].process != pair[1].process).count()
}

async fn soak(store: &(impl EventStore + PartitionStore), place: Place) {
    let (folder, workload, is_over) = (Folder::new(), Workload::new(), AtomicBool::new(false));
    let seed = workload.random.seed();
    let orders = Orders {
        plan: Plan::Everything,
        process: String::new(),
        lease: LEASE,
        folder: folder.root().to_owned(),
        place: place.clone(),
    };
    let mut driver = Driver { random: SeededRng::new(seed), orders, slots: Vec::new(), fate: Fate::default() };
    for _ in 0..PROCESSES {
        let process = driver.start();
        driver.slots.push(Slot::Runs(process));
    }
    let writer = async || {
        while !is_over.load(Ordering::SeqCst) {
            // A few at once, then a moment for the others.
            let asked = AtomicU64::new(0);
            workload.write(store, || asked.fetch_add(1, Ordering::SeqCst) >= 3).await;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    };
    let driving = async {
        driver.drive(soak_time()).await;
        is_over.store(true, Ordering::SeqCst);
    };
    let repartitions = AtomicU64::new(0);
    let repartitioning = async {
        let random = SeededRng::new(seed + 1);
        while !is_over.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(random.below(LONGEST_PEACE_MS))).await;
            for name in [SPLIT.0, SPLIT.1] {
                let count = [1, 2, 3, 5, 8][random.below(5) as usize];
                match store.repartition(&ConsumerName::new(name).expect("a valid name"), count).await {
                    Ok(_) => _ = repartitions.fetch_add(1, Ordering::SeqCst),
                    // Nobody has run it yet, or somebody holds the file.
                    Err(StoreError::Refused { .. } | StoreError::Busy { .. }) => {}
                    Err(error) => panic!("{error:?}, seed {seed}"),
                }
            }
        }
    };
    tokio::join!(writer(), writer(), writer(), driving, repartitioning);
    let split = [SPLIT.0, SPLIT.1];
    let names: Vec<&str> = [Balance::NAME].into_iter().chain(TRACES).chain(REACTORS).chain(split).collect();
    let over_at = Instant::now();
    let head = wait_for_all(store, &names, folder.root()).await;
    let caught_up_in = over_at.elapsed();
    let fate = driver.fate;
    // Killed with every checkpoint at the head: what was written so far is all there is.
    drop(driver.slots);

    let log: Vec<RecordedEvent> =
        store.all_events(Position::ZERO, &EventFilter::all()).try_collect().await.expect("the log can be read");
    let mut changes = 0;
    for name in TRACES.into_iter().chain([SPLIT.0]) {
        let trace = place.trace(name).await;
        assert_eq!(trace.len() as u64, head.get(), "rows of {name}, seed {seed}");
        note_order(&workload, &log, name, &trace);
        changes += take_overs(&trace);
    }
    workload.check(store).await;
    let mut repeats = 0;
    for name in REACTORS.into_iter().chain([SPLIT.1]) {
        let effects = effects(folder.root(), name);
        repeats += check_effects(name, &log, &effects);
        changes += take_overs(&effects);
    }
    let documents = store.view::<Balance>().list(None, ACCOUNTS as usize + 1).await.expect("the view can be read");
    assert_eq!(documents.into_iter().collect::<BTreeMap<_, _>>(), fresh_fold(log), "seed {seed}");
    println!(
        "seed {seed}: {head} events; {} processes started, {} killed, {} stopped ({} past the lease of {LEASE:?}); \
         {changes} changes of the process at work, {} of partitions, {repeats} reactions repeated; caught up {caught_up_in:?} after the last disturbance",
        fate.started,
        fate.kills,
        fate.stops,
        fate.stops_past_the_lease,
        repartitions.load(Ordering::SeqCst)
    );
    assert!(fate.kills > 0 && fate.stops_past_the_lease > 0 && changes > 0, "nothing happened, seed {seed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_postgresql_apply_each_event_once_though_they_are_killed_and_stopped() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(4).connect().await.expect("the store opens");
    soak(&store, Place::Postgres { url, schema }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_on_sqlite_apply_each_event_once_though_they_are_killed_and_stopped() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    soak(&store, Place::Sqlite { file }).await;
}
