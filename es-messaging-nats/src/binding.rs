//! CloudEvents as messages of NATS.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use es_core::RawMessage;
use es_messaging::{
    ContentMode, MalformedMessage, Message, STRUCTURED_CONTENT_TYPE, Undecodable, percent_decode, percent_encode,
};

const PREFIX: &str = "ce-";
/// What the type of a message in structured mode begins with.
const STRUCTURED: &str = "application/cloudevents";

/// The headers and the payload of a message.
pub(crate) fn encode(message: &Message, mode: ContentMode) -> Result<(HeaderMap, Vec<u8>), MalformedMessage> {
    match mode {
        ContentMode::Binary => Ok((headers(message), message.data().to_vec())),
        ContentMode::Structured => {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", id(message).as_str());
            headers.insert("Content-Type", STRUCTURED_CONTENT_TYPE);
            Ok((headers, message.to_structured()?))
        }
    }
}

/// The headers of a message in binary mode.
fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id(message).as_str());
    for (name, value) in message.attributes() {
        headers.insert(format!("{PREFIX}{name}").as_str(), percent_encode(&value).as_str());
    }
    if message.has_data() {
        headers.insert("ce-datacontenttype", percent_encode(message.content_type()).as_str());
    }
    headers
}

/// What the server knows duplicates by: source and id. Neither holds a space when it is encoded.
fn id(message: &Message) -> String {
    format!("{} {}", percent_encode(message.source()), percent_encode(message.id()))
}

/// Reads a message in binary or structured mode. Without headers it is in structured mode, as before NATS had any.
pub(crate) fn decode(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Message, Undecodable> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        if let Some(value) = values.last() {
            all.insert(AsRef::<str>::as_ref(name).to_ascii_lowercase(), value.as_str().to_owned());
        }
    }
    read(&all, payload).map_err(|error| Undecodable { error, raw: RawMessage { headers: all, body: payload.to_vec() } })
}

fn read(headers: &BTreeMap<String, String>, payload: &[u8]) -> Result<Message, MalformedMessage> {
    let is_structured = match headers.get("content-type") {
        Some(content_type) => content_type.starts_with(STRUCTURED),
        None => !headers.keys().any(|name| name.starts_with(PREFIX)) && !payload.is_empty(),
    };
    if is_structured {
        return Message::from_structured(payload);
    }
    let mut attributes = Vec::new();
    for (name, value) in headers {
        if let Some(name) = name.strip_prefix(PREFIX) {
            let decoded = percent_decode(value).ok_or_else(|| MalformedMessage::Attribute {
                attribute: name.to_owned(),
                reason: "its percent-encoding gives no UTF-8".to_owned(),
            })?;
            attributes.push((name, decoded));
        }
    }
    let has_data = !payload.is_empty() || headers.contains_key("ce-datacontenttype");
    let pairs = attributes.iter().map(|(name, value)| (*name, value.as_str()));
    Message::from_attributes(pairs, None, has_data.then(|| payload.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let builder = || Message::builder("shop.order.placed", "/shop/ä b").id("7 8").subject("order/17 \"x\"");
        let key = builder().key("größe%").extension("traceparent", "00-1-2-03").build().unwrap();
        let json = builder().json(&serde_json::json!({"cents": 1})).unwrap().build().unwrap();
        let empty = builder().data("text/plain; charset=utf-8", Vec::new()).build().unwrap();
        for message in [key, json, empty] {
            let headers = headers(&message);
            assert_eq!(headers.get("ce-specversion").map(|value| value.as_str()), Some("1.0"));
            assert_eq!(headers.get("Nats-Msg-Id").map(|value| value.as_str()), Some("/shop/%C3%A4%20b 7%208"));
            assert_eq!(decode(Some(&headers), message.data()).unwrap(), message);
            let (structured, payload) = encode(&message, ContentMode::Structured).unwrap();
            assert_eq!(structured.get("Nats-Msg-Id"), headers.get("Nats-Msg-Id"));
            assert_eq!(
                structured.get("Content-Type").map(|value| value.as_str()),
                Some("application/cloudevents+json")
            );
            assert!(structured.get("ce-id").is_none());
            let again = decode(Some(&structured), &payload).unwrap();
            assert_eq!((again.attributes(), again.data()), (message.attributes(), message.data()));
        }
    }

    #[test]
    fn structured_mode_is_read_with_and_without_headers() {
        let message = Message::builder("t", "/s").id("1").json(&serde_json::json!([1])).unwrap().build().unwrap();
        let payload = message.to_structured().unwrap();
        assert_eq!(decode(None, &payload).unwrap(), message);
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/cloudevents+json; charset=utf-8");
        assert_eq!(decode(Some(&headers), &payload).unwrap(), message);
    }

    #[test]
    fn what_is_no_message_is_kept_as_it_came() {
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-type", "t");
        headers.insert("ce-source", "/s");
        let undecodable = decode(Some(&headers), b"body").unwrap_err();
        assert_eq!(undecodable.error, MalformedMessage::MissingAttribute { attribute: "id" });
        assert_eq!((undecodable.raw.header("ce-type"), &*undecodable.raw.body), (Some("t"), &b"body"[..]));
        assert!(decode(None, b"nonsense").is_err());
    }
}
