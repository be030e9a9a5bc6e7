//! The log, read once for all partitions of a consumer.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use es_core::{Bookmark, EventKey, EventPage, PageSize, Position, RecordedEvent, StoreError};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    consumer::Consumer,
    error::{Chain, HandlerPanic},
    limits,
    partition_slice::PartitionSlice,
    tail::{Fetched, Tail},
};

/// The latest pages that some partition of a consumer has read, with the keys of their events. A partition is served from them;
/// the one that is furthest reads the next page for all. One that has fallen behind them reads for itself.
pub(crate) struct Feed {
    tail: Arc<Tail>,
    /// Of any generation: the keys and the filter are the same in all of them.
    consumer: Box<dyn Consumer>,
    kept: Mutex<VecDeque<Chunk>>,
}

struct Chunk {
    after: Position,
    page: EventPage,
    read_at: Instant,
    keys: Vec<Keys>,
}

/// What the consumer's code says about the keys of an event.
enum Keys {
    Told(Vec<EventKey>),
    /// It does not know the type of the event.
    OfUnknownType,
    /// It cannot tell, and why.
    NotTold(String),
}

/// What a partition reads.
pub(crate) enum Fed {
    /// Its own events.
    Page(Fetched),
    /// The next event is one whose keys the consumer's code cannot tell.
    NoKey { event: Position, problem: String },
}

impl Feed {
    pub(crate) fn new(tail: Arc<Tail>, consumer: Box<dyn Consumer>) -> Self {
        Self { tail, consumer, kept: Mutex::default() }
    }

    /// Where it reads.
    pub(crate) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// The own events of a partition after a position, up to a number of them.
    ///
    /// # Errors
    /// [`StoreError::LogWentBack`] if the log does not continue what the partition has read.
    pub(crate) async fn read(&self, place: Bookmark, size: usize, slice: &PartitionSlice) -> Result<Fed, StoreError> {
        let after = place.position();
        // The others wait for this: it is what they will want.
        let mut kept = self.kept.lock().await;
        if let Some(chunk) = kept.iter().find(|chunk| chunk.after <= after && after < chunk.page.scanned_to) {
            let part = chunk.part(after, size, slice);
            if let Fed::Page(fetched) = &part {
                fetched.page.check_continues(place)?;
            }
            return Ok(part);
        }
        let largest = PageSize::new(limits::MOST_EVENTS_PER_PAGE)?;
        let Fetched { mut page, read_at } = self.tail.read(place, self.consumer.filter(), largest).await?;
        if page.scanned_to > page.durable_to {
            // What is kept must not vanish, nor what a partition passes over because nothing of it is its own.
            self.tail.wait_durable(page.scanned_to).await?;
            page.durable_to = page.scanned_to;
        }
        let keys = page.events.iter().map(|event| self.keys(event)).collect();
        let chunk = Chunk { after, page, read_at, keys };
        let part = chunk.part(after, size, slice);
        let is_behind = kept.front().is_some_and(|first| after < first.after);
        if !is_behind && chunk.page.scanned_to > after {
            if kept.back().is_some_and(|last| last.page.scanned_to != after) {
                kept.clear();
            }
            kept.push_back(chunk);
            if kept.len() > limits::PAGES_PER_FEED {
                kept.pop_front();
            }
        }
        Ok(part)
    }

    /// Drops what is kept: the log went back.
    pub(crate) async fn forget(&self) {
        self.kept.lock().await.clear();
        self.tail.forget().await;
    }

    /// The keys of an event, or why they cannot be told.
    fn keys(&self, event: &RecordedEvent) -> Keys {
        if !self.consumer.knows(event) {
            return Keys::OfUnknownType;
        }
        let ask = || catch_unwind(AssertUnwindSafe(|| self.consumer.try_keys(event)));
        match (ask(), ask()) {
            (Ok(Ok(first)), Ok(Ok(second))) if first == second => Keys::Told(first),
            (Ok(Err(error)), Ok(Err(_))) => Keys::NotTold(Chain(&error).to_string()),
            (Err(payload), _) | (_, Err(payload)) => {
                Keys::NotTold(format!("its code panicked: {}", HandlerPanic::new(payload.as_ref()).message()))
            }
            _ => Keys::NotTold("its code gives another key each time".to_owned()),
        }
    }
}

impl Chunk {
    fn part(&self, after: Position, size: usize, slice: &PartitionSlice) -> Fed {
        let end = self.page.scanned_to.min(slice.end_after(after));
        let mut events = Vec::new();
        let mut scanned_to = end;
        for (event, keys) in self.page.events.iter().zip(&self.keys) {
            let position = event.position();
            if position <= after {
                continue;
            }
            if position > end {
                break;
            }
            let before = Position::new(position.get() - 1);
            let is_own = match keys {
                Keys::Told(keys) => keys.iter().any(|key| slice.owns(key, end)),
                // Each partition sees to it by itself: the key is not known, so none may move past it unseen.
                Keys::OfUnknownType => true,
                Keys::NotTold(_) if slice.is_everything_after(before) => true,
                // Whose it is shows once it can be read: nobody goes past it.
                Keys::NotTold(problem) if before <= after => {
                    return Fed::NoKey { event: position, problem: problem.clone() };
                }
                Keys::NotTold(_) => {
                    scanned_to = before;
                    break;
                }
            };
            if !is_own {
                continue;
            }
            if events.len() == size {
                scanned_to = events.last().map_or(end, |last: &RecordedEvent| last.position());
                break;
            }
            events.push(event.clone());
        }
        // A page may end before an end that decided what is own: what is ahead of a key is so of a part of the page too.
        let page = EventPage::new(events, scanned_to, self.page.durable_to);
        let page = page.coming_after(self.page.place(after)).having_seen(self.page.seen);
        Fed::Page(Fetched { page, read_at: self.read_at })
    }
}
