//! Hints that there may be new events.

use tokio::sync::watch;

use crate::position::Position;

/// Hints that there may be new events, for one reader. Hints coalesce: a slow reader gets one for many appends.
#[derive(Debug, Clone)]
pub struct Wakeups {
    receiver: watch::Receiver<Position>,
}

impl Wakeups {
    /// Waits for a hint that came after the last one seen, and gives the highest position hinted so far. If nobody
    /// will ever send one, it waits for ever: use it beside a poll interval.
    ///
    /// # Cancel safety
    /// Safe: a hint that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Position {
        match self.receiver.changed().await {
            Ok(()) => *self.receiver.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }

    /// The highest position hinted so far, without waiting.
    pub fn latest(&self) -> Position {
        *self.receiver.borrow()
    }
}

/// The store's end of [`Wakeups`].
#[derive(Debug)]
pub struct WakeupSender {
    sender: watch::Sender<Position>,
}

impl WakeupSender {
    /// A sender that has hinted nothing yet.
    pub fn new() -> Self {
        Self { sender: watch::Sender::new(Position::ZERO) }
    }

    /// Tells every reader that there are events up to `head`. A head that is not new is not passed on.
    pub fn notify(&self, head: Position) {
        self.sender.send_if_modified(|known| {
            let is_new = head > *known;
            if is_new {
                *known = head;
            }
            is_new
        });
    }

    /// Hints for one more reader, from now on.
    pub fn subscribe(&self) -> Wakeups {
        Wakeups { receiver: self.sender.subscribe() }
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
