//! A store that another one can take the place of: what a restored backup or a lost tail looks like.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use es_core::{
    Append, Appended, Bookmark, EventFilter, EventPage, EventStore, IdempotencyKey, PageSize, Position, StoreError,
    StreamId, StreamPage, Version, Wakeups,
};

/// One store until it is switched to the other.
#[derive(Debug, Clone)]
pub(super) struct SwitchingStore<S> {
    before: S,
    after: S,
    is_switched: Arc<AtomicBool>,
}

impl<S> SwitchingStore<S> {
    pub(super) fn new(before: S, after: S) -> Self {
        Self { before, after, is_switched: Arc::default() }
    }

    pub(super) fn switch(&self) {
        self.is_switched.store(true, Ordering::SeqCst);
    }

    fn store(&self) -> &S {
        if self.is_switched.load(Ordering::SeqCst) { &self.after } else { &self.before }
    }
}

#[async_trait]
impl<S: EventStore> EventStore for SwitchingStore<S> {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.store().append(append).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.store().find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.store().read_stream(stream, after, page).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        self.store().read_all(after, filter, page).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.store().head().await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        self.store().verify(seen).await
    }

    fn forget_recent(&self) {
        self.store().forget_recent();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store().wait_durable(position).await
    }

    fn wakeups(&self) -> Wakeups {
        self.store().wakeups()
    }
}
