//! Commands of one process on one aggregate, one after the other.
//!
//! Nothing depends on it but speed: two commands that decide at once on one aggregate are a conflict, of which one is
//! decided again. Here the second waits for the first and decides on what that has left at hand.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::stream_id::StreamId;

/// Whose turn it is, for each stream that somebody is at.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// One permit for each stream.
    taken: Mutex<HashMap<StreamId, Arc<Semaphore>>>,
}

impl Turns {
    /// Waits until nobody else is at a stream, in the order of asking; or until whoever is at it lets all go.
    pub(super) async fn take(self: &Arc<Self>, stream: &StreamId) -> Turn {
        let semaphore = Arc::clone(self.taken().entry(stream.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))));
        // There before the wait: it clears up after a caller that gives up.
        let mut turn = Turn { turns: Arc::clone(self), stream: stream.clone(), semaphore, permit: None };
        turn.permit = Arc::clone(&turn.semaphore).acquire_owned().await.ok();
        turn
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Semaphore>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be at a stream, until it is dropped.
pub(super) struct Turn {
    turns: Arc<Turns>,
    stream: StreamId,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Lets everybody who waits go on at once: the store fails, and each of them shall hear it from the store, in its own
    /// time.
    pub(super) fn let_all_go(&self) {
        self.semaphore.close();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.permit = None;
        let mut taken = self.turns.taken();
        if let Entry::Occupied(entry) = taken.entry(self.stream.clone())
            && Arc::ptr_eq(entry.get(), &self.semaphore)
            // The map's and this one: nobody else waits. More can come only under the lock.
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
        let turns = Arc::<Turns>::default();
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
        assert!(turns.taken().is_empty());
    }

    #[test]
    fn whoever_meets_a_failing_store_lets_the_others_go() {
        let turns = Arc::<Turns>::default();
        let ann = stream("ann");
        let first = turns.take(&ann).now_or_never().unwrap();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(turns.take(&ann))).collect();
        assert!(waiting.iter_mut().all(|turn| turn.as_mut().now_or_never().is_none()));
        first.let_all_go();
        let gone: Vec<_> = waiting.into_iter().map(|turn| turn.now_or_never().unwrap()).collect();
        drop((first, gone));
        assert!(turns.taken().is_empty());
        let later = turns.take(&ann).now_or_never().unwrap();
        assert!(turns.take(&ann).now_or_never().is_none());
        drop(later);
    }
}
