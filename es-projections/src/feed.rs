//! Reads the log once for all partitions of a consumer.

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

/// The latest pages that a partition of a consumer has read, with the keys of their events. Partitions are served from
/// these pages, and the partition that is furthest ahead reads the next page for all. A partition that has fallen
/// behind the pages reads the log itself.
pub(crate) struct Feed {
    tail: Arc<Tail>,
    /// Of any generation, because the keys and the filter are the same in all generations.
    consumer: Box<dyn Consumer>,
    kept: Mutex<VecDeque<Chunk>>,
}

struct Chunk {
    after: Position,
    page: EventPage,
    read_at: Instant,
    keys: Vec<Keys>,
}

/// The keys of an event, as determined by the consumer's code.
enum Keys {
    Told(Vec<EventKey>),
    /// The code does not know the type of the event.
    OfUnknownType,
    /// The code cannot determine the keys, for this reason.
    NotTold(String),
}

/// What a partition reads.
pub(crate) enum Fed {
    /// Its own events.
    Page(Fetched),
    /// The consumer's code cannot determine the keys of the next event.
    NoKey { event: Position, problem: String },
}

impl Feed {
    pub(crate) fn new(tail: Arc<Tail>, consumer: Box<dyn Consumer>) -> Self {
        Self { tail, consumer, kept: Mutex::default() }
    }

    /// Returns the tail that it reads from.
    pub(crate) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Returns at most `size` of a partition's own events after a position.
    ///
    /// # Errors
    /// Returns [`StoreError::LogWentBack`] if the log does not continue what the partition has read.
    pub(crate) async fn read(&self, place: Bookmark, size: usize, slice: &PartitionSlice) -> Result<Fed, StoreError> {
        let after = place.position();
        // The other partitions wait for this lock, because they will want the same page.
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
            // Neither the kept events nor those that a partition passes over may vanish later.
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

    /// Drops the kept pages, because the log went back.
    pub(crate) async fn forget(&self) {
        self.kept.lock().await.clear();
        self.tail.forget().await;
    }

    /// Returns the keys of an event, or the reason why they cannot be determined.
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
                // Every partition handles the event itself: its key is unknown, so no partition may move past it
                // unnoticed.
                Keys::OfUnknownType => true,
                Keys::NotTold(_) if slice.is_everything_after(before) => true,
                // Which partition owns it is only known once it can be read, so no partition moves past it.
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
        // The page may end before the end that determined which events are own. An offset that covers a key up to that
        // end also covers it in a part of the page.
        let page = EventPage::new(events, scanned_to, self.page.durable_to);
        let page = page.coming_after(self.page.place(after)).having_seen(self.page.seen);
        Fed::Page(Fetched { page, read_at: self.read_at })
    }
}
