//! Reading back what an earlier command did to one aggregate, from the nearest earlier state that is known.
//!
//! Commands that are sent again often come as they came first: a file is imported again, line by line. So the state on which a
//! command was decided is kept, and the next one of the stream reads on from there.

use std::sync::{Arc, atomic::Ordering};

use super::{Loaded, Repository, load::Next};
use crate::{
    aggregate::Aggregate,
    append::Appended,
    error::LoadError,
    event::{Recorded, RecordedEvent},
    stream_id::StreamId,
    version::Version,
};

/// One aggregate's part in an earlier command.
pub(super) struct Recalled<A: Aggregate> {
    /// Whether the state that it began with is a part of this history.
    has_begun: bool,
    /// The state on which it was decided.
    pub(super) before: Loaded<A>,
    /// The state after it.
    pub(super) state: Arc<A>,
    /// The version after it.
    pub(super) version: Version,
    /// What it recorded, as it is stored.
    pub(super) stored: Vec<RecordedEvent>,
    /// The same as domain events.
    pub(super) events: Vec<Recorded<A::Event>>,
}

impl<A: Aggregate> Repository<A> {
    /// Whether the last command with an idempotency key had been executed before: then the next one may have been, too, and
    /// it is cheaper to look up its key first.
    pub(super) fn expects_repetition(&self) -> bool {
        self.shared.was_repetition.load(Ordering::Relaxed)
    }

    /// Notes whether a command with an idempotency key had been executed before.
    pub(super) fn note_repetition(&self, is_repetition: bool) {
        self.shared.was_repetition.store(is_repetition, Ordering::Relaxed);
    }

    /// Reads what an earlier append did to a stream.
    pub(super) async fn recall(&self, stream: &StreamId, appended: &Appended) -> Result<Recalled<A>, LoadError> {
        let known = self.nearest_before(stream, appended).await;
        let mut recalled = self.recall_from(known, stream, appended).await?;
        if !recalled.has_begun {
            recalled = self.recall_from(Loaded::nothing(), stream, appended).await?;
        }
        if let Some(cache) = &self.shared.recalled {
            cache.replace(stream, &recalled.before);
        }
        Ok(recalled)
    }

    /// The latest state that is known without reading events and may come before an append.
    async fn nearest_before(&self, stream: &StreamId, appended: &Appended) -> Loaded<A> {
        let place = appended.stream(stream);
        let is_before = |loaded: &Loaded<A>| place.is_none_or(|place| loaded.version < place.first_version);
        let recalled = self.shared.recalled.as_ref().and_then(|cache| cache.get(stream));
        let in_memory = recalled.into_iter().chain(self.cached(stream)).filter(is_before);
        if let Some(known) = in_memory.max_by_key(|loaded| loaded.version) {
            return known;
        }
        let saved = match &self.shared.snapshots {
            Some(snapshots) => snapshots.load(stream).await,
            None => None,
        };
        saved.filter(is_before).unwrap_or_else(Loaded::nothing)
    }

    /// Reads on from a state, unless it does not come before the append or is of another history.
    async fn recall_from(
        &self,
        known: Loaded<A>,
        stream: &StreamId,
        appended: &Appended,
    ) -> Result<Recalled<A>, LoadError> {
        let place = appended.stream(stream);
        // From the last event that it holds, to see whether that is still there.
        let after = Version::new(known.version.get().saturating_sub(1));
        let until = place.map(|place| place.last_version);
        let mut has_begun = known.last_event.is_none();
        let mut before = known;
        let (mut stored, mut events) = (Vec::new(), Vec::new());
        let decoder = &self.shared.decoder;
        let read = self.read_on(stream, after, None, until, |event| {
            if !has_begun {
                has_begun = before.last_event == Some(event.id()) && event.position() < appended.first_position;
                return Ok(if has_begun { Next::Event } else { Next::Enough });
            }
            if event.position() < appended.first_position {
                self.apply(&mut before, event)?;
            } else if until.is_some_and(|until| event.version() <= until) {
                events.extend(decoder.decode(event.clone())?);
                stored.push(event.clone());
            } else {
                return Ok(Next::Enough);
            }
            Ok(Next::Event)
        });
        read.await?;
        let mut state = Arc::clone(&before.state);
        if !events.is_empty() {
            let state = Arc::make_mut(&mut state);
            events.iter().for_each(|event| state.apply(&event.event));
        }
        let version = until.unwrap_or(before.version);
        Ok(Recalled { has_begun, before, state, version, stored, events })
    }
}
