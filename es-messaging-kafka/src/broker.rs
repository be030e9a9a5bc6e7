//! A connection to Kafka.

use std::sync::Arc;

use async_trait::async_trait;
use es_messaging::{Broker, BrokerError, Publisher, Subscriber, Subscription, Topology};
use tokio::sync::watch;

use crate::{
    admin::{self, check_name, check_topic, dead_topic, is_wildcard},
    catalogue::Catalogue,
    error::KAFKA,
    options::{KafkaOptions, Target},
    publisher::KafkaPublisher,
    subscriber::KafkaSubscriber,
    tls_probe::{Speech, speech},
};

/// Kafka, connected.
///
/// Every publisher and every subscriber has connections of its own, made again by themselves whenever they are lost.
#[derive(Debug)]
pub struct Kafka {
    target: Target,
    catalogue: Arc<Catalogue>,
    closed: watch::Sender<bool>,
}

impl Kafka {
    /// Connects: `kafka://[user:password@]host:port[,host:port][?name=value&...]`. What is given as `name=value` are librdkafka's properties
    /// (`security.protocol=ssl`), or `partitions`, `replication` and `publish_timeout_ms` of the options; it goes over the options.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a wrong URL or property, [`BrokerError::Denied`], [`BrokerError::Tls`],
    /// [`BrokerError::Unavailable`] if no broker answers within [`limits::ANSWER_TIMEOUT`](crate::limits::ANSWER_TIMEOUT).
    pub async fn connect(url: &str, options: KafkaOptions) -> Result<Self, BrokerError> {
        let target = Target::parse(url, options)?;
        let catalogue = Catalogue::new(&target)?;
        if let Err(error) = catalogue.check().await {
            return Err(explain(error, &target).await);
        }
        Ok(Self { target, catalogue, closed: watch::Sender::new(false) })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if *self.closed.borrow() { Err(BrokerError::Closed) } else { Ok(()) }
    }
}

/// Why nobody answers, if it can be found out.
async fn explain(error: BrokerError, target: &Target) -> BrokerError {
    let protocol = target.options.properties.get("security.protocol");
    let has_tls = protocol.is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl"));
    if !error.is_transient() {
        return error;
    }
    let servers = target.servers.clone();
    let reason = match tokio::task::spawn_blocking(move || speech(&servers)).await {
        Ok(Some(Speech::Tls)) if !has_tls => {
            "the listener speaks TLS: say security.protocol=ssl or sasl_ssl, or use another port"
        }
        Ok(Some(Speech::Plain)) if has_tls => {
            "the listener speaks no TLS: say security.protocol=plaintext or sasl_plaintext, or use another port"
        }
        _ => return error,
    };
    BrokerError::Tls { broker: KAFKA, reason: reason.to_owned() }
}

#[async_trait]
impl Broker for Kafka {
    fn name(&self) -> &'static str {
        KAFKA
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.check_open()?;
        admin::declare(&self.target, &self.catalogue, topology).await
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        self.check_open()?;
        self.catalogue.check().await?;
        Ok(Box::new(KafkaPublisher::new(self.target.clone(), self.catalogue.clone())?))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        self.check_open()?;
        check_name("subscription", &subscription.name)?;
        for topic in &subscription.topics {
            check_topic(topic)?;
            if !is_wildcard(topic) && self.catalogue.ask(topic).await?.is_none() {
                let reason = "there is no such topic: declare it, or correct its name".to_owned();
                return Err(BrokerError::Missing { broker: KAFKA, what: format!("topic {topic}"), reason });
            }
        }
        // Brokers know no group that has no members: its dead letters tell that it was declared.
        let dead = dead_topic(&subscription.name);
        if self.catalogue.ask(&dead).await?.is_none() {
            let reason = format!("its topic {dead} is not there: declare the subscription, or correct its name");
            let what = format!("subscription {}", subscription.name);
            return Err(BrokerError::Missing { broker: KAFKA, what, reason });
        }
        let publisher = KafkaPublisher::new(self.target.clone(), self.catalogue.clone())?;
        let closed = self.closed.subscribe();
        Ok(Box::new(KafkaSubscriber::start(&self.target, subscription, publisher, closed)?))
    }

    async fn close(&self) {
        self.closed.send_replace(true);
    }
}
