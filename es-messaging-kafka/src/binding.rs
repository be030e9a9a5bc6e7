//! The Kafka binding of CloudEvents: a message as a record.

use std::borrow::Cow;

use es_core::RawMessage;
use es_messaging::{
    ContentMode, HeaderBinding, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, Undecodable, partition_key,
};
use rdkafka::message::{Header, OwnedHeaders};

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const BINDING: HeaderBinding = HeaderBinding::new(&[PREFIX]);

/// The headers and the value of a record.
pub(crate) type Encoded<'a> = (OwnedHeaders, Option<Cow<'a, [u8]>>);

/// A message as a record.
pub(crate) fn encode(message: &Message, mode: ContentMode) -> Result<Encoded<'_>, MalformedMessage> {
    match mode.suited_to(message) {
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
    if let Some(content_type) = message.declared_content_type() {
        headers = headers.insert(Header { key: CONTENT_TYPE, value: Some(content_type) });
    }
    headers
}

/// A record as it came, apart from librdkafka's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let message = BINDING.read_bytes(self.header(CONTENT_TYPE), headers, self.value.as_deref())?;
        // Most producers set only the record's key; by it Kafka keeps their order.
        match &self.key {
            Some(key) if message.key().is_none() => message.to_builder().key(partition_key(key)).build(),
            _ => Ok(message),
        }
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
    use es_testkit::sdk_messages;
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
            message.clone().json(&()).unwrap().build().unwrap(),
            message.clone().data("text/xml", Vec::new()).without_data().build().unwrap(),
            message.clone().data("text/plain", Vec::new()).build().unwrap(),
            message.clone().data("application/octet-stream", vec![0, 255]).build().unwrap(),
            message.build().unwrap(),
        ] {
            for mode in [ContentMode::Binary, ContentMode::Structured] {
                let again = record(&message, mode).decode().unwrap();
                assert_eq!(again, message);
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
    fn what_the_sdk_writes_is_read() {
        for sdk in ["kafka", "structured"].into_iter().flat_map(sdk_messages) {
            let header = |(name, value): (&str, &str)| (name.to_uppercase(), Some(value.as_bytes().to_vec()));
            let mut headers: Vec<_> = sdk.texts().into_iter().map(header).collect();
            headers.extend(sdk.content_type.as_deref().map(|kind| header(("content-type", kind))));
            let key = sdk.key.clone().map(String::into_bytes);
            sdk.check(&Record { key, headers, value: Some(sdk.body()) }.decode().unwrap());
        }
    }

    #[test]
    fn the_key_of_a_record_is_the_partition_key_unless_an_attribute_says_another() {
        let message = Message::builder("order.placed", "/shop").id("7").json(&17).unwrap().build().unwrap();
        for mode in [ContentMode::Binary, ContentMode::Structured] {
            let keyed = |message: &Message, key: &[u8]| {
                let record = Record { key: Some(key.to_vec()), ..record(message, mode) };
                record.decode().unwrap().key().map(str::to_owned)
            };
            for (bytes, key) in [
                (&b"kunde 1"[..], "kunde 1"),
                ("größe".as_bytes(), "größe"),
                (b"", ""),
                (&[0, 0, 0, 7], "base64:AAAABw=="),
                (&[0xff], "base64:/w=="),
            ] {
                assert_eq!(keyed(&message, bytes).as_deref(), Some(key));
            }
            let named = message.to_builder().key("its own").build().unwrap();
            assert_eq!(keyed(&named, b"another").as_deref(), Some("its own"));
            assert_eq!(record(&message, mode).decode().unwrap().key(), None);
        }
        // What a compacted topic keeps of a key that was removed.
        let headers = record(&message, ContentMode::Binary).headers;
        let headers = headers.into_iter().filter(|(name, _)| name != CONTENT_TYPE).collect();
        let removed = Record { key: Some(b"k".to_vec()), headers, value: None }.decode().unwrap();
        assert_eq!((removed.key(), removed.has_data()), (Some("k"), false));
    }

    #[test]
    fn a_header_that_is_there_twice_must_be_the_same_and_one_without_a_value_is_not_there() {
        let message = Message::builder("order.placed", "/shop").id("7").build().unwrap();
        let with = |name: &str, value: Option<&str>| {
            let mut record = record(&message, ContentMode::Binary);
            record.headers.push((name.to_owned(), value.map(|value| value.as_bytes().to_vec())));
            record.decode()
        };
        assert_eq!(with("ce_id", Some("7")).unwrap(), message);
        assert!(with("ce_id", Some("8")).unwrap_err().error.to_string().contains("twice"));
        assert_eq!(with("ce_subject", None).unwrap().subject(), None);
        assert_eq!(with("trace", Some("x")).unwrap(), message);
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
