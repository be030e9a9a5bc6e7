//! Executes the commands of one process on one aggregate one after the other.
//!
//! This only improves speed. If two commands decide on one aggregate at the same time, they conflict, and one of them
//! is decided again. With the queue, the second command waits for the first and decides on the state that the first one
//! cached.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{limits, stream_id::StreamId};

/// A future that completes after a time.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The queue of the commands that one process executes on one store. The commands of all of its repositories take turns
/// at each stream.
///
/// A store keeps one, and returns clones of it with [`EventStore::command_queue`](crate::EventStore::command_queue).
#[derive(Clone, Default)]
pub struct CommandQueue {
    streams: Arc<Streams>,
    sleep: Option<fn(Duration) -> Sleep>,
}

/// One permit for each stream that a command works on.
#[derive(Default)]
struct Streams(Mutex<HashMap<StreamId, Arc<Semaphore>>>);

impl CommandQueue {
    /// Creates an empty queue whose commands pause with `sleep` before they are decided again. A store passes the
    /// function of its runtime. Without it, as in [`default`](Default::default), commands try again immediately.
    pub fn with_sleep(sleep: fn(Duration) -> Sleep) -> Self {
        Self { streams: Arc::default(), sleep: Some(sleep) }
    }

    /// Waits until no other command works on a stream, in the order of the calls, or until the command that has the
    /// turn releases all waiters.
    pub(super) async fn take(&self, stream: &StreamId) -> Turn {
        let streams = Arc::clone(&self.streams);
        let new = || Arc::new(Semaphore::new(1));
        let semaphore = Arc::clone(streams.taken().entry(stream.clone()).or_insert_with(new));
        // Created before the wait, so that it cleans up if the caller gives up.
        let mut turn = Turn { streams, stream: stream.clone(), semaphore, permit: None };
        turn.permit = Arc::clone(&turn.semaphore).acquire_owned().await.ok();
        turn
    }

    /// Pauses for a random time after a lost race, so that commands that lost together do not conflict again. The more
    /// races a command has lost, the sooner it tries again, so that newer commands do not starve it.
    pub(super) async fn pause(&self, lost_races: u32) {
        if let Some(sleep) = self.sleep {
            // Each `RandomState` has its own keys.
            let random = RandomState::new().build_hasher().finish() >> 11;
            let share = random as f64 / (1_u64 << 53) as f64;
            sleep(longest_pause(lost_races).mul_f64(share)).await;
        }
    }

    /// Returns the address of the data that clones share, which identifies the queue.
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.streams).addr()
    }
}

fn longest_pause(lost_races: u32) -> Duration {
    limits::MAX_CONFLICT_PAUSE / lost_races.max(1)
}

impl fmt::Debug for CommandQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandQueue").finish_non_exhaustive()
    }
}

impl Streams {
    fn taken(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to work on a stream, until it is dropped.
pub(super) struct Turn {
    streams: Arc<Streams>,
    stream: StreamId,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Releases all waiters at once. If the store fails, each of them must receive the error from the store without
    /// waiting for its turn.
    pub(super) fn let_all_go(&self) {
        self.semaphore.close();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        let mut taken = self.streams.taken();
        if let Entry::Occupied(entry) = taken.entry(self.stream.clone())
            && Arc::ptr_eq(entry.get(), &self.semaphore)
            // The map's reference and this one: there are no waiters. New ones can only come under the lock.
            && (Arc::strong_count(entry.get()) == 2 || self.semaphore.is_closed())
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn stream(id: &str) -> StreamId {
        StreamId::new("account", id).unwrap()
    }

    #[test]
    fn a_stream_is_taken_by_one_after_the_other_and_leaves_nothing_behind() {
        let turns = CommandQueue::default();
        let (ann, bob) = (stream("ann"), stream("bob"));
        let first = turns.take(&ann).now_or_never().unwrap();
        let mut second = Box::pin(turns.take(&ann));
        let mut third = Box::pin(turns.take(&ann));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        let other = turns.take(&bob).now_or_never().unwrap();
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "it came after the second");
        let second = second.now_or_never().unwrap();
        drop(third);
        drop((second, other));
        assert!(turns.streams.taken().is_empty());
    }

    #[test]
    fn a_command_that_meets_a_failing_store_lets_the_others_run() {
        let turns = CommandQueue::default();
        let ann = stream("ann");
        let first = turns.take(&ann).now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.take(&ann))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        first.let_all_go();
        let gone: Vec<_> = waiting.into_iter().map(|turn| turn.now_or_never().unwrap()).collect();
        drop((first, gone));
        assert!(turns.streams.taken().is_empty());
        let later = turns.take(&ann).now_or_never().unwrap();
        assert!(turns.take(&ann).now_or_never().is_none());
        drop(later);
    }

    #[test]
    fn pauses_get_shorter_the_more_races_are_lost() {
        assert_eq!((longest_pause(0), longest_pause(1)), (limits::MAX_CONFLICT_PAUSE, limits::MAX_CONFLICT_PAUSE));
        assert!((1..100).all(|lost| longest_pause(lost + 1) < longest_pause(lost)));
    }
}
