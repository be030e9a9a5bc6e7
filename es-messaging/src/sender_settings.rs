//! The settings of a relay for publishing.

use std::sync::Arc;

use es_core::{ConsumerName, DeadLetterStore, InvalidName};

use crate::{
    broker::Publisher,
    circuit_breaker::{BreakerOptions, CircuitBreaker},
    claim_check::ClaimCheck,
    dead_letter_alert::DeadLetterAlert,
    dead_letter_retries::DeadLetterRetries,
    limits,
    rate_limit::RateLimit,
    relay_monitor::RelayMonitor,
    relay_store::RelayStore,
    sender::Sender,
};

/// The settings that the relay of events and the relay of the outbox share.
#[derive(Debug, Clone, Default)]
pub(crate) struct SenderSettings {
    pub(crate) breaker: BreakerOptions,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) claim_check: Option<ClaimCheck>,
    pub(crate) batch: Option<usize>,
    pub(crate) alert: DeadLetterAlert,
}

impl SenderSettings {
    pub(crate) fn batch(&self) -> usize {
        let batch = self.batch.unwrap_or(limits::DEFAULT_RELAY_BATCH).clamp(1, limits::MAX_RELAY_BATCH);
        self.rate_limit.map_or(batch, |limit| batch.min(limit.handful()))
    }

    /// Returns the sender of a relay, and the component that publishes its dead letters again.
    pub(crate) fn machine(
        self,
        name: &ConsumerName,
        publisher: Arc<dyn Publisher>,
        store: Arc<dyn RelayStore>,
    ) -> Result<(Arc<Sender>, DeadLetterRetries), InvalidName> {
        let monitor = RelayMonitor::new(name.clone(), CircuitBreaker::new(self.breaker.clone()));
        let dead_letters: Arc<dyn DeadLetterStore> = Arc::clone(&store) as _;
        let sender = Arc::new(Sender::new(monitor, publisher, dead_letters, &self));
        let retries = DeadLetterRetries::new(Arc::clone(&sender), store, self.alert)?;
        Ok((sender, retries))
    }
}

/// Defines the methods of a builder that has a field `settings`.
macro_rules! sender_setters {
    () => {
        /// Sets the maximum number of messages that are passed to the publisher at once, at most
        /// [`limits::MAX_RELAY_BATCH`]. The default is [`limits::DEFAULT_RELAY_BATCH`].
        pub fn batch(mut self, messages: usize) -> Self {
            self.settings.batch = Some(messages);
            self
        }

        /// Limits how many messages this process publishes per second.
        pub fn rate_limit(mut self, limit: $crate::RateLimit) -> Self {
            self.settings.rate_limit = Some(limit);
            self
        }

        /// Sets where content is stored that is too large for the broker. Without a claim check, such messages become
        /// dead letters.
        pub fn claim_check(mut self, claim_check: $crate::ClaimCheck) -> Self {
            self.settings.claim_check = Some(claim_check);
            self
        }

        /// Sets when the relay stops sending to the broker, and for how long.
        pub fn breaker(mut self, options: $crate::BreakerOptions) -> Self {
            self.settings.breaker = options;
            self
        }

        /// Sets when its dead letters are too many or too old.
        pub fn dead_letter_alert(mut self, alert: $crate::DeadLetterAlert) -> Self {
            self.settings.alert = alert;
            self
        }
    };
}
pub(crate) use sender_setters;
