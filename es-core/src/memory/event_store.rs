//! The event store in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Log, MemoryStore, fill_page, lock};
use crate::{
    append::{Append, Appended, AppendedStream, IdempotencyKey},
    error::StoreError,
    event_filter::EventFilter,
    event_store::{EventPage, EventStore, PageSize, StreamPage},
    limits,
    position::Position,
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
        Ok(EventPage::new(events, scanned_to, head))
    }

    async fn head(&self) -> Result<Position, StoreError> {
        Ok(lock(&self.shared.log).head())
    }

    async fn wait_durable(&self, _: Position) -> Result<(), StoreError> {
        Ok(())
    }

    fn wakeups(&self) -> Wakeups {
        self.shared.wakeups.subscribe()
    }
}

impl Log {
    pub(super) fn head(&self) -> Position {
        Position::new(self.events.len() as u64)
    }

    /// The whole rule of an append. The caller holds the lock that orders all appends.
    fn append(&mut self, append: &Append) -> Result<Appended, StoreError> {
        if let Some(earlier) = self.find_repeat(append)? {
            return Ok(earlier);
        }
        if let Some(earlier) = append.idempotency_key().and_then(|key| self.by_key.get(key)) {
            return match earlier.is_within(append) {
                true => Ok(earlier.clone()),
                false => Err(id_reused("idempotency key", append.idempotency_key())),
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

    /// Appends all, or nothing.
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

    /// Takes back what was stored last.
    fn truncate(&mut self, stored: usize) {
        for event in self.events.drain(stored..) {
            self.by_id.remove(&event.id());
            if let Some(indexes) = self.by_stream.get_mut(event.stream()) {
                indexes.retain(|&index| index < stored);
            }
        }
    }

    /// The earlier outcome, if every event is there already with equal content and place.
    fn find_repeat(&self, append: &Append) -> Result<Option<Appended>, StoreError> {
        let mut found = append.events().map(|(_, event)| self.by_id.get(&event.id()).copied()).peekable();
        let Some(first) = append.events().find_map(|(_, event)| self.by_id.get(&event.id())) else { return Ok(None) };
        // In the same place: at consecutive positions, in the order given.
        let is_repeat = found.peek() == Some(&Some(*first))
            && append.events().zip(found).zip(*first..).all(|(((stream, event), index), place)| {
                index == Some(place) && self.events[place].stream() == stream && self.events[place].is_same_as(event)
            });
        if !is_repeat {
            return Err(id_reused("event id", Some(self.events[*first].id())));
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
        Ok(Some(Appended::new(streams, self.events[*first].recorded_at(), true)))
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
        let appended = Appended::new(streams, recorded_at, false);
        if let Some(key) = append.idempotency_key() {
            let mut earlier = appended.clone();
            earlier.repeated = true;
            self.by_key.insert(key.clone(), earlier);
        }
        appended
    }
}

fn id_reused(what: &'static str, id: Option<impl ToString>) -> StoreError {
    StoreError::IdReused { what, id: id.map_or_else(String::new, |id| id.to_string()) }
}
