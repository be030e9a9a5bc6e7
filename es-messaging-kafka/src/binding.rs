//! The Kafka binding of CloudEvents: a message as a record.

use std::borrow::Cow;

use es_core::RawMessage;
use es_messaging::{ContentMode, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, Undecodable};
use rdkafka::message::{Header, OwnedHeaders};

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";

/// The headers and the value of a record.
pub(crate) fn encode(
    message: &Message,
    mode: ContentMode,
) -> Result<(OwnedHeaders, Option<Cow<'_, [u8]>>), MalformedMessage> {
    match mode {
        ContentMode::Binary => Ok((headers(message), message.has_data().then(|| message.data().into()))),
        ContentMode::Structured => {
            let header = Header { key: CONTENT_TYPE, value: Some(STRUCTURED_CONTENT_TYPE) };
            Ok((OwnedHeaders::new().insert(header), Some(message.to_structured()?.into())))
        }
    }
}

/// The headers of a message in binary mode; its content is the record's value.
fn headers(message: &Message) -> OwnedHeaders {
    let attributes = message.attributes();
    let mut headers = OwnedHeaders::new_with_capacity(attributes.len() + 1);
    let mut name = String::with_capacity(32);
    for (attribute, value) in &attributes {
        name.clear();
        name.push_str(PREFIX);
        name.push_str(attribute);
        headers = headers.insert(Header { key: &name, value: Some(value) });
    }
    if message.has_data() {
        headers = headers.insert(Header { key: CONTENT_TYPE, value: Some(message.content_type()) });
    }
    headers
}

/// A record as it came, apart from librdkafka's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Record {
    fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.1.as_deref()?).ok()
    }

    /// The message that it is, in binary or structured mode.
    pub(crate) fn decode(&self) -> Result<Message, Undecodable> {
        self.message().map_err(|error| Undecodable { error, raw: self.raw() })
    }

    fn message(&self) -> Result<Message, MalformedMessage> {
        let content_type = self.header(CONTENT_TYPE);
        if content_type.is_some_and(|content_type| content_type.starts_with(STRUCTURED_CONTENT_TYPE)) {
            return Message::from_structured(self.value.as_deref().unwrap_or_default());
        }
        let mut attributes = Vec::with_capacity(self.headers.len());
        for (header, value) in &self.headers {
            let Some(attribute) = header.strip_prefix(PREFIX) else { continue };
            let value = std::str::from_utf8(value.as_deref().unwrap_or_default()).map_err(|_| {
                MalformedMessage::Attribute { attribute: attribute.to_owned(), reason: "it is not UTF-8".to_owned() }
            })?;
            attributes.push((attribute, value));
        }
        Message::from_attributes(attributes, content_type, self.value.clone())
    }

    /// The record as headers and bytes.
    fn raw(&self) -> RawMessage {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut raw = RawMessage { body: self.value.clone().unwrap_or_default(), ..RawMessage::default() };
        for (name, value) in &self.headers {
            raw.headers.insert(name.clone(), text(value.as_deref().unwrap_or_default()));
        }
        if let Some(key) = &self.key {
            raw.headers.insert("kafka-key".to_owned(), text(key));
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;

    fn record(message: &Message, mode: ContentMode) -> Record {
        let (headers, value) = encode(message, mode).unwrap();
        let headers = headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
        Record { key: None, headers: headers.collect(), value: value.map(Cow::into_owned) }
    }

    #[test]
    fn a_message_survives_both_modes() {
        let message = Message::builder("order.placed", "/shop").id("7").key("größe 1").subject("order/17");
        for message in [
            message.clone().json(&17).unwrap().build().unwrap(),
            message.clone().data("application/octet-stream", vec![0, 255]).build().unwrap(),
            message.build().unwrap(),
        ] {
            for mode in [ContentMode::Binary, ContentMode::Structured] {
                let again = record(&message, mode).decode().unwrap();
                assert_eq!(again.attributes(), message.attributes());
                assert_eq!((again.data(), again.content_type()), (message.data(), message.content_type()));
                assert_eq!(again.has_data(), message.has_data());
            }
        }
    }

    #[test]
    fn each_mode_is_laid_out_as_the_binding_has_it() {
        let message = Message::builder("order.placed", "/shop").id("7").json(&17).unwrap().build().unwrap();
        let binary = record(&message, ContentMode::Binary);
        assert_eq!((binary.header("ce_id"), binary.header("content-type")), (Some("7"), Some("application/json")));
        let structured = record(&message, ContentMode::Structured);
        assert_eq!(structured.header("content-type"), Some("application/cloudevents+json"));
        assert_eq!(structured.value, Some(message.to_structured().unwrap()));
    }

    #[test]
    fn what_is_no_cloud_event_comes_as_it_is() {
        let record = Record { key: Some(b"k".to_vec()), headers: Vec::new(), value: Some(b"{}".to_vec()) };
        let undecodable = record.decode().unwrap_err();
        assert_eq!(undecodable.error, MalformedMessage::MissingAttribute { attribute: "specversion" });
        assert_eq!(undecodable.raw.body, b"{}");
        assert_eq!(undecodable.raw.header("kafka-key"), Some("k"));
    }
}
