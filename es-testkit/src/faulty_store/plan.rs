//! When to fail, and how.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::rng::SeededRng;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `Unavailable`; nothing happened.
    LostRequest,
    /// `Unavailable`; it happened.
    LostAnswer,
    /// `Busy`; nothing happened.
    Busy,
}

/// Calls of a store that can fail, in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// `append`.
    Append,
    /// Reads of events: `find_append`, `read_stream`, `read_all`, `head`, `wait_durable`.
    Read,
    /// Loading and saving snapshots.
    Snapshot,
    /// Checkpoints and documents.
    Consumer,
    /// Generations of read models.
    Generation,
    /// What operators do.
    Control,
    /// Leases of consumers.
    Lease,
    /// Parked events.
    Parking,
    /// Dead letters, outside of units.
    DeadLetter,
    /// What the relay of the outbox does.
    Outbox,
    /// Records: reads, commits and updates.
    Record,
    /// `prepare_projection`, `apply_page`, `finish_projection`, `clear_projection`.
    Projection,
}

/// When a [`FaultyStore`](crate::FaultyStore) fails: at random, from a seed, and where it is told to.
///
/// ```
/// use es_testkit::FaultPlan;
/// // Of a hundred calls 5 are lost on the way, 10 lose their answer, 5 find the store busy; half are delayed.
/// let plan = FaultPlan::seeded(42).lost_requests(5).lost_answers(10).busy(5).delays(50);
/// assert_eq!(plan.faults(), 0);
/// ```
#[derive(Debug)]
pub struct FaultPlan {
    rng: SeededRng,
    lost_requests: u8,
    lost_answers: u8,
    busy: u8,
    delays: u8,
    only: Option<Vec<Operation>>,
    is_stopped: AtomicBool,
    next: Mutex<HashMap<Operation, VecDeque<Option<Fault>>>>,
    faults: AtomicU64,
    calls: Mutex<HashMap<Operation, u64>>,
}

impl FaultPlan {
    /// Longest delay, in yields to other tasks.
    const MAX_YIELDS: u64 = 20;

    /// No fault at random; see [`fail_next`](Self::fail_next).
    pub fn none() -> Self {
        Self::with_rng(SeededRng::new(0))
    }

    /// Faults at random, always the same for the same seed and the same order of calls.
    pub fn seeded(seed: u64) -> Self {
        Self::with_rng(SeededRng::new(seed))
    }

    /// Faults at random, by a seed that is printed and can be set; see [`SeededRng::from_env`].
    pub fn from_env() -> Self {
        Self::with_rng(SeededRng::from_env())
    }

    fn with_rng(rng: SeededRng) -> Self {
        Self {
            rng,
            lost_requests: 0,
            lost_answers: 0,
            busy: 0,
            delays: 0,
            only: None,
            is_stopped: AtomicBool::new(false),
            next: Mutex::default(),
            faults: AtomicU64::new(0),
            calls: Mutex::default(),
        }
    }

    /// This many calls in a hundred fail before they take effect.
    #[must_use]
    pub fn lost_requests(mut self, percent: u8) -> Self {
        self.lost_requests = percent;
        self
    }

    /// This many calls in a hundred fail after they took effect.
    #[must_use]
    pub fn lost_answers(mut self, percent: u8) -> Self {
        self.lost_answers = percent;
        self
    }

    /// This many calls in a hundred find the store busy.
    #[must_use]
    pub fn busy(mut self, percent: u8) -> Self {
        self.busy = percent;
        self
    }

    /// This many calls in a hundred let other tasks go first, for a while.
    #[must_use]
    pub fn delays(mut self, percent: u8) -> Self {
        self.delays = percent;
        self
    }

    /// Only these operations fail at random.
    #[must_use]
    pub fn only(mut self, operations: impl Into<Vec<Operation>>) -> Self {
        self.only = Some(operations.into());
        self
    }

    /// The next call of this operation that is not planned yet fails so.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.plan_next(operation, Some(fault));
    }

    /// The next call of this operation that is not planned yet goes well.
    pub fn spare_next(&self, operation: Operation) {
        self.plan_next(operation, None);
    }

    fn plan_next(&self, operation: Operation, fault: Option<Fault>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.entry(operation).or_default().push_back(fault);
    }

    /// No call fails from now on.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
    }

    /// How many calls have failed on purpose so far.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
    }

    /// How many calls of this operation were made so far, whatever became of them.
    pub fn calls(&self, operation: Operation) -> u64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&operation).copied().unwrap_or_default()
    }

    /// The seed of the faults at random.
    pub fn seed(&self) -> u64 {
        self.rng.seed()
    }

    /// How many times the next call yields, and how it fails.
    pub(super) fn draw(&self, operation: Operation) -> (u64, Option<Fault>) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(operation).or_default() += 1;
        if self.is_stopped.load(Ordering::SeqCst) {
            return (0, None);
        }
        let yields = if self.rng.percent(self.delays) { self.rng.below(Self::MAX_YIELDS) } else { 0 };
        let planned = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.get_mut(&operation).and_then(VecDeque::pop_front)
        };
        let fault = planned.unwrap_or_else(|| self.draw_at_random(operation));
        if fault.is_some() {
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
        (yields, fault)
    }

    fn draw_at_random(&self, operation: Operation) -> Option<Fault> {
        if self.only.as_ref().is_some_and(|only| !only.contains(&operation)) {
            return None;
        }
        let chances = [
            (Fault::LostRequest, self.lost_requests),
            (Fault::LostAnswer, self.lost_answers),
            (Fault::Busy, self.busy),
        ];
        let mut number = self.rng.below(100);
        for (fault, percent) in chances {
            if number < u64::from(percent) {
                return Some(fault);
            }
            number -= u64::from(percent);
        }
        None
    }
}
