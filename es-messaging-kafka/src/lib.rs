//! Messages over Kafka: an idempotent producer and consumer groups with manual commits, by librdkafka.
//!
//! ```no_run
//! use es_messaging::{Broker, Message, Outgoing, Subscription, Topology};
//! use es_messaging_kafka::{Kafka, KafkaOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let kafka = Kafka::connect("kafka://127.0.0.1:9092", KafkaOptions::new().partitions(12)).await?;
//! let shipping = Subscription::new("shipping", ["order.placed"]);
//! kafka.declare(&Topology::new(["order.placed"], vec![shipping.clone()])).await?;
//!
//! let publisher = kafka.publisher().await?;
//! let message = Message::builder("order.placed", "/shop").key("order/17").json(&17)?.build()?;
//! for result in publisher.publish(&[Outgoing { topic: "order.placed".to_owned(), message }]).await {
//!     result?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A topic is a Kafka topic, a subscription a consumer group of its name, a message's key the record's key. Kafka's transactions are not
//! offered: a message takes effect once because whoever handles it knows its id.

mod admin;
mod binding;
mod broker;
mod catalogue;
mod client;
mod error;
pub mod limits;
mod options;
mod poller;
mod publisher;
mod subscriber;
mod ticket;
mod tls_probe;
mod window;

pub use broker::Kafka;
pub use options::KafkaOptions;
