//! Dead letters: messages that could not be published or handled.

use std::fmt;

use time::OffsetDateTime;

use crate::{consumer_name::ConsumerName, digest::digest_of, error::StoreError, limits, raw_message::RawMessage};

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
    /// Another message with the same source and id, and with other content, was handled before.
    IdReused,
}

impl DeadReason {
    /// All of them.
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
            Self::IdReused => "id_reused",
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

/// A message that is put aside.
///
/// The same message of the same consumer is kept once, with the latest failure. It is the same if everything that tells messages apart is
/// the same ([`identity`](Self::identity)): topic, id, headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewDeadLetter {
    /// The relay or consumer that could not do its work on it.
    pub consumer: ConsumerName,
    /// The message's id; of a message without one, a digest of its headers and body.
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
    /// A dead letter that was tried once, without type and key. An empty message id becomes a digest of the message.
    ///
    /// Control characters, which databases refuse, become spaces, and a text that is too long is cut, here and in the methods below. A
    /// topic or id to which that happens ends in a digest of what it was, so that two texts never become one. The message stays as it is.
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

    /// Returns a digest of everything that tells it from other dead letters of its consumer: topic, message id, and the message with its
    /// headers. A store keeps it beside the dead letter, since the message may be edited.
    pub fn identity(&self) -> String {
        digest_of([self.topic.as_bytes(), self.message_id.as_bytes(), self.message.digest().as_bytes()])
    }

    /// The same with the message's type.
    #[must_use]
    pub fn with_type(mut self, message_type: Option<&str>) -> Self {
        self.message_type = message_type.map(|text| storable(text, limits::MAX_TOPIC_BYTES));
        self
    }

    /// The same with the message's key.
    #[must_use]
    pub fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(|text| storable(text, limits::MAX_MESSAGE_KEY_BYTES));
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

/// The text without control characters, at most so many bytes of it.
fn storable(text: &str, max: usize) -> String {
    let text = &text[..text.floor_char_boundary(max)];
    match text.contains(char::is_control) {
        true => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        false => text.to_owned(),
    }
}

/// The same of a text that takes part in an identity: if it changes, it ends in a digest of what it was.
fn distinct(text: String, max: usize) -> String {
    if text.len() <= max && !text.contains(char::is_control) {
        return text;
    }
    let end = format!(" digest:{}", digest_of([text.as_bytes()]));
    storable(&text, max - end.len()) + &end
}

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its name in the store.
    pub id: DeadLetterId,
    /// When it was put aside first, by the store's clock.
    pub since: OffsetDateTime,
    /// Whether its retry is requested.
    pub is_retry_requested: bool,
    /// What is known of it. The message is the edited one, once somebody has edited it.
    pub letter: NewDeadLetter,
}

impl DeadLetter {
    /// A dead letter, as stores give it.
    pub fn new(id: DeadLetterId, since: OffsetDateTime, is_retry_requested: bool, letter: NewDeadLetter) -> Self {
        Self { id, since, is_retry_requested, letter }
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
    /// Only those whose retry is requested, or is not.
    pub is_retry_requested: Option<bool>,
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
            && self.is_retry_requested.is_none_or(|requested| requested == dead.is_retry_requested)
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
