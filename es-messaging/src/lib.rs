//! Publishes events as messages to other systems, and receives messages from them.
//!
//! - A [`Message`] is a CloudEvent, and a [`Broker`] carries it. Each broker has its own crate, which implements
//!   [`Publisher`] and [`Subscriber`].
//! - A [`Relay`] publishes events as a [`MessageMapper`] turns them into messages. An [`OutboxRelay`] publishes
//!   messages that other code wrote in its own transactions with an [`Outbox`]. Both pause while a broker does not
//!   confirm, and store messages that it refuses as dead letters.
//! - Content that is too large for a broker is stored elsewhere; see [`claim_check`].
//! - A [`Consumer`] handles each message of a broker exactly once, in a transaction of the store together with its
//!   handler's writes.
//! - [`DeadLetters`] lets operators inspect, edit, retry, or discard messages that could not be published or handled.

mod binding;
mod broker;
mod causes;
mod circuit_breaker;
pub mod claim_check;
mod cloud_events;
mod consumer;
mod content_mode;
mod dead_letter_alert;
mod dead_letter_retries;
mod dead_letters;
mod draft;
mod error;
mod event_time;
mod file_blob_store;
mod kept;
mod lease;
pub mod limits;
mod mapper;
mod memory;
mod message;
mod message_metadata;
#[cfg(feature = "metrics")]
pub mod metrics;
mod outbox;
mod outbox_relay;
mod rate_limit;
mod relay;
mod relay_monitor;
mod relay_store;
mod sender;
mod sender_settings;
mod short_hash;
mod shown_status;
mod topic_template;

pub use binding::{HeaderBinding, ReceivedMode, partition_key};
pub use broker::{
    Broker, Delivery, Outgoing, Publisher, PublisherLimits, Receipt, Settlement, Subscriber, Subscription, Topology,
    Undecodable, topic_matches, waves,
};
pub use causes::with_causes;
pub use circuit_breaker::{BreakerOptions, BreakerState};
pub use claim_check::{ClaimCheck, ClaimError};
pub use cloud_events::{STRUCTURED_CONTENT_TYPE, percent_decode, percent_encode};
#[cfg(feature = "metrics")]
pub use consumer::metrics as consumer_metrics;
pub use consumer::{
    Consumer, ConsumerBuilder, ConsumerMonitor, ConsumerState, ConsumerStatus, ExpiredMessages, Handling, Invalid,
    MessageHandler, MessageValidator, Unacceptable, UnknownTypes,
};
pub use content_mode::ContentMode;
pub use dead_letter_alert::DeadLetterAlert;
pub use dead_letter_retries::{DeadLetterRetries, Retried};
pub use dead_letters::{DeadLetters, ShownDeadLetter};
pub use draft::{Draft, Drafts, MapError};
pub use error::{BrokerError, ConsumerError, MalformedMessage, PublishError};
pub use file_blob_store::FileBlobStore;
pub use mapper::{MapWith, MessageMapper, map_into, map_with};
pub use memory::{MemoryBroker, MemoryDeadLetter};
pub use message::{Message, MessageBuilder, extension};
pub use outbox::{EnqueueError, Outbox, to_outbox};
pub use outbox_relay::{OutboxRelay, OutboxRelayBuilder, OutboxRelayError};
pub use rate_limit::{RateLimit, RateLimiter};
pub use relay::{Relay, RelayBuilder, RelayConfigError};
pub use relay_monitor::{LastError, OutboxWork, RelayMonitor, RelayStatus};
pub use relay_store::{OutboxRelayStore, RelayStore};
pub use sender::RelayError;
pub use topic_template::{InvalidTopic, TopicTemplate};
