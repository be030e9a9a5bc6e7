//! Determines the number of events of the next page.

use std::time::Duration;

use crate::limits;

/// The number of events of the next page. It grows while pages are fast, and shrinks when a page holds the store's
/// transaction for too long or cannot be applied as a whole.
pub(crate) struct Pace {
    size: usize,
    largest: usize,
}

impl Pace {
    pub(crate) fn new(largest: usize) -> Self {
        Self { size: largest.min(limits::FIRST_PAGE_EVENTS), largest }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Limits the next page to a number of events.
    pub(crate) fn narrow_to(&mut self, events: usize) {
        self.size = events.clamp(1, self.largest);
    }

    /// Adapts the size after a page took effect. `held_for` is how long it held the store's transaction, if it did.
    pub(crate) fn applied(&mut self, events: usize, held_for: Option<Duration>) {
        let held_for = held_for.unwrap_or_default();
        if held_for > limits::TARGET_PAGE_TIME {
            // The number of events that would have taken the target time.
            let share = limits::TARGET_PAGE_TIME.as_secs_f64() / held_for.as_secs_f64();
            self.narrow_to((events as f64 * share) as usize);
        } else if held_for <= limits::TARGET_PAGE_TIME / 2 {
            self.size = self.size.saturating_mul(2).min(self.largest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_pages_grow_to_the_largest_and_no_further() {
        let mut pace = Pace::new(limits::MOST_EVENTS_PER_PAGE);
        let mut sizes = vec![pace.size()];
        for _ in 0..5 {
            pace.applied(pace.size(), Some(Duration::from_millis(5)));
            sizes.push(pace.size());
        }
        assert_eq!(sizes, [1_000, 2_000, 2_000, 2_000, 2_000, 2_000]);
        assert_eq!(Pace::new(7).size(), 7);
    }

    #[test]
    fn a_slow_handler_comes_down_to_the_target_time_and_stays_there() {
        let per_event = Duration::from_millis(3);
        let mut pace = Pace::new(limits::MOST_EVENTS_PER_PAGE);
        for page in 0..20 {
            let held_for = per_event * pace.size() as u32;
            assert!(page == 0 || held_for <= limits::TARGET_PAGE_TIME, "page {page} takes {held_for:?}");
            pace.applied(pace.size(), Some(held_for));
        }
        assert!((16..=33).contains(&pace.size()), "{}", pace.size());
        pace.applied(1, Some(Duration::from_secs(9)));
        assert_eq!(pace.size(), 1, "one event at least");
    }
}
