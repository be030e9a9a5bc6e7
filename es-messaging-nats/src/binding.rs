//! CloudEvents as messages of NATS.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName, header::IntoHeaderName};
use es_core::RawMessage;
use es_messaging::{
    ContentMode, HeaderBinding, MalformedMessage, Message, Outgoing, STRUCTURED_CONTENT_TYPE, Undecodable, extension,
    percent_encode,
};

const PREFIX: &str = "ce-";
const BINDING: HeaderBinding = HeaderBinding::new(&[PREFIX]).escaped();

/// The headers and the payload of a message.
pub(crate) fn encode(outgoing: &Outgoing, mode: ContentMode) -> Result<(HeaderMap, Vec<u8>), MalformedMessage> {
    let message = &outgoing.message;
    match mode.suited_to(message) {
        ContentMode::Binary => Ok((headers(outgoing), message.data().to_vec())),
        ContentMode::Structured => {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", id(outgoing));
            headers.insert("Content-Type", STRUCTURED_CONTENT_TYPE);
            Ok((headers, message.to_structured()?))
        }
    }
}

/// The headers of a message in binary mode.
fn headers(outgoing: &Outgoing) -> HeaderMap {
    let message = &outgoing.message;
    let mut headers = HeaderMap::new();
    headers.insert(const { HeaderName::from_static("Nats-Msg-Id") }, id(outgoing));
    for (name, value) in message.attributes() {
        headers.insert(header_name(name), encoded(value));
    }
    if let Some(content_type) = message.declared_content_type() {
        let content_type = encoded(content_type.to_owned());
        headers.insert(const { HeaderName::from_static("ce-datacontenttype") }, content_type);
    }
    headers
}

/// The header of an attribute. Those that most messages have are not put together again for each.
fn header_name(attribute: &str) -> HeaderName {
    match attribute {
        "specversion" => const { HeaderName::from_static("ce-specversion") },
        "id" => const { HeaderName::from_static("ce-id") },
        "source" => const { HeaderName::from_static("ce-source") },
        "type" => const { HeaderName::from_static("ce-type") },
        "subject" => const { HeaderName::from_static("ce-subject") },
        "time" => const { HeaderName::from_static("ce-time") },
        extension::PARTITION_KEY => const { HeaderName::from_static("ce-partitionkey") },
        extension::TRACE_PARENT => const { HeaderName::from_static("ce-traceparent") },
        extension::CORRELATION => const { HeaderName::from_static("ce-correlationid") },
        extension::CAUSATION => const { HeaderName::from_static("ce-causationid") },
        extension::POSITION => const { HeaderName::from_static("ce-position") },
        extension::VERSION => const { HeaderName::from_static("ce-streamversion") },
        _ => format!("{PREFIX}{attribute}").into_header_name(),
    }
}

/// Percent-encoded; itself if there is nothing to encode.
fn encoded(value: String) -> String {
    match percent_encode(&value) {
        Cow::Borrowed(_) => value,
        Cow::Owned(encoded) => encoded,
    }
}

/// What the server recognizes duplicates by: topic, source and id. A stream has many topics, and one message may go to several of them.
/// None of the three holds a space when it is encoded.
fn id(Outgoing { topic, message }: &Outgoing) -> String {
    [topic, message.source(), message.id()].map(percent_encode).join(" ")
}

/// Reads a message in binary or structured mode. Without headers it is in structured mode, as before NATS had any.
pub(crate) fn decode(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<Message, Undecodable> {
    let all: Vec<(&str, &str)> = headers
        .into_iter()
        .flat_map(HeaderMap::iter)
        .flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
        .collect();
    read(&all, payload).map_err(|error| {
        let headers = all.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        Undecodable { error, raw: RawMessage { headers, body: payload.to_vec() } }
    })
}

fn read(headers: &[(&str, &str)], payload: &[u8]) -> Result<Message, MalformedMessage> {
    let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map(|(_, value)| *value);
    let is_bare = content_type.is_none() && !headers.iter().any(|(name, _)| BINDING.attribute(name).is_some());
    let content_type = content_type.or((is_bare && !payload.is_empty()).then_some(STRUCTURED_CONTENT_TYPE));
    BINDING.read_text(content_type, headers.iter().copied(), Some(payload))
}

#[cfg(test)]
mod tests {
    use es_testkit::sdk_messages;

    use super::*;

    #[test]
    fn a_message_comes_back_as_it_went() {
        let builder = || Message::builder("shop.order.placed", "/shop/ä b").id("7 8").subject("order/17 \"x\"");
        let key = builder().key("größe%").extension("traceparent", "00-1-2-03").build().unwrap();
        let json = builder().json(&serde_json::json!({"cents": 1})).unwrap().build().unwrap();
        let empty = builder().data("text/plain; charset=utf-8", Vec::new()).build().unwrap();
        let null = builder().json(&()).unwrap().build().unwrap();
        let elsewhere = empty.to_builder().without_data().extension("dataref", "x").build().unwrap();
        for message in [key, json, empty, null, elsewhere] {
            let outgoing = Outgoing { topic: "shop.orders".to_owned(), message: message.clone() };
            let headers = headers(&outgoing);
            assert_eq!(headers.get("ce-specversion").map(|value| value.as_str()), Some("1.0"));
            assert_eq!(
                headers.get("Nats-Msg-Id").map(|value| value.as_str()),
                Some("shop.orders /shop/%C3%A4%20b 7%208")
            );
            assert_eq!(decode(Some(&headers), message.data()).unwrap(), message);
            let (structured, payload) = encode(&outgoing, ContentMode::Structured).unwrap();
            assert_eq!(structured.get("Nats-Msg-Id"), headers.get("Nats-Msg-Id"));
            assert_eq!(
                structured.get("Content-Type").map(|value| value.as_str()),
                Some("application/cloudevents+json")
            );
            assert!(structured.get("ce-id").is_none());
            let again = decode(Some(&structured), &payload).unwrap();
            assert_eq!(again, message);
        }
    }

    #[test]
    fn structured_mode_is_read_with_and_without_headers() {
        let message = Message::builder("t", "/s").id("1").json(&serde_json::json!([1])).unwrap().build().unwrap();
        let payload = message.to_structured().unwrap();
        assert_eq!(decode(None, &payload).unwrap(), message);
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "Application/CloudEvents+JSON; charset=utf-8");
        assert_eq!(decode(Some(&headers), &payload).unwrap(), message);
    }

    #[test]
    fn what_the_sdk_writes_is_read() {
        // The type of the content is an attribute here; as a header of HTTP it is understood too.
        for name in ["ce-datacontenttype", "content-type"] {
            for sdk in ["http", "structured"].into_iter().flat_map(sdk_messages) {
                let mut headers = HeaderMap::new();
                sdk.texts().into_iter().for_each(|(name, value)| headers.insert(name.to_uppercase().as_str(), value));
                let name = if sdk.headers.is_empty() { "Content-Type" } else { name };
                sdk.content_type.iter().for_each(|kind| headers.insert(name, kind.as_str()));
                sdk.check(&decode(Some(&headers), &sdk.body()).unwrap());
            }
        }
    }

    #[test]
    fn quoted_values_and_repeated_headers_are_understood() {
        let message = Message::builder("t", "/s").id("1").build().unwrap();
        let mut all = headers(&Outgoing { topic: "t".to_owned(), message });
        all.insert("ce-subject", "\"a \\\"b\\\" %C3%BC\"");
        all.append("ce-id", "1");
        assert_eq!(decode(Some(&all), b"").unwrap().subject(), Some("a \"b\" ü"));
        all.append("ce-id", "2");
        assert!(decode(Some(&all), b"").unwrap_err().error.to_string().contains("twice"));
        assert_eq!(decode(None, b"[]").unwrap_err().error, MalformedMessage::Batch);
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
