//! Hints that there may be new events.

use tokio::sync::watch;

use crate::position::Position;

/// Hints that there may be new events, for one reader. Hints are combined: a slow reader gets one for many appends.
///
/// The position in a hint is also only a hint, and never a high-water mark. The log may end before or after it. After
/// the database was restored to an earlier state, the position is lower than the previous one. Every hint counts,
/// whatever its position.
#[derive(Debug, Clone)]
pub struct Wakeups {
    receiver: watch::Receiver<Hints>,
    /// The number of hints that this reader has seen.
    seen: u64,
}

/// The hints so far.
#[derive(Debug, Clone, Copy, Default)]
struct Hints {
    /// The number of hints.
    count: u64,
    /// The position of the last hint.
    latest: Position,
    /// The number, starting at 1, of the last hint with a lower position than the hint before it.
    last_fall: u64,
}

impl Wakeups {
    /// Waits for a hint after the last one seen, and returns the position of the latest hint. If no sender is
    /// left, it waits forever, so combine it with a poll interval.
    ///
    /// # Cancel safety
    /// This method is cancel safe: a hint that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Position {
        self.hint().await.0.latest
    }

    /// Waits for a hint, after the last one seen, that a reader of everything up to `read_to` may have missed an event.
    /// Late hints of lower positions are skipped. A hint whose position is lower than that of the hint before it is not
    /// skipped, because the log may have gone back.
    ///
    /// # Cancel safety
    /// This method is cancel safe: a hint that was not returned is returned by the next call.
    pub async fn news(&mut self, read_to: Position) {
        loop {
            let (hints, has_fallen) = self.hint().await;
            if has_fallen || hints.latest > read_to {
                return;
            }
        }
    }

    /// Returns the position of the latest hint, without waiting.
    pub fn latest(&self) -> Position {
        self.receiver.borrow().latest
    }

    /// Returns the next hint, and whether positions have decreased since the last one seen.
    async fn hint(&mut self) -> (Hints, bool) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let hints = *self.receiver.borrow_and_update();
        let has_fallen = hints.last_fall > self.seen;
        self.seen = hints.count;
        (hints, has_fallen)
    }
}

/// The store's end of [`Wakeups`].
#[derive(Debug)]
pub struct WakeupSender {
    sender: watch::Sender<Hints>,
}

impl WakeupSender {
    /// Creates a sender that has not sent a hint yet.
    pub fn new() -> Self {
        Self { sender: watch::Sender::new(Hints::default()) }
    }

    /// Notifies every reader that the log may now end at `head`.
    pub fn notify(&self, head: Position) {
        self.sender.send_modify(|hints| {
            hints.count += 1;
            if head < hints.latest {
                hints.last_fall = hints.count;
            }
            hints.latest = head;
        });
    }

    /// Returns the position of the latest hint.
    pub fn latest(&self) -> Position {
        self.sender.borrow().latest
    }

    /// Returns the hints for one more reader, from now on.
    pub fn subscribe(&self) -> Wakeups {
        let receiver = self.sender.subscribe();
        let seen = receiver.borrow().count;
        Wakeups { receiver, seen }
    }

    /// Returns whether any reader waits for hints, so that it is worth looking for appends of other processes.
    pub fn has_subscribers(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}

impl Default for WakeupSender {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_news(wakeups: &mut Wakeups, read_to: u64) -> bool {
        let mut news = std::pin::pin!(wakeups.news(Position::new(read_to)));
        news.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_huge_number_and_a_log_that_went_back_silence_no_later_hint() {
        let sender = WakeupSender::new();
        let mut wakeups = sender.subscribe();
        sender.notify(Position::new(u64::MAX));
        assert!(is_news(&mut wakeups, 10));
        sender.notify(Position::new(11));
        assert!(is_news(&mut wakeups, 10));
        assert!(!is_news(&mut wakeups, 11));
        // The log went back to 5, for a reader that assumes position 11.
        sender.notify(Position::new(5));
        assert!(is_news(&mut wakeups, 11));
        assert!(!is_news(&mut wakeups, 11));
    }

    #[test]
    fn a_low_number_right_behind_a_high_one_does_not_hide_it() {
        let sender = WakeupSender::new();
        let mut wakeups = sender.subscribe();
        sender.notify(Position::new(11));
        sender.notify(Position::new(10));
        assert!(is_news(&mut wakeups, 10));
    }

    #[test]
    fn hints_of_what_was_read_already_are_passed_over() {
        let sender = WakeupSender::new();
        let mut wakeups = sender.subscribe();
        for head in [9, 10, 11, 11] {
            sender.notify(Position::new(head));
        }
        assert!(!is_news(&mut wakeups, 11));
        sender.notify(Position::new(12));
        assert!(is_news(&mut wakeups, 11));
    }
}
