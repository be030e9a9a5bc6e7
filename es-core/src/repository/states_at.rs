//! The states of all aggregates of a category at a moment.

use std::collections::BTreeMap;

use super::{AsOf, Loaded, Repository};
use crate::{
    aggregate::Aggregate,
    domain_event::DomainEvent,
    error::{LoadError, StoreError},
    event_filter::EventFilter,
    event_store::PageSize,
    limits,
    position::Position,
};

impl<A: Aggregate> Repository<A> {
    /// Returns all aggregates of the category, and of the repository's tenant, as they were at a moment, by their IDs.
    /// Use it for a report or an audit. Aggregates without an event by then are omitted. With [`AsOf::Version`], each
    /// is returned as of its own event of that version, or of its last one.
    ///
    /// This reads every event of the category up to the moment, or up to the current end of the log. For a frequent
    /// query, use a [`View`](crate::View).
    ///
    /// ```
    /// # use es_core::*; use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] enum E { Added {} }
    /// # impl DomainEvent for E { const CATEGORY: &'static str = "c"; }
    /// # #[derive(Default, Clone)] struct Counter { total: u32 }
    /// # impl Aggregate for Counter { type Event = E; type Command = (); type Error = std::convert::Infallible;
    /// #   fn handle(&self, _: &()) -> Result<Vec<E>, Self::Error> { Ok(vec![E::Added {}]) }
    /// #   fn apply(&mut self, _: &E) { self.total += 1; } }
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use time::macros::datetime;
    /// # let counters = Repository::<Counter>::new(&MemoryStore::new());
    /// counters.execute("a", ()).occurred_at(datetime!(2026-06-30 12:00 UTC)).await?;
    /// counters.execute("a", ()).occurred_at(datetime!(2026-07-02 12:00 UTC)).await?;
    /// let states = counters.states_at(AsOf::Occurred(datetime!(2026-07-01 0:00 UTC))).await?;
    /// assert_eq!(states["a"].state.total, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns [`LoadError::Decode`] if an event cannot be read, and [`StoreError::LimitExceeded`] over
    /// [`limits::MAX_STATES_AT`] aggregates.
    pub async fn states_at(&self, as_of: AsOf) -> Result<BTreeMap<String, Loaded<A>>, LoadError> {
        let store = &self.shared.store;
        let filter = EventFilter::all().or_category(A::Event::CATEGORY);
        let head = store.head().await?;
        let mut states = BTreeMap::<String, Loaded<A>>::new();
        let mut scanned_to = Position::ZERO;
        while scanned_to < head {
            let page = store.read_all(scanned_to, &filter, PageSize::default()).await?;
            for event in page.events.iter().filter(|event| event.position() <= head) {
                match as_of {
                    // The times of recording do not decrease.
                    AsOf::Recorded(time) if event.recorded_at() > time => return Ok(states),
                    _ if !as_of.includes(event) || event.stream().tenant() != self.shared.tenant.as_deref() => continue,
                    _ => {}
                }
                if states.len() == limits::MAX_STATES_AT && !states.contains_key(event.stream().id()) {
                    return Err(LoadError::Store(StoreError::LimitExceeded {
                        what: "aggregates as of a moment",
                        limit: limits::MAX_STATES_AT as u64,
                        actual: limits::MAX_STATES_AT as u64 + 1,
                    }));
                }
                let loaded = states.entry(event.stream().id().to_owned()).or_insert_with(Loaded::nothing);
                self.apply(loaded, event)?;
            }
            // Never backward: a log that lost its tail has an earlier end.
            if page.scanned_to <= scanned_to {
                break;
            }
            scanned_to = page.scanned_to;
        }
        Ok(states)
    }
}
