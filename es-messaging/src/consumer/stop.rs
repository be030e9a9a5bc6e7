//! How the parts of a consumer learn that they are to stop.

use es_core::Suspension;
use tokio::sync::watch;

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It is to end.
    Shutdown,
    /// An operator suspended it.
    Suspended(Suspension),
}

/// Who suspended the consumer, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SuspendedBy {
    /// Nobody has looked yet.
    Unknown,
    Nobody,
    Somebody(Suspension),
}

/// Tells a part of a consumer when to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) suspended: watch::Receiver<SuspendedBy>,
}

impl Stop {
    /// Returns when it is to stop, and why.
    pub(crate) async fn requested(&self) -> Stopped {
        let (mut shutdown, mut suspended) = (self.shutdown.clone(), self.suspended.clone());
        loop {
            if *shutdown.borrow_and_update() {
                return Stopped::Shutdown;
            }
            if let SuspendedBy::Somebody(suspension) = &*suspended.borrow_and_update() {
                return Stopped::Suspended(suspension.clone());
            }
            tokio::select! {
                Ok(()) = shutdown.changed() => {}
                Ok(()) = suspended.changed() => {}
                // Nobody is left who could ask.
                else => std::future::pending().await,
            }
        }
    }

    /// Returns whether the consumer may continue, once it is known that it is not suspended, or is to end. Reports
    /// suspensions.
    pub(crate) async fn may_go_on(&self, mut on_suspension: impl FnMut(&Suspension)) -> bool {
        let (mut shutdown, mut suspended) = (self.shutdown.clone(), self.suspended.clone());
        loop {
            if *shutdown.borrow_and_update() {
                return false;
            }
            match &*suspended.borrow_and_update() {
                SuspendedBy::Nobody => return true,
                SuspendedBy::Somebody(suspension) => on_suspension(suspension),
                SuspendedBy::Unknown => {}
            }
            tokio::select! {
                Ok(()) = shutdown.changed() => {}
                Ok(()) = suspended.changed() => {}
                else => return false,
            }
        }
    }
}
