//! RabbitMQ as a broker of `es-messaging`.
//!
//! Messages go to one durable topic exchange, in the binary mode of CloudEvents; each subscription is a durable queue, a quorum queue
//! unless the [options](RabbitMqOptions) say otherwise, bound by its topics, with a queue of dead letters beside it (`<name>.dead`).
//!
//! - Published means confirmed by the server, for all queues that the message went to.
//! - A key keeps its order in a queue. One member receives it in order; several members do not, unless the queue has a
//!   [single active consumer](RabbitMqOptions::single_active_consumer).
//! - A retry waits in the member that asked for it, and counts as unsettled meanwhile: so it keeps its place in the queue, and what the
//!   server counts stays right. A member that is lost meanwhile gives it back at once.
//! - The server has no time after which an unsettled message comes again; it does when its member is lost or closed.
//!
//! ```no_run
//! use es_messaging::{Broker, Subscription, Topology};
//! use es_messaging_rabbitmq::{RabbitMq, RabbitMqOptions};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = RabbitMq::connect("amqp://guest:guest@localhost:5672/%2f?exchange=shop", RabbitMqOptions::default()).await?;
//! let shipping = Subscription::new("shipping", ["order.*"]);
//! broker.declare(&Topology::new(["order.placed"], vec![shipping.clone()])).await?;
//! let subscriber = broker.subscriber(&shipping).await?;
//! # let _ = subscriber;
//! # Ok(())
//! # }
//! ```

mod attempt;
mod broker;
mod error;
pub mod limits;
mod link;
mod options;
mod publisher;
mod subscriber;
#[cfg(feature = "tls")]
mod tls;
mod wire;
mod writing;

pub use broker::RabbitMq;
pub use options::{QueueKind, RabbitMqOptions};
pub use wire::HeaderPrefix;

pub(crate) const BROKER: &str = "rabbitmq";
