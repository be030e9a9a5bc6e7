//! The contract of an event store, and streams of events on top of it.

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

/// How many events a page may hold: 1 to [`limits::MAX_PAGE_EVENTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(usize);

impl PageSize {
    /// A page of at most `events` events.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_PAGE_EVENTS`], [`StoreError::Refused`] for 0.
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

    /// The number of events.
    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(limits::DEFAULT_PAGE_EVENTS)
    }
}

/// Some events of one stream, in order, without gaps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StreamPage {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// Whether the stream had no further event when the page was read.
    pub is_last: bool,
}

impl StreamPage {
    /// A page, as stores report it.
    pub fn new(events: Vec<RecordedEvent>, is_last: bool) -> Self {
        Self { events, is_last }
    }
}

/// Some events of the whole log, in the order of their positions.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EventPage {
    /// The events that pass the filter.
    pub events: Vec<RecordedEvent>,
    /// Everything up to here was looked at: pass it back as the next `after`, whether or not events were found. It
    /// equals the old `after` only if there is nothing newer.
    pub scanned_to: Position,
    /// Everything up to here survives a crash of the database. Only a consumer whose checkpoint lives in the same
    /// database may act on events above it.
    pub durable_to: Position,
    /// The place after which the page begins, with the event there. `None` if the store does not say, or if there is none.
    pub after: Option<Bookmark>,
    /// An event at `scanned_to` or after it, of the log that the page was read from: proof of everything before it. `None` if
    /// the store does not say.
    pub seen: Option<Bookmark>,
    /// Where the log ends, if that is before the position after which the page begins: the log went back.
    pub log_end: Option<Position>,
}

impl EventPage {
    /// A page, as stores report it.
    pub fn new(events: Vec<RecordedEvent>, scanned_to: Position, durable_to: Position) -> Self {
        let seen = events.last().map(Bookmark::of).filter(|last| last.position() == scanned_to);
        Self { events, scanned_to, durable_to, after: None, seen, log_end: None }
    }

    /// The same page with the place after which it begins, if the event there is known.
    #[must_use]
    pub fn coming_after(mut self, after: Bookmark) -> Self {
        self.after = Some(after).filter(|after| after.event_id().is_some());
        self
    }

    /// The same page with an event that proves which log it was read from.
    #[must_use]
    pub fn having_seen(mut self, seen: Option<Bookmark>) -> Self {
        self.seen = seen.filter(|seen| seen.event_id().is_some());
        self
    }

    /// The same page, of a log that ends before the position after which it begins.
    #[must_use]
    pub fn beyond(mut self, log_end: Option<Position>) -> Self {
        self.log_end = log_end;
        self
    }

    /// Where the page ends, with the event there if it is known.
    pub fn end(&self) -> Bookmark {
        self.place(self.scanned_to)
    }

    /// A place within the page or right before it, with the event there if it is known.
    pub fn place(&self, position: Position) -> Bookmark {
        let event = self.events.binary_search_by_key(&position, |event| event.position()).ok();
        let event = event.and_then(|index| self.events.get(index)).map(Bookmark::of);
        let known = event.into_iter().chain(self.after).chain(self.seen).find(|known| known.position() == position);
        known.unwrap_or(Bookmark::unverified(position))
    }

    /// Checks that the page continues the log in which `after` was seen. It begins after that position.
    ///
    /// # Errors
    /// [`StoreError::LogWentBack`].
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
/// Implementations hold the guarantees that the conformance suite of `es-testkit` checks: an append is atomic (G1),
/// conditional (G2) and safe to repeat (G3); positions follow the order of commits without gaps (G4), so a reader
/// that has seen a position has seen every event before it (G5).
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not (G11). After a
/// dropped `append`, send the same append again to learn which.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Stores all events of the append, over all its streams, or none.
    ///
    /// It is durable when this returns. Under the lock that orders all appends, the store looks at the event ids
    /// first, then at the idempotency key, then at the expected versions:
    /// all ids there with equal content and place, or the key there for the same [request](Append::request), is the
    /// earlier outcome with `repeated` set. A key that is there for another request is [`StoreError::IdReused`], which
    /// [names the first use](StoreError::key_reused).
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::IdReused`], [`StoreError::Busy`], [`StoreError::LimitExceeded`]: nothing was stored.
    /// [`StoreError::Unavailable`]: unknown; send the same append again.
    async fn append(&self, append: &Append) -> Result<Appended, StoreError>;

    /// The outcome of the append that was stored under a key, with `repeated` set and the digest of its
    /// [request](Appended::request); `None` if there is none.
    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError>;

    /// The events of one stream after a version, oldest first. An unknown stream is an empty last page.
    ///
    /// A page ends early at [`limits::MAX_PAGE_BYTES`].
    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError>;

    /// The same where few events are expected, by a caller that goes on with [`read_stream`](Self::read_stream): a page of any
    /// size, with one event at least if there is any. A store may answer several such reads by one call.
    async fn read_tail(&self, stream: &StreamId, after: Version) -> Result<StreamPage, StoreError> {
        self.read_stream(stream, after, PageSize::default()).await
    }

    /// The events of the whole log after a position that pass a filter, oldest first.
    ///
    /// A page ends early at [`limits::MAX_PAGE_BYTES`] of payload, or after [`limits::MAX_SCAN_POSITIONS`] positions.
    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError>;

    /// The position of the last event that readers can see; [`Position::ZERO`] in an empty store.
    async fn head(&self) -> Result<Position, StoreError>;

    /// Returns when every event up to `position` survives a crash of the database.
    async fn wait_durable(&self, position: Position) -> Result<(), StoreError>;

    /// Checks against the database itself, not against what this process keeps in memory, that the log holds what was seen at a
    /// position: another event there, or an earlier end, means that the log went back.
    ///
    /// # Errors
    /// [`StoreError::LogWentBack`]. The store has dropped what it kept in memory of the log.
    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        if seen == Bookmark::START {
            return Ok(());
        }
        let page = self.read_all(seen.position(), &EventFilter::all(), PageSize(1)).await?;
        page.check_continues(seen)
    }

    /// Drops the events that the store keeps in memory, if it keeps any: the log is known to have gone back.
    fn forget_recent(&self) {}

    /// Hints that there may be new events. A hint may be late, missing or needless: polling is the truth.
    fn wakeups(&self) -> Wakeups;

    /// The queue in which the commands of this process wait for their turn at a stream. All handles of a store return
    /// clones of one queue, so that commands of different repositories do not lose races against each other. By default
    /// each repository has a queue of its own.
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

/// A stream of results, read page by page.
pub type EventStream<'a, T, E> = Pin<Box<dyn Stream<Item = Result<T, E>> + Send + 'a>>;

/// Streams of events over the pages of an [`EventStore`]: bounded memory, however long the history.
pub trait EventStoreExt: EventStore {
    /// All events of one stream after a version, to its present end.
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

    /// All events of the log after a position that pass a filter, to the present end.
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

/// A stream over pages: `read` gives a page and where the next one starts, or `None` after the last.
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
