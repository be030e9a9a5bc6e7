//! Reads back what an earlier command did to one aggregate, from the nearest earlier state that is known.
//!
//! Repeated commands often come in their original order, for example when a file is imported again, line by line. The
//! repository therefore keeps the state on which a command was decided, and the next command of the stream continues
//! reading from there.

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
    /// Whether the initial state is known to belong to this history.
    has_begun: bool,
    /// The state on which it was decided.
    pub(super) before: Loaded<A>,
    /// The state after it.
    pub(super) state: Arc<A>,
    /// The version after it.
    pub(super) version: Version,
    /// The events that it recorded, as stored.
    pub(super) stored: Vec<RecordedEvent>,
    /// The same events, decoded.
    pub(super) events: Vec<Recorded<A::Event>>,
}

impl<A: Aggregate> Repository<A> {
    /// Returns whether the last command with an idempotency key was a repetition. If so, the next one may be one too,
    /// and looking up its key first costs less.
    pub(super) fn expects_repetition(&self) -> bool {
        self.shared.was_repetition.load(Ordering::Relaxed)
    }

    /// Records whether a command with an idempotency key was a repetition.
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

    /// Returns the latest state that is known without reading events and that may precede an append.
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

    /// Continues reading from a state, unless it does not precede the append or belongs to another history.
    async fn recall_from(
        &self,
        known: Loaded<A>,
        stream: &StreamId,
        appended: &Appended,
    ) -> Result<Recalled<A>, LoadError> {
        let place = appended.stream(stream);
        // Starts at the last event of the state, to check that it still exists.
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
