//! The end of the log, read once for all consumers of a runner that follow it.

use std::sync::Arc;

use es_core::{EventFilter, EventPage, PageSize, Position, RunnerStore, StoreError, limits};
use tokio::sync::Mutex;

/// The latest page of everything that some consumer of the runner wants. A consumer that follows the log is served from
/// it; whoever asks for more first reads the next one for all.
///
/// Only durable events are kept: another one may vanish in a crash of the database, and must not outlive it here.
pub(crate) struct Tail {
    store: Arc<dyn RunnerStore>,
    /// What the consumers want together; `None` if there are not several of them.
    wanted: Option<EventFilter>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    after: Position,
    page: EventPage,
}

impl Tail {
    pub(crate) fn new<'a>(
        store: Arc<dyn RunnerStore>,
        filters: impl ExactSizeIterator<Item = &'a EventFilter>,
    ) -> Self {
        let wanted = (filters.len() > 1).then(|| union(filters));
        Self { store, wanted, kept: Mutex::new(None) }
    }

    /// Waits until what was read up to a position is durable.
    pub(crate) async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.store.wait_durable(position).await
    }

    /// A page, as the store would give it.
    pub(crate) async fn read(
        &self,
        after: Position,
        filter: &EventFilter,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        if let Some(wanted) = &self.wanted
            && let Some(page) = self.read_shared(wanted, after, filter, size).await
        {
            return Ok(page);
        }
        self.store.read_all(after, filter, size).await
    }

    /// `None` if the consumer is behind what is kept, or if the page could not be read: what is wrong with it may be
    /// nothing that this consumer wants.
    async fn read_shared(
        &self,
        wanted: &EventFilter,
        after: Position,
        filter: &EventFilter,
        size: PageSize,
    ) -> Option<EventPage> {
        let mut kept = self.kept.lock().await;
        match &*kept {
            Some(kept) if after < kept.after => return None,
            Some(kept) if after < kept.page.scanned_to => return Some(part(&kept.page, after, filter, size)),
            _ => {}
        }
        // The others wait for this: it is what they will want.
        let page = self.store.read_all(after, wanted, PageSize::default()).await.ok()?;
        let own = part(&page, after, filter, size);
        if page.scanned_to > after && page.scanned_to <= page.durable_to {
            *kept = Some(Kept { after, page });
        }
        Some(own)
    }
}

/// The part of a page that a filter passes, after a position, up to a number of events.
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
    EventPage::new(events, scanned_to, page.durable_to)
}

/// What any of the filters passes; everything if that would take too many selectors.
fn union<'a>(filters: impl Iterator<Item = &'a EventFilter>) -> EventFilter {
    let mut union = EventFilter::all();
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

    use super::*;

    fn event(position: u64) -> RecordedEvent {
        let (category, event_type) = if position.is_multiple_of(2) { ("even", "A") } else { ("odd", "B") };
        let new_event = NewEvent::new(EventType::new(event_type).unwrap(), Payload::trusted("{}"));
        let stream = StreamId::new(category, "1").unwrap();
        let time = timestamp::to_stored_precision(std::time::SystemTime::UNIX_EPOCH.into());
        new_event.recorded(stream, Version::new(position), Position::new(position), time)
    }

    #[test]
    fn a_part_of_a_page_is_what_the_store_would_give() {
        let page = EventPage::new((11..=20).map(event).collect(), Position::new(25), Position::new(30));
        let of = |after, filter: EventFilter, size| {
            let part = part(&page, Position::new(after), &filter, PageSize::new(size).unwrap());
            let positions: Vec<u64> = part.events.iter().map(|event| event.position().get()).collect();
            assert_eq!(part.durable_to, page.durable_to);
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
