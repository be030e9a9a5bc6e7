//! The state of a consumer. Its loops record here what they are doing, and the status is read from here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use es_core::{Bookmark, ConsumerName, DatabaseWait, Position, ProjectionError, Suspension};
use time::OffsetDateTime;
use tokio::{sync::watch, time::Instant};

use crate::{
    error::RunnerError,
    lease_session::NotOurs,
    limits,
    page_step::UnknownEvent,
    status::{ConsumerFailure, ConsumerState, LogWentBack},
};

/// What a consumer loop reports about itself.
pub(crate) struct ConsumerStateCell {
    notes: Mutex<Notes>,
    /// How far the loops of this runner have come. Valid only while a loop is running.
    reached: watch::Sender<Position>,
    /// Whether a loop of this runner has reached the end of the log.
    has_caught_up: watch::Sender<bool>,
}

struct Notes {
    loops: usize,
    phase: Phase,
    last_error: Option<ConsumerFailure>,
    moved_by_others: u64,
    passed_over: u64,
    log_went_back: Option<LogWentBack>,
    page_since: Option<Instant>,
    /// When the loop last recorded anything, which is its last heartbeat.
    heard_at: Instant,
    /// Whether this silence has been logged.
    is_silence_told: bool,
    /// What the store's calls have been waiting for in the database since then.
    waits: Vec<DatabaseWait>,
    place: Place,
    rate: RateMeter,
    counts: Counts,
}

/// Counters since the runner was built.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) events_applied: u64,
    pub(crate) failures: u64,
}

impl Notes {
    fn note_life(&mut self) {
        self.heard_at = Instant::now();
        self.is_silence_told = false;
        self.waits.clear();
    }

    /// Returns how long a loop that should be working has not reported anything.
    fn silent_for(&self, now: Instant) -> Option<Duration> {
        let is_at_work = self.loops > 0 && matches!(self.phase, Phase::CatchingUp | Phase::CaughtUp);
        (is_at_work || self.page_since.is_some()).then(|| now.saturating_duration_since(self.heard_at))
    }
}

/// The stored checkpoint, and how far the loop has scanned. There are no wanted events in between.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) stored: Position,
    /// With the event at that position. If the event is unknown, this is the stored position.
    pub(crate) scanned: Bookmark,
}

/// What a loop is doing: a [`ConsumerState`] with points in time instead of durations.
pub(crate) enum Phase {
    NotRunning,
    CatchingUp,
    CaughtUp,
    Retrying { attempt: u32, next_try: Instant, failure: ConsumerFailure },
    WaitingForStore { attempt: u32, next_try: Instant, failure: ConsumerFailure },
    NotOurs(NotOurs),
    VersionMismatch { live: ConsumerName, live_version: u32, own_version: u32 },
    WaitingForCode(UnknownEvent),
    Suspended(Suspension),
    WaitingForOther(ConsumerName),
    Restarting { attempt: u32, next_try: Instant, problem: String },
    Stopped(RunnerError),
}

/// The state at one point in time.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) state: ConsumerState,
    pub(crate) last_error: Option<ConsumerFailure>,
    pub(crate) moved_by_others: u64,
    pub(crate) passed_over: u64,
    pub(crate) log_went_back: Option<LogWentBack>,
    pub(crate) applying_for: Option<Duration>,
    pub(crate) silent_for: Option<Duration>,
    pub(crate) rate_per_second: f64,
    /// `None` while no loop is running in this process.
    pub(crate) place: Option<Place>,
}

impl ConsumerStateCell {
    pub(crate) fn new() -> Self {
        let notes = Notes {
            loops: 0,
            phase: Phase::NotRunning,
            last_error: None,
            moved_by_others: 0,
            passed_over: 0,
            log_went_back: None,
            page_since: None,
            heard_at: Instant::now(),
            is_silence_told: false,
            waits: Vec::new(),
            place: Place::default(),
            rate: RateMeter::default(),
            counts: Counts::default(),
        };
        let (reached, has_caught_up) = (watch::Sender::new(Position::ZERO), watch::Sender::new(false));
        Self { notes: Mutex::new(notes), reached, has_caught_up }
    }

    /// Records that a loop is running until the guard is dropped. Returns whether it is the only one.
    pub(crate) fn enter(&self) -> (LoopGuard<'_>, bool) {
        let mut notes = self.notes();
        notes.loops += 1;
        notes.note_life();
        let is_first = notes.loops == 1;
        if is_first {
            notes.phase = Phase::CatchingUp;
            // A waiting task must not use the position of an earlier loop.
            self.reached.send_replace(Position::ZERO);
        }
        (LoopGuard(self), is_first)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        if matches!(phase, Phase::CaughtUp) {
            self.note_caught_up();
        }
        let mut notes = self.notes();
        notes.note_life();
        notes.phase = phase;
    }

    /// Records that a loop has reached the end of the log.
    pub(crate) fn note_caught_up(&self) {
        self.has_caught_up.send_if_modified(|has| !std::mem::replace(has, true));
    }

    /// Returns whether another consumer waits for this one to reach the end of the log.
    pub(crate) fn is_awaited(&self) -> bool {
        self.has_caught_up.receiver_count() > 0 && !*self.has_caught_up.borrow()
    }

    /// Returns a receiver for whether a loop of this runner has reached the end of the log.
    pub(crate) fn has_caught_up(&self) -> watch::Receiver<bool> {
        self.has_caught_up.subscribe()
    }

    /// Adds to the number of events that took effect.
    pub(crate) fn note_applied(&self, events: usize) {
        self.notes().counts.events_applied += events as u64;
    }

    /// Returns the counters since the runner was built.
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "for metrics alone"))]
    pub(crate) fn counts(&self) -> Counts {
        self.notes().counts
    }

    /// Records what the store's calls wait for, if the loop is still silent. Returns whether that is new.
    pub(crate) fn note_waits(&self, waits: &[DatabaseWait]) -> bool {
        let mut notes = self.notes();
        let is_silent = notes.silent_for(Instant::now()).is_some_and(|time| time >= limits::DIAGNOSIS_INTERVAL);
        let is_news = is_silent && notes.waits.is_empty() && !waits.is_empty();
        if is_silent {
            notes.waits = waits.to_vec();
        }
        is_news
    }

    /// Returns whether the loop is silent because the store's calls wait for another session in the database.
    pub(crate) fn is_waiting_on_database(&self) -> bool {
        !self.notes().waits.is_empty()
    }

    /// Returns how long a loop that should be working has not reported anything.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        self.notes().silent_for(Instant::now())
    }

    /// Returns the duration of a silence that has lasted too long, once per silence.
    pub(crate) fn tell_silence(&self) -> Option<Duration> {
        let mut notes = self.notes();
        let silent_for = notes.silent_for(Instant::now()).filter(|&time| time >= limits::SLOW_PAGE);
        silent_for.filter(|_| !std::mem::replace(&mut notes.is_silence_told, true))
    }

    /// Records a failure and returns it, for the phase or the error.
    pub(crate) fn note_failure(&self, event: Option<Position>, error: Arc<ProjectionError>) -> ConsumerFailure {
        let failure = ConsumerFailure { at: OffsetDateTime::now_utc(), event, error };
        let mut notes = self.notes();
        notes.note_life();
        notes.counts.failures += 1;
        notes.last_error = Some(failure.clone());
        failure
    }

    /// Records that another runner moved the checkpoint. Returns how often that has happened.
    pub(crate) fn note_moved_by_other(&self) -> u64 {
        let mut notes = self.notes();
        notes.note_life();
        notes.moved_by_others += 1;
        notes.moved_by_others
    }

    /// Adds to the number of events of unknown types that were passed over.
    pub(crate) fn note_passed_over(&self, events: u64) {
        self.notes().passed_over += events;
    }

    /// Records that the log went back, and how far the loop had come in the former log.
    pub(crate) fn note_log_went_back(&self) -> LogWentBack {
        let mut notes = self.notes();
        notes.note_life();
        let went_back = LogWentBack { at: OffsetDateTime::now_utc(), reached: notes.place.scanned.position() };
        notes.log_went_back = Some(went_back);
        went_back
    }

    /// Records that a page is being applied until the guard is dropped.
    pub(crate) fn enter_page(&self) -> PageGuard<'_> {
        let mut notes = self.notes();
        notes.note_life();
        notes.page_since = Some(Instant::now());
        PageGuard(self)
    }

    /// Records the place of the checkpoint that was read.
    pub(crate) fn note_found(&self, place: Place) {
        let mut notes = self.notes();
        notes.note_life();
        notes.place = place;
        drop(notes);
        self.reached.send_replace(place.scanned.position());
    }

    /// Records how far the loop has come.
    pub(crate) fn note_advanced(&self, place: Place) {
        let mut notes = self.notes();
        notes.note_life();
        let before = std::mem::replace(&mut notes.place, place);
        notes.rate.add(Instant::now(), place.scanned.position().distance_from(before.scanned.position()));
        if !matches!(notes.phase, Phase::CatchingUp) && place.scanned.position() > before.scanned.position() {
            notes.phase = Phase::CatchingUp;
        }
        drop(notes);
        self.reached.send_replace(place.scanned.position());
    }

    /// Returns a receiver for how far the loops of this runner have come.
    pub(crate) fn reached(&self) -> watch::Receiver<Position> {
        self.reached.subscribe()
    }

    /// Returns whether a loop of this runner moves the checkpoint, so that [`reached`](Self::reached) shows its
    /// position.
    pub(crate) fn is_running(&self) -> bool {
        let notes = self.notes();
        notes.loops > 0 && !matches!(notes.phase, Phase::NotOurs(_))
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut notes = self.notes();
        let now = Instant::now();
        Snapshot {
            state: match notes.waits.as_slice() {
                [] => notes.phase.state_at(now),
                waits => ConsumerState::WaitingOnDatabase { waits: waits.to_vec() },
            },
            last_error: notes.last_error.clone(),
            moved_by_others: notes.moved_by_others,
            passed_over: notes.passed_over,
            log_went_back: notes.log_went_back,
            applying_for: notes.page_since.map(|since| now - since),
            silent_for: notes.silent_for(now),
            rate_per_second: notes.rate.per_second(now),
            place: Some(notes.place).filter(|_| notes.loops > 0 && !matches!(notes.phase, Phase::NotOurs(_))),
        }
    }

    /// No code panics halfway through a change while it holds this lock.
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a loop as running until it is dropped.
pub(crate) struct LoopGuard<'a>(&'a ConsumerStateCell);

impl Drop for LoopGuard<'_> {
    fn drop(&mut self) {
        let mut notes = self.0.notes();
        notes.loops -= 1;
        notes.note_life();
        if notes.loops == 0 && !matches!(notes.phase, Phase::Stopped(_)) {
            notes.phase = Phase::NotRunning;
        }
    }
}

/// Marks a page as being applied until it is dropped.
pub(crate) struct PageGuard<'a>(&'a ConsumerStateCell);

impl Drop for PageGuard<'_> {
    fn drop(&mut self) {
        let mut notes = self.0.notes();
        notes.page_since = None;
        notes.note_life();
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
            Self::VersionMismatch { live, live_version, own_version } => ConsumerState::VersionMismatch {
                live: live.clone(),
                live_version: *live_version,
                own_version: *own_version,
            },
            Self::WaitingForCode(UnknownEvent { event, category, event_type }) => ConsumerState::WaitingForCode {
                event: *event,
                category: category.clone(),
                event_type: event_type.clone(),
            },
            Self::Stopped(error @ RunnerError::ParkedLimit { .. }) => {
                ConsumerState::ParkedLimit { error: error.clone() }
            }
            Self::Suspended(suspension) => suspension.clone().into(),
            Self::WaitingForOther(consumer) => ConsumerState::WaitingForOther { consumer: consumer.clone() },
            Self::Restarting { attempt, next_try, problem } => ConsumerState::Restarting {
                attempt: *attempt,
                next_try_in: next_try.saturating_duration_since(now),
                problem: problem.clone(),
            },
            Self::Stopped(error) => ConsumerState::Stopped { error: error.clone() },
        }
    }
}

/// Counts positions per second, over the last [`limits::RATE_WINDOW_SECONDS`].
#[derive(Default)]
struct RateMeter {
    /// The start of each second and the count within it; at most one entry more than the window has seconds.
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
