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
        if message.size() > limits::MESSAGE_BYTES {
            let reason = format!("{} bytes, at most {}: send a reference", message.size(), limits::MESSAGE_BYTES);
            return Err(refused(reason));
        }
        let body = message.to_structured().map_err(|error| refused(error.to_string()))?;
        let body = String::from_utf8(body).map_err(|error| refused(error.to_string()))?;
        let order = fifo.then(|| order(&outgoing.topic, message));
        let entry = Self { topic: outgoing.topic.clone(), body, order };
        if entry.size() > limits::CALL_BYTES {
            return Err(refused(format!("{} bytes as JSON, at most {}", entry.size(), limits::CALL_BYTES)));
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

    #[test]
    fn what_the_services_do_not_take_as_an_id_is_hashed() {
        for wrong in ["größe", "with space", &"x".repeat(129)] {
            let (group, id) = order("orders", &message(wrong, Some(wrong)));
            assert_eq!((group.len(), id.len()), (64, 64));
        }
        assert_ne!(order("t", &message("a b", None)).1, order("t", &message("a  b", None)).1);
    }
}
