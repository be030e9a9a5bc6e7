//! Hints that there may be new events.

use tokio::sync::watch;

use crate::position::Position;

/// Hints that there may be new events, for one reader. Hints coalesce: a slow reader gets one for many appends.
///
/// The position that comes with a hint is a hint too, and never a high-water mark: the log may end before it or after it, and it
/// is lower than the one before it once the database was put back to an earlier state. Each hint counts, whatever its position.
#[derive(Debug, Clone)]
pub struct Wakeups {
    receiver: watch::Receiver<Hints>,
    /// How many hints this reader has seen.
    seen: u64,
}

/// The hints so far.
#[derive(Debug, Clone, Copy, Default)]
struct Hints {
    /// How many there were.
    count: u64,
    /// The position of the last one.
    latest: Position,
    /// Which of them, counted from 1, was the last one with a lower position than the one before it.
    last_fall: u64,
}

impl Wakeups {
    /// Waits for a hint that came after the last one seen, and returns the position of the latest. If nobody
    /// will ever send one, it waits forever: use it beside a poll interval.
    ///
    /// # Cancel safety
    /// Safe: a hint that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Position {
        self.hint().await.0.latest
    }

    /// Waits for a hint, after the last one seen, that a reader of everything up to `read_to` may have missed something. Hints of
    /// lower positions that come late are passed over; one whose position is lower than the hint before it is not, since the log may
    /// have gone back.
    ///
    /// # Cancel safety
    /// Safe: a hint that was not returned is returned by the next call.
    pub async fn news(&mut self, read_to: Position) {
        loop {
            let (hints, has_fallen) = self.hint().await;
            if has_fallen || hints.latest > read_to {
                return;
            }
        }
    }

    /// The position of the latest hint, without waiting.
    pub fn latest(&self) -> Position {
        self.receiver.borrow().latest
    }

    /// The next hint, and whether positions have fallen since the last one seen.
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
    /// A sender that has hinted nothing yet.
    pub fn new() -> Self {
        Self { sender: watch::Sender::new(Hints::default()) }
    }

    /// Tells every reader that the log may end at `head` now.
    pub fn notify(&self, head: Position) {
        self.sender.send_modify(|hints| {
            hints.count += 1;
            if head < hints.latest {
                hints.last_fall = hints.count;
            }
            hints.latest = head;
        });
    }

    /// The position of the latest hint.
    pub fn latest(&self) -> Position {
        self.sender.borrow().latest
    }

    /// Hints for one more reader, from now on.
    pub fn subscribe(&self) -> Wakeups {
        let receiver = self.sender.subscribe();
        let seen = receiver.borrow().count;
        Wakeups { receiver, seen }
    }

    /// Whether anybody has hints to wait for: whether it is worth looking for appends of other processes.
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
        // The log went back to 5, for a reader that believes to be at 11.
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
