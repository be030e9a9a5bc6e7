//! Messages as the official Python SDK of CloudEvents writes them (`cloudevents` 2.2.0), for tests of what reads them.

use es_messaging::Message;
use serde::Deserialize;
use serde_json::Value;
use time::macros::datetime;

/// What the SDK's bindings made of one event each.
const WRITTEN: &str = include_str!("../fixtures/cloudevents_sdk.jsonl");

/// One message of the SDK.
#[derive(Debug, Clone, Deserialize)]
pub struct SdkMessage {
    /// Which event it is.
    pub event: String,
    binding: String,
    /// Its headers: texts; over AMQP also integers and truth values.
    pub headers: serde_json::Map<String, Value>,
    /// Its content type.
    pub content_type: Option<String>,
    /// The key of the record, over Kafka.
    pub key: Option<String>,
    body: Body,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Text(String),
    Hex(String),
}

/// Returns what the SDK writes with one of its bindings: `amqp`, `rabbitmq`, `kafka`, `http`, or `structured`, which is the same for all.
///
/// # Panics
/// If there is no such binding.
pub fn sdk_messages(binding: &str) -> Vec<SdkMessage> {
    let all = WRITTEN.lines().map(|line| serde_json::from_str::<SdkMessage>(line).expect("a message of the SDK"));
    let messages: Vec<SdkMessage> = all.filter(|message| message.binding == binding).collect();
    assert!(!messages.is_empty(), "the SDK has no binding {binding:?}");
    messages
}

impl SdkMessage {
    /// Returns its body.
    pub fn body(&self) -> Vec<u8> {
        match &self.body {
            Body::Text(text) => text.as_bytes().to_vec(),
            Body::Hex(hex) => {
                let byte =
                    |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
                hex.as_bytes().chunks(2).map(byte).collect()
            }
        }
    }

    /// Returns its headers as texts.
    pub fn texts(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a text"))).collect()
    }

    /// Checks that a message is the event that the SDK was given.
    ///
    /// # Panics
    /// If it is not.
    pub fn check(&self, read: &Message) {
        let what = format!("{} over {}: {:?}", self.event, self.binding, read.attributes());
        assert_eq!(
            (read.id(), read.source(), read.message_type()),
            ("7", "/shop/größe", "shop.order.placed"),
            "{what}"
        );
        let written = datetime!(2026-11-30 12:00:00.123456 UTC);
        // A timestamp of AMQP counts milliseconds.
        let expected = if self.binding == "amqp" { datetime!(2026-11-30 12:00:00.123 UTC) } else { written };
        assert_eq!(read.time(), Some(expected), "{what}");
        let content: Option<(&str, &[u8])> = match self.event.as_str() {
            "json" | "extensions" => Some(("application/json", read.data())),
            "text" => Some(("text/plain", "größe, 日本".as_bytes())),
            "bytes" => Some(("application/octet-stream", b"\0\xff")),
            "untyped bytes" => Some((read.content_type(), b"\0\xff")),
            "no data" => None,
            other => panic!("nothing is known about the event {other:?}"),
        };
        assert_eq!(read.has_data().then(|| (read.content_type(), read.data())), content, "{what}");
        match self.event.as_str() {
            "json" => {
                assert_eq!(read.json::<Value>().expect("JSON"), serde_json::json!({ "größe": [1, null] }), "{what}");
                assert_eq!((read.subject(), read.key()), (Some("order/17 \"x\" 100 %"), Some("kunde ß")), "{what}");
            }
            "extensions" => {
                assert_eq!(read.json::<Value>().expect("JSON"), serde_json::json!({ "a": 1 }), "{what}");
                let flag = read.extension("flag").map(str::to_lowercase);
                assert_eq!((read.extension("sequence"), flag.as_deref()), (Some("5"), Some("true")), "{what}");
                assert_eq!(read.expires_at(), Some(datetime!(2999-01-01 0:00 UTC)), "{what}");
            }
            _ => {}
        }
    }
}
