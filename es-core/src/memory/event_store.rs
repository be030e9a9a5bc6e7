//! The event store in memory.

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Log, MemoryStore, fill_page, lock};
use crate::{
    append::{Append, Appended, AppendedStream, IdempotencyKey},
    bookmark::Bookmark,
    error::StoreError,
    event_filter::EventFilter,
    event_store::{EventPage, EventStore, PageSize, StreamPage},
    limits,
    position::Position,
    repository::CommandQueue,
    stream_id::StreamId,
    timestamp::to_stored_precision,
    version::Version,
    wakeups::Wakeups,
};

#[async_trait]
impl EventStore for MemoryStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        append.check_payload_limit(limits::MAX_PAYLOAD_BYTES)?;
        let appended = lock(&self.shared.log).append(append)?;
        self.shared.wakeups.notify(appended.last_position);
        Ok(appended)
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        Ok(lock(&self.shared.log).by_key.get(key).cloned())
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        let log = lock(&self.shared.log);
        let indexes = log.by_stream.get(stream).map_or(&[][..], Vec::as_slice);
        let start = indexes.len().min(after.get() as usize);
        let (events, is_last) = fill_page(indexes[start..].iter().map(|&index| &log.events[index]), page);
        Ok(StreamPage::new(events, is_last))
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        filter.check()?;
        let log = lock(&self.shared.log);
        let head = log.head();
        let start = head.min(after).get() as usize;
        let end = log.events.len().min(start + limits::MAX_SCAN_POSITIONS as usize);
        let wanted = log.events[start..end].iter().filter(|event| filter.matches(event.stream(), event.event_type()));
        let (events, is_last) = fill_page(wanted, page);
        let scanned_to = match events.last() {
            Some(last) if !is_last => last.position(),
            _ => Position::new(end as u64).max(after),
        };
        let page = EventPage::new(events, scanned_to, head).coming_after(log.place(after));
        let seen = log.place(scanned_to);
        Ok(page.having_seen(Some(seen)).beyond((head < after).then_some(head)))
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(lock(&self.shared.log).head())
    }

    async fn verify(&self, seen: Bookmark) -> Result<(), StoreError> {
        lock(&self.shared.log).check(seen)
    }

    async fn wait_durable(&self, _: Position) -> Result<(), StoreError> {
        Ok(())
    }

    fn wakeups(&self) -> Wakeups {
        self.shared.wakeups.subscribe()
    }

    fn command_queue(&self) -> CommandQueue {
        self.shared.command_queue.clone()
    }
}

impl Log {
    pub(super) fn head(&self) -> Position {
        Position::new(self.events.len() as u64)
    }

    /// Returns the ID of the event at a position, if there is one.
    pub(super) fn id_at(&self, position: Position) -> Option<Uuid> {
        let index = usize::try_from(position.get().checked_sub(1)?).ok()?;
        self.events.get(index).map(|event| event.id())
    }

    fn place(&self, position: Position) -> Bookmark {
        Bookmark::from_parts(position, self.id_at(position))
    }

    /// Checks that the log contains what was seen at a position.
    pub(super) fn check(&self, seen: Bookmark) -> Result<(), StoreError> {
        let (position, expected, found) = (seen.position(), seen.event_id(), self.id_at(seen.position()));
        let head = (position > self.head()).then(|| self.head());
        if head.is_some() || (expected.is_some() && expected != found) {
            return Err(StoreError::LogWentBack { position, expected, found, head });
        }
        Ok(())
    }

    /// Implements the complete rule of an append. The caller holds the lock that orders all appends.
    fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        if let Some(earlier) = self.find_repeat(append)? {
            return Ok(earlier);
        }
        if let Some(key) = append.idempotency_key()
            && let Some(earlier) = self.by_key.get(key)
        {
            return match earlier.request == append.request() {
                true => Ok(earlier.clone()),
                false => Err(StoreError::key_reused(key, earlier)),
            };
        }
        for part in append.streams() {
            let last = self.by_stream.get(part.stream()).and_then(|indexes| indexes.last()).map(|&i| &self.events[i]);
            let actual = last.map_or(Version::ZERO, |event| event.version());
            if !part.expected().check(part.expected_last_event(), actual, last.map(|event| event.id())) {
                return Err(StoreError::Conflict { stream: part.stream().clone(), expected: part.expected(), actual });
            }
        }
        Ok(self.write(append))
    }

    /// Appends everything, or nothing.
    pub(super) fn append_all(&mut self, appends: &[Append]) -> Result<Vec<Appended>, StoreError> {
        let stored = self.events.len();
        let mut outcomes = Vec::with_capacity(appends.len());
        for append in appends {
            match self.append(append) {
                Ok(appended) => outcomes.push(appended),
                Err(error) => {
                    let of_new = appends.iter().zip(&outcomes).filter(|(_, appended)| !appended.repeated);
                    of_new.filter_map(|(append, _)| append.idempotency_key()).for_each(|key| {
                        self.by_key.remove(key);
                    });
                    self.truncate(stored);
                    return Err(error);
                }
            }
        }
        Ok(outcomes)
    }

    /// Removes the events that were stored last.
    fn truncate(&mut self, stored: usize) {
        for event in self.events.drain(stored..) {
            self.by_id.remove(&event.id());
            if let Some(indexes) = self.by_stream.get_mut(event.stream()) {
                indexes.retain(|&index| index < stored);
            }
        }
    }

    /// Returns the earlier outcome, if every event already exists with equal content and place.
    fn find_repeat(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let mut found = append.events().map(|(_, event)| self.by_id.get(&event.id()).copied()).peekable();
        let Some(first) = append.events().find_map(|(_, event)| self.by_id.get(&event.id())) else { return Ok(None) };
        // The same place means consecutive positions, in the order of the append.
        let is_repeat = found.peek() == Some(&Some(*first))
            && append.events().zip(found).zip(*first..).all(|(((stream, event), index), place)| {
                index == Some(place) && self.events[place].stream() == stream && self.events[place].is_same_as(event)
            });
        if !is_repeat {
            return Err(StoreError::IdReused { what: "event id", id: self.events[*first].id().to_string() });
        }
        let mut streams = Vec::with_capacity(append.streams().len());
        let mut place = *first;
        for part in append.streams().iter().filter(|part| !part.events().is_empty()) {
            let (from, to) = (&self.events[place], &self.events[place + part.events().len() - 1]);
            streams.push(AppendedStream {
                stream: part.stream().clone(),
                first_version: from.version(),
                last_version: to.version(),
                first_position: from.position(),
            });
            place += part.events().len();
        }
        let repeated = Appended::new(streams, self.events[*first].recorded_at(), true);
        Ok(Some(repeated.with_request(append.request()).ending_with(append.last_event_id())))
    }

    fn write(&mut self, append: &Append) -> Appended {
        let latest = self.events.last().map_or(OffsetDateTime::UNIX_EPOCH, |event| event.recorded_at());
        let recorded_at = to_stored_precision(OffsetDateTime::now_utc()).max(latest);
        let mut streams = Vec::with_capacity(append.streams().len());
        for part in append.streams().iter().filter(|part| !part.events().is_empty()) {
            let indexes = self.by_stream.entry(part.stream().clone()).or_default();
            streams.push(AppendedStream {
                stream: part.stream().clone(),
                first_version: Version::new(indexes.len() as u64 + 1),
                last_version: Version::new((indexes.len() + part.events().len()) as u64),
                first_position: Position::new(self.events.len() as u64 + 1),
            });
            for event in part.events() {
                self.by_id.insert(event.id(), self.events.len());
                indexes.push(self.events.len());
                let version = Version::new(indexes.len() as u64);
                let position = Position::new(self.events.len() as u64 + 1);
                self.events.push(event.clone().recorded(part.stream().clone(), version, position, recorded_at));
            }
        }
        let appended = Appended::new(streams, recorded_at, false)
            .with_request(append.request())
            .ending_with(append.last_event_id());
        if let Some(key) = append.idempotency_key() {
            let mut earlier = appended.clone();
            earlier.repeated = true;
            self.by_key.insert(key.clone(), earlier);
        }
        appended
    }
}
