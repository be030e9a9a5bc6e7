//! Events to the outside world, and messages from it.
//!
//! - A [`Message`] is a CloudEvent; a [`Broker`] carries it. Brokers have a crate each; [`Publisher`] and [`Subscriber`] are what they
//!   implement.

mod broker;
mod cloud_events;
mod error;
pub mod limits;
mod memory;
mod message;

pub use broker::{
    Broker, Delivery, Outgoing, Publisher, PublisherLimits, Receipt, Settlement, Subscriber, Subscription, Topology,
    Undecodable, topic_matches, waves,
};
pub use cloud_events::{STRUCTURED_CONTENT_TYPE, percent_decode, percent_encode};
pub use error::{BrokerError, MalformedMessage, PublishError};
pub use memory::{MemoryBroker, MemoryDeadLetter};
pub use message::{Message, MessageBuilder, extension};
