//! A message as body, group and deduplication id.

use es_core::{DeadReason, RawMessage};
use es_messaging::{Message, Outgoing, PublishError, Undecodable};
use sha2::{Digest, Sha256};

use crate::{error::SQS, limits};

/// The message attribute that the filters look at.
pub(crate) const TOPIC: &str = "topic";
/// The message attribute that says why a message is among the dead letters.
pub(crate) const REASON: &str = "deadreason";

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) topic: String,
    pub(crate) body: String,
    /// Group and deduplication id, of FIFO topics alone.
    pub(crate) order: Option<(String, String)>,
}

impl Entry {
    /// The message as it is sent, or why it never can be.
    pub(crate) fn of(outgoing: &Outgoing, fifo: bool) -> Result<Self, PublishError> {
        let refused = |reason| PublishError::Refused { broker: SQS, kind: DeadReason::Refused, reason };
        let message = &outgoing.message;
        // Such a one would make a whole call fail.
        if outgoing.topic.is_empty() || !outgoing.topic.chars().all(is_taken) {
            let reason = format!("{:?} is no topic: words with dots between", outgoing.topic);
            return Err(PublishError::Refused { broker: SQS, kind: DeadReason::Unroutable, reason });
        }
        if message.size() > limits::MESSAGE_BYTES {
            let reason = format!("{} bytes, at most {}: send a reference", message.size(), limits::MESSAGE_BYTES);
            return Err(refused(reason));
        }
        let body = message.to_structured().map_err(|error| refused(error.to_string()))?;
        let mut body = String::from_utf8(body).map_err(|error| refused(error.to_string()))?;
        // Outside of texts JSON has none of them.
        if !body.chars().all(is_taken) {
            body = body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
        }
        let order = fifo.then(|| order(&outgoing.topic, message));
        let entry = Self { topic: outgoing.topic.clone(), body, order };
        let most = limits::CALL_BYTES - limits::REASON_BYTES;
        if entry.size() > most {
            return Err(refused(format!("{} bytes as JSON, at most {most}: send a reference", entry.size())));
        }
        Ok(entry)
    }

    /// Bytes of body and attributes, as the services count them.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + TOPIC.len() + "String".len() + self.topic.len()
    }
}

/// Group and deduplication id: a key, and what makes a message one.
pub(crate) fn order(topic: &str, message: &Message) -> (String, String) {
    // One id may be published to several topics, and several sources may have the same.
    let name = hash(&[topic, message.source(), message.id()]);
    let short = format!("{}.{}", message.id(), &name[..16]);
    let deduplication = if is_id(&short) { short } else { name };
    // Without a key there is no order: each is a group of its own.
    let group = match message.key() {
        None => deduplication.clone(),
        Some(key) if is_id(key) => key.to_owned(),
        Some(key) => hash(&[key]),
    };
    (group, deduplication)
}

/// Whether the services take a character in a text, where it is not of the few control characters that they take too.
pub(crate) fn is_taken(letter: char) -> bool {
    !letter.is_control() && !matches!(letter, '\u{fffe}' | '\u{ffff}')
}

/// Whether the services take a text as an id.
fn is_id(text: &str) -> bool {
    (1..=limits::MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(crate) fn hash(parts: &[&str]) -> String {
    use std::fmt::Write;
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The message that a body is.
pub(crate) fn decode(body: &str) -> Result<Message, Undecodable> {
    let raw = || RawMessage { body: body.as_bytes().to_vec(), ..RawMessage::default() };
    Message::from_structured(body.as_bytes()).map_err(|error| Undecodable { error, raw: raw() })
}

#[cfg(test)]
mod tests {
    use es_messaging::MalformedMessage;

    use super::*;

    fn message(id: &str, key: Option<&str>) -> Message {
        Message::builder("t", "/").id(id).maybe_extension("partitionkey", key).build().unwrap()
    }

    #[test]
    fn a_key_is_the_group_and_the_id_deduplicates() {
        let (group, id) = order("orders", &message("7", Some("order/17")));
        assert_eq!(group, "order/17");
        assert!(id.starts_with("7."), "{id}");
        assert_eq!(order("orders", &message("7", None)), order("orders", &message("7", None)));
        assert_ne!(order("orders", &message("7", None)).1, order("others", &message("7", None)).1);
    }

    fn entry(topic: &str, message: Message) -> Result<Entry, PublishError> {
        Entry::of(&Outgoing { topic: topic.to_owned(), message }, false)
    }

    #[test]
    fn a_message_leaves_room_for_the_reason_why_it_is_dead() {
        let of = |letters: usize| {
            let quotes = "\"".repeat(4_000);
            let builder = (0..25).fold(Message::builder("t", "/").id("1"), |builder, at| {
                builder.extension(&format!("quotes{at}"), quotes.as_str())
            });
            builder.json(&"x".repeat(letters)).unwrap().build().unwrap()
        };
        let envelope = entry("t", of(0)).unwrap().size();
        let room = limits::CALL_BYTES - limits::REASON_BYTES - envelope;
        entry("t", of(room)).unwrap();
        let error = entry("t", of(room + 1)).unwrap_err();
        assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");
        assert!(limits::MAX_REASON_CHARS * 4 + REASON.len() + "String".len() <= limits::REASON_BYTES);
    }

    #[test]
    fn characters_that_the_services_do_not_take_are_escaped() {
        let text = "one \u{ffff} and \u{fffe}\n";
        let message = Message::builder("t", "/").id("1").json(&text).unwrap().build().unwrap();
        let body = entry("t", message).unwrap().body;
        assert!(body.chars().all(is_taken), "{body}");
        assert_eq!(serde_json::from_slice::<String>(decode(&body).unwrap().data()).unwrap(), text);
    }

    #[test]
    fn a_content_of_null_and_one_that_is_elsewhere_arrive() {
        let null = Message::builder("t", "/").id("1").json(&None::<i64>).unwrap().build().unwrap();
        let elsewhere = null.to_builder().data("text/xml", "x").without_data().build().unwrap();
        for message in [null, elsewhere] {
            assert_eq!(decode(&entry("t", message.clone()).unwrap().body).unwrap(), message);
        }
        assert_eq!(decode(" []").unwrap_err().error, MalformedMessage::Batch);
        let sdk = es_testkit::sdk_messages("structured");
        sdk.iter().for_each(|sdk| sdk.check(&decode(str::from_utf8(&sdk.body()).unwrap()).unwrap()));
    }

    #[test]
    fn what_cannot_be_a_topic_is_unroutable() {
        for topic in ["", "a\nb", "a\u{ffff}"] {
            let error = entry(topic, message("1", None)).unwrap_err();
            assert!(matches!(error, PublishError::Refused { kind: DeadReason::Unroutable, .. }), "{error:?}");
        }
    }

    #[test]
    fn what_the_services_do_not_take_as_an_id_is_hashed() {
        for wrong in ["größe", "with space", &"x".repeat(129)] {
            let (group, id) = order("orders", &message(wrong, Some(wrong)));
            assert_eq!((group.len(), id.len()), (64, 64));
        }
        assert_ne!(order("t", &message("a b", None)).1, order("t", &message("a  b", None)).1);
    }
}
