//! Messages over Amazon SQS and SNS: standard and FIFO queues behind one topic.
//!
//! ```no_run
//! use es_messaging::{Broker, Message, Outgoing, Subscription, Topology};
//! use es_messaging_sqs::{Sqs, SqsOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sqs = Sqs::connect("sqs://eu-central-1?prefix=shop&fifo=true", SqsOptions::new()).await?;
//! let shipping = Subscription::new("shipping", ["order.*"]);
//! sqs.declare(&Topology::new(["order.placed"], vec![shipping.clone()])).await?;
//!
//! let publisher = sqs.publisher().await?;
//! let message = Message::builder("order.placed", "/shop").key("order/17").json(&17)?.build()?;
//! for result in publisher.publish(&[Outgoing { topic: "order.placed".to_owned(), message }]).await {
//!     result?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! All topics are one SNS topic, since SNS and SQS keep the order of a key only within one topic: so it holds over all that is published of
//! a key, whatever its topics. A subscription is a queue of its own behind that topic, with a filter on the message attribute `topic`, and
//! a queue for its dead letters. A message is in structured mode in the body, as there may be only ten attributes beside it.

mod binding;
mod broker;
mod connection;
mod declare;
mod error;
mod fetch;
pub mod limits;
mod options;
mod policy;
mod publisher;
mod subscriber;

pub use broker::Sqs;
pub use options::SqsOptions;
