//! A memory store with a bad network that is watched and can be told to misbehave.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use es_core::{
    Append, Appended, Bookmark, EventFilter, EventPage, EventStore, IdempotencyKey, MemoryStore, PageSize, Position,
    StoreError, StreamId, StreamPage, Version, WakeupSender, Wakeups,
};
use es_testkit::{FaultPlan, FaultyStore};
use tokio::sync::watch;

#[derive(Clone)]
pub(crate) struct WatchedStore {
    pub(crate) inner: FaultyStore<MemoryStore>,
    pub(crate) seen: Arc<Seen>,
}

/// What was asked of the store, and what it is told to do.
pub(crate) struct Seen {
    reads: AtomicUsize,
    reads_under_way: AtomicUsize,
    largest_page: AtomicUsize,
    /// The store sends no hints.
    pub(crate) is_silent: AtomicBool,
    /// What the next reads of the log answer.
    pub(crate) read_failures: Mutex<VecDeque<StoreError>>,
    pub(crate) waits_for_durability: Mutex<Vec<u64>>,
    /// What the next waits for durability answer.
    pub(crate) wait_failures: Mutex<VecDeque<StoreError>>,
    /// A crash would take away what comes after this.
    pub(crate) durable_to: watch::Sender<u64>,
    /// The log seems to end here.
    pub(crate) head: Mutex<Option<Position>>,
}

pub(crate) fn unavailable() -> StoreError {
    StoreError::Unavailable { source: "connection reset".into() }
}

impl WatchedStore {
    pub(crate) fn new() -> Self {
        Self::with(FaultPlan::none())
    }

    pub(crate) fn with(plan: FaultPlan) -> Self {
        let seen = Seen {
            reads: AtomicUsize::default(),
            reads_under_way: AtomicUsize::default(),
            largest_page: AtomicUsize::default(),
            is_silent: AtomicBool::default(),
            read_failures: Mutex::default(),
            waits_for_durability: Mutex::default(),
            wait_failures: Mutex::default(),
            durable_to: watch::Sender::new(u64::MAX),
            head: Mutex::default(),
        };
        Self { inner: FaultyStore::new(MemoryStore::new(), plan), seen: Arc::new(seen) }
    }

    pub(crate) fn reads(&self) -> usize {
        self.seen.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn reads_under_way(&self) -> usize {
        self.seen.reads_under_way.load(Ordering::SeqCst)
    }

    pub(crate) fn largest_page(&self) -> usize {
        self.seen.largest_page.load(Ordering::SeqCst)
    }
}

fn next_failure(failures: &Mutex<VecDeque<StoreError>>) -> Result<(), StoreError> {
    failures.lock().unwrap().pop_front().map_or(Ok(()), Err)
}

struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl EventStore for WatchedStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.inner.append(append).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.inner.find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.inner.read_stream(stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.seen.reads.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay::enter(&self.seen.reads_under_way);
        // Every call is a place to be overtaken or dropped, before it is carried out and after.
        tokio::task::yield_now().await;
        next_failure(&self.seen.read_failures)?;
        let mut page = self.inner.read_all(after, filter, page).await?;
        let head = *self.seen.head.lock().unwrap();
        page.log_end = page.log_end.or(head.filter(|&head| head < after));
        tokio::task::yield_now().await;
        self.seen.largest_page.fetch_max(page.events.len(), Ordering::SeqCst);
        page.durable_to = page.durable_to.min(Position::new(*self.seen.durable_to.borrow()));
        Ok(page)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        let head = self.inner.head().await?;
        Ok(self.seen.head.lock().unwrap().unwrap_or(head))
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        let (position, expected) = (seen.position(), seen.event_id());
        let head = *self.seen.head.lock().unwrap();
        match head {
            Some(head) if head < position => {
                Err(StoreError::LogWentBack { position, expected, found: None, head: Some(head) })
            }
            _ => self.inner.verify(seen).await,
        }
    }

    fn forget_recent(&self) {
        self.inner.forget_recent();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.seen.waits_for_durability.lock().unwrap().push(position.get());
        next_failure(&self.seen.wait_failures)?;
        let mut durable_to = self.seen.durable_to.subscribe();
        durable_to.wait_for(|&durable_to| durable_to >= position.get()).await.expect("the sender is there");
        Ok(())
    }

    fn wakeups(&self) -> Wakeups {
        match self.seen.is_silent.load(Ordering::SeqCst) {
            true => WakeupSender::new().subscribe(),
            false => self.inner.wakeups(),
        }
    }
}
