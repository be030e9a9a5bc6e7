//! W6: how long after the acknowledgement of an append its event reaches a handler, and the read model.

use std::{sync::Arc, time::Duration};

use es_core::{Append, ExpectedVersion, Position, RunnerStore};
use es_projections::Runner;
use tokio::{
    sync::{Notify, mpsc},
    time::sleep,
};

use super::Bench;
use crate::{
    Error,
    account::{AccountEvent, Booking, stream},
    clock::now_nanos,
    database::Place,
    line::Line,
    meter::Sample,
    models::{Model, Observer, Started, Totals, Writing},
    part::{Helper, Part, say_ready, wait_to_be_told},
    stats::Latencies,
};

/// The name of the projection.
const FOLLOWER: &str = "follower";
/// The store is idle for so long between two appends.
const PAUSE: Duration = Duration::from_millis(8);
/// How long the last events get.
const LIMIT: Duration = Duration::from_secs(30);

/// What a follower saw: the last position of a page, when its handler started, and when it was committed.
pub type Seen = (u64, u64, u64);

/// W6, with the runner in the same process, and in another.
pub async fn append_to_read_model(bench: &Bench) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for (name, is_other) in [("same process", false), ("another process", true)] {
        let (mut starts, mut commits) = (Vec::new(), Vec::new());
        for _ in 0..bench.repetitions {
            let place = bench.database.create().await?;
            let (acknowledged, seen) = match is_other {
                false => follow_here(bench, &place).await?,
                true => follow_elsewhere(bench, &place).await?,
            };
            starts.push(delays(&acknowledged, &seen, |seen| seen.1));
            commits.push(delays(&acknowledged, &seen, |seen| seen.2));
            bench.database.discard(place).await?;
        }
        if !is_other {
            lines.push(a_delay(Line::of(
                "W6",
                "floor: one statement",
                "statements",
                bench.idle_kib,
                &[one_statement(bench).await?],
            )));
        }
        for (what, samples) in [("to the handler", starts), ("to the commit", commits)] {
            lines.push(a_delay(Line::of("W6", format!("{name}, {what}"), "appends", bench.idle_kib, &samples)));
        }
    }
    Ok(lines)
}

/// A delay has no rate, and processor time is not what is asked.
fn a_delay(mut line: Line) -> Line {
    (line.rate, line.cpu_us, line.memory_kib) = (None, None, None);
    line
}

/// What a statement takes that finds nothing, on a store that is idle for as long before each: no handler within a
/// transaction starts sooner than that.
async fn one_statement(bench: &Bench) -> Result<Sample, Error> {
    let place = bench.database.create().await?;
    let floor = bench.database.floor(&place, 1).await?;
    let mut delays = Vec::new();
    for _ in 0..bench.scale.appends {
        sleep(PAUSE).await;
        let start = now_nanos();
        floor.read_streamed(Some("nothing")).await?;
        delays.push(now_nanos() - start);
    }
    drop(floor);
    bench.database.discard(place).await?;
    Ok(Sample { units: delays.len() as u64, latencies: Latencies::new(delays), ..Sample::default() })
}

async fn follow_here(bench: &Bench, place: &Place) -> Result<(Vec<(u64, u64)>, Vec<Seen>), Error> {
    let follower = Follower::start(bench, place).await?;
    let acknowledged = append_with_pauses(&*follower.store, bench.scale.appends).await?;
    Ok((acknowledged, follower.stop().await?))
}

async fn follow_elsewhere(bench: &Bench, place: &Place) -> Result<(Vec<(u64, u64)>, Vec<Seen>), Error> {
    let mut helper = Helper::start(bench, &Part::Follow { place: place.clone() }, &[])?;
    helper.is_ready().await?;
    let store = bench.database.open(place).await?;
    let acknowledged = append_with_pauses(&*store, bench.scale.appends).await?;
    sleep(Duration::from_secs(1)).await;
    helper.tell().await?;
    Ok((acknowledged, helper.result().await?))
}

/// The other process.
pub async fn follow_until_told(bench: &Bench, place: &Place) -> Result<Vec<Seen>, Error> {
    let follower = Follower::start(bench, place).await?;
    say_ready();
    wait_to_be_told().await?;
    follower.stop().await
}

/// A runner at work, and what its handler sees.
struct Follower {
    store: Arc<dyn RunnerStore>,
    runner: Runner,
    running: tokio::task::JoinHandle<Result<(), es_projections::RunnerError>>,
    stop: tokio::sync::oneshot::Sender<()>,
    seeing: tokio::task::JoinHandle<Vec<Seen>>,
    end: Arc<Notify>,
}

impl Follower {
    /// Returns when it has caught up with a first event.
    async fn start(bench: &Bench, place: &Place) -> Result<Self, Error> {
        let (sender, starts) = mpsc::unbounded_channel();
        let totals = Totals {
            name: FOLLOWER.to_owned(),
            writing: Writing::PageByPage,
            observer: Some(Arc::new(Observer::new(sender))),
        };
        let (store, runner) = bench.database.runner(place, Model::Totals(totals)).await?;
        let end = Arc::new(Notify::new());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (at_work, watched) = (runner.clone(), runner.clone());
        let running = tokio::spawn(async move { at_work.run(async { _ = stopped.await }).await });
        let seeing = tokio::spawn(see(watched, starts, Arc::clone(&end)));
        let first = store.append(&one_event("first")?).await?;
        runner.wait_for(FOLLOWER, first.last_position, LIMIT).await?;
        Ok(Self { store, runner, running, stop, seeing, end })
    }

    async fn stop(self) -> Result<Vec<Seen>, Error> {
        let head = self.store.head().await?;
        self.runner.wait_for(FOLLOWER, head, LIMIT).await?;
        // It waits for nothing else, so it hears of it.
        let _ = self.stop.send(());
        self.running.await??;
        self.end.notify_one();
        Ok(self.seeing.await?)
    }
}

/// Notes when what a handler has started is committed; to the end, and to the last start before it.
async fn see(runner: Runner, mut starts: mpsc::UnboundedReceiver<Started>, end: Arc<Notify>) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            next = starts.recv() => next,
            () = end.notified() => None,
        };
        let Some((position, started)) = next else { return seen };
        if runner.wait_for(FOLLOWER, Position::new(position), LIMIT).await.is_ok() {
            seen.push((position, started, now_nanos()));
        }
    }
}

/// Appends one event after another; gives position and time of each acknowledgement.
async fn append_with_pauses(store: &dyn RunnerStore, count: u64) -> Result<Vec<(u64, u64)>, Error> {
    let mut acknowledged = Vec::new();
    for number in 0..count {
        sleep(PAUSE).await;
        let appended = store.append(&one_event(&number.to_string())?).await?;
        acknowledged.push((appended.last_position.get(), now_nanos()));
    }
    Ok(acknowledged)
}

fn one_event(account: &str) -> Result<Append, Error> {
    let event = AccountEvent::Deposited(Booking::of(1)).to_new_event()?;
    Ok(Append::to(stream(account)?, ExpectedVersion::Any, vec![event]).build()?)
}

/// The delay of each append; none where the event was there before the acknowledgement.
fn delays(acknowledged: &[(u64, u64)], seen: &[Seen], time: impl Fn(&Seen) -> u64) -> Sample {
    let delay = |&(position, acknowledged): &(u64, u64)| {
        let seen = seen.iter().find(|seen| seen.0 >= position)?;
        Some(time(seen).saturating_sub(acknowledged))
    };
    let delays: Vec<u64> = acknowledged.iter().filter_map(delay).collect();
    Sample { units: delays.len() as u64, latencies: Latencies::new(delays), ..Sample::default() }
}
