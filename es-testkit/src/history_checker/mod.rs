//! Checks what clients of a store saw against what the store holds in the end.

#[cfg(test)]
mod tests;
mod violation;

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use es_core::{Append, Appended, EventFilter, EventPage, Position, RecordedEvent, StreamId};
use uuid::Uuid;

pub use violation::{HistoryReport, Violation};

/// Collects what clients were told (appends and their outcomes, pages that readers got), and checks it against the
/// final log: nothing lost, doubled, torn, moved or skipped.
///
/// It can be shared by tasks.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use es_core::*;
/// use es_testkit::HistoryChecker;
/// let (store, history) = (MemoryStore::new(), HistoryChecker::new());
///
/// let event = NewEvent::new(EventType::new("Opened")?, Payload::from_json("{}")?);
/// let append = Append::to(StreamId::new("account", "ann")?, ExpectedVersion::Any, vec![event]).build()?;
/// history.acknowledged(&append, &store.append(&append).await?);
///
/// let (filter, after) = (EventFilter::all(), Position::ZERO);
/// let page = store.read_all(after, &filter, PageSize::default()).await?;
/// history.read("reader", &filter, after, &page);
///
/// history.check(&page.events).assert_clean();
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct HistoryChecker {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    acknowledged: Vec<Vec<RecordedEvent>>,
    unacknowledged: Vec<Vec<(StreamId, Uuid)>>,
    refused: Vec<(StreamId, Uuid)>,
    readers: HashMap<String, Reader>,
}

#[derive(Debug)]
struct Reader {
    filter: EventFilter,
    /// From where to where, page by page.
    pages: Vec<(Position, Position)>,
    events: Vec<(Position, Uuid)>,
}

impl HistoryChecker {
    /// A checker that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store said that the append is stored. For one that was recognised by its idempotency key, note the append
    /// that was stored first, not the one that was sent again.
    pub fn acknowledged(&self, append: &Append, appended: &Appended) {
        self.lock().acknowledged.push(append.recorded(appended));
    }

    /// The store did not say what became of the append: all of it may be there, or nothing.
    pub fn unacknowledged(&self, append: &Append) {
        self.lock().unacknowledged.push(ids_of(append));
    }

    /// The store said that nothing was stored.
    pub fn refused(&self, append: &Append) {
        self.lock().refused.extend(ids_of(append));
    }

    /// A reader got a page of the log. Its next page is to start where this one ends.
    pub fn read(&self, reader: &str, filter: &EventFilter, after: Position, page: &EventPage) {
        let mut seen = self.lock();
        let reader = seen.readers.entry(reader.to_owned()).or_insert_with(|| Reader {
            filter: filter.clone(),
            pages: Vec::new(),
            events: Vec::new(),
        });
        reader.pages.push((after, page.scanned_to));
        reader.events.extend(page.events.iter().map(|event| (event.position(), event.id())));
    }

    /// Compares everything with the log from its first position, as it is in the end.
    pub fn check(&self, log: &[RecordedEvent]) -> HistoryReport {
        let seen = self.lock();
        let mut violations = Vec::new();
        check_log(log, &mut violations);
        let by_id: HashMap<Uuid, &RecordedEvent> = log.iter().map(|event| (event.id(), event)).collect();
        seen.check_appends(&by_id, &mut violations);
        for (name, reader) in &seen.readers {
            reader.check(name, log, &mut violations);
        }
        HistoryReport::new(violations)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ids_of(append: &Append) -> Vec<(StreamId, Uuid)> {
    append.events().map(|(stream, event)| (stream.clone(), event.id())).collect()
}

/// The log in itself: gapless positions, gapless versions, no id twice, times that never decrease.
fn check_log(log: &[RecordedEvent], violations: &mut Vec<Violation>) {
    let mut previous = Position::ZERO;
    let mut versions: HashMap<&StreamId, u64> = HashMap::new();
    let mut places: HashMap<Uuid, Position> = HashMap::new();
    let mut latest = None;
    for event in log {
        let position = event.position();
        if position != previous.advanced_by(1) {
            violations.push(Violation::Gap { after: previous, next: position });
        }
        previous = position;
        let version = versions.entry(event.stream()).or_default();
        *version += 1;
        if event.version().get() != *version {
            let (stream, found) = (event.stream().clone(), event.version());
            violations.push(Violation::OutOfOrder { stream, position, expected: *version, found });
            *version = found.get();
        }
        if let Some(first) = places.insert(event.id(), position) {
            violations.push(Violation::Duplicated { event: event.id(), first, second: position });
        }
        if latest > Some(event.recorded_at()) {
            violations.push(Violation::TimeWentBack { position });
        }
        latest = latest.max(Some(event.recorded_at()));
    }
}

impl Seen {
    fn check_appends(&self, by_id: &HashMap<Uuid, &RecordedEvent>, violations: &mut Vec<Violation>) {
        let mut known: HashSet<Uuid> = HashSet::new();
        for expected in self.acknowledged.iter().flatten() {
            known.insert(expected.id());
            let (event, position) = (expected.id(), expected.position());
            match by_id.get(&event) {
                None => violations.push(Violation::Lost { event, stream: expected.stream().clone(), position }),
                Some(found) if found.position() != position || found.version() != expected.version() => {
                    violations.push(Violation::Moved { event, told: position, found: found.position() });
                }
                Some(found) if *found != expected => violations.push(Violation::Changed { event, position }),
                Some(_) => {}
            }
        }
        for ids in &self.unacknowledged {
            known.extend(ids.iter().map(|(_, id)| id));
            let stored = ids.iter().filter(|(_, id)| by_id.contains_key(id)).count();
            if let Some((stream, event)) = ids.first().filter(|_| stored > 0 && stored < ids.len()) {
                violations.push(Violation::Torn { stream: stream.clone(), event: *event, stored, sent: ids.len() });
            }
        }
        for (stream, event) in &self.refused {
            // An append that was refused once may have been sent again and accepted.
            if !known.contains(event) && by_id.contains_key(event) {
                violations.push(Violation::StoredThoughRefused { event: *event, stream: stream.clone() });
            }
        }
    }
}

impl Reader {
    fn check(&self, name: &str, log: &[RecordedEvent], violations: &mut Vec<Violation>) {
        let reader = || name.to_owned();
        for pair in self.pages.windows(2) {
            let ((_, end), (start, _)) = (pair[0], pair[1]);
            if start != end {
                violations.push(Violation::ReaderJumped { reader: reader(), from: end, to: start });
            }
        }
        for pair in self.events.windows(2) {
            let ((before, _), (position, _)) = (pair[0], pair[1]);
            if position <= before {
                violations.push(Violation::ReadTwice { reader: reader(), position });
            }
        }
        let (Some((start, _)), Some((_, end))) = (self.pages.first(), self.pages.last()) else { return };
        let read: HashMap<Position, Uuid> = self.events.iter().copied().collect();
        let passed = log.iter().filter(|event| event.position() > *start && event.position() <= *end);
        for event in passed.filter(|event| self.filter.matches(event.stream(), event.event_type())) {
            if read.get(&event.position()) != Some(&event.id()) {
                let (event, position) = (event.id(), event.position());
                violations.push(Violation::Skipped { reader: reader(), event, position });
            }
        }
        let stored: HashMap<Position, Uuid> = log.iter().map(|event| (event.position(), event.id())).collect();
        for (position, event) in &self.events {
            if stored.get(position) != Some(event) {
                violations.push(Violation::Vanished { reader: reader(), event: *event, position: *position });
            }
        }
    }
}
