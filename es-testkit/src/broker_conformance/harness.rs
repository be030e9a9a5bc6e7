//! What a broker gives the suite.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use es_messaging::{Broker, Subscription};

/// What a broker can do. Cases about the rest are skipped, and say so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerAbilities {
    /// [`BrokerHarness::restart`] kills the server, and what it confirmed is there afterwards.
    pub keeps_data: bool,
    /// [`BrokerHarness::set_reachable`] works.
    pub outages: bool,
    /// One member gets the messages of a key in order.
    pub orders_keys: bool,
    /// Several members get the messages of a key in order, also when one of them is lost.
    pub orders_keys_among_members: bool,
    /// All members get messages at the same time, whatever the keys.
    pub shares: bool,
    /// A message published twice is there once.
    pub deduplicates: bool,
    /// What is not settled in the subscription's time comes again, and the time can be extended.
    pub ack_wait: bool,
    /// A retried message comes only after its delay.
    pub delays: bool,
    /// There are dead letters: [`BrokerHarness::dead_letters`].
    pub dead_letters: bool,
    /// `*` and `#` work in the topics of a subscription.
    pub wildcards: bool,
    /// A message that no subscription takes is refused.
    pub tells_unroutable: bool,
    /// A member never holds more than its prefetch.
    pub prefetch: bool,
    /// Deliveries are counted.
    pub counts_attempts: bool,
    /// A subscription that was never declared is an error.
    pub tells_missing: bool,
    /// A message over the publisher's limit is refused before it is sent; false if there is no limit that a test can reach.
    pub limits_size: bool,
    /// The size of the largest content that is tried; 1 MiB where the broker takes it.
    pub large_message_bytes: usize,
}

impl BrokerAbilities {
    /// A broker that can do all of it. Take away what it cannot.
    pub fn all() -> Self {
        Self {
            keeps_data: true,
            outages: true,
            orders_keys: true,
            orders_keys_among_members: true,
            shares: true,
            deduplicates: true,
            ack_wait: true,
            delays: true,
            dead_letters: true,
            wildcards: true,
            tells_unroutable: true,
            prefetch: true,
            counts_attempts: true,
            tells_missing: true,
            limits_size: true,
            large_message_bytes: 1_024 * 1_024,
        }
    }
}

/// A broker under test. One is made for each case, in its runtime; cases run side by side.
#[async_trait]
pub trait BrokerHarness: Send + Sync {
    /// What the broker can do.
    fn abilities(&self) -> BrokerAbilities;

    /// Begins every topic and subscription of this case; lower-case letters and digits, its own for each harness
    /// ([`unique_prefix`](super::unique_prefix)).
    fn prefix(&self) -> &str;

    /// A connection of its own, as another process would have it.
    async fn connect(&self) -> Arc<dyn Broker>;

    /// Called first by a case that will kill the server or make it unreachable: no other case may notice that. So give this one a
    /// server, or a way to it, of its own.
    async fn alone(&self) {}

    /// Kills the server, and starts it again on the same data. Returns when it takes connections again.
    async fn restart(&self) {
        panic!("this harness says that its broker keeps its data; it has to know how to restart it");
    }

    /// Cuts all connections and takes no new ones, or takes them again.
    async fn set_reachable(&self, reachable: bool) {
        panic!("this harness says that it can make outages; it has to know how ({reachable})");
    }

    /// The ids of the messages among the broker's own dead letters of a subscription. Called until enough are there.
    async fn dead_letters(&self, subscription: &Subscription) -> Vec<String> {
        panic!("this harness says that its broker has dead letters; it has to read them ({})", subscription.name);
    }

    /// Publishes bytes that are no message, past the publisher; false if that is not possible.
    async fn publish_raw(&self, topic: &str, content_type: &str, body: &[u8]) -> bool {
        let _ = (topic, content_type, body);
        false
    }

    /// How long to wait for what must come.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How long to wait before one believes that nothing comes.
    fn quiet(&self) -> Duration {
        Duration::from_millis(300)
    }

    /// The shortest time to wait for unsettled messages that the broker keeps well.
    fn ack_wait(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// The longest time that publishing may take while the broker is not reachable.
    fn fails_within(&self) -> Duration {
        Duration::from_secs(10)
    }
}
