//! Group commit: the tasks that append for everybody in this process.
//!
//! A writer takes the appends that wait, calls the database once for all of them, and answers each caller. While it is at
//! that, the next ones gather. So nothing waits for a timer, and a store at rest appends at once. Only where other processes
//! had the ordering lock does the next batch gather for a moment, since it would wait for them anyway.
//!
//! In the ordinary mode one writer is at the database at a time: its commit is flushed before the ordering lock is released.
//! In the pipelined mode a writer commits without waiting, releases the lock, and then waits for a flush that covers
//! its commit, while the other writer appends the next batch.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use es_core::{Append, Appended, StoreError, limits};
use futures_util::FutureExt;
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, mpsc::error::TrySendError},
    task::JoinHandle,
};

use crate::{
    append::{Batch, Commit, call},
    connections::Kept,
    error::store_error,
    inline,
    queue::{Job, MAX_GATHERING, Queue},
    store::Shared,
};

/// Writers in the ordinary mode.
const ORDINARY_WRITERS: u32 = 1;
/// Writers in the pipelined mode, and so the most connections that append.
pub(crate) const MAX_WRITERS: u32 = 2;

const ENDED: &str = "the store was closed, or the runtime in which it was connected has ended; connect again";

/// The way to the writers. They end when it is dropped or closed, after the appends that wait.
pub(crate) struct Writers {
    /// `None` once it is closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    patience: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("the task that was writing was stopped: its runtime was shut down, or an inline projection panicked")]
struct WriterStopped;

impl Writers {
    /// Makes the way; [`start`](Self::start) puts somebody at its end.
    pub(crate) fn new(patience: Duration) -> (Self, Queue) {
        let (jobs, queue) = Queue::new(patience);
        (Self { jobs: Mutex::new(Some(jobs)), tasks: Mutex::default(), patience }, queue)
    }

    /// Starts the writers of a store on the current runtime.
    pub(crate) fn start(shared: &Arc<Shared>, queue: Queue) {
        let count = if shared.settings.pipelined { MAX_WRITERS } else { ORDINARY_WRITERS };
        let queue = Arc::new(AsyncMutex::new(queue));
        let writer = || Writer {
            shared: Arc::downgrade(shared),
            queue: Arc::clone(&queue),
            connection: Kept::default(),
            gathering: Duration::ZERO,
        };
        let tasks = (0..count).map(|_| tokio::spawn(writer().run())).collect();
        *shared.writers.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// Hands an append to the writers and waits for its outcome. It goes on when the caller is dropped.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, StoreError> {
        let closed = || StoreError::Refused { reason: ENDED };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (job, outcome) = Job::new(append);
        match jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return Err(closed()),
            Err(TrySendError::Full(job)) => match tokio::time::timeout(self.patience, jobs.send(job)).await {
                Ok(sent) => sent.map_err(|_| closed())?,
                Err(elapsed) => {
                    let waiting_for = "a place among the appends of this process that wait".to_owned();
                    return Err(StoreError::Busy { waiting_for, source: Some(elapsed.into()) });
                }
            },
        }
        drop(jobs);
        outcome.await.unwrap_or_else(|_| Err(StoreError::Unavailable { source: WriterStopped.into() }))
    }

    /// Refuses what could only fail: connections belong to the runtime in which they were opened, and that has ended.
    pub(crate) fn refuse_ended_runtime(&self) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match jobs.as_ref().is_some_and(mpsc::Sender::is_closed) {
            true => Err(StoreError::Refused { reason: ENDED }),
            false => Ok(()),
        }
    }

    /// Takes no more appends, and returns when those that wait are done.
    pub(crate) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // It ends, or its runtime has ended it.
            let _ = task.await;
        }
    }
}

/// One task that appends, by a connection of its own.
struct Writer {
    /// Not the store itself, which shall be dropped while its writers wait.
    shared: Weak<Shared>,
    queue: Arc<AsyncMutex<Queue>>,
    connection: Kept,
    /// For how long its next batch gathers.
    gathering: Duration,
}

impl Writer {
    async fn run(mut self) {
        loop {
            let jobs = {
                let mut queue = self.queue.lock().await;
                queue.gathering = self.gathering;
                queue.next_batch().await
            };
            let Some(jobs) = jobs else { return };
            // Without it all callers are gone.
            let Some(shared) = self.shared.upgrade() else { return };
            // A handler of an inline projection may panic; the appends of others are to go on. The callers of these jobs
            // hear that their outcome is unknown, and the connection was dropped with what it was at.
            if AssertUnwindSafe(self.write(&shared, jobs)).catch_unwind().await.is_err() {
                tracing::error!("a writer panicked, most likely in the handler of an inline projection; it goes on");
            }
        }
    }

    /// Writes jobs and answers them. A job that fails the call for all is sought by halves.
    async fn write(&mut self, shared: &Shared, jobs: Vec<Job>) {
        let mut batches = vec![jobs];
        while let Some(mut jobs) = batches.pop() {
            let appends: Vec<_> = jobs.iter().map(|job| &job.append).collect();
            tracing::trace!(appends = appends.len(), "a batch is written");
            let outcomes = match self.append(shared, &appends).await {
                Ok(batch) => batch.outcomes,
                Err(error) if jobs.len() > 1 && is_of_a_value(&error) => {
                    let second_half = jobs.split_off(jobs.len() / 2);
                    batches.extend([second_half, jobs]);
                    continue;
                }
                Err(error) => error.for_each_caller(jobs.len()).into_iter().map(Err).collect(),
            };
            for (job, outcome) in jobs.into_iter().zip(outcomes) {
                job.answer(outcome);
            }
        }
    }

    async fn append(&mut self, shared: &Shared, appends: &[&Append]) -> Result<Batch, StoreError> {
        let mut reconnects = limits::RECONNECTS_PER_CALL;
        let (batch, connection, start) = loop {
            let mut connection = self.connection.take(shared, &shared.append_pool).await?;
            let start = Instant::now();
            match append_durably(shared, &mut connection, appends).await {
                Err(error) if reconnects > 0 && shared.note_if_lost(&error) && shared.is_without_effect(&error) => {
                    reconnects -= 1;
                }
                batch => break (batch, connection, start),
            }
        };
        self.gathering = match &batch {
            // A part of what a turn takes where processes take turns.
            Ok(Batch { has_waited: true, .. }) => (start.elapsed() / 4).min(MAX_GATHERING),
            _ => Duration::ZERO,
        };
        // After an error of the connection, dropping it lets the pool look whether it is still good.
        if !matches!(batch, Err(StoreError::Unavailable { .. })) {
            self.connection.keep(connection);
        }
        batch
    }
}

/// Whether an error of a statement comes from a value in it, so that the others can be stored without.
fn is_of_a_value(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { .. } | StoreError::Backend { .. })
}

/// Appends in a transaction of the store's own, and returns when the outcomes are durable.
async fn append_durably(
    shared: &Shared,
    connection: &mut PgConnection,
    appends: &[&Append],
) -> Result<Batch, StoreError> {
    let commit = if shared.settings.pipelined { Commit::Unflushed } else { Commit::Flushed };
    let batch = if shared.inline.is_empty() && !shared.settings.pgbouncer {
        call(shared, connection, appends, commit).await?
    } else {
        let mut transaction = connection.begin_with(shared.begin.clone()).await.map_err(store_error)?;
        let batch = call(shared, &mut transaction, appends, commit).await?;
        inline::apply(shared, &mut transaction, appends, &batch).await?;
        transaction.commit().await.map_err(store_error)?;
        batch
    };
    // It can be seen, whether it is flushed or not.
    if let Some((after, head)) = batch.stored {
        if commit == Commit::Flushed {
            shared.signals.hand_on(after, || batch.recorded(appends));
        }
        shared.signals.announce(head.position(), batch.is_heard);
    }
    match shared.settings.pipelined {
        // Whatever goes wrong now, the appends have been committed, and may be durable or not.
        true if batch.is_acknowledged() => shared.flush(connection).await.map_err(unknown_outcome)?,
        true => {}
        false => shared.durability.flushed(batch.stored.map(|(_, head)| head.position())),
    }
    Ok(batch)
}

/// The error is kept as a source, so that nobody takes it for that of the append.
fn unknown_outcome(error: StoreError) -> StoreError {
    StoreError::Unavailable { source: error.into() }
}
