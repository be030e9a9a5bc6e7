//! Determines the number of messages of the next transaction.

use std::time::Duration;

use crate::limits;

/// The number of messages of the next transaction. It grows while messages are fast, and shrinks when they take too
/// long.
#[derive(Debug)]
pub(crate) struct Pace {
    size: usize,
    largest: usize,
}

impl Pace {
    pub(crate) fn new(largest: usize) -> Self {
        Self { size: largest.clamp(1, limits::FIRST_BATCH), largest: largest.max(1) }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Halves the size after a transaction had too many messages.
    pub(crate) fn halve(&mut self) {
        self.size = (self.size / 2).max(1);
    }

    /// Adapts the size to how long the messages of a transaction took.
    pub(crate) fn held(&mut self, messages: usize, time: Duration) {
        if time > limits::TARGET_BATCH_TIME {
            let share = limits::TARGET_BATCH_TIME.as_secs_f64() / time.as_secs_f64();
            self.size = ((messages as f64 * share) as usize).clamp(1, self.largest);
        } else if time <= limits::TARGET_BATCH_TIME / 2 && messages >= self.size {
            self.size = self.size.saturating_mul(2).min(self.largest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_batches_grow_and_a_slow_one_comes_down_to_the_target_time() {
        let mut pace = Pace::new(100);
        for _ in 0..10 {
            pace.held(pace.size(), Duration::from_millis(1));
        }
        assert_eq!(pace.size(), 100);
        pace.held(100, limits::TARGET_BATCH_TIME * 10);
        assert_eq!(pace.size(), 10);
        pace.held(1, limits::TARGET_BATCH_TIME * 10);
        assert_eq!(pace.size(), 1, "one at least");
        pace.held(1, Duration::ZERO);
        assert_eq!(pace.size(), 2);
        pace.held(1, Duration::ZERO);
        assert_eq!(pace.size(), 2, "a batch that was not full says nothing of larger ones");
    }
}
