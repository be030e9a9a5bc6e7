//! Hints that there may be new events: pushed within the store, polled for other stores and processes.

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

/// How often a store looks whether another store or process has appended; only while somebody waits for hints.
pub const POLL_INTERVAL: Duration = Duration::from_millis(50);

const DATA_VERSION: &str = include_str!("../sql/data_version.sql");

/// Whether there is a task that looks for appends of others.
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

    /// Lets the task end at its next look.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
    }
}

impl Shared {
    /// Tells readers of this store what was stored, and keeps it in memory for them.
    pub(crate) fn announce(&self, head: Position, appends: &[&Prepared], batch: &Batch) {
        if self.wakeups.has_subscribers() {
            let events = recorded(appends, &batch.outcomes);
            let before = events.first().map_or(head, |first| Position::new(first.position().get() - 1));
            self.recent.push(Bookmark::from_parts(before, batch.before_id), events);
        }
        self.wakeups.notify(head);
    }

    /// Hints for one more reader; the task that looks for appends of others runs from now on.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Wakeups {
        let mut state = self.watch.lock();
        let wakeups = self.wakeups.subscribe();
        // Without a runtime there is nothing to run it in; hints are allowed to be missing.
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

/// Notes the end of the task, however it ends: also when its runtime is shut down.
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

/// Looks for appends of others until nobody waits for hints, or the store is gone.
async fn watch(mut running: Running) {
    let mut poll = None;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let Some(shared) = running.shared.upgrade() else { return };
        {
            // Under the lock, so that nobody subscribes between the question and the end.
            let mut state = shared.watch.lock();
            if state.is_closed || !shared.wakeups.has_subscribers() {
                state.is_running = false;
                running.is_noted = false;
                return;
            }
        }
        match look(&shared, &mut poll).await {
            Ok(()) => {}
            // Nothing that a later look could find. Readers are told the same by their next read.
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
    // The first look counts as a change: others may have appended before it.
    if poll.data_version != Some(version) {
        let head = read_head(&mut poll.connection).await.map_err(store_error)?;
        poll.data_version = Some(version);
        shared.wakeups.notify(head);
    }
    Ok(())
}
