//! The check before each step of a consumer loop: whether its consumer is suspended or has to wait for another one.

use std::sync::{Arc, OnceLock};

use es_core::{ConsumerName, RunnerStore, StoreError, Suspension};
use tokio::sync::watch;

use crate::{
    consumer_state::{ConsumerStateCell, Phase},
    page_step::StepFailure,
    stop::Stop,
};

/// The suspended consumers, as far as this runner knows. The [`Watchdog`](crate::watchdog::Watchdog) refreshes them for
/// all consumers together.
pub(crate) struct Suspensions {
    store: Arc<dyn RunnerStore>,
    /// `None` if the suspensions are not known.
    known: watch::Sender<Option<Vec<Suspension>>>,
}

impl Suspensions {
    pub(crate) fn new(store: Arc<dyn RunnerStore>) -> Self {
        Self { store, known: watch::Sender::new(None) }
    }

    /// Reads from the store which consumers are suspended.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        let suspensions = self.store.suspensions().await?;
        self.known.send_if_modified(|known| {
            let is_news = known.as_ref() != Some(&suspensions);
            if is_news {
                *known = Some(suspensions);
            }
            is_news
        });
        Ok(())
    }

    /// Discards what was known.
    pub(crate) fn forget(&self) {
        self.known.send_replace(None);
    }
}

/// Returns the first suspension of a consumer, if there is one.
pub(crate) fn suspension_of(suspensions: &[Suspension], consumer: &ConsumerName) -> Option<Suspension> {
    suspensions.iter().find(|suspension| suspension.consumer.as_str() == consumer.base_text()).cloned()
}

/// Checks whether anything outside the consumer keeps it from continuing.
pub(crate) struct SuspensionCheck {
    consumer: ConsumerName,
    /// `None` for a check that always passes.
    suspensions: Option<Arc<Suspensions>>,
    /// The consumer that must have caught up once before this one starts.
    after: OnceLock<(ConsumerName, Arc<ConsumerStateCell>)>,
}

impl SuspensionCheck {
    pub(crate) fn new(consumer: ConsumerName, suspensions: Arc<Suspensions>) -> Self {
        Self { consumer, suspensions: Some(suspensions), after: OnceLock::new() }
    }

    /// Returns a check that always passes.
    pub(crate) fn open(consumer: ConsumerName) -> Self {
        Self { consumer, suspensions: None, after: OnceLock::new() }
    }

    /// Makes the check wait until another consumer has caught up.
    pub(crate) fn start_after(&self, other: ConsumerName, consumer_state: Arc<ConsumerStateCell>) {
        let _ = self.after.set((other, consumer_state));
    }

    /// Returns the consumer that this one starts after.
    pub(crate) fn after(&self) -> Option<&ConsumerName> {
        self.after.get().map(|(other, _)| other)
    }

    /// Returns when the consumer may continue or is asked to stop. A consumer that does not follow the log does not
    /// wait.
    ///
    /// # Errors
    /// Returns [`StepFailure::Suspended`] instead of waiting, or the store's error if the suspensions are not known.
    pub(crate) async fn pass(
        &self,
        follows: bool,
        consumer_state: &ConsumerStateCell,
        stop: &Stop,
    ) -> Result<(), StepFailure> {
        let Some(suspensions) = &self.suspensions else { return Ok(()) };
        let mut news = suspensions.known.subscribe();
        let mut was_suspended = false;
        loop {
            let known = news.borrow_and_update().as_ref().map(|suspensions| suspension_of(suspensions, &self.consumer));
            match known {
                None => suspensions.refresh().await?,
                Some(Some(suspension)) if !follows => return Err(StepFailure::Suspended(suspension)),
                Some(Some(suspension)) => {
                    if !was_suspended {
                        tracing::info!(kind = %suspension.kind, by = suspension.by, reason = suspension.reason, "suspended");
                    }
                    was_suspended = true;
                    consumer_state.set_phase(Phase::Suspended(suspension));
                    tokio::select! {
                        _ = news.changed() => {}
                        () = stop.requested() => return Ok(()),
                    }
                }
                Some(None) => {
                    if was_suspended {
                        tracing::info!("not suspended any more");
                        consumer_state.set_phase(Phase::CatchingUp);
                        was_suspended = false;
                    }
                    let Some((other, its_state)) = self.after.get().filter(|_| follows) else { return Ok(()) };
                    let mut has_caught_up = its_state.has_caught_up();
                    if *has_caught_up.borrow_and_update() {
                        return Ok(());
                    }
                    consumer_state.set_phase(Phase::WaitingForOther(other.clone()));
                    tokio::select! {
                        _ = has_caught_up.changed() => consumer_state.set_phase(Phase::CatchingUp),
                        _ = news.changed() => {}
                        () = stop.requested() => return Ok(()),
                    }
                }
            }
        }
    }
}
