//! Messages as an outbox and dead letters store them.

use es_core::RawMessage;

use crate::{
    binding::{HeaderBinding, ReceivedMode},
    cloud_events::STRUCTURED_CONTENT_TYPE,
    error::MalformedMessage,
    message::Message,
};

/// The prefix of attribute names in the headers of a message that is stored in binary mode.
const BINARY_PREFIX: &str = "ce-";
/// Reads stored messages in binary mode, including those stored as received because they could not be decoded.
const BINDING: HeaderBinding = HeaderBinding::new(&[BINARY_PREFIX, "ce_", "cloudEvents:", "cloudEvents_"]);
/// Marks a message whose content was too large to store, with a digest of the content, so that two such messages are
/// two dead letters.
const CONTENT_DROPPED: &str = "es-content-dropped";

impl Message {
    /// Returns the message as an outbox and dead letters store it: in structured mode or, if its content is declared as
    /// JSON but is not JSON, in binary mode.
    pub fn to_raw(&self) -> RawMessage {
        match self.to_structured() {
            Ok(structured) => RawMessage::new(STRUCTURED_CONTENT_TYPE, structured),
            Err(_) => {
                let mut raw = RawMessage::new(self.content_type(), self.data());
                let attributes = self.attributes().into_iter();
                raw.headers.extend(attributes.map(|(name, value)| (format!("{BINARY_PREFIX}{name}"), value)));
                raw
            }
        }
    }

    /// Like [`to_raw`](Self::to_raw), but without the content if the message is too large to store.
    /// [`from_raw`](Self::from_raw) then reports that.
    pub(crate) fn to_bounded_raw(&self) -> (RawMessage, Option<ContentDropped>) {
        let raw = self.to_raw();
        if raw.check().is_ok() {
            return (raw, None);
        }
        let without = self.to_builder().without_data().build();
        let mut raw = without.map(|message| message.to_raw()).unwrap_or_default();
        raw.headers.insert(CONTENT_DROPPED.to_owned(), RawMessage::new("", self.data()).digest());
        (raw, Some(ContentDropped { bytes: self.data().len() }))
    }

    /// Reads what [`to_raw`](Self::to_raw) returned.
    ///
    /// # Errors
    /// Returns [`MalformedMessage`], also for another content type, and for a message whose content was too large to
    /// store.
    pub fn from_raw(raw: &RawMessage) -> Result<Self, MalformedMessage> {
        let content = |reason: String| Err(MalformedMessage::Content { reason });
        if raw.header(CONTENT_DROPPED).is_some() {
            return content("its content was too large to be kept; publish it anew where it comes from".to_owned());
        }
        let content_type = raw.header("content-type");
        let headers = raw.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mode = ReceivedMode::of(content_type);
        if mode == ReceivedMode::Binary && !headers.clone().any(|(name, _)| BINDING.attribute(name).is_some()) {
            let content_type = content_type.unwrap_or("unknown");
            return content(format!("its content type is {content_type}, not {STRUCTURED_CONTENT_TYPE}"));
        }
        BINDING.read_text(content_type, headers, Some(&raw.body))
    }
}

/// Returns bytes that are not a valid message, without their content if they are too large to store.
pub(crate) fn bounded(raw: &RawMessage) -> (RawMessage, Option<ContentDropped>) {
    match raw.check() {
        Ok(()) => (raw.clone(), None),
        Err(_) => {
            let mut kept = RawMessage::default();
            kept.headers.insert(CONTENT_DROPPED.to_owned(), raw.digest());
            (kept, Some(ContentDropped { bytes: raw.body.len() }))
        }
    }
}

/// States that the content of a message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its content of {bytes} bytes is too large to be kept here")]
pub(crate) struct ContentDropped {
    bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_cannot_be_written_as_json_is_kept_all_the_same() {
        let broken = Message::builder("t", "/shop").id("7").key("k").data("application/json", b"{\"a".to_vec());
        let broken = broken.build().unwrap();
        let again = Message::from_raw(&broken.to_raw()).unwrap();
        assert_eq!((again.id(), again.key(), again.data()), ("7", Some("k"), broken.data()));
        let whole = Message::builder("t", "/shop").json(&1).unwrap().build().unwrap();
        assert_eq!(Message::from_raw(&whole.to_raw()).unwrap().data(), b"1");
        assert!(Message::from_raw(&RawMessage::new("text/plain", "x")).is_err());
    }

    #[test]
    fn an_extension_cannot_take_the_place_of_an_attribute_or_of_the_content() {
        for name in ["id", "source", "type", "subject", "time", "specversion", "dataschema", "datacontenttype", "data"]
        {
            let built = Message::builder("t", "/shop").id("7").extension(name, "x").build();
            assert!(built.is_err(), "{name}: {built:?}");
        }
    }

    #[test]
    fn no_content_is_shown() {
        let builder = Message::builder("t", "/shop").id("7").data("text/plain", "secret");
        let shown = format!("{builder:?} {:?}", builder.clone().build().unwrap());
        let bytes = format!("{:?}", b"secret");
        assert!(!shown.contains("secret") && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
    }

    #[test]
    fn content_that_is_too_large_is_left_out_and_missed_when_it_is_read() {
        let large = vec![b'x'; es_core::limits::MAX_RAW_MESSAGE_BYTES];
        let large = Message::builder("t", "/shop").id("7").data("text/plain", large).build().unwrap();
        let (raw, dropped) = large.to_bounded_raw();
        assert!(dropped.is_some() && raw.check().is_ok());
        assert!(Message::from_raw(&raw).unwrap_err().to_string().contains("too large to be kept"));
    }
}
