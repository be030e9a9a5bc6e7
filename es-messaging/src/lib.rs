//! Events to the outside world, and messages from it.
//!
//! - A [`Message`] is a CloudEvent; a [`Broker`] carries it. Brokers have a crate each; [`Publisher`] and [`Subscriber`] are what they
//!   implement.
//! - A [`Consumer`] lets the messages of a broker take effect once, each in a transaction of the store with its handler's writes.
//! - [`DeadLetters`] are for people: what could not be published or handled, to be looked at, mended, tried again or discarded.

mod broker;
mod cloud_events;
mod consumer;
mod dead_letters;
mod error;
pub mod limits;
mod memory;
mod message;
mod message_metadata;
mod rate_limit;

pub use broker::{
    Broker, Delivery, Outgoing, Publisher, PublisherLimits, Receipt, Settlement, Subscriber, Subscription, Topology,
    Undecodable, topic_matches, waves,
};
pub use cloud_events::{STRUCTURED_CONTENT_TYPE, percent_decode, percent_encode};
#[cfg(feature = "metrics")]
pub use consumer::metrics as consumer_metrics;
pub use consumer::{
    Consumer, ConsumerBuilder, ConsumerMonitor, ConsumerState, ConsumerStatus, ExpiredMessages, Handling, Invalid,
    MessageHandler, MessageValidator, Unacceptable, UnknownTypes,
};
pub use dead_letters::{DeadLetters, ShownDeadLetter};
pub use error::{BrokerError, ConsumerError, MalformedMessage, PublishError};
pub use memory::{MemoryBroker, MemoryDeadLetter};
pub use message::{Message, MessageBuilder, extension};
pub use rate_limit::{RateLimit, RateLimiter};
