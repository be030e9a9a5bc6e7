//! How the parts of a consumer learn that they are to stop.

use es_core::Hold;
use tokio::sync::watch;

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It is to end.
    Shutdown,
    /// Somebody holds it back.
    Held(Hold),
}

/// What is known of how the consumer is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeldBy {
    /// Nobody has looked yet.
    Unknown,
    Nobody,
    Somebody(Hold),
}

/// Tells a part of a consumer when to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) held: watch::Receiver<HeldBy>,
}

impl Stop {
    /// Returns when it is to stop, and why.
    pub(crate) async fn requested(&self) -> Stopped {
        let (mut shutdown, mut held) = (self.shutdown.clone(), self.held.clone());
        loop {
            if *shutdown.borrow_and_update() {
                return Stopped::Shutdown;
            }
            if let HeldBy::Somebody(hold) = &*held.borrow_and_update() {
                return Stopped::Held(hold.clone());
            }
            tokio::select! {
                Ok(()) = shutdown.changed() => {}
                Ok(()) = held.changed() => {}
                // Nobody is left who could ask.
                else => std::future::pending().await,
            }
        }
    }

    /// Returns when it is known that nobody holds the consumer back, or it is to end; gives whether it may go on. Tells of holds.
    pub(crate) async fn may_go_on(&self, mut on_hold: impl FnMut(&Hold)) -> bool {
        let (mut shutdown, mut held) = (self.shutdown.clone(), self.held.clone());
        loop {
            if *shutdown.borrow_and_update() {
                return false;
            }
            match &*held.borrow_and_update() {
                HeldBy::Nobody => return true,
                HeldBy::Somebody(hold) => on_hold(hold),
                HeldBy::Unknown => {}
            }
            tokio::select! {
                Ok(()) = shutdown.changed() => {}
                Ok(()) = held.changed() => {}
                else => return false,
            }
        }
    }
}
