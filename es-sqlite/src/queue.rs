//! Group commit: appends that wait for the writer share a transaction.

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use es_core::{Append, Appended, StoreError, limits};
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

use crate::{
    append::{Batch, Prepared, Within, append_batch},
    append_alone::{append_alone, is_plain},
    store::{Shared, runtime},
    turns::Holder,
    writer::{Access, WriterGuard},
};

/// The description of appends in errors of calls that wait for them.
const APPENDS: Holder = Cow::Borrowed("an append");

/// Maximum number of appends that share a transaction.
pub const MAX_APPENDS_PER_COMMIT: usize = 1_000;

type Answer = oneshot::Sender<Result<Appended, StoreError>>;

/// Appends that wait for the writer.
#[derive(Default)]
pub(crate) struct AppendQueue {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Ordered by number.
    jobs: VecDeque<Job>,
    next_number: u64,
}

impl Waiting {
    fn index_of(&self, number: u64) -> Option<usize> {
        self.jobs.binary_search_by_key(&number, |job| job.number).ok()
    }
}

struct Job {
    number: u64,
    prepared: Prepared,
    answer: Answer,
    /// Dropped with the job, which tells its task that it has nothing left to do.
    _done: oneshot::Sender<()>,
}

#[derive(Debug, thiserror::Error)]
#[error("the task that was writing was stopped, because its runtime was shut down")]
pub(crate) struct WriterStopped;

impl AppendQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, prepared: Prepared, answer: Answer) -> (u64, oneshot::Receiver<()>) {
        let (_done, done) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.next_number;
        waiting.next_number += 1;
        waiting.jobs.push_back(Job { number, prepared, answer, _done });
        (number, done)
    }

    /// Removes a job that has not begun.
    fn take_back(&self, number: u64) -> Option<Job> {
        let mut waiting = self.lock();
        let index = waiting.index_of(number)?;
        waiting.jobs.remove(index)
    }

    /// Puts jobs back at the front, to be tried once more.
    fn put_back(&self, jobs: Vec<Job>) {
        let mut waiting = self.lock();
        for job in jobs.into_iter().rev() {
            waiting.jobs.push_front(job);
        }
    }

    fn holds(&self, number: u64) -> bool {
        self.lock().index_of(number).is_some()
    }

    /// Returns the next jobs that can share a transaction: within the limits of one append, and without a stream, event
    /// ID, or key that two of them name. A job that conflicts waits for the next transaction, and so do all jobs behind
    /// it. Jobs whose callers no longer wait are not begun.
    fn next_batch(&self) -> Vec<Job> {
        let mut waiting = self.lock();
        waiting.jobs.retain(|job| !job.answer.is_closed());
        let count = together(waiting.jobs.iter().map(|job| &job.prepared));
        waiting.jobs.drain(..count).collect()
    }
}

/// Returns how many of the first appends can share a batch: within the limits of one append, and without a stream,
/// event ID, or key that two of them name. It is at least one, if there are any.
pub(crate) fn together<'a>(appends: impl Iterator<Item = &'a Prepared>) -> usize {
    let mut seen = Names::default();
    let (mut events, mut bytes) = (0, 0);
    let mut count = 0;
    for prepared in appends.take(MAX_APPENDS_PER_COMMIT) {
        events += prepared.append().event_count();
        bytes += prepared.bytes();
        let is_over = events > limits::MAX_EVENTS_PER_APPEND || bytes > limits::MAX_APPEND_BYTES;
        if count > 0 && (is_over || !seen.are_new(prepared.append())) {
            break;
        }
        seen.add(prepared.append());
        count += 1;
    }
    count
}

/// The names that two appends of one batch must not share.
#[derive(Default)]
struct Names<'a> {
    streams: HashSet<&'a str>,
    ids: HashSet<uuid::Uuid>,
    keys: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    fn are_new(&self, append: &Append) -> bool {
        !append.streams().iter().any(|part| self.streams.contains(part.stream().as_str()))
            && !append.events().any(|(_, event)| self.ids.contains(&event.id()))
            && !append.idempotency_key().is_some_and(|key| self.keys.contains(key.as_str()))
    }

    fn add(&mut self, append: &'a Append) {
        self.streams.extend(append.streams().iter().map(|part| part.stream().as_str()));
        self.ids.extend(append.events().map(|(_, event)| event.id()));
        self.keys.extend(append.idempotency_key().map(|key| key.as_str()));
    }
}

impl Shared {
    /// Appends, together with other appends that wait for the writer. A task does the work, so the append continues if
    /// the caller is dropped.
    pub(crate) async fn append(self: &Arc<Self>, prepared: Prepared) -> Result<Appended, StoreError> {
        let (answer, outcome) = oneshot::channel();
        let runtime = runtime()?;
        let (number, done) = self.queue.push(prepared, answer);
        runtime.spawn(Arc::clone(self).write_until_done(number, done));
        outcome.await.unwrap_or_else(|_| Err(StoreError::Unavailable { source: Box::new(WriterStopped) }))
    }

    /// Writes batches until a job is done, by this task or by the task of another job. There are therefore never more
    /// of these tasks than appends with waiting callers.
    async fn write_until_done(self: Arc<Self>, number: u64, mut done: oneshot::Receiver<()>) {
        loop {
            let access = match select(pin!(self.writer.for_appends(APPENDS)), &mut done).await {
                Either::Left((access, _)) => access,
                Either::Right(_) => return,
            };
            match access {
                Ok(access) => self.write_next_batch(access).await,
                Err(error) => {
                    if let Some(job) = self.queue.take_back(number) {
                        answer(job.answer, Err(error));
                    }
                }
            }
            if !self.queue.holds(number) {
                return;
            }
        }
    }

    async fn write_next_batch(self: &Arc<Self>, access: Access) {
        let jobs = self.queue.next_batch();
        if jobs.is_empty() {
            return;
        }
        if access.is_shared() {
            return self.write_shared(access, jobs).await;
        }
        let result = match access.alone().await {
            Ok(writer) => self.write_by_itself(writer, &appends_of(&jobs)).await,
            Err(error) => Err(error),
        };
        self.answer_all(jobs, result);
    }

    /// Returns the outcomes to the callers, and notifies readers of the new events.
    fn answer_all(&self, jobs: Vec<Job>, result: Result<Batch, StoreError>) {
        let outcomes = match result {
            Ok(batch) => {
                if let Some(head) = batch.head {
                    self.announce(head, &appends_of(&jobs), &batch);
                }
                batch.outcomes
            }
            Err(error) => error.for_each_caller(jobs.len()).into_iter().map(Err).collect(),
        };
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            answer(job.answer, outcome);
        }
    }

    /// Writes in the transaction that other writes have left open to share it.
    async fn write_shared(self: &Arc<Self>, access: Access, jobs: Vec<Job>) {
        let mut member = match self.writer.begin_member(access, APPENDS).await {
            Ok(member) => member,
            Err(error) => return self.answer_all(jobs, Err(error)),
        };
        let result = match member.connection() {
            Ok(connection) => append_batch(self, connection, &appends_of(&jobs), Within::Callers).await,
            Err(error) => Err(error),
        };
        match member.settle(result) {
            Ok(batch) => {
                let shared = Arc::clone(self);
                let ended = member.end_with(move |outcome| {
                    match &outcome {
                        Ok(()) => shared.answer_all(jobs, Ok(batch)),
                        // Another write may have been the cause, so they are tried once more, alone.
                        Err(StoreError::Busy { .. }) => shared.queue.put_back(jobs),
                        Err(_) => {}
                    }
                    outcome
                });
                // Either the callers were told, or the next writer tells them.
                let _ = ended.await;
            }
            Err(error) => {
                let undone = member.undo().await;
                self.answer_all(jobs, Err(undone.err().unwrap_or(error)));
            }
        }
    }

    async fn write_by_itself(&self, mut writer: WriterGuard, appends: &[&Prepared]) -> Result<Batch, StoreError> {
        if self.inline.is_empty() {
            self.write_own(&mut writer, appends).await
        } else {
            self.write_with_inline(writer, appends).await
        }
    }

    /// Uses one round trip to the connection's thread for a single plain append. Others need two: one to decide, and
    /// one to write and commit.
    async fn write_own(&self, writer: &mut WriterGuard, appends: &[&Prepared]) -> Result<Batch, StoreError> {
        if let &[prepared] = appends
            && is_plain(prepared)
        {
            match append_alone(writer.for_transaction()?, prepared).await {
                Ok(stored) => {
                    writer.committed();
                    if let Some(batch) = stored {
                        return Ok(batch);
                    }
                }
                Err(error) => {
                    writer.rollback().await?;
                    return writer.settle(Err(error));
                }
            }
        }
        let result = append_batch(self, writer.for_transaction()?, appends, Within::Own).await;
        match &result {
            Ok(Batch { head: Some(_), .. }) => writer.committed(),
            _ => writer.rollback().await?,
        }
        writer.settle(result)
    }

    /// Uses a transaction that the driver knows, because handlers may have nested ones.
    async fn write_with_inline(&self, writer: WriterGuard, appends: &[&Prepared]) -> Result<Batch, StoreError> {
        let mut transaction = writer.begin().await?;
        let batch = append_batch(self, transaction.connection(), appends, Within::Callers).await;
        let batch = transaction.settle(batch)?;
        if batch.head.is_some() {
            transaction.commit().await?;
        }
        Ok(batch)
    }
}

fn appends_of(jobs: &[Job]) -> Vec<&Prepared> {
    jobs.iter().map(|job| &job.prepared).collect()
}

/// A caller that was dropped needs no answer.
fn answer(to: Answer, outcome: Result<Appended, StoreError>) {
    let _ = to.send(outcome);
}
