//! NATS JetStream as a broker: one stream for messages and one for dead letters, publishers that wait for the server's
//! acknowledgement, durable pull consumers.
//!
//! ```no_run
//! use es_messaging::{Broker, Subscription, Topology};
//! use es_messaging_nats::{Nats, NatsOptions};
//!
//! # async fn example() -> Result<(), es_messaging::BrokerError> {
//! let url = "nats://orders:secret@nats-1:4222,nats-2:4222,nats-3:4222/?stream=EVENTS";
//! let nats = Nats::connect(url, NatsOptions::new().replicas(3).assume_synced()).await?;
//! let shipping = Subscription::new("shipping", ["order.#"]);
//! nats.declare(&Topology::new(["order.placed"], vec![shipping.clone()])).await?;
//! let publisher = nats.publisher().await?;
//! let subscriber = nats.subscriber(&shipping).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A message is a CloudEvent in binary mode, by the NATS protocol binding: each attribute, the type of the content too, is a header
//! with `ce-` before its name, percent-encoded; the payload is the content. What comes in structured mode is read as well.

mod api;
mod binding;
mod broker;
mod connect;
mod durability;
pub mod limits;
mod options;
mod publisher;
mod subjects;
mod subscriber;
mod topology;
mod url;

pub use broker::Nats;
pub use durability::Durability;
pub use options::NatsOptions;
