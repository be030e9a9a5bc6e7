//! Which broker the services use: chosen at run time, by a URL.

use std::sync::Arc;

use es_messaging::{Broker, MemoryBroker};

use crate::Error;

/// Connects to the broker of a URL.
pub async fn connect(url: &str) -> Result<Arc<dyn Broker>, Error> {
    let scheme = url.split(':').next().unwrap_or_default();
    match scheme {
        "memory" => Ok(Arc::new(MemoryBroker::new())),
        #[cfg(feature = "rabbitmq")]
        "amqp" | "amqps" => Ok(Arc::new(es_messaging_rabbitmq::RabbitMq::connect(url, Default::default()).await?)),
        #[cfg(feature = "nats")]
        "nats" | "tls" => Ok(Arc::new(es_messaging_nats::Nats::connect(url, Default::default()).await?)),
        #[cfg(feature = "kafka")]
        "kafka" => Ok(Arc::new(es_messaging_kafka::Kafka::connect(url, Default::default()).await?)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => Ok(Arc::new(es_messaging_redis::RedisStreams::connect(url, Default::default()).await?)),
        #[cfg(feature = "sqs")]
        "sqs" => Ok(Arc::new(es_messaging_sqs::Sqs::connect(url, Default::default()).await?)),
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
        _ => {
            Err(format!("unknown broker {scheme:?}: use amqp://, nats://, kafka://, redis://, sqs:// or memory:")
                .into())
        }
    }
}

#[cfg(not(feature = "all"))]
fn not_built(feature: &str) -> Error {
    format!("this program was built without that broker: run it with `cargo run -p orders --features {feature}`").into()
}
