//! Redis Streams as a broker: a stream for each topic, a consumer group for each subscription, publishers that wait until their
//! transaction is confirmed.
//!
//! ```no_run
//! use es_messaging::{Broker, Subscription, Topology};
//! use es_messaging_redis::{RedisOptions, RedisStreams, Trim};
//!
//! # async fn example() -> Result<(), es_messaging::BrokerError> {
//! let options = RedisOptions::new().trim(Trim::Settled);
//! let redis = RedisStreams::connect("redis://:secret@redis-1:6379/?prefix=shop", options).await?;
//! let shipping = Subscription::new("shipping", ["order.#"]);
//! redis.declare(&Topology::new(["order.placed"], vec![shipping.clone()])).await?;
//! let publisher = redis.publisher().await?;
//! let subscriber = redis.subscriber(&shipping).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A message is an entry: each attribute of the CloudEvent is a field with `ce_` before its name, and the content is the field `data`. There
//! is no official binding. What comes in structured mode (`content-type` and `data`) is read as well.

mod binding;
mod broker;
mod durability;
mod keys;
pub mod limits;
mod link;
mod options;
mod publisher;
mod subscriber;
#[cfg(feature = "tls")]
mod tls;
mod topology;

pub use broker::RedisStreams;
pub use durability::Durability;
pub use options::{RedisOptions, Trim};
