//! Which broker the services use: chosen at run time, by a URL.

use std::sync::Arc;

use es_messaging::{Broker, BrokerError};

use crate::Error;

/// A broker that cannot be connected to.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the broker at {url}{}", if source.is_transient() { "; is it running there?" } else { "" })]
struct NoConnection {
    /// Without the password.
    url: String,
    source: BrokerError,
}

/// Connects to the broker of a URL.
pub async fn connect(url: &str) -> Result<Arc<dyn Broker>, Error> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        #[cfg(feature = "rabbitmq")]
        "amqp" | "amqps" => connected(url, es_messaging_rabbitmq::RabbitMq::connect(url, Default::default()).await),
        #[cfg(feature = "nats")]
        "nats" | "tls" => connected(url, es_messaging_nats::Nats::connect(url, Default::default()).await),
        #[cfg(feature = "kafka")]
        "kafka" => connected(url, es_messaging_kafka::Kafka::connect(url, Default::default()).await),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => connected(url, es_messaging_redis::RedisStreams::connect(url, Default::default()).await),
        #[cfg(feature = "sqs")]
        "sqs" => connected(url, es_messaging_sqs::Sqs::connect(url, Default::default()).await),
        #[cfg(not(feature = "rabbitmq"))]
        "amqp" | "amqps" => Err(not_built("rabbitmq")),
        #[cfg(not(feature = "nats"))]
        "nats" | "tls" => Err(not_built("nats")),
        #[cfg(not(feature = "kafka"))]
        "kafka" => Err(not_built("kafka")),
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" => Err(not_built("redis")),
        #[cfg(not(feature = "sqs"))]
        "sqs" => Err(not_built("sqs")),
        "memory" => Err("memory: is a broker inside one process, and here each service is a process of its own; \
                         run `orders` without a command for both in one"
            .into()),
        _ => Err(format!("unknown broker {scheme:?}: use amqp://, nats://, kafka://, redis:// or sqs://").into()),
    }
}

#[allow(dead_code, reason = "nobody calls it where no broker was compiled")]
fn connected<B: Broker + 'static>(url: &str, broker: Result<B, BrokerError>) -> Result<Arc<dyn Broker>, Error> {
    match broker {
        Ok(broker) => Ok(Arc::new(broker)),
        Err(source) => Err(NoConnection { url: shown(url), source }.into()),
    }
}

/// A URL without user, password and settings.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let rest = rest.split('?').next().unwrap_or_default();
    format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default())
}

#[cfg(not(feature = "all"))]
fn not_built(feature: &str) -> Error {
    format!("this program was built without that broker: run it with `cargo run -p orders --features {feature}`").into()
}
