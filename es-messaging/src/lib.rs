//! Events to the outside world, and messages from it.
//!
//! - A [`Message`] is a CloudEvent; a [`Broker`] carries it. Brokers have a crate each; [`Publisher`] and [`Subscriber`] are what they
//!   implement.
//! - A [`Relay`] publishes events, as a [`MessageMapper`] turns them into messages; an [`OutboxRelay`] publishes what other code wrote in
//!   its own transactions, by an [`Outbox`]. Both leave a broker alone that does not confirm, and put aside as dead letters what it refuses.
//! - Content that is too large for a broker goes elsewhere: [`claim_check`].
//! - A [`Consumer`] lets the messages of a broker take effect once, each in a transaction of the store with its handler's writes.
//! - [`DeadLetters`] are for people: what could not be published or handled, to be looked at, mended, tried again or discarded.

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
