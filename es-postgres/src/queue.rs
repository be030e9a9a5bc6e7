//! Appends that wait for a writer, and which of them can share a call.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use es_core::{Append, Appended, StoreError, limits};
use tokio::sync::{mpsc, oneshot};

/// The maximum number of appends that share a commit.
pub const MAX_APPENDS_PER_COMMIT: usize = 1_000;
/// The maximum number of appends that wait in memory for a writer. Callers with further appends wait until there is
/// room.
pub const MAX_WAITING_APPENDS: usize = 10_000;

/// The longest time for which appends collect before a call that has to wait for other processes anyway.
pub(crate) const MAX_GATHERING: Duration = Duration::from_millis(2);

/// An append that a caller may be waiting for.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) append: Append,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
    since: Instant,
}

impl Job {
    /// Returns a job, and the receiver on which its caller waits.
    pub(crate) fn new(append: Append) -> (Self, oneshot::Receiver<Result<Appended, StoreError>>) {
        let (answer, outcome) = oneshot::channel();
        (Self { append, answer, since: Instant::now() }, outcome)
    }

    /// Answers the caller, unless it was dropped.
    pub(crate) fn answer(self, outcome: Result<Appended, StoreError>) {
        let _ = self.answer.send(outcome);
    }
}

/// The waiting appends, in the order in which they arrived.
pub(crate) struct Queue {
    jobs: mpsc::Receiver<Job>,
    waiting: VecDeque<Job>,
    /// How long a job may wait before it is abandoned.
    patience: Duration,
    /// Whether the last batch contained several appends.
    is_busy: bool,
    /// How long the next batch collects appends: zero, unless other processes append too.
    pub(crate) gathering: Duration,
}

impl Queue {
    /// Returns a queue, and the sender for its jobs.
    pub(crate) fn new(patience: Duration) -> (mpsc::Sender<Job>, Self) {
        let (sender, jobs) = mpsc::channel(MAX_WAITING_APPENDS);
        (sender, Self { jobs, waiting: VecDeque::new(), patience, is_busy: false, gathering: Duration::ZERO })
    }

    /// Returns the next jobs that can share a call, as soon as there are any, and removes them from the queue. Returns
    /// `None` when all jobs are done and no more can arrive. If the future is dropped before it completes, no job is
    /// lost.
    pub(crate) async fn next_batch(&mut self) -> Option<Vec<Job>> {
        loop {
            if self.waiting.is_empty() {
                self.waiting.push_back(self.jobs.recv().await?);
            }
            // Jobs cannot be added to a call while it waits for the lock.
            if !self.gathering.is_zero() {
                tokio::time::sleep(self.gathering).await;
            }
            // Callers that were just answered get the chance to send their next appends with this batch.
            if self.is_busy {
                tokio::task::yield_now().await;
            }
            while self.waiting.len() < MAX_WAITING_APPENDS
                && let Ok(job) = self.jobs.try_recv()
            {
                self.waiting.push_back(job);
            }
            let batch = self.take_batch();
            self.is_busy = batch.len() > 1;
            if !batch.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Takes jobs within the limits of one append. No two of them may name the same stream, event ID, or key, and none
    /// may name one that an earlier waiting job names. Jobs whose caller is gone are dropped.
    fn take_batch(&mut self) -> Vec<Job> {
        let mut batch = Vec::new();
        let mut left_behind = VecDeque::new();
        let mut names = Names::default();
        let (mut events, mut bytes) = (0, 0);
        let is_alone = self.waiting.len() == 1;
        while let Some(job) = self.waiting.pop_front() {
            if job.answer.is_closed() {
                continue;
            }
            let waited = job.since.elapsed();
            if waited > self.patience {
                job.answer(Err(too_late(waited)));
                continue;
            }
            if is_alone {
                return vec![job];
            }
            events += job.append.event_count();
            bytes += bytes_of(&job.append);
            let is_over = events > limits::MAX_EVENTS_PER_APPEND || bytes > limits::MAX_APPEND_BYTES;
            if batch.len() >= MAX_APPENDS_PER_COMMIT || (is_over && !batch.is_empty()) {
                left_behind.push_back(job);
                break;
            }
            match names.add(&job.append) {
                true => batch.push(job),
                false => left_behind.push_back(job),
            }
        }
        // Jobs that were not examined come after those that were.
        left_behind.append(&mut self.waiting);
        self.waiting = left_behind;
        batch
    }
}

/// Returns how many appends from the beginning can share a call, in order: within the limits of one append, and without
/// two that name the same stream, event ID, or key. Returns at least one, if there is any.
pub(crate) fn together(appends: &[Append]) -> usize {
    let mut names = Names::default();
    let (mut events, mut bytes) = (0, 0);
    let can_join = |append: &&Append| {
        events += append.event_count();
        bytes += bytes_of(append);
        names.add(append) && events <= limits::MAX_EVENTS_PER_APPEND && bytes <= limits::MAX_APPEND_BYTES
    };
    let count = appends.iter().take(MAX_APPENDS_PER_COMMIT).take_while(can_join).count();
    count.max(appends.len().min(1))
}

/// Returns what an append adds to the size of a call.
fn bytes_of(append: &Append) -> usize {
    append.events().map(|(_, event)| event.payload().as_str().len() + event.metadata().json().map_or(0, str::len)).sum()
}

fn too_late(waited: Duration) -> StoreError {
    let waiting_for = format!("the appends of this process before it, for {} ms", waited.as_millis());
    StoreError::Busy { waiting_for, source: None }
}

/// The names that two appends of one call must not share.
#[derive(Default)]
struct Names {
    streams: HashSet<Box<str>>,
    ids: HashSet<uuid::Uuid>,
    keys: HashSet<Box<str>>,
}

impl Names {
    /// Adds an append's names. Returns whether all of them are new.
    fn add(&mut self, append: &Append) -> bool {
        let mut are_new = true;
        for part in append.streams() {
            are_new &= self.streams.insert(part.stream().as_str().into());
        }
        for (_, event) in append.events() {
            are_new &= self.ids.insert(event.id());
        }
        if let Some(key) = append.idempotency_key() {
            are_new &= self.keys.insert(key.as_str().into());
        }
        are_new
    }
}
