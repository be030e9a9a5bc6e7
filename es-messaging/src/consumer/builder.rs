//! Puts a consumer together.

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

/// What a consumer does with messages of a type that it has no handler for and that it does not
/// [ignore](ConsumerBuilder::ignore) by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownTypes {
    /// It counts and acknowledges them. During a rolling deployment, old code acknowledges messages of new types in this way, and the new
    /// code never sees them.
    Skip,
    /// It turns them into dead letters, which code that knows the type can retry.
    Park,
}

/// What becomes of messages that come after their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiredMessages {
    /// They are counted and thrown away.
    Drop,
    /// They become dead letters.
    Park,
}

/// What a consumer is told once and for all.
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

/// Puts a [`Consumer`] together, handler by handler.
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

    /// Handles messages of a type by a closure, which is given the content, decoded from JSON, the message, and the transaction.
    /// Content that is no `T` becomes a dead letter without retries.
    pub fn on<T, F>(mut self, message_type: &str, handle: F) -> Self
    where
        T: DeserializeOwned + 'static,
        F: for<'a> Fn(T, &'a Message, &'a mut S::Unit) -> Handling<'a> + Send + Sync + 'static,
    {
        self.handlers.push((message_type.to_owned(), Arc::new(ByContent::new(handle))));
        self
    }

    /// Handles messages of a type by a [`MessageHandler`].
    pub fn handler(mut self, message_type: &str, handler: impl MessageHandler<S::Unit>) -> Self {
        self.handlers.push((message_type.to_owned(), Arc::new(ByTrait(handler))));
        self
    }

    /// How many lanes, from 1 to [`limits::MAX_LANES`]: so many transactions are open at once. Messages of a key are all in one lane, in
    /// order. [`limits::DEFAULT_LANES`] if not said; on a store with a single writer, 1 is best.
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.settings.lanes = lanes.clamp(1, limits::MAX_LANES);
        self
    }

    /// Most messages in a transaction, from 1 to [`MAX_MESSAGES_PER_UNIT`](es_core::limits::MAX_MESSAGES_PER_UNIT);
    /// [`limits::DEFAULT_BATCH`] if not said. It takes fewer when they hold the transaction for too long.
    pub fn batch(mut self, messages: usize) -> Self {
        self.settings.batch = messages.clamp(1, es_core::limits::MAX_MESSAGES_PER_UNIT);
        self
    }

    /// How often a message is tried before it becomes a dead letter, at least once; [`limits::DEFAULT_ATTEMPTS`] if not said. How often
    /// the broker has given it before counts too, as far as the broker knows that.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// How long it waits between two attempts. Other keys go on meanwhile.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How long a handler may take for a message; then it is dropped, and that is a failure. [`limits::DEFAULT_HANDLER_TIME`] if
    /// not said.
    pub fn handler_time_limit(mut self, time: Duration) -> Self {
        self.settings.handler_time = time;
        self
    }

    /// How long it may take at the end for what it has in hand; the rest is given back. [`limits::DEFAULT_DRAIN_TIME`] if not said.
    pub fn drain_time_limit(mut self, time: Duration) -> Self {
        self.settings.drain_time = time;
        self
    }

    /// Ignores messages of a type: they are counted as skipped and acknowledged. For types that the topic carries and this consumer does
    /// not need.
    pub fn ignore(mut self, message_type: &str) -> Self {
        self.settings.ignored.insert(message_type.to_owned());
        self
    }

    /// Sets what it does with messages of types that it neither handles nor [ignores](Self::ignore). The default is
    /// [`UnknownTypes::Park`].
    pub fn unknown_types(mut self, policy: UnknownTypes) -> Self {
        self.settings.unknown = policy;
        self
    }

    /// What becomes of messages that come after their time: [`ExpiredMessages::Park`] if not said.
    pub fn expired_messages(mut self, policy: ExpiredMessages) -> Self {
        self.settings.expired = policy;
        self
    }

    /// Lets the broker keep what cannot be handled, by its own facility, instead of the store's dead letters. Where the broker has none,
    /// the store keeps it after all.
    pub fn reject_to_broker(mut self) -> Self {
        self.settings.to_broker = true;
        self
    }

    /// Bounds how many messages a second it handles.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.limiter = Some(RateLimiter::new(limit));
        self
    }

    /// For how long the inbox remembers messages at least; [`limits::DEFAULT_INBOX_KEEP`] if not said. A message that comes again
    /// later than that takes effect again, so give it more than the broker keeps messages. It is one setting for all consumers of a
    /// store: the shortest holds.
    pub fn remember_for(mut self, time: Duration) -> Self {
        self.settings.inbox_keep = time;
        self
    }

    /// Checks messages before their handlers see them. Several validators are asked in order.
    pub fn validator(mut self, validator: impl MessageValidator) -> Self {
        self.settings.validators.push(Box::new(validator));
        self
    }

    /// When its dead letters are too many or too old.
    pub fn dead_letter_alert(mut self, alert: DeadLetterAlert) -> Self {
        self.settings.alert = alert;
        self
    }

    /// Where payloads are that were too large for the broker.
    pub fn blobs(mut self, blobs: impl BlobStore + 'static) -> Self {
        self.settings.blobs = Some(Arc::new(blobs));
        self
    }

    /// Checks the name and the handlers and gives the consumer. Neither the store nor the broker is asked for anything yet.
    ///
    /// # Errors
    /// [`ConsumerError::InvalidName`], [`ConsumerError::NoHandlers`], [`ConsumerError::DuplicateType`].
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
