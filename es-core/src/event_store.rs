//! The contract of an event store, and asynchronous streams of events on top of it.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use futures_core::Stream;

use crate::{
    append::{Append, Appended, IdempotencyKey},
    bookmark::Bookmark,
    error::StoreError,
    event::RecordedEvent,
    event_filter::EventFilter,
    limits,
    position::Position,
    repository::CommandQueue,
    stream_id::StreamId,
    version::Version,
    wakeups::Wakeups,
};

/// The maximum number of events in a page: 1 to [`limits::MAX_PAGE_EVENTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(usize);

impl PageSize {
    /// Creates a page size of at most `events` events.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_PAGE_EVENTS`], and [`StoreError::Refused`] for 0.
    pub fn new(events: usize) -> Result<Self, StoreError> {
        match events {
            0 => Err(StoreError::Refused { reason: "a page of 0 events; ask for at least 1" }),
            1..=limits::MAX_PAGE_EVENTS => Ok(Self(events)),
            _ => Err(StoreError::LimitExceeded {
                what: "events in a page",
                limit: limits::MAX_PAGE_EVENTS as u64,
                actual: events as u64,
            }),
        }
    }

    /// Returns the number of events.
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(limits::DEFAULT_PAGE_EVENTS)
    }
}

/// A page of events of one stream, in order and without gaps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StreamPage {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// Whether the stream had no more events when the page was read.
    pub is_last: bool,
}

impl StreamPage {
    /// Creates a page. Stores report pages in this way.
    pub fn new(events: Vec<RecordedEvent>, is_last: bool) -> Self {
        Self { events, is_last }
    }
}

/// A page of events of the whole log, in the order of their positions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EventPage {
    /// The events that match the filter.
    pub events: Vec<RecordedEvent>,
    /// The last position that was examined. Pass it as the next `after`, whether or not the page contains events. It
    /// equals the previous `after` only if the log contains nothing newer.
    pub scanned_to: Position,
    /// The last position that is durable, that is, survives a crash of the database. Only a consumer whose checkpoint
    /// is in the same database may act on events after it.
    pub durable_to: Position,
    /// The position after which the page begins, with the ID of the event there. `None` if the store does not report
    /// it, or if there is no such event.
    pub after: Option<Bookmark>,
    /// An event at `scanned_to` or later, from the log that the page was read from. It proves that everything before it
    /// belongs to that log. `None` if the store does not report it.
    pub seen: Option<Bookmark>,
    /// Where the log ends, if that is before the position after which the page begins. In this case the log went back.
    pub log_end: Option<Position>,
}

impl EventPage {
    /// Creates a page. Stores report pages in this way.
    pub fn new(events: Vec<RecordedEvent>, scanned_to: Position, durable_to: Position) -> Self {
        let seen = events.last().map(Bookmark::of).filter(|last| last.position() == scanned_to);
        Self { events, scanned_to, durable_to, after: None, seen, log_end: None }
    }

    /// Returns the page with the place after which it begins, if the event there is known.
    #[must_use]
    pub fn coming_after(mut self, after: Bookmark) -> Self {
        self.after = Some(after).filter(|after| after.event_id().is_some());
        self
    }

    /// Returns the page with an event that proves which log it was read from.
    #[must_use]
    pub fn having_seen(mut self, seen: Option<Bookmark>) -> Self {
        self.seen = seen.filter(|seen| seen.event_id().is_some());
        self
    }

    /// Returns the page with the end of the log, which is before the position after which the page begins.
    #[must_use]
    pub fn beyond(mut self, log_end: Option<Position>) -> Self {
        self.log_end = log_end;
        self
    }

    /// Returns the bookmark of the end of the page, with the event there if it is known.
    pub fn end(&self) -> Bookmark {
        self.place(self.scanned_to)
    }

    /// Returns the bookmark of a position in the page or directly before it, with the event there if it is known.
    pub fn place(&self, position: Position) -> Bookmark {
        let event = self.events.binary_search_by_key(&position, |event| event.position()).ok();
        let event = event.and_then(|index| self.events.get(index)).map(Bookmark::of);
        let known = event.into_iter().chain(self.after).chain(self.seen).find(|known| known.position() == position);
        known.unwrap_or(Bookmark::unverified(position))
    }

    /// Checks that the page continues the log in which `after` was seen. The page must begin after that position.
    ///
    /// # Errors
    /// Returns [`StoreError::LogWentBack`] if the page belongs to another log.
    pub fn check_continues(&self, after: Bookmark) -> Result<(), StoreError> {
        let found = self.after.filter(|found| found.position() == after.position()).and_then(Bookmark::event_id);
        let is_other = matches!((after.event_id(), found), (Some(seen), Some(found)) if seen != found);
        if is_other || self.log_end.is_some() {
            return Err(StoreError::LogWentBack {
                position: after.position(),
                expected: after.event_id(),
                found,
                head: self.log_end,
            });
        }
        Ok(())
    }
}

/// An append-only log of events, grouped in streams.
///
/// Implementations provide the guarantees that the conformance suite of `es-testkit` checks. An append is atomic (G1),
/// conditional (G2), and safe to repeat (G3). Positions follow the order of commits without gaps (G4), so a reader that
/// has seen a position has seen every event before it (G5).
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect (G11). After a dropped
/// `append`, send the same append again to find out which.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Stores all events of the append, for all of its streams, or none.
    ///
    /// The append is durable when this method returns. Under the lock that orders all appends, the store checks the
    /// event IDs first, then the idempotency key, and then the expected versions. If all event IDs exist with equal
    /// content and places, or the key exists for the same [request](Append::request), the store returns the earlier
    /// outcome with `repeated` set. A key that exists for another request is [`StoreError::IdReused`], which [names the
    /// first use](StoreError::key_reused).
    ///
    /// # Errors
    /// - [`StoreError::Conflict`], [`StoreError::IdReused`], [`StoreError::Busy`], [`StoreError::LimitExceeded`]:
    ///   nothing was stored.
    /// - [`StoreError::Unavailable`]: the outcome is unknown. Send the same append again.
    async fn append(&self, append: &Append) -> Result<Appended, StoreError>;

    /// Returns the outcome of the append that was stored under a key, with `repeated` set and the digest of its
    /// [request](Appended::request). Returns `None` if there is no such append.
    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError>;

    /// Returns the events of one stream after a version, oldest first. For an unknown stream, it returns an empty last
    /// page.
    ///
    /// A page ends early at [`limits::MAX_PAGE_BYTES`].
    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError>;

    /// Returns the events of one stream after a version, for a caller that expects few events and continues with
    /// [`read_stream`](Self::read_stream). The page can have any size, but contains at least one event if there is one.
    /// A store may answer several such reads with one database call.
    async fn read_tail(&self, stream: &StreamId, after: Version) -> Result<StreamPage, StoreError> {
        self.read_stream(stream, after, PageSize::default()).await
    }

    /// Returns the events of the whole log after a position that match a filter, oldest first.
    ///
    /// A page ends early at [`limits::MAX_PAGE_BYTES`] of payload, or after [`limits::MAX_SCAN_POSITIONS`] positions.
    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError>;

    /// Returns the position of the last event that readers can see, or [`Position::ZERO`] for an empty store.
    async fn head(&self) -> Result<Position, StoreError>;

    /// Waits until every event up to `position` is durable, that is, survives a crash of the database.
    async fn wait_durable(&self, position: Position) -> Result<(), StoreError>;

    /// Checks that the log holds what was seen at a position. The check reads the database itself, not what this
    /// process keeps in memory. Another event at the position, or an earlier end of the log, means that the log went
    /// back.
    ///
    /// # Errors
    /// Returns [`StoreError::LogWentBack`]. In this case the store has dropped the events that it kept in memory.
    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        if seen == Bookmark::START {
            return Ok(());
        }
        let page = self.read_all(seen.position(), &EventFilter::all(), PageSize(1)).await?;
        page.check_continues(seen)
    }

    /// Drops the events that the store keeps in memory, if any. Call it when the log is known to have gone back.
    fn forget_recent(&self) {}

    /// Returns the wakeups, which hint that there may be new events. A hint may be late, missing, or unnecessary, so
    /// polling is still required.
    fn wakeups(&self) -> Wakeups;

    /// Returns the queue in which the commands of this process wait for their turn at a stream.
    ///
    /// All handles of a store return clones of one queue, so that commands of different repositories do not conflict
    /// with each other. By default, each repository has its own queue.
    fn command_queue(&self) -> CommandQueue {
        CommandQueue::default()
    }
}

#[async_trait]
impl<S: EventStore + ?Sized> EventStore for Arc<S> {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        (**self).append(append).await
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        (**self).find_append(key).await
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        (**self).read_stream(stream, after, page).await
    }

    async fn read_tail(&self, stream: &StreamId, after: Version) -> Result<StreamPage, StoreError> {
        (**self).read_tail(stream, after).await
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        (**self).read_all(after, filter, page).await
    }

    async fn head(&self) -> Result<Position, StoreError> {
        (**self).head().await
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        (**self).verify(seen).await
    }

    fn forget_recent(&self) {
        (**self).forget_recent();
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        (**self).wait_durable(position).await
    }

    fn wakeups(&self) -> Wakeups {
        (**self).wakeups()
    }

    fn command_queue(&self) -> CommandQueue {
        (**self).command_queue()
    }
}

/// An asynchronous stream of results that is read page by page.
pub type EventStream<'a, T, E> = Pin<Box<dyn Stream<Item = Result<T, E>> + Send + 'a>>;

/// Asynchronous streams of events over the pages of an [`EventStore`]. They use bounded memory, however long the
/// history is.
pub trait EventStoreExt: EventStore {
    /// Returns all events of one stream after a version, up to its current end.
    fn stream_events<'a>(&'a self, stream: &StreamId, after: Version) -> EventStream<'a, RecordedEvent, StoreError> {
        let stream = stream.clone();
        pages(Some(after), move |after| {
            let stream = stream.clone();
            async move {
                let page = self.read_stream(&stream, after, PageSize::default()).await?;
                let next = page.events.last().filter(|_| !page.is_last).map(|event| event.version());
                Ok((page.events, next))
            }
        })
    }

    /// Returns all events of the log after a position that match a filter, up to its current end.
    fn all_events<'a>(&'a self, after: Position, filter: &EventFilter) -> EventStream<'a, RecordedEvent, StoreError> {
        let filter = filter.clone();
        pages(Some(after), move |after| {
            let filter = filter.clone();
            async move {
                let page = self.read_all(after, &filter, PageSize::default()).await?;
                let next = Some(page.scanned_to).filter(|&scanned_to| scanned_to > after);
                Ok((page.events, next))
            }
        })
    }
}

impl<S: EventStore + ?Sized> EventStoreExt for S {}

/// Returns a stream over pages. `read` returns a page and where the next one starts, or `None` after the last page.
pub(crate) fn pages<'a, C, T, E, F, Fut>(start: Option<C>, read: F) -> EventStream<'a, T, E>
where
    C: Send + 'a,
    T: Send + 'a,
    E: Send + 'a,
    F: Fn(C) -> Fut + Send + Sync + 'a,
    Fut: Future<Output = Result<(Vec<T>, Option<C>), E>> + Send + 'a,
{
    use futures_util::stream::{TryStreamExt, iter, try_unfold};
    let read = Arc::new(read);
    Box::pin(
        try_unfold(start, move |cursor| {
            let read = Arc::clone(&read);
            async move {
                let Some(cursor) = cursor else { return Ok(None) };
                let (items, next) = read(cursor).await?;
                Ok(Some((iter(items.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten(),
    )
}
