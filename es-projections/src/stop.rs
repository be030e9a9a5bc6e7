//! How consumers are asked to stop.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use es_core::ConsumerName;
use tokio::sync::watch;

use crate::member_session::MemberSession;

/// Asks the holders of a [`Stop`] to stop.
pub(crate) struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub(crate) fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop { requested: Some(receiver), lease: None })
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Asks a consumer to stop at the next suitable moment.
#[derive(Clone)]
pub(crate) struct Stop {
    requested: Option<watch::Receiver<bool>>,
    /// Also requests a stop when this lease is no longer certain to be valid.
    lease: Option<(Arc<MemberSession>, ConsumerName)>,
}

impl Stop {
    /// Returns a `Stop` that never requests a stop.
    pub(crate) fn never() -> Self {
        Self { requested: None, lease: None }
    }

    /// Returns a `Stop` for work under a lease, which also requests a stop when the lease is no longer certain to be
    /// valid.
    pub(crate) fn or_without_lease(&self, member_session: &Arc<MemberSession>, name: &ConsumerName) -> Self {
        Self { requested: self.requested.clone(), lease: Some((Arc::clone(member_session), name.clone())) }
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.requested.as_ref().is_some_and(|receiver| *receiver.borrow())
            || self.lease.as_ref().is_some_and(|(member_session, name)| member_session.lease(name).is_none())
    }

    /// Returns when a stop is requested.
    pub(crate) async fn requested(&self) {
        if let Some(mut receiver) = self.requested.clone()
            && receiver.wait_for(|&is_requested| is_requested).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The end position that stands for no limit.
pub(crate) const NO_END: u64 = u64::MAX;

/// Limits all steps to a position until it is dropped.
#[must_use]
pub(crate) struct EndGuard(Arc<AtomicU64>);

impl EndGuard {
    pub(crate) fn new(end: &Arc<AtomicU64>) -> Self {
        Self(Arc::clone(end))
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.store(NO_END, Ordering::SeqCst);
    }
}
