//! CloudEvents as entries of a stream.
//!
//! There is no binding of CloudEvents for Redis. Here each attribute is a field with `ce_` before its name, `ce_datacontenttype` too,
//! and the content is the field `data`; values are plain UTF-8 and bytes. In structured mode the field `content-type` says so, and `data`
//! is the whole message.

use es_core::RawMessage;
use es_messaging::{ContentMode, HeaderBinding, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, Undecodable};

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const DATA: &str = "data";
const BINDING: HeaderBinding = HeaderBinding::new(&[PREFIX]);

/// The fields of an entry: names and values in turn.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of a message.
pub(crate) fn encode(message: &Message, mode: ContentMode) -> Result<Fields, MalformedMessage> {
    match mode.suited_to(message) {
        ContentMode::Binary => Ok(binary(message)),
        ContentMode::Structured => Ok(vec![
            (CONTENT_TYPE.as_bytes().to_vec(), STRUCTURED_CONTENT_TYPE.as_bytes().to_vec()),
            (DATA.as_bytes().to_vec(), message.to_structured()?),
        ]),
    }
}

fn binary(message: &Message) -> Fields {
    let mut fields: Fields = Vec::new();
    for (name, value) in message.attributes() {
        fields.push((format!("{PREFIX}{name}").into_bytes(), value.into_bytes()));
    }
    if let Some(content_type) = message.declared_content_type() {
        fields.push((b"ce_datacontenttype".to_vec(), content_type.as_bytes().to_vec()));
    }
    if message.has_data() {
        fields.push((DATA.as_bytes().to_vec(), message.data().to_vec()));
    }
    fields
}

/// Reads a message in binary or structured mode.
pub(crate) fn decode(fields: Fields) -> Result<Message, Undecodable> {
    let (mut headers, mut data) = (Vec::new(), None);
    for (name, value) in fields {
        match name == DATA.as_bytes() {
            true => data = Some(value),
            false => headers.push((String::from_utf8_lossy(&name).into_owned(), value)),
        }
    }
    read(&headers, data.as_deref()).map_err(|error| {
        let text = |(name, value): (String, Vec<u8>)| (name, String::from_utf8_lossy(&value).into_owned());
        let headers = headers.into_iter().map(text).collect();
        Undecodable { error, raw: RawMessage { headers, body: data.unwrap_or_default() } }
    })
}

fn read(headers: &[(String, Vec<u8>)], data: Option<&[u8]>) -> Result<Message, MalformedMessage> {
    let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_TYPE));
    let content_type = content_type.and_then(|(_, value)| str::from_utf8(value).ok());
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_slice())));
    BINDING.read_bytes(content_type, pairs, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let builder = || Message::builder("shop.order.placed", "/shop/ä b").id("7 8").subject("order/17 \"x\"");
        let key = builder().key("größe%").build().unwrap();
        let json = builder().json(&serde_json::json!({"cents": 1})).unwrap().build().unwrap();
        let empty = builder().data("text/plain", Vec::new()).build().unwrap();
        let elsewhere = empty.to_builder().without_data().build().unwrap();
        for message in [key, json, empty, elsewhere] {
            assert_eq!(decode(encode(&message, ContentMode::Binary).unwrap()).unwrap(), message);
            let again = decode(encode(&message, ContentMode::Structured).unwrap()).unwrap();
            assert_eq!(again, message);
        }
    }

    #[test]
    fn structured_mode_is_read() {
        let message = Message::builder("t", "/s").id("1").json(&serde_json::json!([1])).unwrap().build().unwrap();
        let pairs =
            [(CONTENT_TYPE, b"application/cloudevents+json".to_vec()), (DATA, message.to_structured().unwrap())];
        let fields = pairs.map(|(name, value)| (name.as_bytes().to_vec(), value));
        assert_eq!(decode(fields.to_vec()).unwrap(), message);
    }

    #[test]
    fn fields_are_read_in_any_case_and_must_agree() {
        let message = Message::builder("t", "/s").id("1").json(&()).unwrap().build().unwrap();
        let upper = |(name, value): (Vec<u8>, Vec<u8>)| match name == DATA.as_bytes() {
            true => (name, value),
            false => (name.to_ascii_uppercase(), value),
        };
        for mode in [ContentMode::Binary, ContentMode::Structured] {
            let mut fields: Fields = encode(&message, mode).unwrap().into_iter().map(upper).collect();
            // A field of somebody else's.
            fields.push((b"blob".to_vec(), vec![0xff]));
            assert_eq!(decode(fields).unwrap(), message);
        }
        let mut twice = encode(&message, ContentMode::Binary).unwrap();
        twice.push((b"ce_id".to_vec(), b"2".to_vec()));
        assert!(decode(twice).unwrap_err().error.to_string().contains("twice"));
        let batch = [("content-type", "application/cloudevents-batch+json"), ("data", "[]")];
        let batch = batch.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(decode(batch.to_vec()).unwrap_err().error, MalformedMessage::Batch);
    }

    #[test]
    fn what_is_no_message_is_kept_as_it_came() {
        let fields = vec![(b"ce_id".to_vec(), vec![0xff]), (b"data".to_vec(), b"body".to_vec())];
        let undecodable = decode(fields).unwrap_err();
        assert!(matches!(undecodable.error, MalformedMessage::Attribute { .. }));
        assert_eq!(undecodable.raw.body, b"body");
        assert!(decode(vec![(b"name".to_vec(), b"value".to_vec())]).is_err());
    }
}
