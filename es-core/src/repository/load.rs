//! Loading aggregates from their events, from snapshots, and from the cache.

use std::sync::Arc;

use futures_util::future::{join, lazy};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Repository;
use crate::{
    aggregate::Aggregate,
    error::{DecodeError, LoadError},
    event::RecordedEvent,
    event_store::{PageSize, StreamPage},
    stream_id::StreamId,
    version::Version,
};

/// The moment at which to load an aggregate. A query by time specifies which time it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After the event with this version.
    Version(Version),
    /// What the store knew at this time: every event recorded by then.
    Recorded(OffsetDateTime),
    /// What had happened by this time, as far as is known today: every event that occurred by then, in the order of
    /// versions, no matter when it was recorded.
    Occurred(OffsetDateTime),
}

impl AsOf {
    /// Returns whether a state as of this moment includes an event.
    pub(super) fn includes(self, event: &RecordedEvent) -> bool {
        match self {
            Self::Version(version) => event.version() <= version,
            Self::Recorded(time) => event.recorded_at() <= time,
            Self::Occurred(time) => event.occurred_at() <= time,
        }
    }
}

/// An aggregate, with the version up to which its stream was read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Loaded<A> {
    /// The state, which is the default for a stream without events.
    pub state: Arc<A>,
    /// The version of the last event that the state includes, or [`Version::ZERO`] for a stream without events.
    pub version: Version,
    /// The ID of that event.
    pub last_event: Option<Uuid>,
    /// The size in bytes of the payloads, or of the snapshot, that the state was built from.
    pub(super) source_bytes: usize,
}

impl<A> Clone for Loaded<A> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), ..*self }
    }
}

impl<A> Loaded<A> {
    /// Returns whether both are at the same place of the same history.
    pub(super) fn ends_like(&self, other: &Self) -> bool {
        self.version == other.version && self.last_event == other.last_event
    }
}

impl<A: Aggregate> Loaded<A> {
    pub(super) fn nothing() -> Self {
        Self { state: Arc::default(), version: Version::ZERO, last_event: None, source_bytes: 0 }
    }

    pub(super) fn apply(&mut self, event: &A::Event) {
        Arc::make_mut(&mut self.state).apply(event);
    }

    /// Moves to the event at this place. The event may be of a retired type and not change the state.
    pub(super) fn advance(&mut self, version: Version, last_event: Uuid, payload_bytes: usize) {
        (self.version, self.last_event) = (version, Some(last_event));
        self.source_bytes += payload_bytes;
    }
}

/// Whether a reader needs more events.
pub(super) enum Next {
    Event,
    Enough,
}

impl<A: Aggregate> Repository<A> {
    /// Returns the aggregate in its current state. An aggregate without events is the default, at [`Version::ZERO`].
    ///
    /// If the repository has cached the aggregate, it reads only the later events.
    ///
    /// # Errors
    /// Returns [`LoadError::Decode`] if an event cannot be read. No event is ever skipped.
    pub async fn load(&self, id: &str) -> Result<Loaded<A>, LoadError> {
        self.load_stream(&self.stream_id(id)?).await
    }

    /// Returns the aggregate as it was at a moment.
    ///
    /// # Errors
    /// Returns [`LoadError::VersionInFuture`] for a version that the stream has not reached.
    pub async fn load_at(&self, id: &str, as_of: AsOf) -> Result<Loaded<A>, LoadError> {
        let stream = self.stream_id(id)?;
        let mut loaded = Loaded::nothing();
        let mut actual = Version::ZERO;
        let until = match as_of {
            AsOf::Version(version) => Some(version),
            _ => None,
        };
        self.read_on(&stream, Version::ZERO, None, until, |event| {
            actual = event.version();
            if as_of.includes(event) {
                self.apply(&mut loaded, event)?;
            } else if !matches!(as_of, AsOf::Occurred(_)) {
                return Ok(Next::Enough);
            }
            Ok(Next::Event)
        })
        .await?;
        match as_of {
            AsOf::Version(asked) if actual < asked => Err(LoadError::VersionInFuture { stream, asked, actual }),
            _ => Ok(loaded),
        }
    }

    /// Returns the cached aggregate, which may be stale.
    pub(super) fn cached(&self, stream: &StreamId) -> Option<Loaded<A>> {
        self.shared.cache.as_ref()?.get(stream)
    }

    /// Records whether a cached aggregate was stale when it was used.
    pub(super) fn note_use(&self, was_stale: bool) {
        if let Some(cache) = &self.shared.cache {
            cache.note_use(was_stale);
        }
    }

    /// Returns whether cached aggregates are fresh often enough to decide on them without reading the stream.
    pub(super) fn is_mostly_fresh(&self) -> bool {
        self.shared.cache.as_ref().is_some_and(|cache| cache.is_mostly_fresh())
    }

    /// Caches an aggregate.
    pub(super) fn keep(&self, stream: &StreamId, loaded: &Loaded<A>) {
        if let Some(cache) = &self.shared.cache {
            cache.put(stream, loaded);
        }
    }

    /// Removes this aggregate from the cache.
    pub(super) fn forget(&self, stream: &StreamId, loaded: &Loaded<A>) {
        if let Some(cache) = &self.shared.cache {
            cache.forget(stream, loaded);
        }
    }

    /// Returns the current state, and reads as little as possible for it.
    pub(super) async fn load_stream(&self, stream: &StreamId) -> Result<Loaded<A>, LoadError> {
        let mut loaded = match (self.cached(stream), &self.shared.snapshots) {
            (Some(loaded), _) => loaded,
            (None, Some(snapshots)) => snapshots.load(stream).await.unwrap_or_else(Loaded::nothing),
            (None, None) => Loaded::nothing(),
        };
        self.load_tail(stream, &mut loaded).await?;
        Ok(loaded)
    }

    /// Applies the events after the loaded version, and caches the aggregate. If the stream does not contain the last
    /// event of the loaded state (after a restored backup or a lost tail), the state belongs to another history, and
    /// the whole stream is read.
    pub(super) async fn load_tail(&self, stream: &StreamId, loaded: &mut Loaded<A>) -> Result<(), LoadError> {
        let mut first_page = None;
        if let Some(last_event) = loaded.last_event {
            // Starts at the last event, to check that it still exists.
            let before = Version::new(loaded.version.get().saturating_sub(1));
            let page = self.shared.store.read_tail(stream, before).await?;
            if page.events.first().map(|event| event.id()) == Some(last_event) {
                first_page = Some(page);
            } else {
                tracing::warn!(%stream, version = %loaded.version, "the state is of another history; all events are read");
                self.forget(stream, loaded);
                *loaded = Loaded::nothing();
            }
        }
        let known = loaded.version;
        self.read_on(stream, known, first_page, None, |event| {
            if event.version() > known {
                self.apply(loaded, event)?;
            }
            Ok(Next::Event)
        })
        .await?;
        self.keep(stream, loaded);
        Ok(())
    }

    pub(super) fn apply(&self, loaded: &mut Loaded<A>, event: &RecordedEvent) -> Result<(), DecodeError> {
        self.shared.decoder.visit(event, &mut |event| loaded.apply(&event))?;
        loaded.advance(event.version(), event.id(), event.payload().as_str().len());
        Ok(())
    }

    /// Reads a stream page by page, up to a version or until `visit` needs no more events. The caller may have read the
    /// first page already. The next page is read while the events of a page are visited.
    pub(super) async fn read_on(
        &self,
        stream: &StreamId,
        after: Version,
        first_page: Option<StreamPage>,
        until: Option<Version>,
        mut visit: impl FnMut(&RecordedEvent) -> Result<Next, DecodeError> + Send,
    ) -> Result<(), LoadError> {
        let store = &self.shared.store;
        self.shared.decoder.check()?;
        let mut page = match first_page {
            Some(page) => page,
            // Without a state to begin with, there may be much to read.
            None if after == Version::ZERO || until.is_some() => {
                store.read_stream(stream, after, page_size(after, until)).await?
            }
            None => store.read_tail(stream, after).await?,
        };
        loop {
            let mut visiting = || -> Result<Next, DecodeError> {
                for event in &page.events {
                    if let Next::Enough = visit(event)? {
                        return Ok(Next::Enough);
                    }
                }
                Ok(Next::Event)
            };
            let is_before_end = |event: &&RecordedEvent| until.is_none_or(|until| event.version() < until);
            let Some(last) = page.events.last().filter(|_| !page.is_last).filter(is_before_end) else {
                visiting()?;
                return Ok(());
            };
            // Starts the read first, so that the store works while the events are visited.
            let reading = store.read_stream(stream, last.version(), page_size(last.version(), until));
            let (next, visited) = join(reading, lazy(|_| visiting())).await;
            if let Next::Enough = visited? {
                return Ok(());
            }
            page = next?;
        }
    }
}

/// Returns how many events to request after a version, given the version of the last event that is needed.
fn page_size(after: Version, until: Option<Version>) -> PageSize {
    let wanted = until.map(|until| until.get().saturating_sub(after.get()).max(1));
    wanted.and_then(|wanted| PageSize::new(usize::try_from(wanted).ok()?).ok()).unwrap_or_default()
}
