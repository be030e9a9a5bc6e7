//! Filters for the events of the log.

use crate::{
    error::{InvalidName, StoreError},
    limits,
    name::{check_text, check_word},
    stream_id::StreamId,
};

/// One condition of a filter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventSelector {
    /// All events of a category, of every tenant.
    Category(String),
    /// The events of one type in a category.
    Type {
        /// The category.
        category: String,
        /// The event type.
        event_type: String,
    },
    /// All events of one stream.
    Stream(StreamId),
}

/// A filter for the events of the log. An event matches if at least one selector matches. A filter without selectors
/// matches either all events or none.
///
/// ```
/// use es_core::{EventFilter, StreamId};
/// let filter = EventFilter::all().or_type("account", "Deposited").or_category("customer");
/// assert!(filter.matches(&StreamId::new("account", "ann")?, "Deposited"));
/// assert!(!filter.matches(&StreamId::new("account", "ann")?, "Withdrawn"));
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    selectors: Vec<EventSelector>,
    /// Whether the filter matches nothing while it has no selectors.
    starts_empty: bool,
}

impl PartialEq for EventFilter {
    fn eq(&self, other: &Self) -> bool {
        self.selectors == other.selectors && self.is_all() == other.is_all()
    }
}

impl Eq for EventFilter {}

impl EventFilter {
    /// Creates a filter for every event. Adding a selector narrows it to the events of the selectors.
    pub fn all() -> Self {
        Self::default()
    }

    /// Creates a filter for no event. Adding a selector widens it to the events of the selectors.
    pub fn none() -> Self {
        Self { selectors: Vec::new(), starts_empty: true }
    }

    /// Adds every event of a category.
    #[must_use]
    pub fn or_category(self, category: impl Into<String>) -> Self {
        self.or(EventSelector::Category(category.into()))
    }

    /// Adds every event of one type in a category.
    #[must_use]
    pub fn or_type(self, category: impl Into<String>, event_type: impl Into<String>) -> Self {
        self.or(EventSelector::Type { category: category.into(), event_type: event_type.into() })
    }

    /// Adds every event of one stream.
    #[must_use]
    pub fn or_stream(self, stream: StreamId) -> Self {
        self.or(EventSelector::Stream(stream))
    }

    /// Adds the events of a selector.
    #[must_use]
    pub fn or(mut self, selector: EventSelector) -> Self {
        if let Err(place) = self.selectors.binary_search(&selector) {
            self.selectors.insert(place, selector);
        }
        self
    }

    /// Returns the selectors, sorted and without duplicates. If there are none, [`is_all`](Self::is_all) and
    /// [`is_none`](Self::is_none) tell what the filter matches.
    pub fn selectors(&self) -> &[EventSelector] {
        &self.selectors
    }

    /// Returns whether every event matches.
    pub fn is_all(&self) -> bool {
        self.selectors.is_empty() && !self.starts_empty
    }

    /// Returns whether no event matches.
    pub fn is_none(&self) -> bool {
        self.selectors.is_empty() && self.starts_empty
    }

    /// Returns whether an event of this stream and type matches.
    pub fn matches(&self, stream: &StreamId, event_type: &str) -> bool {
        self.is_all()
            || self.selectors.iter().any(|selector| match selector {
                EventSelector::Category(category) => category == stream.category(),
                EventSelector::Type { category, event_type: wanted } => {
                    category == stream.category() && wanted == event_type
                }
                EventSelector::Stream(wanted) => wanted == stream,
            })
    }

    /// Checks the names and the number of selectors. Stores call it before they use a filter.
    ///
    /// # Errors
    /// Returns [`StoreError::InvalidName`], or [`StoreError::LimitExceeded`] over [`limits::MAX_FILTER_SELECTORS`].
    pub fn check(&self) -> Result<(), StoreError> {
        if self.selectors.len() > limits::MAX_FILTER_SELECTORS {
            return Err(StoreError::LimitExceeded {
                what: "selectors in a filter",
                limit: limits::MAX_FILTER_SELECTORS as u64,
                actual: self.selectors.len() as u64,
            });
        }
        self.selectors.iter().try_for_each(|selector| -> Result<(), InvalidName> {
            match selector {
                EventSelector::Category(category) => check_word("category", category, limits::MAX_CATEGORY_BYTES),
                EventSelector::Type { category, event_type } => {
                    check_word("category", category, limits::MAX_CATEGORY_BYTES)?;
                    check_text("event type", event_type, limits::MAX_EVENT_TYPE_BYTES)
                }
                EventSelector::Stream(_) => Ok(()),
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_a_set() {
        let one = EventFilter::all().or_category("b").or_category("a").or_category("b");
        assert_eq!(one, EventFilter::all().or_category("a").or_category("b"));
    }

    #[test]
    fn a_filter_that_wants_nothing_is_another_one_than_one_that_wants_all() {
        let stream = StreamId::new("a", "1").unwrap();
        let (all, none) = (EventFilter::all(), EventFilter::none());
        assert!(all.matches(&stream, "X") && !none.matches(&stream, "X") && all != none);
        assert!(all.is_all() && !all.is_none() && none.is_none() && !none.is_all());
        assert_eq!(all.or_category("a"), none.or_category("a"), "with selectors both mean the same");
    }

    #[test]
    fn too_many_or_impossible_selectors_are_refused() {
        let many = (0..=limits::MAX_FILTER_SELECTORS).fold(EventFilter::all(), |f, n| f.or_category(format!("c{n}")));
        assert!(matches!(many.check(), Err(StoreError::LimitExceeded { actual: 1_001, .. })));
        assert!(matches!(EventFilter::all().or_type("a", "x\0").check(), Err(StoreError::InvalidName(_))));
    }
}
