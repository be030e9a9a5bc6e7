//! Dead letters: messages that could not be published or handled.

use std::fmt;

use time::OffsetDateTime;

use crate::{consumer_name::ConsumerName, error::StoreError, limits, raw_message::RawMessage};

/// Names a dead letter in its store; they grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(u64);

impl DeadLetterId {
    /// An id, as stores give it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// The broker refuses it for ever: too large, forbidden, malformed.
    Refused,
    /// Nobody would receive it: no queue, no topic.
    Unroutable,
    /// It is no message that can be read, or it has no id.
    Undecodable,
    /// Its content breaks its schema.
    Schema,
    /// Nobody handles messages of its type.
    UnknownType,
    /// The handler failed as often as it is tried.
    Failed,
    /// It came too late: it had expired.
    Expired,
}

impl DeadReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Unroutable,
        Self::Undecodable,
        Self::Schema,
        Self::UnknownType,
        Self::Failed,
        Self::Expired,
    ];

    /// The word under which it is kept.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unroutable => "unroutable",
            Self::Undecodable => "undecodable",
            Self::Schema => "schema",
            Self::UnknownType => "unknown_type",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Reads what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that is put aside. The same message of the same consumer is kept once, with the latest failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewDeadLetter {
    /// The relay or consumer that could not do its work on it.
    pub consumer: ConsumerName,
    /// The message's id; of one without, something made of its bytes.
    pub message_id: String,
    /// The message's type, as far as it is known.
    pub message_type: Option<String>,
    /// Where it came from or was to go: topic, subject, routing key.
    pub topic: String,
    /// The key within which order counts.
    pub key: Option<String>,
    /// Why.
    pub reason: DeadReason,
    /// The error with its causes, as text; cut to [`limits::MAX_PARKED_ERROR_BYTES`] by [`new`](Self::new).
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The message as it came, or as it was to be published.
    pub message: RawMessage,
}

impl NewDeadLetter {
    /// A dead letter that was tried once, without type and key. Control characters in its texts, which databases refuse, become
    /// spaces, here and in the methods below; the message stays as it is.
    pub fn new(
        consumer: ConsumerName,
        message_id: impl Into<String>,
        topic: impl Into<String>,
        reason: DeadReason,
        error: &str,
        message: RawMessage,
    ) -> Self {
        let error = crate::parking::ParkFailure::new(error, 1).error;
        let (message_id, topic) = (storable(message_id.into()), storable(topic.into()));
        Self { consumer, message_id, message_type: None, topic, key: None, reason, error, attempts: 1, message }
    }

    /// The same with the message's type.
    #[must_use]
    pub fn with_type(mut self, message_type: Option<&str>) -> Self {
        self.message_type = message_type.map(str::to_owned).map(storable);
        self
    }

    /// The same with the message's key.
    #[must_use]
    pub fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned).map(storable);
        self
    }

    /// The same after so many attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Checks its sizes. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] for an id over [`limits::MAX_MESSAGE_ID_BYTES`], a type over [`limits::MAX_TOPIC_BYTES`], and as
    /// [`OutboxMessage::check`](crate::OutboxMessage::check).
    pub fn check(&self) -> Result<(), StoreError> {
        let sizes = [
            ("bytes of a message id", limits::MAX_MESSAGE_ID_BYTES, self.message_id.len()),
            ("bytes of a message type", limits::MAX_TOPIC_BYTES, self.message_type.as_ref().map_or(0, String::len)),
            ("bytes of a topic", limits::MAX_TOPIC_BYTES, self.topic.len()),
            ("bytes of a message key", limits::MAX_MESSAGE_KEY_BYTES, self.key.as_ref().map_or(0, String::len)),
        ];
        for (what, limit, actual) in sizes {
            if actual > limit {
                return Err(StoreError::LimitExceeded { what, limit: limit as u64, actual: actual as u64 });
            }
        }
        self.message.check()
    }
}

fn storable(text: String) -> String {
    match text.contains(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        false => text,
    }
}

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its name in the store.
    pub id: DeadLetterId,
    /// When it was put aside first, by the store's clock.
    pub since: OffsetDateTime,
    /// Whether somebody has asked for it to be tried again.
    pub is_retry_asked: bool,
    /// What is known of it. The message is the edited one, once somebody has edited it.
    pub letter: NewDeadLetter,
}

impl DeadLetter {
    /// A dead letter, as stores give it.
    pub fn new(id: DeadLetterId, since: OffsetDateTime, is_retry_asked: bool, letter: NewDeadLetter) -> Self {
        Self { id, since, is_retry_asked, letter }
    }
}

/// Which dead letters: those that match everything it names. The default matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterQuery {
    /// Of one relay or consumer.
    pub consumer: Option<ConsumerName>,
    /// One alone.
    pub id: Option<DeadLetterId>,
    /// Of messages of one type.
    pub message_type: Option<String>,
    /// With one key.
    pub key: Option<String>,
    /// For one reason.
    pub reason: Option<DeadReason>,
    /// Put aside before a time.
    pub before: Option<OffsetDateTime>,
    /// Only those for which a retry was asked, or was not.
    pub is_retry_asked: Option<bool>,
}

impl DeadLetterQuery {
    /// All of a relay or consumer.
    pub fn of(consumer: ConsumerName) -> Self {
        Self { consumer: Some(consumer), ..Self::default() }
    }

    /// One.
    pub fn one(id: DeadLetterId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Whether a dead letter is among them.
    pub fn matches(&self, dead: &DeadLetter) -> bool {
        let letter = &dead.letter;
        self.consumer.as_ref().is_none_or(|consumer| *consumer == letter.consumer)
            && self.id.is_none_or(|id| id == dead.id)
            && self.message_type.as_ref().is_none_or(|wanted| letter.message_type.as_ref() == Some(wanted))
            && self.key.as_ref().is_none_or(|wanted| letter.key.as_ref() == Some(wanted))
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.before.is_none_or(|before| dead.since < before)
            && self.is_retry_asked.is_none_or(|asked| asked == dead.is_retry_asked)
    }
}

/// How many dead letters a relay or consumer has, and has had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterTotals {
    /// The relay or consumer.
    pub consumer: ConsumerName,
    /// How many there are.
    pub depth: u64,
    /// Since when the oldest is there.
    pub oldest: Option<OffsetDateTime>,
    /// How many were ever put aside: its growth is their rate.
    pub ever: u64,
}

impl DeadLetterTotals {
    /// Totals, as stores give them.
    pub fn new(consumer: ConsumerName, depth: u64, oldest: Option<OffsetDateTime>, ever: u64) -> Self {
        Self { consumer, depth, oldest, ever }
    }
}
