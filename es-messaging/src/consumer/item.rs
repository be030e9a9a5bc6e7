//! A message that a consumer holds, and its identity in the inbox.

use es_core::{ConsumerName, DeadReason, InboxKey, NewDeadLetter, canonical_json, limits as core_limits};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    broker::{Delivery, Receipt, Undecodable},
    kept::bounded,
    message::Message,
};

/// A message that is received and not settled.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) receipt: Receipt,
    pub(crate) topic: String,
    pub(crate) content: Result<Message, Undecodable>,
    /// The ID under which the inbox stores it.
    pub(crate) id: String,
    /// A digest of its content.
    content_digest: u64,
    /// The number of earlier deliveries, as far as the broker knows.
    given_before: u32,
    /// The number of failed attempts in this consumer.
    pub(crate) failures: u32,
    /// The number of waits for transient failures.
    pub(crate) waits: u32,
    /// The number of conflicts of its appends.
    pub(crate) conflicts: u32,
    /// The earliest time of the next attempt.
    pub(crate) not_before: Option<Instant>,
}

impl Item {
    pub(crate) fn new(delivery: Delivery) -> Self {
        let Delivery { receipt, topic, attempt, content } = delivery;
        let id = match &content {
            Ok(message) => inbox_id(message),
            Err(undecodable) => format!("undecodable:{}", undecodable.raw.digest()),
        };
        // The ID of a message that cannot be decoded is already a digest.
        let content_digest = content.as_ref().map_or(0, content_digest);
        let given_before = attempt.saturating_sub(1);
        Self {
            receipt,
            topic,
            content,
            id,
            content_digest,
            given_before,
            failures: 0,
            waits: 0,
            conflicts: 0,
            not_before: None,
        }
    }

    /// Returns its key in the inbox.
    pub(crate) fn inbox_key(&self) -> InboxKey<'_> {
        InboxKey::new(&self.id, self.content_digest)
    }

    /// Returns the key within which order matters.
    pub(crate) fn key(&self) -> Option<&str> {
        self.content.as_ref().ok().and_then(Message::key)
    }

    /// Returns the number of attempts so far, including earlier deliveries.
    pub(crate) fn attempts(&self) -> u32 {
        self.given_before.saturating_add(self.failures)
    }

    /// Returns whether the message has to wait.
    pub(crate) fn waits_at(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|time| time > now)
    }

    /// Returns whether the message has failed before and therefore does not share a transaction with others.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failures > 0 || self.waits > 0
    }

    /// Returns the dead letter for this message.
    pub(crate) fn dead_letter(&self, consumer: &ConsumerName, reason: DeadReason, error: &str) -> NewDeadLetter {
        let attempts = self.attempts().max(1);
        let (raw, dropped) = match &self.content {
            Ok(message) => message.to_bounded_raw(),
            Err(undecodable) => bounded(&undecodable.raw),
        };
        let error = dropped.map_or_else(|| error.to_owned(), |dropped| format!("{error} ({dropped})"));
        let letter = NewDeadLetter::new(consumer.clone(), &*self.id, &*self.topic, reason, &error, raw);
        let letter = letter.with_attempts(attempts);
        match &self.content {
            Ok(message) => letter.with_type(Some(message.message_type())).with_key(message.key()),
            Err(_) => letter,
        }
    }
}

/// Returns the ID of a message in the inbox, from its source and its ID, because IDs are unique only within a source.
/// No two pairs have the same result: the text before the first `#` is the source, and if that would not hold or the
/// result would be too long, a digest without `#` is used.
pub(crate) fn inbox_id(message: &Message) -> String {
    let (source, id) = (message.source(), message.id());
    if source.contains('#') || source.len() + 1 + id.len() > core_limits::MAX_MESSAGE_ID_BYTES {
        return digest("digest", format!("{} {source}{id}", source.len()).as_bytes());
    }
    format!("{source}#{id}")
}

/// Returns a digest of a message's type, subject, and data. It does not include what may differ when the message is
/// delivered again, such as its time, its trace, or the field order and whitespace of JSON.
fn content_digest(message: &Message) -> u64 {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(message.message_type().as_bytes());
    add(message.subject().unwrap_or_default().as_bytes());
    match std::str::from_utf8(message.data()) {
        Ok(text) if message.is_json() => add(canonical_json(text).as_bytes()),
        _ => add(message.data()),
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(digest.finalize());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn digest(what: &str, bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = format!("{what}:");
    for byte in Sha256::digest(bytes) {
        // Writing to a `String` never fails.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str, id: &str) -> Message {
        Message::builder("t", source).id(id).build().unwrap()
    }

    #[test]
    fn ids_of_two_sources_are_two_and_a_long_one_is_cut_to_a_digest() {
        assert_eq!(inbox_id(&message("/shop", "7")), "/shop#7");
        let long = inbox_id(&message(&"/".repeat(1_000), "7"));
        assert_eq!(long.len(), "digest:".len() + 64);
        assert_ne!(long, inbox_id(&message(&"/".repeat(1_001), "7")));
    }

    #[test]
    fn what_says_the_same_has_one_digest_and_anything_else_another() {
        let built =
            |kind: &str, content: (&str, &str)| Message::builder(kind, "/shop").id("7").data(content.0, content.1);
        let digest = |message: crate::message::MessageBuilder| content_digest(&message.build().unwrap());
        let first = || built("paid", ("application/json", r#"{"cents":1,"by":"ann"}"#));
        let again = built("paid", ("application/json", r#"{ "by": "ann", "cents": 1 }"#));
        let again = again.time(time::OffsetDateTime::UNIX_EPOCH).extension("traceparent", "00-1");
        assert_eq!(digest(first()), digest(again));
        for other in [
            built("refunded", ("application/json", r#"{"cents":1,"by":"ann"}"#)),
            built("paid", ("application/json", r#"{"cents":2,"by":"ann"}"#)),
            built("paid", ("text/plain", r#"{"cents":1,"by":"ann"}"#)),
            first().subject("invoice"),
            first().without_data(),
        ] {
            assert_ne!(digest(first()), digest(other));
        }
    }

    #[test]
    fn a_source_and_an_id_that_read_alike_together_are_two_messages() {
        let long = "/".repeat(500);
        for (one, other) in [
            (("/shop#1", "2"), ("/shop", "1#2")),
            (("/shop#", "2"), ("/shop", "#2")),
            ((&*format!("{long}1"), "2"), (&*long, "12")),
        ] {
            assert_ne!(inbox_id(&message(one.0, one.1)), inbox_id(&message(other.0, other.1)), "{one:?} {other:?}");
        }
    }

    #[test]
    fn whatever_can_be_read_can_be_put_aside() {
        let long = "x".repeat(crate::limits::MAX_ATTRIBUTE_BYTES);
        let id = "7".repeat(core_limits::MAX_MESSAGE_ID_BYTES);
        let message = Message::builder(&*long, &*long).id(id).key(&*long).data("text/plain", &*long).build().unwrap();
        let delivery = Delivery { receipt: Receipt(1), topic: long.clone(), attempt: 1, content: Ok(message) };
        let consumer = ConsumerName::new("shop").unwrap();
        let letter = Item::new(delivery).dead_letter(&consumer, DeadReason::Failed, &long);
        letter.check().unwrap();
        assert_eq!(letter.message_type.unwrap().len(), core_limits::MAX_TOPIC_BYTES);
    }
}
