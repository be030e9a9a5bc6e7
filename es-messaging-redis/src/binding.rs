//! CloudEvents as entries of a stream.
//!
//! There is no binding of CloudEvents for Redis. Here each attribute is a field with `ce_` before its name, `ce_datacontenttype` too,
//! and the content is the field `data`; values are plain UTF-8 and bytes. In structured mode the field `content-type` says so, and `data`
//! is the whole message.

use std::collections::BTreeMap;

use es_core::RawMessage;
use es_messaging::{ContentMode, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, Undecodable};

const PREFIX: &str = "ce_";
const CONTENT_TYPE: &str = "content-type";
const DATA: &str = "data";
/// What the type of a message in structured mode begins with.
const STRUCTURED: &str = "application/cloudevents";

/// The fields of an entry: names and values in turn.
pub(crate) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of a message.
pub(crate) fn encode(message: &Message, mode: ContentMode) -> Result<Fields, MalformedMessage> {
    match mode {
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
    if message.has_data() {
        fields.push((b"ce_datacontenttype".to_vec(), message.content_type().as_bytes().to_vec()));
        fields.push((DATA.as_bytes().to_vec(), message.data().to_vec()));
    }
    fields
}

/// Reads a message in binary or structured mode.
pub(crate) fn decode(fields: Fields) -> Result<Message, Undecodable> {
    let (mut headers, mut data) = (BTreeMap::new(), None);
    let mut unreadable = None;
    for (name, value) in fields {
        if name == DATA.as_bytes() {
            data = Some(value);
            continue;
        }
        let name = String::from_utf8_lossy(&name).into_owned();
        let value = String::from_utf8(value).unwrap_or_else(|error| {
            unreadable = Some(name.clone());
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        headers.insert(name, value);
    }
    let read = match unreadable {
        Some(attribute) => Err(MalformedMessage::Attribute { attribute, reason: "it is no UTF-8".to_owned() }),
        None => read(&headers, data.as_deref()),
    };
    read.map_err(|error| Undecodable { error, raw: RawMessage { headers, body: data.unwrap_or_default() } })
}

fn read(headers: &BTreeMap<String, String>, data: Option<&[u8]>) -> Result<Message, MalformedMessage> {
    if headers.get(CONTENT_TYPE).is_some_and(|content_type| content_type.starts_with(STRUCTURED)) {
        return Message::from_structured(data.unwrap_or_default());
    }
    let attributes = headers.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str())));
    Message::from_attributes(attributes, None, data.map(<[u8]>::to_vec))
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
        for message in [key, json, empty] {
            assert_eq!(decode(encode(&message, ContentMode::Binary).unwrap()).unwrap(), message);
            let again = decode(encode(&message, ContentMode::Structured).unwrap()).unwrap();
            assert_eq!((again.attributes(), again.data()), (message.attributes(), message.data()));
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
    fn what_is_no_message_is_kept_as_it_came() {
        let fields = vec![(b"ce_id".to_vec(), vec![0xff]), (b"data".to_vec(), b"body".to_vec())];
        let undecodable = decode(fields).unwrap_err();
        assert!(matches!(undecodable.error, MalformedMessage::Attribute { .. }));
        assert_eq!(undecodable.raw.body, b"body");
        assert!(decode(vec![(b"name".to_vec(), b"value".to_vec())]).is_err());
    }
}
