//! Which events of the log a reader wants.

use crate::{
    error::{InvalidName, StoreError},
    limits,
    name::{check_text, check_word},
    stream_id::StreamId,
};

/// One way to name events in a filter.
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

/// Which events of the log a reader wants: those that at least one of its selectors names, or all if it has none.
///
/// ```
/// use es_core::{EventFilter, StreamId};
/// let filter = EventFilter::all().or_type("account", "Deposited").or_category("customer");
/// assert!(filter.matches(&StreamId::new("account", "ann")?, "Deposited"));
/// assert!(!filter.matches(&StreamId::new("account", "ann")?, "Withdrawn"));
/// # Ok::<(), es_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    selectors: Vec<EventSelector>,
}

impl EventFilter {
    /// Every event. Adding a selector narrows it to what the selectors name.
    pub fn all() -> Self {
        Self::default()
    }

    /// Also every event of a category.
    #[must_use]
    pub fn or_category(self, category: impl Into<String>) -> Self {
        self.or(EventSelector::Category(category.into()))
    }

    /// Also every event of one type in a category.
    #[must_use]
    pub fn or_type(self, category: impl Into<String>, event_type: impl Into<String>) -> Self {
        self.or(EventSelector::Type { category: category.into(), event_type: event_type.into() })
    }

    /// Also every event of one stream.
    #[must_use]
    pub fn or_stream(self, stream: StreamId) -> Self {
        self.or(EventSelector::Stream(stream))
    }

    /// Also what the selector names.
    #[must_use]
    pub fn or(mut self, selector: EventSelector) -> Self {
        if let Err(place) = self.selectors.binary_search(&selector) {
            self.selectors.insert(place, selector);
        }
        self
    }

    /// The selectors, sorted and without repeats; empty means every event.
    pub fn selectors(&self) -> &[EventSelector] {
        &self.selectors
    }

    /// Whether every event passes.
    pub fn is_all(&self) -> bool {
        self.selectors.is_empty()
    }

    /// Whether an event of this stream and type passes.
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

    /// Checks names and count. Stores call it before they use a filter.
    ///
    /// # Errors
    /// [`StoreError::InvalidName`], or [`StoreError::LimitExceeded`] over [`limits::MAX_FILTER_SELECTORS`].
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
    fn too_many_or_impossible_selectors_are_refused() {
        let many = (0..=limits::MAX_FILTER_SELECTORS).fold(EventFilter::all(), |f, n| f.or_category(format!("c{n}")));
        assert!(matches!(many.check(), Err(StoreError::LimitExceeded { actual: 1_001, .. })));
        assert!(matches!(EventFilter::all().or_type("a", "x\0").check(), Err(StoreError::InvalidName(_))));
    }
}
