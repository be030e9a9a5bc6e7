//! The suite on the broker inside the process.

use std::sync::Arc;

use async_trait::async_trait;
use es_messaging::{Broker, MemoryBroker, Subscription};

use super::{
    harness::{BrokerAbilities, BrokerHarness},
    unique_prefix,
};

/// Gives a [`MemoryBroker`] of its own to each case.
#[derive(Debug)]
pub struct MemoryBrokerHarness {
    broker: MemoryBroker,
    prefix: String,
}

impl MemoryBrokerHarness {
    /// An empty broker.
    pub fn new() -> Self {
        Self { broker: MemoryBroker::new(), prefix: unique_prefix() }
    }

    /// The broker.
    pub fn broker(&self) -> &MemoryBroker {
        &self.broker
    }
}

impl Default for MemoryBrokerHarness {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl BrokerHarness for MemoryBrokerHarness {
    fn abilities(&self) -> BrokerAbilities {
        let mut abilities = BrokerAbilities::all();
        abilities.deduplicates = false;
        abilities
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    async fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    /// All that there is of a restart: everybody loses the connection.
    async fn restart(&self) {
        self.broker.set_available(false);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        self.broker.set_available(true);
    }

    async fn set_reachable(&self, reachable: bool) {
        self.broker.set_available(reachable);
    }

    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        let dead = self.broker.dead_letters(&subscription.name);
        dead.iter().map(|dead| dead.message.id().to_owned()).collect()
    }
}
