//! The work of a runner that concerns all its consumers: it finds out which consumers are suspended and which are
//! silent.

use std::{convert::Infallible, sync::Arc};

use es_core::{ConsumerName, RunnerStore};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    consumer_loop::ConsumerLoop, consumer_state::ConsumerStateCell, error::Chain, limits, suspension_check::Suspensions,
};

/// A watched consumer, or one of its partitions.
pub(crate) struct Watched {
    pub(crate) name: ConsumerName,
    pub(crate) consumer_state: Arc<ConsumerStateCell>,
}

/// Watches the consumers of a runner while they run. It has its own task, so that it notices when a consumer's task
/// hangs.
pub(crate) struct Watchdog {
    store: Arc<dyn RunnerStore>,
    suspensions: Arc<Suspensions>,
    consumers: Vec<Arc<ConsumerLoop>>,
    #[cfg(feature = "metrics")]
    publisher: std::sync::Mutex<crate::metrics::Publisher>,
}

impl Watchdog {
    pub(crate) fn new(
        store: Arc<dyn RunnerStore>,
        suspensions: Arc<Suspensions>,
        consumers: Vec<Arc<ConsumerLoop>>,
    ) -> Self {
        Self {
            store,
            suspensions,
            consumers,
            #[cfg(feature = "metrics")]
            publisher: std::sync::Mutex::default(),
        }
    }

    /// Returns the consumers and partitions that exist at the moment.
    fn watched(&self) -> Vec<Watched> {
        self.consumers.iter().flat_map(|consumer| consumer.watched()).collect()
    }

    /// Watches the consumers while a future runs.
    pub(crate) async fn while_doing<T>(&self, work: impl Future<Output = T>) -> T {
        let result = tokio::select! {
            biased;
            result = work => result,
            never = self.look_for_suspensions() => match never {},
            never = self.watch() => match never {},
        };
        #[cfg(feature = "metrics")]
        self.publish(self.store.head().await.ok());
        result
    }

    #[cfg(feature = "metrics")]
    fn publish(&self, head: Option<es_core::Position>) {
        let mut publisher = self.publisher.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for Watched { name, consumer_state } in &self.watched() {
            publisher.publish(name, consumer_state, head);
        }
    }

    async fn look_for_suspensions(&self) -> Infallible {
        let mut ticks = interval(limits::CONTROL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The caller has just refreshed the suspensions.
        ticks.tick().await;
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            let result = self.suspensions.refresh().await;
            if let (Err(error), false) = (&result, is_failing) {
                tracing::warn!(error = %Chain(error), "cannot see which consumers are suspended; going by what was known last");
            }
            is_failing = result.is_err();
        }
    }

    async fn watch(&self) -> Infallible {
        let mut ticks = interval(limits::WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked_at: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let is_silent =
                |it: &Watched| it.consumer_state.silent_for().is_some_and(|time| time >= limits::DIAGNOSIS_INTERVAL);
            let is_due = asked_at.is_none_or(|asked_at| asked_at.elapsed() >= limits::DIAGNOSIS_INTERVAL);
            if is_due && self.watched().iter().any(is_silent) {
                asked_at = Some(Instant::now());
                self.diagnose().await;
            }
            #[cfg(feature = "metrics")]
            self.publish(timeout(limits::WATCH_INTERVAL, self.store.head()).await.ok().and_then(Result::ok));
            for Watched { name, consumer_state } in &self.watched() {
                if let Some(silent_for) = consumer_state.tell_silence() {
                    tracing::warn!(consumer = %name, ?silent_for, "a page takes long, or a task hangs");
                }
            }
        }
    }

    /// Asks the store what the silent consumers wait for.
    async fn diagnose(&self) {
        let waits = match timeout(limits::DIAGNOSIS_INTERVAL, self.store.waiting_on()).await {
            Ok(Ok(waits)) => waits,
            Ok(Err(error)) => return tracing::debug!(error = %Chain(&error), "the store cannot say for whom it waits"),
            Err(_) => return tracing::debug!("the store did not say in time for whom it waits"),
        };
        for Watched { name, consumer_state } in &self.watched() {
            if consumer_state.note_waits(&waits) {
                for wait in &waits {
                    tracing::warn!(consumer = %name, %wait, "waiting on the database");
                }
            }
        }
    }
}
