//! Builds a consumer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use es_core::{BlobStore, ConsumerName, ControlStore, DeadLetterStore, InboxStore, InvalidName};
use es_projections::Backoff;
use serde::de::DeserializeOwned;

use super::{
    Consumer,
    handler::{AnyHandler, ByContent, ByTrait, Handling, MessageHandler},
    shared::Shared,
    status::ConsumerStateCell,
    validator::MessageValidator,
};
use crate::{
    broker::{Broker, Subscription},
    dead_letter_alert::DeadLetterAlert,
    error::ConsumerError,
    limits,
    message::Message,
    rate_limit::{RateLimit, RateLimiter},
};

/// What a consumer does with messages of a type that it neither handles nor [ignores](ConsumerBuilder::ignore) by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownTypes {
    /// Counts and acknowledges them. During a rolling deployment, old code acknowledges messages of new types in this
    /// way, and the new code never sees them.
    Skip,
    /// Turns them into dead letters, which code that knows the type can retry.
    Park,
}

/// What a consumer does with messages that have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiredMessages {
    /// Counts and discards them.
    Drop,
    /// Turns them into dead letters.
    Park,
}

/// The settings of a consumer, which do not change while it runs.
pub(crate) struct Settings {
    pub(crate) lanes: usize,
    pub(crate) batch: usize,
    pub(crate) attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) handler_time: Duration,
    pub(crate) drain_time: Duration,
    pub(crate) unknown: UnknownTypes,
    pub(crate) ignored: HashSet<String>,
    pub(crate) expired: ExpiredMessages,
    pub(crate) to_broker: bool,
    pub(crate) limiter: Option<RateLimiter>,
    pub(crate) inbox_keep: Duration,
    pub(crate) validators: Vec<Box<dyn MessageValidator>>,
    pub(crate) blobs: Option<Arc<dyn BlobStore>>,
    pub(crate) alert: DeadLetterAlert,
}

type Handlers<S> = Vec<(String, Arc<dyn AnyHandler<<S as InboxStore>::Unit>>)>;

/// Builds a [`Consumer`] with its handlers.
#[must_use = "a builder does nothing until it is built"]
pub struct ConsumerBuilder<S: InboxStore> {
    name: Result<ConsumerName, InvalidName>,
    store: S,
    broker: Arc<dyn Broker>,
    subscription: Subscription,
    handlers: Handlers<S>,
    settings: Settings,
}

impl<S: InboxStore> std::fmt::Debug for ConsumerBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static> ConsumerBuilder<S> {
    pub(super) fn new(name: &str, store: S, broker: Arc<dyn Broker>, subscription: Subscription) -> Self {
        let settings = Settings {
            lanes: limits::DEFAULT_LANES,
            batch: limits::DEFAULT_BATCH,
            attempts: limits::DEFAULT_ATTEMPTS,
            backoff: Backoff::default(),
            handler_time: limits::DEFAULT_HANDLER_TIME,
            drain_time: limits::DEFAULT_DRAIN_TIME,
            unknown: UnknownTypes::Park,
            ignored: HashSet::new(),
            expired: ExpiredMessages::Park,
            to_broker: false,
            limiter: None,
            inbox_keep: limits::DEFAULT_INBOX_KEEP,
            validators: Vec::new(),
            blobs: None,
            alert: DeadLetterAlert::default(),
        };
        Self { name: ConsumerName::new(name), store, broker, subscription, handlers: Vec::new(), settings }
    }

    /// Handles messages of a type with a closure. The closure receives the content, decoded from JSON, the message, and
    /// the transaction. A message whose content cannot be decoded as `T` becomes a dead letter without retries.
    pub fn on<T, F>(mut self, message_type: &str, handle: F) -> Self
    where
        T: DeserializeOwned + 'static,
        F: for<'a> Fn(T, &'a Message, &'a mut S::Unit) -> Handling<'a> + Send + Sync + 'static,
    {
        self.handlers.push((message_type.to_owned(), Arc::new(ByContent::new(handle))));
        self
    }

    /// Handles messages of a type with a [`MessageHandler`].
    pub fn handler(mut self, message_type: &str, handler: impl MessageHandler<S::Unit>) -> Self {
        self.handlers.push((message_type.to_owned(), Arc::new(ByTrait(handler))));
        self
    }

    /// Sets the number of lanes, from 1 to [`limits::MAX_LANES`]. Each lane has one open transaction at a time. All
    /// messages of a key go to the same lane, in order. The default is [`limits::DEFAULT_LANES`]. For a store with a
    /// single writer, 1 is best.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.settings.lanes = lanes.clamp(1, limits::MAX_LANES);
        self
    }

    /// Sets the maximum number of messages in a transaction, from 1 to
    /// [`MAX_MESSAGES_PER_UNIT`](es_core::limits::MAX_MESSAGES_PER_UNIT). The default is [`limits::DEFAULT_BATCH`]. The
    /// consumer uses fewer messages if they hold the transaction for too long.
    pub fn batch(mut self, messages: usize) -> Self {
        self.settings.batch = messages.clamp(1, es_core::limits::MAX_MESSAGES_PER_UNIT);
        self
    }

    /// Sets how often a message is tried before it becomes a dead letter, at least once. The default is
    /// [`limits::DEFAULT_ATTEMPTS`]. Earlier deliveries by the broker count too, as far as the broker knows them.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Sets how long to wait between two attempts. Other keys continue during the wait.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Sets how long a handler may take for a message. A handler that takes longer is dropped, which counts as a
    /// failure. The default is [`limits::DEFAULT_HANDLER_TIME`].
    pub fn handler_time_limit(mut self, time: Duration) -> Self {
        self.settings.handler_time = time;
        self
    }

    /// Sets how long the consumer may take at shutdown for the messages that it holds. It returns the others to the
    /// broker. The default is [`limits::DEFAULT_DRAIN_TIME`].
    pub fn drain_time_limit(mut self, time: Duration) -> Self {
        self.settings.drain_time = time;
        self
    }

    /// Ignores messages of a type: they are counted as skipped and acknowledged. Use it for types that the topic
    /// carries but this consumer does not need.
    pub fn ignore(mut self, message_type: &str) -> Self {
        self.settings.ignored.insert(message_type.to_owned());
        self
    }

    /// Sets what the consumer does with messages of types that it neither handles nor [ignores](Self::ignore). The
    /// default is [`UnknownTypes::Park`].
    pub fn unknown_types(mut self, policy: UnknownTypes) -> Self {
        self.settings.unknown = policy;
        self
    }

    /// Sets what the consumer does with messages that have expired. The default is [`ExpiredMessages::Park`].
    pub fn expired_messages(mut self, policy: ExpiredMessages) -> Self {
        self.settings.expired = policy;
        self
    }

    /// Rejects messages that cannot be handled to the broker's own dead letters instead of the store's. If the broker
    /// has none, the store keeps them.
    pub fn reject_to_broker(mut self) -> Self {
        self.settings.to_broker = true;
        self
    }

    /// Limits how many messages the consumer handles per second.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.limiter = Some(RateLimiter::new(limit));
        self
    }

    /// Sets the minimum time for which the inbox remembers messages. The default is [`limits::DEFAULT_INBOX_KEEP`]. A
    /// message that is delivered again after this time takes effect again, so choose a longer time than the broker
    /// keeps messages. All consumers of a store share this setting: the shortest time applies.
    pub fn remember_for(mut self, time: Duration) -> Self {
        self.settings.inbox_keep = time;
        self
    }

    /// Adds a validator that checks messages before their handlers receive them. Several validators run in order.
    pub fn validator(mut self, validator: impl MessageValidator) -> Self {
        self.settings.validators.push(Box::new(validator));
        self
    }

    /// Sets when its dead letters are too many or too old.
    pub fn dead_letter_alert(mut self, alert: DeadLetterAlert) -> Self {
        self.settings.alert = alert;
        self
    }

    /// Sets the store of payloads that were too large for the broker.
    pub fn blobs(mut self, blobs: impl BlobStore + 'static) -> Self {
        self.settings.blobs = Some(Arc::new(blobs));
        self
    }

    /// Checks the name and the handlers and returns the consumer. This method accesses neither the store nor the
    /// broker.
    ///
    /// # Errors
    /// Returns [`ConsumerError::InvalidName`], [`ConsumerError::NoHandlers`], or [`ConsumerError::DuplicateType`].
    pub fn build(self) -> Result<Consumer<S>, ConsumerError> {
        let Self { name, store, broker, subscription, handlers: given, settings } = self;
        let name = name?;
        if given.is_empty() {
            return Err(ConsumerError::NoHandlers { name });
        }
        let mut handlers = HashMap::with_capacity(given.len());
        for (message_type, handler) in given {
            if handlers.contains_key(&message_type) || settings.ignored.contains(&message_type) {
                return Err(ConsumerError::DuplicateType { name, message_type });
            }
            handlers.insert(message_type, handler);
        }
        let consumer_state = Arc::new(ConsumerStateCell::new(name.clone()));
        let shared = Shared { name, store, broker, subscription, handlers, settings, consumer_state };
        Ok(Consumer { shared: Arc::new(shared) })
    }
}
