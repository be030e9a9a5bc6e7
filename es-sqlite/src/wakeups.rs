//! Hints that there may be new events: pushed within the store, and polled for other stores and processes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use es_core::{Bookmark, Position, StoreError, Wakeups};
use sqlx::SqliteConnection;
use tokio::runtime::Handle;

use crate::{
    append::{Batch, Prepared, recorded},
    error::store_error,
    read_all::read_head,
    store::Shared,
};

/// How often a store checks whether another store or process has appended. It checks only while a reader waits for
/// hints.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

const DATA_VERSION: &str = include_str!("../sql/data_version.sql");

/// Whether a task is running that looks for appends of other stores and processes.
#[derive(Default)]
pub(crate) struct Watch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_running: bool,
    is_closed: bool,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the task end at its next check.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }
}

impl Shared {
    /// Notifies readers of this store of the stored events, and keeps the events in memory for them.
    pub(crate) fn announce(&self, head: Position, appends: &[&Prepared], batch: &Batch) {
        if self.wakeups.has_subscribers() {
            let events = recorded(appends, &batch.outcomes);
            let before = events.first().map_or(head, |first| Position::new(first.position().get() - 1));
            self.recent.push(Bookmark::from_parts(before, batch.before_id), events);
        }
        self.wakeups.notify(head);
    }

    /// Returns the hints for one more reader. From now on, the task that looks for appends of other stores and
    /// processes is running.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Wakeups {
        let mut state = self.watch.lock();
        let wakeups = self.wakeups.subscribe();
        // Without a runtime, the task cannot run. Hints are allowed to be missing.
        if !state.is_running
            && !state.is_closed
            && let Ok(runtime) = Handle::try_current()
        {
            state.is_running = true;
            runtime.spawn(watch(Running { shared: Arc::downgrade(self), is_noted: true }));
        }
        wakeups
    }
}

/// Records the end of the task, however it ends, including the shutdown of its runtime.
struct Running {
    shared: Weak<Shared>,
    is_noted: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade().filter(|_| self.is_noted) {
            shared.watch.lock().is_running = false;
        }
    }
}

/// Looks for appends of other stores and processes, until no reader waits for hints or the store is dropped.
async fn watch(mut running: Running) {
    let mut poll = None;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let Some(shared) = running.shared.upgrade() else { return };
        {
            // Checked under the lock, so that no reader subscribes between the check and the end.
            let mut state = shared.watch.lock();
            if state.is_closed || !shared.wakeups.has_subscribers() {
                state.is_running = false;
                running.is_noted = false;
                return;
            }
        }
        match look(&shared, &mut poll).await {
            Ok(()) => {}
            // A later check would not find anything either. Readers get the same error from their next read.
            Err(error @ StoreError::Setup { .. }) => {
                tracing::error!(%error, "no more hints of appends of other processes");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "could not look for appends of other processes; trying again");
                poll = None;
            }
        }
    }
}

struct Poll {
    connection: SqliteConnection,
    data_version: Option<i64>,
}

async fn look(shared: &Shared, poll: &mut Option<Poll>) -> Result<(), StoreError> {
    shared.opened.check()?;
    let poll = match poll {
        Some(poll) => poll,
        None => poll.insert(Poll { connection: shared.readers.open().await?, data_version: None }),
    };
    let version: i64 = sqlx::query_scalar(DATA_VERSION).fetch_one(&mut poll.connection).await.map_err(store_error)?;
    // The first check counts as a change, because other processes may have appended before it.
    if poll.data_version != Some(version) {
        let head = read_head(&mut poll.connection).await.map_err(store_error)?;
        poll.data_version = Some(version);
        shared.wakeups.notify(head);
    }
    Ok(())
}
