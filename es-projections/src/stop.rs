//! How consumers learn that they are to stop.

use tokio::sync::watch;

/// Asks the holders of a [`Stop`] to stop.
pub(crate) struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub(crate) fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop(Some(receiver)))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Tells a consumer to stop at the next good moment.
#[derive(Clone)]
pub(crate) struct Stop(Option<watch::Receiver<bool>>);

impl Stop {
    /// Never asks.
    pub(crate) fn never() -> Self {
        Self(None)
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Returns when it is asked to stop.
    pub(crate) async fn requested(&self) {
        if let Some(mut receiver) = self.0.clone()
            && receiver.wait_for(|&is_requested| is_requested).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}
