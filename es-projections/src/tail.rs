//! Reads the end of the log once for all consumers of a runner that follow it.

use std::sync::Arc;

use es_core::{Bookmark, EventFilter, EventPage, PageSize, Position, RunnerStore, StoreError, limits};
use tokio::{sync::Mutex, time::Instant};

/// The latest page of all events that at least one consumer of the runner wants. Consumers that follow the log are
/// served from this page. The first consumer that asks for more reads the next page for all.
///
/// Only durable events are kept. Other events may vanish in a crash of the database and must not survive it here.
pub(crate) struct Tail {
    store: Arc<dyn RunnerStore>,
    /// The union of what the consumers want; `None` if there are not several consumers.
    wanted: Option<EventFilter>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    after: Position,
    page: EventPage,
    read_at: Instant,
}

/// A page, and when it was read from the store. The log may have gone back since then.
pub(crate) struct Fetched {
    pub(crate) page: EventPage,
    pub(crate) read_at: Instant,
}

impl Fetched {
    /// Returns a page that has just been read.
    pub(crate) fn now(page: EventPage) -> Self {
        Self { page, read_at: Instant::now() }
    }
}

impl Tail {
    pub(crate) fn new<'a>(
        store: Arc<dyn RunnerStore>,
        filters: impl ExactSizeIterator<Item = &'a EventFilter>,
    ) -> Self {
        let wanted = (filters.len() > 1).then(|| union(filters));
        Self { store, wanted, kept: Mutex::new(None) }
    }

    /// Waits until all events up to a position are durable.
    pub(crate) async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store.wait_durable(position).await
    }

    /// Drops the kept page, because the log went back.
    pub(crate) async fn forget(&self) {
        *self.kept.lock().await = None;
        self.store.forget_recent();
    }

    /// Returns a page, as the store would return it.
    ///
    /// # Errors
    /// Returns [`StoreError::LogWentBack`] if the log does not continue what the reader has read.
    pub(crate) async fn read(
        &self,
        after: Bookmark,
        filter: &EventFilter,
        size: PageSize,
    ) -> Result<Fetched, StoreError> {
        let shared = match &self.wanted {
            Some(wanted) => self.read_shared(wanted, after, filter, size).await,
            None => None,
        };
        let fetched = match shared {
            Some(fetched) => fetched,
            None => Fetched::now(self.store.read_all(after.position(), filter, size).await?),
        };
        fetched.page.check_continues(after)?;
        Ok(fetched)
    }

    /// Returns a page from the shared one. Returns `None` if the consumer is behind it or has read another log, or if
    /// the shared page could not be read: the problem may concern only events that this consumer does not want.
    async fn read_shared(
        &self,
        wanted: &EventFilter,
        after: Bookmark,
        filter: &EventFilter,
        size: PageSize,
    ) -> Option<Fetched> {
        let position = after.position();
        let mut kept = self.kept.lock().await;
        match &*kept {
            Some(kept) if position < kept.after => return None,
            Some(Kept { page, read_at, .. }) if position < page.scanned_to => {
                let page = part(page, position, filter, size);
                return page.check_continues(after).is_ok().then_some(Fetched { page, read_at: *read_at });
            }
            _ => {}
        }
        // The other consumers wait for this lock, because they will want the same page.
        let page = self.store.read_all(position, wanted, PageSize::default()).await.ok()?;
        let own = Fetched::now(part(&page, position, filter, size));
        if page.scanned_to > position && page.scanned_to <= page.durable_to {
            *kept = Some(Kept { after: position, page, read_at: own.read_at });
        }
        Some(own)
    }
}

/// Returns the part of a page after a position that passes a filter, with at most `size` events.
fn part(page: &EventPage, after: Position, filter: &EventFilter, size: PageSize) -> EventPage {
    let is_wanted = |event: &&es_core::RecordedEvent| {
        event.position() > after && filter.matches(event.stream(), event.event_type())
    };
    let mut wanted = page.events.iter().filter(is_wanted);
    let events: Vec<_> = wanted.by_ref().take(size.get()).cloned().collect();
    let scanned_to = match (wanted.next(), events.last()) {
        (Some(_), Some(last)) => last.position(),
        _ => page.scanned_to,
    };
    let part = EventPage::new(events, scanned_to, page.durable_to).coming_after(page.place(after));
    part.having_seen(page.seen).beyond(page.log_end)
}

/// Returns a filter for everything that any of the filters passes, or for all events if that needs too many selectors.
fn union<'a>(filters: impl Iterator<Item = &'a EventFilter>) -> EventFilter {
    let mut union = EventFilter::none();
    for filter in filters {
        if filter.is_all() || union.selectors().len() + filter.selectors().len() > limits::MAX_FILTER_SELECTORS {
            return EventFilter::all();
        }
        union = filter.selectors().iter().cloned().fold(union, EventFilter::or);
    }
    union
}

#[cfg(test)]
mod tests {
    use es_core::{EventType, NewEvent, Payload, RecordedEvent, StreamId, Version, timestamp};
    use uuid::Uuid;

    use super::*;

    fn event(position: u64) -> RecordedEvent {
        let (category, event_type) = if position.is_multiple_of(2) { ("even", "A") } else { ("odd", "B") };
        let (id, event_type) = (Uuid::from_u128(position.into()), EventType::new(event_type).unwrap());
        let new_event = NewEvent::from_parts(id, event_type, Payload::trusted("{}"));
        let stream = StreamId::new(category, "1").unwrap();
        let time = timestamp::to_stored_precision(std::time::SystemTime::UNIX_EPOCH.into());
        new_event.recorded(stream, Version::new(position), Position::new(position), time)
    }

    #[test]
    fn a_part_of_a_page_is_what_the_store_would_give() {
        let page = EventPage::new((11..=20).map(event).collect(), Position::new(25), Position::new(30));
        let seen = Some(Bookmark::new(Position::new(25), Uuid::from_u128(25)));
        let page = page.coming_after(Bookmark::new(Position::new(10), Uuid::from_u128(10))).having_seen(seen);
        let of = |after, filter: EventFilter, size| {
            let part = part(&page, Position::new(after), &filter, PageSize::new(size).unwrap());
            let positions: Vec<u64> = part.events.iter().map(|event| event.position().get()).collect();
            assert_eq!((part.durable_to, part.seen), (page.durable_to, page.seen));
            // The ID of the event before the part is known if that event is in the page.
            let is_known = after == 10 || page.events.iter().any(|event| event.position().get() == after);
            let known = Bookmark::new(Position::new(after), Uuid::from_u128(after.into()));
            assert_eq!(part.after, is_known.then_some(known));
            (positions, part.scanned_to.get())
        };
        assert_eq!(of(10, EventFilter::all(), 100), ((11..=20).collect(), 25));
        assert_eq!(of(17, EventFilter::all(), 100), (vec![18, 19, 20], 25));
        assert_eq!(of(17, EventFilter::all(), 3), (vec![18, 19, 20], 25));
        assert_eq!(of(17, EventFilter::all(), 2), (vec![18, 19], 19));
        assert_eq!(of(10, EventFilter::all().or_category("even"), 2), (vec![12, 14], 14));
        assert_eq!(of(10, EventFilter::all().or_type("even", "B"), 2), (vec![], 25));
        assert_eq!(of(22, EventFilter::all(), 2), (vec![], 25));
    }

    #[test]
    fn the_union_passes_what_any_of_its_filters_passes_and_no_more_than_it_can_name() {
        let (even, odd) = (EventFilter::all().or_category("even"), EventFilter::all().or_type("odd", "B"));
        let both = union([&even, &odd].into_iter());
        assert_eq!(both, EventFilter::all().or_category("even").or_type("odd", "B"));
        assert!(union([&even, &EventFilter::all()].into_iter()).is_all());
        let many = |from: usize| (from..from + 600).fold(EventFilter::all(), |f, n| f.or_category(format!("c{n}")));
        assert!(union([&many(0), &many(600)].into_iter()).is_all());
    }
}
