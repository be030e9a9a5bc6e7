//! How the parts of a consumer are asked to stop.

use es_core::Suspension;
use tokio::sync::watch;

/// The reason to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The consumer shuts down.
    Shutdown,
    /// An operator suspended it.
    Suspended(Suspension),
}

/// Whether an operator suspended the consumer, as far as known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SuspendedBy {
    /// This has not been checked yet.
    Unknown,
    Nobody,
    Somebody(Suspension),
}

/// Asks a part of a consumer to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) suspended: watch::Receiver<SuspendedBy>,
}

impl Stop {
    /// Returns when a stop is requested, with the reason.
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
                // There is no sender left that could request a stop.
                else => std::future::pending().await,
            }
        }
    }

    /// Waits until it is known that the consumer is not suspended, or until it shuts down. Returns whether the consumer
    /// may continue. Reports suspensions.
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
