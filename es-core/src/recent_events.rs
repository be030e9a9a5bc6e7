//! Recently stored events, kept in memory for readers that follow the log.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    bookmark::Bookmark,
    event::RecordedEvent,
    event_filter::EventFilter,
    event_store::{EventPage, PageSize},
    limits,
    position::Position,
};

/// The latest events of a store, as far as this process has stored them. A store uses them to answer
/// [`read_all`](crate::EventStore::read_all) without asking the database.
///
/// The events follow each other without a gap, and each is durable. If another process has stored events in between,
/// only those after the gap are kept. At most [`limits::MAX_RECENT_EVENTS`] events of [`limits::MAX_RECENT_BYTES`] are
/// kept, and only for [`limits::MAX_RECENT_AGE`], because a database can be restored to an earlier state at any time.
#[derive(Debug, Default)]
pub struct RecentEvents {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The place after which every event is kept, up to the end.
    after: Bookmark,
    end: Bookmark,
    /// When the end was stored. At that time, the database still contained all of these events.
    stored_at: Option<Instant>,
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

impl RecentEvents {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the events that were just stored: all events after a place, in order. They must be durable and visible to
    /// readers. The store passes the event that it found before them, because the kept events of a log that went back
    /// must not be continued.
    pub fn push(&self, after: Bookmark, events: impl IntoIterator<Item = RecordedEvent>) {
        let mut kept = self.lock();
        if after != kept.end || !after.is_verifiable() {
            // The events in between are not known, or the database was restored to an earlier state.
            *kept = Kept { after, end: after, ..Kept::default() };
        }
        kept.stored_at = Some(Instant::now());
        for event in events {
            kept.end = Bookmark::of(&event);
            kept.bytes += bytes_of(&event);
            kept.events.push_back(event);
        }
        while kept.events.len() > limits::MAX_RECENT_EVENTS || kept.bytes > limits::MAX_RECENT_BYTES {
            let Some(oldest) = kept.events.pop_front() else { return };
            kept.after = Bookmark::of(&oldest);
            kept.bytes -= bytes_of(&oldest);
        }
    }

    /// Returns a page as [`read_all`](crate::EventStore::read_all) does, or `None` if the store has to ask the
    /// database.
    pub fn read(&self, after: Position, filter: &EventFilter, page: PageSize) -> Option<EventPage> {
        let kept = self.lock();
        if after < kept.after.position() || after >= kept.end.position() {
            return None;
        }
        // For older events, the database must confirm that they still exist.
        kept.stored_at.filter(|at| at.elapsed() <= limits::MAX_RECENT_AGE)?;
        let first = kept.events.partition_point(|event| event.position() <= after);
        let before = first.checked_sub(1).and_then(|before| kept.events.get(before));
        let after = before.map_or(kept.after, Bookmark::of);
        let wanted = |event: &&RecordedEvent| filter.matches(event.stream(), event.event_type());
        let mut wanted = kept.events.range(first..).filter(wanted);
        let events: Vec<_> = wanted.by_ref().take(page.get()).cloned().collect();
        let scanned_to = match (wanted.next(), events.last()) {
            (Some(_), Some(last)) => last.position(),
            _ => kept.end.position(),
        };
        let page = EventPage::new(events, scanned_to, kept.end.position());
        Some(page.coming_after(after).having_seen(Some(kept.end)))
    }

    /// Drops all events.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the approximate memory size of an event.
fn bytes_of(event: &RecordedEvent) -> usize {
    let metadata = event.metadata().json().map_or(0, str::len);
    event.payload().as_str().len() + metadata + event.stream().as_str().len()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::*;
    use crate::{EventType, NewEvent, Payload, StreamId, Version, timestamp};

    fn event(position: u64, payload: &str) -> RecordedEvent {
        let category = if position.is_multiple_of(2) { "even" } else { "odd" };
        let (id, event_type) = (Uuid::from_u128(position.into()), EventType::new("Noted").unwrap());
        let new_event = NewEvent::from_parts(id, event_type, Payload::trusted(payload));
        let time = timestamp::to_stored_precision(SystemTime::UNIX_EPOCH.into());
        new_event.recorded(StreamId::new(category, "1").unwrap(), Version::new(position), Position::new(position), time)
    }

    /// Returns the place of the event with this position.
    fn place(position: u64) -> Bookmark {
        match position {
            0 => Bookmark::START,
            position => Bookmark::new(Position::new(position), Uuid::from_u128(position.into())),
        }
    }

    fn push(recent: &RecentEvents, positions: std::ops::RangeInclusive<u64>) {
        recent.push(place(positions.start() - 1), positions.map(|position| event(position, "{}")));
    }

    /// Returns the positions of a page, how far it was scanned, and up to where it is durable.
    fn read(recent: &RecentEvents, after: u64, filter: &EventFilter, size: usize) -> Option<(Vec<u64>, u64, u64)> {
        let page = recent.read(Position::new(after), filter, PageSize::new(size).unwrap())?;
        let positions = page.events.iter().map(|event| event.position().get()).collect();
        Some((positions, page.scanned_to.get(), page.durable_to.get()))
    }

    #[test]
    fn a_page_is_what_the_store_would_give() {
        let (recent, all, even) = (RecentEvents::new(), EventFilter::all(), EventFilter::all().or_category("even"));
        push(&recent, 11..=13);
        push(&recent, 14..=17);
        assert_eq!(read(&recent, 9, &all, 100), None);
        assert_eq!(read(&recent, 10, &all, 100), Some(((11..=17).collect(), 17, 17)));
        assert_eq!(read(&recent, 12, &all, 3), Some((vec![13, 14, 15], 15, 17)));
        assert_eq!(read(&recent, 14, &all, 3), Some((vec![15, 16, 17], 17, 17)));
        assert_eq!(read(&recent, 10, &even, 2), Some((vec![12, 14], 14, 17)));
        assert_eq!(read(&recent, 12, &even, 2), Some((vec![14, 16], 17, 17)));
        assert_eq!(read(&recent, 16, &even, 2), Some((vec![], 17, 17)));
        assert_eq!(read(&recent, 17, &all, 100), None);
        recent.clear();
        assert_eq!(read(&recent, 10, &all, 100), None);
    }

    #[test]
    fn after_a_gap_or_a_step_back_only_what_follows_is_kept() {
        let (recent, all) = (RecentEvents::new(), EventFilter::all());
        push(&recent, 1..=3);
        push(&recent, 6..=7);
        assert_eq!(read(&recent, 0, &all, 100), None);
        assert_eq!(read(&recent, 3, &all, 100), None);
        assert_eq!(read(&recent, 5, &all, 100), Some((vec![6, 7], 7, 7)));
        push(&recent, 5..=5);
        assert_eq!(read(&recent, 5, &all, 100), None);
        assert_eq!(read(&recent, 4, &all, 100), Some((vec![5], 5, 5)));
    }

    #[test]
    fn a_page_names_the_event_before_it_and_the_last_one_that_is_kept() {
        let (recent, all) = (RecentEvents::new(), EventFilter::all());
        push(&recent, 11..=17);
        for after in 10..17 {
            let page = recent.read(Position::new(after), &all, PageSize::new(2).unwrap()).unwrap();
            assert_eq!((page.after, page.seen), (Some(place(after)), Some(place(17))));
            assert_eq!(page.end(), place(17.min(after + 2)));
        }
    }

    #[test]
    fn what_was_stored_after_another_event_than_the_last_one_does_not_continue_it() {
        let (recent, all) = (RecentEvents::new(), EventFilter::all());
        push(&recent, 1..=3);
        // The log went back, other processes appended up to 3, and then this process appended.
        recent.push(Bookmark::new(Position::new(3), Uuid::from_u128(33)), [event(4, "{}")]);
        assert_eq!(read(&recent, 2, &all, 100), None);
        assert_eq!(read(&recent, 3, &all, 100), Some((vec![4], 4, 4)));
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let (recent, all) = (RecentEvents::new(), EventFilter::all());
        let count = limits::MAX_RECENT_EVENTS as u64;
        push(&recent, 1..=count + 3);
        assert_eq!(read(&recent, 2, &all, 1), None);
        assert_eq!(read(&recent, 3, &all, 1), Some((vec![4], 4, count + 3)));

        let half = format!("\"{}\"", "x".repeat(limits::MAX_RECENT_BYTES / 2));
        recent.push(place(count + 3), (count + 4..=count + 5).map(|position| event(position, &half)));
        assert_eq!(read(&recent, count + 3, &all, 1), None);
        assert_eq!(read(&recent, count + 4, &all, 1), Some((vec![count + 5], count + 5, count + 5)));

        let large = format!("\"{}\"", "x".repeat(limits::MAX_RECENT_BYTES));
        recent.push(place(count + 5), [event(count + 6, &large)]);
        assert_eq!(read(&recent, count + 5, &all, 1), None);
    }
}
