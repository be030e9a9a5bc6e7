//! What a broker implements.

use std::{collections::HashMap, fmt, time::Duration};

use async_trait::async_trait;
use es_core::RawMessage;

use crate::{
    error::{BrokerError, MalformedMessage, PublishError},
    limits,
    message::Message,
};

/// A broker, connected. It reconnects by itself; see each method for what happens meanwhile.
///
/// # Cancel safety
/// Dropping the future of any method leaves the connection usable. A message on its way may have arrived.
#[async_trait]
pub trait Broker: fmt::Debug + Send + Sync {
    /// Its name, as in errors and metrics: `rabbitmq`, `nats`, `kafka`, `redis`, `sqs`, `memory`.
    fn name(&self) -> &'static str;

    /// Creates whatever is missing of exchanges, queues, streams, topics and groups. What is there with other settings is an error, and
    /// is not changed.
    ///
    /// # Errors
    /// [`BrokerError`].
    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError>;

    /// Publishes. Opens what it needs for that, and checks that it is there.
    ///
    /// # Errors
    /// [`BrokerError::Missing`] if an exchange, stream or topic that it must know beforehand is not there.
    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError>;

    /// Receives. The members of a subscription, in whatever process, share its messages.
    ///
    /// # Errors
    /// [`BrokerError::Missing`] if the queue, stream or group is not there.
    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError>;

    /// Closes the connection; what was received and not settled comes again, to whoever subscribes.
    async fn close(&self);
}

/// What there should be on a broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topology {
    /// The topics that are published to, without wildcards.
    pub topics: Vec<String>,
    /// Who receives what.
    pub subscriptions: Vec<Subscription>,
}

impl Topology {
    /// What there should be for these topics and subscriptions.
    pub fn new(topics: impl IntoIterator<Item = impl Into<String>>, subscriptions: Vec<Subscription>) -> Self {
        Self { topics: topics.into_iter().map(Into::into).collect(), subscriptions }
    }
}

/// A named share in the messages of some topics: a queue, a durable consumer, a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscription {
    /// Its name: ASCII letters, digits, `_`, `-`.
    pub name: String,
    /// Its topics: words with dots between; `*` stands for one word, `#` at the end for any number of words. See the broker's
    /// page for what it can do of this.
    pub topics: Vec<String>,
    /// Most messages that one subscriber holds unsettled.
    pub prefetch: usize,
    /// How long the broker waits for an unsettled message before it gives it to somebody else, where it has such a time.
    pub ack_wait: Duration,
}

impl Subscription {
    /// A subscription to topics.
    pub fn new(name: impl Into<String>, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            prefetch: limits::DEFAULT_PREFETCH,
            ack_wait: limits::DEFAULT_ACK_WAIT,
        }
    }

    /// The same with another bound on unsettled messages, from 1 to [`limits::MAX_PREFETCH`].
    #[must_use]
    pub fn prefetch(mut self, messages: usize) -> Self {
        self.prefetch = messages.clamp(1, limits::MAX_PREFETCH);
        self
    }

    /// The same with another time to wait for unsettled messages.
    #[must_use]
    pub fn ack_wait(mut self, time: Duration) -> Self {
        self.ack_wait = time;
        self
    }
}

/// A message on its way to a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to: topic, subject, routing key.
    pub topic: String,
    /// What. Its key decides the order, its id what is a duplicate.
    pub message: Message,
}

/// What a publisher takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublisherLimits {
    /// Largest message, as [`Message::size`] counts.
    pub message_bytes: usize,
    /// Most messages in one call that pay: a larger batch is cut by the publisher itself.
    pub batch: usize,
}

/// Publishes messages with confirmation.
#[async_trait]
pub trait Publisher: fmt::Debug + Send + Sync {
    /// What it takes.
    fn limits(&self) -> PublisherLimits;

    /// Publishes messages, and says of each, in the same order, whether the broker has confirmed that it keeps it.
    ///
    /// Messages of one key are kept in this order: no message is published after an earlier one of its key was not
    /// ([`PublishError::Behind`]), unless the broker itself keeps both from being kept ([`waves`] helps).
    ///
    /// While the broker is away it fails soon, within seconds, instead of waiting for it to come back.
    ///
    /// # Cancel safety
    /// Dropped, any of the messages may be kept or not: publish them again, under the same ids.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>>;
}

/// One of the unsettled messages of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub u64);

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Why not.
    pub error: MalformedMessage,
    /// What came.
    pub raw: RawMessage,
}

/// A message as a broker gives it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// To settle it by.
    pub receipt: Receipt,
    /// Where it was published to, or where it came from.
    pub topic: String,
    /// How often it has been given, with this time, as far as the broker knows; 1 if it does not.
    pub attempt: u32,
    /// What came.
    pub content: Result<Message, Undecodable>,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// It was handled, or put aside: it does not come again.
    Ack,
    /// It comes again, after some time where the broker can wait.
    Retry {
        /// How long.
        after: Duration,
    },
    /// It goes to the broker's own dead letters; where the broker has none, that is an error of the call, and the message is still
    /// unsettled.
    Reject {
        /// Why.
        reason: String,
    },
}

/// Receives messages.
///
/// What is received and not settled comes again: after the subscription's time, after a lost connection, after [`close`](Self::close).
/// Messages of one key are given in order, one subscriber at a time, as far as the broker's page says.
#[async_trait]
pub trait Subscriber: fmt::Debug + Send + Sync {
    /// The next messages: at most `max`, and as many as are there at once; none if none came for as long as `wait`.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] while the connection is away: call again. Receipts from before are void then.
    ///
    /// # Cancel safety
    /// No message is lost: what was on its way comes with the next call, or again.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError>;

    /// Settles messages. Returns when the broker knows, as far as it confirms that.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`], [`BrokerError::Unsupported`]: what was not settled may come again.
    ///
    /// # Cancel safety
    /// Dropped, any of the messages may be settled or not: what is not comes again.
    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError>;

    /// Asks for more time for messages that are being handled, where the broker has a limit. Call it at least every third of the
    /// subscription's time.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`]: they may be given to somebody else meanwhile.
    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError>;

    /// Gives back what is not settled, and ends.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`]: what is not settled comes again all the same, when the broker notices.
    async fn close(self: Box<Self>) -> Result<(), BrokerError>;
}

/// Cuts a batch into waves, in which no key occurs twice: for a broker that may keep a later message although it did not keep an earlier
/// one. Gives the indexes of the messages. Messages without a key are all in the first.
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

/// Whether a topic is one of a subscription's: `*` stands for one word, `#` at the end for any number of words, also none.
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
