//! The traits that a broker adapter implements.

use std::{collections::HashMap, fmt, time::Duration};

use async_trait::async_trait;
use es_core::RawMessage;

use crate::{
    error::{BrokerError, MalformedMessage, PublishError},
    limits,
    message::Message,
};

/// A connection to a broker. It reconnects automatically; each method states what happens while the connection is lost.
///
/// # Cancel safety
/// Dropping the future of any method leaves the connection usable. A message in transit may have arrived.
#[async_trait]
pub trait Broker: fmt::Debug + Send + Sync {
    /// Returns the name of the broker as used in errors and metrics: `rabbitmq`, `nats`, `kafka`, `redis`, `sqs`,
    /// `memory`.
    fn name(&self) -> &'static str;

    /// Creates the missing exchanges, queues, streams, topics, and groups. Existing ones with different settings cause
    /// an error and are not changed.
    ///
    /// # Errors
    /// Returns [`BrokerError`] if the broker refuses or cannot be reached.
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError>;

    /// Returns a publisher. Opens the resources that it needs and checks that they exist.
    ///
    /// # Errors
    /// Returns [`BrokerError::Missing`] if a required exchange, stream, or topic does not exist.
    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError>;

    /// Returns a subscriber. All members of a subscription, in any process, share its messages.
    ///
    /// # Errors
    /// Returns [`BrokerError::Missing`] if the queue, stream, or group does not exist.
    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError>;

    /// Closes the connection. Messages that were received and not settled are delivered again to other members of their
    /// subscription.
    async fn close(&self);
}

/// The topics and subscriptions that a broker should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topology {
    /// The topics that messages are published to, without wildcards.
    pub topics: Vec<String>,
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
}

impl Topology {
    /// Returns a topology of these topics and subscriptions.
    pub fn new(topics: impl IntoIterator<Item = impl Into<String>>, subscriptions: Vec<Subscription>) -> Self {
        Self { topics: topics.into_iter().map(Into::into).collect(), subscriptions }
    }
}

/// A named group of consumers of some topics: a queue, a durable consumer, or a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// The name, of ASCII letters, digits, `_`, and `-`.
    pub name: String,
    /// The topics: words separated by dots. `*` stands for one word, and `#` at the end for any number of words. The
    /// page of each broker describes what it supports.
    pub topics: Vec<String>,
    /// The maximum number of unsettled messages that one subscriber can hold.
    pub prefetch: usize,
    /// How long the broker waits for an unsettled message before it delivers the message to another subscriber, if the
    /// broker has such a time.
    pub ack_wait: Duration,
}

impl Subscription {
    /// Returns a subscription to topics.
    pub fn new(name: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            prefetch: limits::DEFAULT_PREFETCH,
            ack_wait: limits::DEFAULT_ACK_WAIT,
        }
    }

    /// Sets the maximum number of unsettled messages, from 1 to [`limits::MAX_PREFETCH`].
    #[must_use]
    pub fn prefetch(mut self, messages: usize) -> Self {
        self.prefetch = messages.clamp(1, limits::MAX_PREFETCH);
        self
    }

    /// Sets how long the broker waits for unsettled messages.
    #[must_use]
    pub fn ack_wait(mut self, time: Duration) -> Self {
        self.ack_wait = time;
        self
    }
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The destination: topic, subject, or routing key.
    pub topic: String,
    /// The message. Its key determines the order, and its ID identifies duplicates.
    pub message: Message,
}

/// The limits of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherLimits {
    /// The maximum size of a message, as [`Message::size`] counts it.
    pub message_bytes: usize,
    /// The largest useful batch in one call. The publisher itself splits a larger batch.
    pub batch: usize,
}

/// Publishes messages with confirmations.
#[async_trait]
pub trait Publisher: fmt::Debug + Send + Sync {
    /// Returns the limits of the publisher.
    fn limits(&self) -> PublisherLimits;

    /// Publishes messages. Returns for each message, in the same order, whether the broker has confirmed that it stores
    /// the message.
    ///
    /// Messages of one key keep this order. No message is published after an earlier message of its key failed
    /// ([`PublishError::Behind`]), unless the broker itself ensures that it does not store the later message either.
    /// [`waves`] helps to implement this.
    ///
    /// While the broker is unavailable, this method fails within seconds instead of waiting for it.
    ///
    /// # Cancel safety
    /// If the future is dropped, each message may be stored or not. Publish all of them again under the same IDs.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>>;
}

/// Identifies an unsettled message of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// Bytes that are not a valid message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// The reason.
    pub error: MalformedMessage,
    /// The received bytes.
    pub raw: RawMessage,
}

/// A message as delivered by a broker.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Identifies the message when it is settled.
    pub receipt: Receipt,
    /// The topic that the message was published to, or the place that it comes from.
    pub topic: String,
    /// The number of deliveries including this one, as far as the broker knows; otherwise 1.
    pub attempt: u32,
    /// The content.
    pub content: Result<Message, Undecodable>,
}

/// How a message is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// The message was handled or set aside, and is not delivered again.
    Ack,
    /// The message is delivered again, after a wait if the broker supports that.
    Retry {
        /// The time to wait.
        after: Duration,
    },
    /// The message goes to the broker's own dead letters. If the broker has none, the call returns an error, and the
    /// message remains unsettled.
    Reject {
        /// The reason.
        reason: String,
    },
}

/// Receives messages.
///
/// Messages that are received and not settled are delivered again: after the subscription's `ack_wait`, after a lost
/// connection, or after [`close`](Self::close). Messages of one key are delivered in order, to one subscriber at a
/// time, as far as the page of the broker states.
#[async_trait]
pub trait Subscriber: fmt::Debug + Send + Sync {
    /// Returns the next messages: at most `max`, as soon as some are available. Returns none if no message arrives
    /// within `wait`.
    ///
    /// # Errors
    /// Returns [`BrokerError::Unavailable`] while the connection is lost; call again. Earlier receipts are then
    /// invalid.
    ///
    /// # Cancel safety
    /// No message is lost: messages in transit are returned by the next call, or delivered again.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError>;

    /// Settles messages. Returns when the broker has received the settlements, as far as it confirms them.
    ///
    /// # Errors
    /// Returns [`BrokerError::Unavailable`] or [`BrokerError::Unsupported`]. Messages that were not settled may be
    /// delivered again.
    ///
    /// # Cancel safety
    /// If the future is dropped, each message may be settled or not. Unsettled messages are delivered again.
    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError>;

    /// Asks for more time for messages that are being handled, if the broker has a time limit. Call this at least every
    /// third of the subscription's `ack_wait`.
    ///
    /// # Errors
    /// Returns [`BrokerError::Unavailable`]. The broker may then deliver the messages to another subscriber.
    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError>;

    /// Returns unsettled messages to the broker and closes the subscriber.
    ///
    /// # Errors
    /// Returns [`BrokerError::Unavailable`]. The broker delivers unsettled messages again nevertheless, when it notices
    /// the closed connection.
    async fn close(self: Box<Self>) -> Result<(), BrokerError>;
}

/// Splits a batch into waves in which no key occurs twice, and returns the indexes of the messages in each wave.
/// Publishers use waves for a broker that may store a later message although it did not store an earlier one. Messages
/// without a key are all in the first wave.
pub fn waves(batch: &[Outgoing]) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, outgoing) in batch.iter().enumerate() {
        let wave = match outgoing.message.key() {
            None => 0,
            Some(key) => {
                let next = seen.entry(key).or_insert(0);
                *next += 1;
                *next - 1
            }
        };
        if wave == waves.len() {
            waves.push(Vec::new());
        }
        waves[wave].push(index);
    }
    waves
}

/// Returns whether a topic matches a pattern of a subscription. `*` stands for one word, and `#` at the end for any
/// number of words, including none.
pub fn topic_matches(pattern: &str, topic: &str) -> bool {
    let (mut pattern, mut topic) = (pattern.split('.'), topic.split('.'));
    loop {
        match (pattern.next(), topic.next()) {
            (Some("#"), _) if pattern.clone().next().is_none() => return true,
            (Some("*"), Some(_)) => {}
            (Some(word), Some(given)) if word == given => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(key: Option<&str>) -> Outgoing {
        let builder = Message::builder("t", "/").maybe_extension(crate::extension::PARTITION_KEY, key);
        Outgoing { topic: "t".to_owned(), message: builder.build().unwrap() }
    }

    #[test]
    fn a_wave_holds_no_key_twice_and_keeps_the_order_of_each() {
        let batch = [Some("a"), None, Some("b"), Some("a"), None, Some("a"), Some("b")].map(outgoing);
        assert_eq!(waves(&batch), [vec![0, 1, 2, 4], vec![3, 6], vec![5]]);
        assert!(waves(&[]).is_empty());
    }

    #[test]
    fn a_topic_matches_word_by_word() {
        for (pattern, topic, matches) in [
            ("order.placed", "order.placed", true),
            ("order.*", "order.placed", true),
            ("order.*", "order", false),
            ("order.*", "order.placed.late", false),
            ("order.#", "order.placed.late", true),
            ("order.#", "order", true),
            ("#", "anything.at.all", true),
            ("*.placed", "order.placed", true),
            ("*.placed", "order.paid", false),
        ] {
            assert_eq!(topic_matches(pattern, topic), matches, "{pattern} {topic}");
        }
    }
}
