//! The parts of the log that are in memory between two steps, and when they are dropped or verified.

use es_core::{Bookmark, EventPage, Position, StoreError};

use super::Steps;
use crate::{limits, tail::Fetched};

/// A page that was read ahead.
pub(super) struct Ahead {
    pub(super) after: Position,
    pub(super) fetched: Fetched,
}

impl Steps {
    /// Drops everything in memory that was read from the log, and makes the next step look up the checkpoint, because
    /// the log went back.
    pub(crate) async fn forget_log(&mut self) {
        self.forget_place();
        if let Some(feed) = &self.feed {
            feed.forget().await;
        }
        self.tail.forget().await;
    }

    /// Limits a page that was read ahead to the current page size. The rest is kept for later.
    pub(super) fn cut(&mut self, Fetched { mut page, read_at }: Fetched) -> EventPage {
        self.read_at = read_at;
        let size = self.pace.size();
        if page.events.len() > size {
            let rest = page.events.split_off(size);
            let end = page.events.last().map_or(page.end(), Bookmark::of);
            let rest = EventPage::new(rest, page.scanned_to, page.durable_to).coming_after(end).having_seen(page.seen);
            self.ahead = Some(Ahead { after: end.position(), fetched: Fetched { page: rest, read_at } });
            page.scanned_to = end.position();
        }
        page
    }

    /// Removes events beyond the end.
    pub(crate) fn cut_at_end(&mut self, mut page: EventPage) -> EventPage {
        let end = self.end();
        if page.scanned_to > end {
            page.events.retain(|event| event.position() <= end);
            page.scanned_to = end;
            self.ahead = None;
        }
        page
    }

    /// Verifies that the log still holds what a page was read from, unless it was read a moment ago. Used by consumers
    /// whose effects cannot be undone.
    pub(super) async fn look(&mut self, page: &EventPage) -> Result<(), StoreError> {
        if self.is_placed_anew || self.read_at.elapsed() > limits::REACTOR_LOOK_INTERVAL {
            self.store.verify(page.seen.unwrap_or(page.end())).await?;
            self.is_placed_anew = false;
        }
        Ok(())
    }
}
