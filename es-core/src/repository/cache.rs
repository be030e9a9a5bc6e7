//! The cached aggregates of a repository.

use std::{
    mem::{needs_drop, size_of},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use hashlink::LruCache;

use super::Loaded;
use crate::{aggregate::Aggregate, limits, stream_id::StreamId};

/// Limits for the aggregates that a repository caches. When one limit is reached, the least recently used aggregates
/// are removed.
///
/// ```
/// use es_core::CacheOptions;
/// let small = CacheOptions::default().max_states(100).max_bytes(1024 * 1024);
/// # let _ = small;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheOptions {
    max_states: usize,
    max_bytes: usize,
}

impl CacheOptions {
    /// Sets the maximum number of states; 0 disables the cache. The default is [`limits::DEFAULT_CACHED_STATES`].
    #[must_use]
    pub fn max_states(mut self, states: usize) -> Self {
        self.max_states = states;
        self
    }

    /// Returns the limits for states that only repeated commands need: at most [`limits::RECALLED_STATES`] and
    /// [`limits::RECALLED_BYTES`].
    pub(super) fn for_recalled(self) -> Self {
        Self {
            max_states: self.max_states.min(limits::RECALLED_STATES),
            max_bytes: self.max_bytes.min(limits::RECALLED_BYTES),
        }
    }

    /// Sets the maximum size of all states together in bytes, as far as [their sizes](Aggregate::memory_bytes) are
    /// known. A single state that is larger than this is not cached. The default is [`limits::DEFAULT_CACHED_BYTES`].
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { max_states: limits::DEFAULT_CACHED_STATES, max_bytes: limits::DEFAULT_CACHED_BYTES }
    }
}

/// Recent states by stream. They may be stale. A caller that uses a state must have it checked, either by the append or
/// by reading the tail of the stream.
pub(super) struct Cache<A> {
    options: CacheOptions,
    kept: Mutex<Kept<A>>,
    /// The share of recently used states that were stale, in units of 1 / [`STALENESS_SCALE`].
    staleness: AtomicU32,
}

const STALENESS_SCALE: u32 = 1 << 16;
/// The share from which reading the stream before the decision costs less than the appends that fail without it. A
/// conflict costs about three times as much as such a read, and the read is needed afterwards anyway.
const MAX_STALENESS: u32 = STALENESS_SCALE / 4;
/// The number of uses that the share covers.
const STALENESS_WINDOW: u32 = 32;

struct Kept<A> {
    states: LruCache<StreamId, Entry<A>>,
    bytes: usize,
}

struct Entry<A> {
    loaded: Loaded<A>,
    bytes: usize,
}

impl<A: Aggregate> Cache<A> {
    /// The size of an entry besides the state and the stream's name: two IDs, links, and the table's slot.
    const ENTRY_BYTES: usize = 192;

    pub(super) fn new(options: CacheOptions) -> Self {
        let kept = Kept { states: LruCache::new_unbounded(), bytes: 0 };
        Self { options, kept: Mutex::new(kept), staleness: AtomicU32::new(0) }
    }

    /// Records whether a state was stale when it was used.
    pub(super) fn note_use(&self, was_stale: bool) {
        // Lost updates of other tasks are harmless.
        let share = self.staleness.load(Ordering::Relaxed);
        let target = if was_stale { STALENESS_SCALE } else { 0 };
        let kept = u64::from(share) * u64::from(STALENESS_WINDOW - 1) + u64::from(target);
        let share = u32::try_from(kept / u64::from(STALENESS_WINDOW)).unwrap_or(STALENESS_SCALE);
        self.staleness.store(share, Ordering::Relaxed);
    }

    /// Returns whether states are fresh often enough to decide on them without reading the stream.
    pub(super) fn is_mostly_fresh(&self) -> bool {
        self.staleness.load(Ordering::Relaxed) < MAX_STALENESS
    }

    /// Returns the cached state of a stream, which may be stale.
    pub(super) fn get(&self, stream: &StreamId) -> Option<Loaded<A>> {
        self.kept().states.get(stream).map(|entry| entry.loaded.clone())
    }

    /// Caches a state, unless a newer one of its stream is cached.
    pub(super) fn put(&self, stream: &StreamId, loaded: &Loaded<A>) {
        self.keep(stream, loaded, false);
    }

    /// Caches a state in place of any other one of its stream.
    pub(super) fn replace(&self, stream: &StreamId, loaded: &Loaded<A>) {
        self.keep(stream, loaded, true);
    }

    fn keep(&self, stream: &StreamId, loaded: &Loaded<A>, may_be_older: bool) {
        if loaded.last_event.is_none() {
            return;
        }
        let bytes = Self::ENTRY_BYTES + stream.as_str().len() + loaded.bytes();
        // Filled under the lock and dropped after it, because dropping a large state takes time.
        let mut dropped = Vec::new();
        let mut kept = self.kept();
        if !may_be_older && kept.states.peek(stream).is_some_and(|entry| entry.loaded.version > loaded.version) {
            return;
        }
        if bytes > self.options.max_bytes || self.options.max_states == 0 {
            dropped.extend(kept.remove(stream));
            return;
        }
        kept.bytes += bytes;
        if let Some(replaced) = kept.states.insert(stream.clone(), Entry { loaded: loaded.clone(), bytes }) {
            kept.bytes -= replaced.bytes;
            dropped.push(replaced);
        }
        while kept.states.len() > self.options.max_states || kept.bytes > self.options.max_bytes {
            let Some((_, oldest)) = kept.states.remove_lru() else { break };
            kept.bytes -= oldest.bytes;
            dropped.push(oldest);
        }
    }

    /// Removes a state that turned out to be useless. If it has been replaced in the meantime, the replacement is kept.
    pub(super) fn forget(&self, stream: &StreamId, useless: &Loaded<A>) {
        let mut kept = self.kept();
        let is_it = kept.states.peek(stream).is_some_and(|entry| entry.loaded.ends_like(useless));
        let dropped = if is_it { kept.remove(stream) } else { None };
        drop(kept);
        drop(dropped);
    }

    /// No foreign code runs under this lock, so the data behind a poisoned lock is complete.
    fn kept(&self) -> MutexGuard<'_, Kept<A>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Kept<A> {
    fn remove(&mut self, stream: &StreamId) -> Option<Entry<A>> {
        let removed = self.states.remove(stream)?;
        self.bytes -= removed.bytes;
        Some(removed)
    }
}

impl<A: Aggregate> Loaded<A> {
    /// See [`Aggregate::memory_bytes`].
    fn bytes(&self) -> usize {
        self.state.memory_bytes().unwrap_or_else(|| {
            let on_the_heap = if needs_drop::<A>() { self.source_bytes } else { 0 };
            size_of::<A>() + on_the_heap
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::{Deserialize, Serialize};
    use uuid::Uuid;

    use super::*;
    use crate::{domain_event::DomainEvent, version::Version};

    #[derive(Serialize, Deserialize)]
    enum Event {
        Added,
    }

    impl DomainEvent for Event {
        const CATEGORY: &'static str = "list";
    }

    /// A state that says how large it is, or does not.
    #[derive(Default, Clone)]
    struct List {
        says: Option<usize>,
        _items: Vec<u8>,
    }

    impl Aggregate for List {
        type Event = Event;
        type Command = ();
        type Error = std::convert::Infallible;

        fn handle(&self, (): &()) -> Result<Vec<Event>, Self::Error> {
            Ok(vec![Event::Added])
        }

        fn apply(&mut self, Event::Added: &Event) {}

        fn memory_bytes(&self) -> Option<usize> {
            self.says
        }
    }

    fn stream(id: usize) -> StreamId {
        StreamId::new("list", &format!("{id:03}")).unwrap()
    }

    fn state(version: u64, says: Option<usize>, source_bytes: usize) -> Loaded<List> {
        let state = Arc::new(List { says, _items: Vec::new() });
        Loaded { state, version: Version::new(version), last_event: Some(Uuid::now_v7()), source_bytes }
    }

    fn kept(cache: &Cache<List>) -> Vec<usize> {
        (0..100).filter(|&id| cache.kept().states.peek(&stream(id)).is_some()).collect()
    }

    #[test]
    fn states_that_are_often_stale_are_not_tried_until_they_are_fresh_again() {
        let cache = Cache::<List>::new(CacheOptions::default());
        (0..100).for_each(|n| cache.note_use(n % 10 == 0));
        assert!(cache.is_mostly_fresh());
        (0..100).for_each(|n| cache.note_use(n % 2 == 0));
        assert!(!cache.is_mostly_fresh());
        (0..100).for_each(|_| cache.note_use(false));
        assert!(cache.is_mostly_fresh());
    }

    #[test]
    fn the_bytes_of_all_states_stay_within_their_bound() {
        for (says, source_bytes) in [(Some(1_000), 7), (None, 1_000)] {
            let cache = Cache::new(CacheOptions::default().max_bytes(10_000));
            for id in 0..50 {
                cache.put(&stream(id), &state(1, says, source_bytes));
                assert!(cache.kept().bytes <= 10_000);
            }
            assert_eq!(kept(&cache), (42..50).collect::<Vec<_>>(), "about 1200 bytes each");
            cache.put(&stream(49), &state(2, says, 3_000).clone());
            cache.put(&stream(48), &state(2, Some(20_000), 0));
            assert!(!kept(&cache).contains(&48), "too large, and what was there is stale");
            for id in 0..50 {
                let now = cache.get(&stream(id));
                now.iter().for_each(|now| cache.forget(&stream(id), now));
            }
            let bytes = cache.kept().bytes;
            assert_eq!((bytes, kept(&cache)), (0, vec![]));
        }
    }

    #[test]
    fn a_state_that_owns_nothing_takes_its_own_size() {
        #[derive(Default, Clone)]
        struct Sum(#[expect(dead_code, reason = "its size is what counts")] u64);
        impl Aggregate for Sum {
            type Event = Event;
            type Command = ();
            type Error = std::convert::Infallible;
            fn handle(&self, (): &()) -> Result<Vec<Event>, Self::Error> {
                Ok(vec![])
            }
            fn apply(&mut self, Event::Added: &Event) {}
        }
        let loaded = |source_bytes| Loaded { source_bytes, ..Loaded::<Sum>::nothing() };
        assert_eq!((loaded(1_000_000).bytes(), state(1, None, 1_000_000).bytes() > 1_000_000), (8, true));
    }

    #[test]
    fn an_older_state_takes_no_newer_ones_place_and_what_is_forgotten_is_the_same() {
        let cache = Cache::new(CacheOptions::default());
        let (older, newer) = (state(1, None, 0), state(2, None, 0));
        cache.put(&stream(0), &newer);
        cache.put(&stream(0), &older);
        assert!(cache.get(&stream(0)).unwrap().ends_like(&newer));
        cache.forget(&stream(0), &older);
        cache.forget(&stream(0), &state(2, None, 0));
        assert!(cache.get(&stream(0)).unwrap().ends_like(&newer));
        cache.forget(&stream(0), &newer);
        assert!(cache.get(&stream(0)).is_none());
    }
}
