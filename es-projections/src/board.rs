//! Where a consumer loop notes what it is doing, and whoever asks for the status reads it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use es_core::{ConsumerName, Position, ProjectionError};
use time::OffsetDateTime;
use tokio::{sync::watch, time::Instant};

use crate::{
    error::RunnerError,
    limits,
    status::{ConsumerFailure, ConsumerState},
    turn::NotOurs,
};

/// What a consumer loop says about itself.
pub(crate) struct Board {
    notes: Mutex<Notes>,
    /// How far the loops of this runner have come; only true while one is running.
    reached: watch::Sender<Position>,
}

struct Notes {
    loops: usize,
    phase: Phase,
    last_error: Option<ConsumerFailure>,
    moved_by_others: u64,
    page_since: Option<Instant>,
    place: Place,
    rate: RateMeter,
}

/// The checkpoint as stored, and how far the loop has looked: what lies between is nothing it wants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) stored: Position,
    pub(crate) scanned: Position,
}

/// What a loop is doing: a [`ConsumerState`] with points in time.
pub(crate) enum Phase {
    NotRunning,
    CatchingUp,
    CaughtUp,
    Retrying { attempt: u32, next_try: Instant, failure: ConsumerFailure },
    WaitingForStore { attempt: u32, next_try: Instant, failure: ConsumerFailure },
    NotOurs(NotOurs),
    OtherCode { live: ConsumerName, live_version: u32, own_version: u32 },
    Stopped(RunnerError),
}

/// What the board says at one moment.
pub(crate) struct Snapshot {
    pub(crate) state: ConsumerState,
    pub(crate) last_error: Option<ConsumerFailure>,
    pub(crate) moved_by_others: u64,
    pub(crate) applying_for: Option<Duration>,
    pub(crate) rate_per_second: f64,
    /// `None` while no loop is running here.
    pub(crate) place: Option<Place>,
}

impl Board {
    pub(crate) fn new() -> Self {
        let notes = Notes {
            loops: 0,
            phase: Phase::NotRunning,
            last_error: None,
            moved_by_others: 0,
            page_since: None,
            place: Place::default(),
            rate: RateMeter::default(),
        };
        Self { notes: Mutex::new(notes), reached: watch::Sender::new(Position::ZERO) }
    }

    /// Notes that a loop runs, until the guard is dropped; says whether it is the only one.
    pub(crate) fn enter(&self) -> (LoopGuard<'_>, bool) {
        let mut notes = self.notes();
        notes.loops += 1;
        let is_first = notes.loops == 1;
        if is_first {
            notes.phase = Phase::CatchingUp;
            // Whoever waits must not believe what an earlier loop knew.
            self.reached.send_replace(Position::ZERO);
        }
        (LoopGuard(self), is_first)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.notes().phase = phase;
    }

    /// Notes a failure and gives it back for the phase or the error.
    pub(crate) fn note_failure(&self, event: Option<Position>, error: Arc<ProjectionError>) -> ConsumerFailure {
        let failure = ConsumerFailure { at: OffsetDateTime::now_utc(), event, error };
        self.notes().last_error = Some(failure.clone());
        failure
    }

    /// Notes that another runner moved the checkpoint; gives the number of times.
    pub(crate) fn note_moved_by_other(&self) -> u64 {
        let mut notes = self.notes();
        notes.moved_by_others += 1;
        notes.moved_by_others
    }

    /// Notes that a page is being applied, until the guard is dropped.
    pub(crate) fn enter_page(&self) -> PageGuard<'_> {
        let mut notes = self.notes();
        notes.page_since = Some(Instant::now());
        PageGuard(self)
    }

    /// Notes where the checkpoint was found.
    pub(crate) fn note_found(&self, place: Place) {
        self.notes().place = place;
        self.reached.send_replace(place.scanned);
    }

    /// Notes how far the loop has come.
    pub(crate) fn note_advanced(&self, place: Place) {
        let mut notes = self.notes();
        let before = std::mem::replace(&mut notes.place, place);
        notes.rate.add(Instant::now(), place.scanned.distance_from(before.scanned));
        if !matches!(notes.phase, Phase::CatchingUp) && place.scanned > before.scanned {
            notes.phase = Phase::CatchingUp;
        }
        drop(notes);
        self.reached.send_replace(place.scanned);
    }

    /// How far the loops of this runner have come, and news of it.
    pub(crate) fn reached(&self) -> watch::Receiver<Position> {
        self.reached.subscribe()
    }

    /// Whether a loop of this runner moves the checkpoint, so that [`reached`](Self::reached) tells where it is.
    pub(crate) fn is_running(&self) -> bool {
        let notes = self.notes();
        notes.loops > 0 && !matches!(notes.phase, Phase::NotOurs(_))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut notes = self.notes();
        let now = Instant::now();
        Snapshot {
            state: notes.phase.state_at(now),
            last_error: notes.last_error.clone(),
            moved_by_others: notes.moved_by_others,
            applying_for: notes.page_since.map(|since| now - since),
            rate_per_second: notes.rate.per_second(now),
            place: Some(notes.place).filter(|_| notes.loops > 0 && !matches!(notes.phase, Phase::NotOurs(_))),
        }
    }

    /// Nothing panics while it holds this lock half way through a change.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loop is running as long as this lives.
pub(crate) struct LoopGuard<'a>(&'a Board);

impl Drop for LoopGuard<'_> {
    fn drop(&mut self) {
        let mut notes = self.0.notes();
        notes.loops -= 1;
        if notes.loops == 0 && !matches!(notes.phase, Phase::Stopped(_)) {
            notes.phase = Phase::NotRunning;
        }
    }
}

/// A page is being applied as long as this lives.
pub(crate) struct PageGuard<'a>(&'a Board);

impl Drop for PageGuard<'_> {
    fn drop(&mut self) {
        self.0.notes().page_since = None;
    }
}

impl Phase {
    fn state_at(&self, now: Instant) -> ConsumerState {
        match self {
            Self::NotRunning => ConsumerState::NotRunning,
            Self::CatchingUp => ConsumerState::CatchingUp,
            Self::CaughtUp => ConsumerState::CaughtUp,
            Self::Retrying { attempt, next_try, failure } => ConsumerState::Retrying {
                attempt: *attempt,
                next_try_in: next_try.saturating_duration_since(now),
                failure: failure.clone(),
            },
            Self::WaitingForStore { attempt, next_try, failure } => ConsumerState::WaitingForStore {
                attempt: *attempt,
                next_try_in: next_try.saturating_duration_since(now),
                failure: failure.clone(),
            },
            Self::NotOurs(NotOurs::Assigned(by)) => ConsumerState::RunsElsewhere { by: by.clone() },
            Self::NotOurs(NotOurs::Leased(holder)) => ConsumerState::WaitingForLease { holder: holder.clone() },
            Self::OtherCode { live, live_version, own_version } => {
                ConsumerState::OtherCode { live: live.clone(), live_version: *live_version, own_version: *own_version }
            }
            Self::Stopped(error @ RunnerError::ParkedLimit { .. }) => {
                ConsumerState::ParkedLimit { error: error.clone() }
            }
            Self::Stopped(error) => ConsumerState::Stopped { error: error.clone() },
        }
    }
}

/// Counts positions by the second, over the last [`limits::RATE_WINDOW_SECONDS`].
#[derive(Default)]
struct RateMeter {
    /// When each second began and what was counted in it; at most one more than the window is long.
    seconds: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    const SECOND: Duration = Duration::from_secs(1);

    fn add(&mut self, now: Instant, count: u64) {
        match self.seconds.back_mut() {
            Some((start, counted)) if now - *start < Self::SECOND => *counted += count,
            _ => self.seconds.push_back((now, count)),
        }
        self.forget(now);
    }

    fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        let Some((start, _)) = self.seconds.front() else { return 0.0 };
        let counted: u64 = self.seconds.iter().map(|(_, count)| count).sum();
        counted as f64 / (now - *start).max(Self::SECOND).as_secs_f64()
    }

    fn forget(&mut self, now: Instant) {
        let window = Self::SECOND * limits::RATE_WINDOW_SECONDS as u32;
        while self.seconds.front().is_some_and(|(start, _)| now - *start > window) {
            self.seconds.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (mut meter, start) = (RateMeter::default(), Instant::now());
        assert_eq!(meter.per_second(start), 0.0);
        for second in 0..100 {
            meter.add(start + Duration::from_secs(second), 500);
        }
        assert!(meter.seconds.len() <= limits::RATE_WINDOW_SECONDS as usize + 1);
        let rate = meter.per_second(start + Duration::from_secs(100));
        assert!((450.0..=550.0).contains(&rate), "{rate}");
        assert_eq!(meter.per_second(start + Duration::from_secs(200)), 0.0);
    }
}
