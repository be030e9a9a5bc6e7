//! CloudEvents on a wire: the structured mode, and values in headers.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;

use crate::{
    error::MalformedMessage,
    message::{Message, is_json},
};

/// The type of the content of a message in structured mode.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

impl Message {
    /// The message in structured mode: one JSON object with all attributes and the content.
    ///
    /// # Errors
    /// [`MalformedMessage::Content`] if it says that its content is JSON, and it is not.
    pub fn to_structured(&self) -> Result<Vec<u8>, MalformedMessage> {
        let content = |error: serde_json::Error| MalformedMessage::Content { reason: error.to_string() };
        let mut fields: Vec<(&str, Box<RawValue>)> = Vec::new();
        let text = |value: &str| serde_json::value::to_raw_value(value);
        for (name, value) in self.attributes() {
            fields.push((name, text(&value).map_err(content)?));
        }
        if self.has_data() {
            fields.push(("datacontenttype", text(self.content_type()).map_err(content)?));
            let json: Option<Box<RawValue>> =
                if self.is_json() { Some(serde_json::from_slice(self.data()).map_err(content)?) } else { None };
            match json {
                // Spaces around it would be lost.
                Some(json) if json.get().len() == self.data().len() => fields.push(("data", json)),
                _ => fields.push(("data_base64", text(&STANDARD.encode(self.data())).map_err(content)?)),
            }
        }
        let mut out = Vec::with_capacity(self.size() + 64);
        out.push(b'{');
        for (index, (name, value)) in fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, name).map_err(content)?;
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
        Ok(out)
    }

    /// Reads a message in structured mode.
    ///
    /// # Errors
    /// [`MalformedMessage`].
    pub fn from_structured(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let content = |error: serde_json::Error| MalformedMessage::Content { reason: error.to_string() };
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes).map_err(content)?;
        let (mut attributes, mut data, mut data_base64) = (Vec::new(), None, None);
        for (name, value) in &fields {
            if value.get() == "null" {
                continue;
            }
            match name.as_str() {
                "data" => data = Some(value.get()),
                "data_base64" => data_base64 = Some(serde_json::from_str::<String>(value.get()).map_err(content)?),
                _ => attributes.push((name.as_str(), attribute_text(name, value.get())?)),
            }
        }
        let content_type =
            attributes.iter().find(|(name, _)| *name == "datacontenttype").map(|(_, value)| value.clone());
        let data = match (data, data_base64) {
            (Some(_), Some(_)) => {
                let reason = "it has both data and data_base64".to_owned();
                return Err(MalformedMessage::Content { reason });
            }
            (Some(json), None) => Some(match &content_type {
                // Content of another type that is written as a JSON text.
                Some(other) if !is_json(other) => match serde_json::from_str::<String>(json) {
                    Ok(text) => text.into_bytes(),
                    Err(_) => json.as_bytes().to_vec(),
                },
                _ => json.as_bytes().to_vec(),
            }),
            (None, Some(text)) => {
                let decoded = STANDARD.decode(text);
                Some(decoded.map_err(|error| MalformedMessage::Content { reason: error.to_string() })?)
            }
            (None, None) => None,
        };
        Self::from_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())), None, data)
    }
}

/// An attribute in JSON may be a text, a number or a truth value; it is a text everywhere else.
fn attribute_text(name: &str, json: &str) -> Result<String, MalformedMessage> {
    if json.starts_with('"') {
        return serde_json::from_str(json).map_err(|error| MalformedMessage::Content { reason: error.to_string() });
    }
    if json.starts_with(['{', '[']) {
        let reason = "an attribute is no object or list".to_owned();
        return Err(MalformedMessage::Attribute { attribute: name.to_owned(), reason });
    }
    Ok(json.to_owned())
}

/// A value as the HTTP and NATS bindings put it into a header: what is not printable ASCII, and `"`, `%` and spaces, as `%XX`.
pub fn percent_encode(value: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if matches!(byte, b'!' | b'#'..=b'$' | b'&'..=b'~') {
            out.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Reads what [`percent_encode`] wrote. `None` if that gives no UTF-8.
pub fn percent_decode(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).ok()?);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let builder = Message::builder("shop.order.placed", "/shop").id("7").subject("order/17").key("order/17");
        builder.json(&serde_json::json!({ "cents": 100 })).unwrap().build().unwrap()
    }

    #[test]
    fn a_message_survives_the_structured_mode() {
        let messages = [
            message(),
            message().to_builder().data("application/octet-stream", vec![0, 159, 255]).build().unwrap(),
            message().to_builder().data("application/json", b"  {} ".to_vec()).build().unwrap(),
            message().to_builder().without_data().extension("traceparent", "00-ab").build().unwrap(),
        ];
        for message in messages {
            let bytes = message.to_structured().unwrap();
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["specversion"], "1.0");
            let again = Message::from_structured(&bytes).unwrap();
            assert_eq!(
                (again.id(), again.data(), again.attributes()),
                (message.id(), message.data(), message.attributes())
            );
        }
    }

    #[test]
    fn content_that_says_it_is_json_and_is_not_is_refused() {
        let wrong = message().to_builder().data("application/json", b"{".to_vec()).build().unwrap();
        assert!(matches!(wrong.to_structured(), Err(MalformedMessage::Content { .. })));
    }

    #[test]
    fn what_is_no_cloud_event_says_what_is_missing() {
        let missing = |json: &str| Message::from_structured(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(missing(r#"{"specversion":"1.0","source":"/","type":"t"}"#), "the message has no id");
        assert_eq!(missing(r#"{"specversion":"1.0","id":"1","type":"t"}"#), "the message has no source");
        assert_eq!(missing(r#"{"id":"1","source":"/","type":"t"}"#), "the message has no specversion");
        assert!(missing(r#"{"specversion":"0.3","id":"1","source":"/","type":"t"}"#).contains("0.3"));
        assert!(missing(r#"{"specversion":"1.0","id":"1","source":"/","type":"t","time":"noon"}"#).contains("time"));
        assert!(missing(r#"{"specversion":"1.0","id":"1","source":"/","type":"t","x":[]}"#).contains('x'));
        assert!(missing("[]").contains("cannot be read"));
    }

    #[test]
    fn header_values_survive_percent_encoding() {
        for text in ["plain", "größe 100 %", "\"quoted\"", "%41", "日本"] {
            let encoded = percent_encode(text);
            assert!(encoded.bytes().all(|byte| matches!(byte, b'!'..=b'~')), "{encoded}");
            assert_eq!(percent_decode(&encoded).as_deref(), Some(text));
        }
    }
}
