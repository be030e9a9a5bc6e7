//! Waiting for a condition, never for ever.

use std::thread;
use std::time::{Duration, Instant};

/// How long to rest between two looks at the condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until `condition` gives a value, or `limit` has passed, which gives `None`.
pub(crate) fn poll<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}
