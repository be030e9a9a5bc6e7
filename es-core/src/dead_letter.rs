//! Dead letters: messages that could not be published or handled.

use std::fmt;

use time::OffsetDateTime;

use crate::{consumer_name::ConsumerName, digest::digest_of, error::StoreError, limits, raw_message::RawMessage};

/// The ID of a dead letter in its store. IDs increase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(u64);

impl DeadLetterId {
    /// Creates an ID. Stores report IDs in this way.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The reason why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeadReason {
    /// The broker refuses the message permanently: it is too large, forbidden, or malformed.
    Refused,
    /// The message has no receiver: there is no queue or no topic.
    Unroutable,
    /// The message cannot be decoded, or it has no ID.
    Undecodable,
    /// The content does not match the schema.
    Schema,
    /// There is no handler for messages of this type.
    UnknownType,
    /// The handler failed at every permitted attempt.
    Failed,
    /// The message had expired when it arrived.
    Expired,
    /// Another message with the same source and ID, but other content, was handled before.
    IdReused,
}

impl DeadReason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Unroutable,
        Self::Undecodable,
        Self::Schema,
        Self::UnknownType,
        Self::Failed,
        Self::Expired,
        Self::IdReused,
    ];

    /// Returns the word under which stores keep the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unroutable => "unroutable",
            Self::Undecodable => "undecodable",
            Self::Schema => "schema",
            Self::UnknownType => "unknown_type",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::IdReused => "id_reused",
        }
    }

    /// Parses the text that [`as_str`](Self::as_str) returned.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dead letter that is not stored yet.
///
/// A store keeps the same message of the same consumer once, with the latest failure. Two messages are the same if
/// their [`identity`](Self::identity) is the same: topic, ID, headers, and body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewDeadLetter {
    /// The relay or consumer that could not process the message.
    pub consumer: ConsumerName,
    /// The ID of the message, or a digest of its headers and body if it has no ID.
    pub message_id: String,
    /// The type of the message, if it is known.
    pub message_type: Option<String>,
    /// The source or destination: a topic, subject, or routing key.
    pub topic: String,
    /// The key whose messages stay in order.
    pub key: Option<String>,
    /// The reason.
    pub reason: DeadReason,
    /// The error with its causes, as text. [`new`](Self::new) cuts it to [`limits::MAX_PARKED_ERROR_BYTES`].
    pub error: String,
    /// The number of attempts.
    pub attempts: u32,
    /// The message as it was received, or as it was to be published.
    pub message: RawMessage,
}

impl NewDeadLetter {
    /// Creates a dead letter with one attempt, without a type and a key. An empty message ID is replaced with a digest
    /// of the message.
    ///
    /// Control characters, which databases refuse, become spaces, and a text that is too long is cut. This also applies
    /// to the methods below. A topic or ID that is changed in this way ends with a digest of the original, so that
    /// different texts stay different. The message itself is not changed.
    pub fn new(
        consumer: ConsumerName,
        message_id: impl Into<String>,
        topic: impl Into<String>,
        reason: DeadReason,
        error: &str,
        message: RawMessage,
    ) -> Self {
        let error = crate::parking::ParkFailure::new(error, 1).error;
        let message_id = match message_id.into() {
            id if id.is_empty() => format!("digest:{}", message.digest()),
            id => distinct(id, limits::MAX_MESSAGE_ID_BYTES),
        };
        let topic = distinct(topic.into(), limits::MAX_TOPIC_BYTES);
        Self { consumer, message_id, message_type: None, topic, key: None, reason, error, attempts: 1, message }
    }

    /// Returns a digest of everything that distinguishes it from other dead letters of its consumer: the topic, the
    /// message ID, and the message with its headers. A store keeps the digest together with the dead letter, because
    /// the message may be edited.
    pub fn identity(&self) -> String {
        digest_of([self.topic.as_bytes(), self.message_id.as_bytes(), self.message.digest().as_bytes()])
    }

    /// Returns the dead letter with the type of the message.
    #[must_use]
    pub fn with_type(mut self, message_type: Option<&str>) -> Self {
        self.message_type = message_type.map(|text| storable(text, limits::MAX_TOPIC_BYTES));
        self
    }

    /// Returns the dead letter with the key of the message.
    #[must_use]
    pub fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(|text| storable(text, limits::MAX_MESSAGE_KEY_BYTES));
        self
    }

    /// Returns the dead letter with this number of attempts.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Checks the sizes. Stores call it.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] for an ID over [`limits::MAX_MESSAGE_ID_BYTES`], for a type over
    /// [`limits::MAX_TOPIC_BYTES`], and as [`OutboxMessage::check`](crate::OutboxMessage::check) does.
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

/// Returns the text without control characters, cut to `max` bytes.
fn storable(text: &str, max: usize) -> String {
    let text = &text[..text.floor_char_boundary(max)];
    match text.contains(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        false => text.to_owned(),
    }
}

/// Returns the storable form of a text that is part of an identity. If the text had to be changed, the result ends with
/// a digest of the original.
fn distinct(text: String, max: usize) -> String {
    if text.len() <= max && !text.contains(char::is_control) {
        return text;
    }
    let end = format!(" digest:{}", digest_of([text.as_bytes()]));
    storable(&text, max - end.len()) + &end
}

/// A stored dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The ID in the store.
    pub id: DeadLetterId,
    /// When it was first stored, by the store's clock.
    pub since: OffsetDateTime,
    /// Whether a retry has been requested.
    pub is_retry_requested: bool,
    /// The content. If an operator has edited the message, this is the edited one.
    pub letter: NewDeadLetter,
}

impl DeadLetter {
    /// Creates a stored dead letter. Stores report dead letters in this way.
    pub fn new(id: DeadLetterId, since: OffsetDateTime, is_retry_requested: bool, letter: NewDeadLetter) -> Self {
        Self { id, since, is_retry_requested, letter }
    }
}

/// A query for dead letters. A dead letter matches if it matches all conditions. The default matches every dead letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterQuery {
    /// Only those of one relay or consumer.
    pub consumer: Option<ConsumerName>,
    /// Only the one with this ID.
    pub id: Option<DeadLetterId>,
    /// Only those with messages of one type.
    pub message_type: Option<String>,
    /// Only those with one key.
    pub key: Option<String>,
    /// Only those with one reason.
    pub reason: Option<DeadReason>,
    /// Only those that were stored before a time.
    pub before: Option<OffsetDateTime>,
    /// Only those with a requested retry, or only those without.
    pub is_retry_requested: Option<bool>,
}

impl DeadLetterQuery {
    /// Creates a query for all dead letters of a relay or consumer.
    pub fn of(consumer: ConsumerName) -> Self {
        Self { consumer: Some(consumer), ..Self::default() }
    }

    /// Creates a query for one dead letter.
    pub fn one(id: DeadLetterId) -> Self {
        Self { id: Some(id), ..Self::default() }
    }

    /// Returns whether a dead letter matches the query.
    pub fn matches(&self, dead: &DeadLetter) -> bool {
        let letter = &dead.letter;
        self.consumer.as_ref().is_none_or(|consumer| *consumer == letter.consumer)
            && self.id.is_none_or(|id| id == dead.id)
            && self.message_type.as_ref().is_none_or(|wanted| letter.message_type.as_ref() == Some(wanted))
            && self.key.as_ref().is_none_or(|wanted| letter.key.as_ref() == Some(wanted))
            && self.reason.is_none_or(|reason| reason == letter.reason)
            && self.before.is_none_or(|before| dead.since < before)
            && self.is_retry_requested.is_none_or(|requested| requested == dead.is_retry_requested)
    }
}

/// The numbers of current and past dead letters of a relay or consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterTotals {
    /// The relay or consumer.
    pub consumer: ConsumerName,
    /// The current number of dead letters.
    pub depth: u64,
    /// When the oldest of them was stored.
    pub oldest: Option<OffsetDateTime>,
    /// The number of all dead letters that were ever stored. Its growth is their rate.
    pub ever: u64,
}

impl DeadLetterTotals {
    /// Creates totals. Stores report totals in this way.
    pub fn new(consumer: ConsumerName, depth: u64, oldest: Option<OffsetDateTime>, ever: u64) -> Self {
        Self { consumer, depth, oldest, ever }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, topic: &str, message: RawMessage) -> NewDeadLetter {
        let consumer = ConsumerName::new("shop").unwrap_or_else(|error| panic!("{error}"));
        NewDeadLetter::new(consumer, id, topic, DeadReason::Failed, "", message)
    }

    #[test]
    fn a_control_character_is_a_space_in_the_storable_form_only() {
        let long = "l".repeat(limits::MAX_TOPIC_BYTES);
        let plain = RawMessage::new("text/plain", "7");
        let texts = ["a b", "a\tb", "a\0b", "a\nb", &long, &format!("{long}1"), &format!("{long}2")];
        for (place, one) in texts.iter().enumerate() {
            for other in &texts[..place] {
                for [one, other] in [
                    [letter(one, "t", plain.clone()), letter(other, "t", plain.clone())],
                    [letter("7", one, plain.clone()), letter("7", other, plain.clone())],
                ] {
                    assert!(one.check().is_ok() && other.check().is_ok());
                    assert_ne!(one.identity(), other.identity(), "{one:?} {other:?}");
                }
            }
        }
        assert!(letter("a\tb", "t", plain).message_id.starts_with("a b digest:"));
    }

    #[test]
    fn a_message_without_an_id_is_known_by_its_headers_and_its_body() {
        let plain = RawMessage::new("text/plain", "7");
        let mut other = plain.clone();
        other.headers.insert("x".to_owned(), "y".to_owned());
        let ids = [plain, other, RawMessage::new("text/plain", "8")].map(|message| letter("", "t", message).message_id);
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    }
}
