//! Group commit: the tasks that append for all callers in this process.
//!
//! A writer takes the waiting appends, calls the database once for all of them, and answers each caller. During the
//! call, the next appends collect. No append therefore waits for a timer, and an idle store appends immediately. Only
//! if other processes held the ordering lock does the next batch collect for a moment, because it would wait for them
//! anyway.
//!
//! In the ordinary mode, one writer at a time uses the database: its commit is flushed before the ordering lock is
//! released. In the pipelined mode, a writer commits without waiting, releases the lock, and then waits for a flush
//! that covers its commit, while the other writer appends the next batch.

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

/// The number of writers in the ordinary mode.
const ORDINARY_WRITERS: u32 = 1;
/// The number of writers in the pipelined mode, and therefore the maximum number of connections that append.
pub(crate) const MAX_WRITERS: u32 = 2;

const ENDED: &str = "the store was closed, or the runtime in which it was connected has ended; connect again";

/// Passes appends to the writers. The writers end when this value is dropped or closed, after the waiting appends.
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
    /// Creates the queue; [`start`](Self::start) starts the writers that read from it.
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

    /// Passes an append to the writers and waits for its outcome. The append continues if the caller is dropped.
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

    /// Refuses calls that could only fail, because connections belong to the runtime in which they were opened, and
    /// that runtime has ended.
    pub(crate) fn refuse_ended_runtime(&self) -> Result<(), StoreError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match jobs.as_ref().is_some_and(mpsc::Sender::is_closed) {
            true => Err(StoreError::Refused { reason: ENDED }),
            false => Ok(()),
        }
    }

    /// Accepts no more appends, and returns when the waiting ones are done.
    pub(crate) async fn close(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // The task ends, or its runtime has ended it.
            let _ = task.await;
        }
    }
}

/// A task that appends over its own connection.
struct Writer {
    /// A weak reference, so that the store can be dropped while its writers wait.
    shared: Weak<Shared>,
    queue: Arc<AsyncMutex<Queue>>,
    connection: Kept,
    /// How long its next batch collects appends.
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
            // Without the store, there are no callers left.
            let Some(shared) = self.shared.upgrade() else { return };
            // A handler of an inline projection may panic, but the appends of other callers must continue. The callers
            // of these jobs receive an unknown outcome, and the connection was dropped with its transaction.
            if AssertUnwindSafe(self.write(&shared, jobs)).catch_unwind().await.is_err() {
                tracing::error!("a writer panicked, most likely in the handler of an inline projection; it goes on");
            }
        }
    }

    /// Writes jobs and answers them. If one job fails the call for all, it is found by bisection.
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
            // A fraction of the time that one call takes when processes take turns.
            Ok(Batch { has_waited: true, .. }) => (start.elapsed() / 4).min(MAX_GATHERING),
            _ => Duration::ZERO,
        };
        // After a connection error, the connection is dropped, so that the pool checks whether it is still usable.
        if !matches!(batch, Err(StoreError::Unavailable { .. })) {
            self.connection.keep(connection);
        }
        batch
    }
}

/// Returns whether a statement's error comes from a value in it, so that the other appends can be stored without it.
fn is_of_a_value(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { .. } | StoreError::Backend { .. })
}

/// Appends in the store's own transaction, and returns when the outcomes are durable.
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
    // The append is visible, whether it is flushed or not.
    if let Some((after, head)) = batch.stored {
        if commit == Commit::Flushed {
            shared.signals.hand_on(after, || batch.recorded(appends));
        }
        shared.signals.announce(head.position(), batch.is_heard);
    }
    match shared.settings.pipelined {
        // Whatever fails from here on, the appends have been committed, and may be durable or not.
        true if batch.is_acknowledged() => shared.flush(connection).await.map_err(unknown_outcome)?,
        true => {}
        false => shared.durability.flushed(batch.stored.map(|(_, head)| head.position())),
    }
    Ok(batch)
}

/// Wraps the error as a source, so that it is not mistaken for an error of the append.
fn unknown_outcome(error: StoreError) -> StoreError {
    StoreError::Unavailable { source: error.into() }
}
