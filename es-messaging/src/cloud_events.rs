//! The CloudEvents formats: structured mode, and values in headers.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use base64::{DecodeError, Engine, engine::general_purpose::STANDARD};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    binding::TWICE,
    causes::json_words,
    error::MalformedMessage,
    message::{JSON, Message, is_json},
};

/// The content type of a message in structured mode.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json";

impl Message {
    /// Returns the message in structured mode: one JSON object with all attributes and the content.
    ///
    /// # Errors
    /// Returns [`MalformedMessage::Content`] if the declared content type is JSON but the content is not.
    pub fn to_structured(&self) -> Result<Vec<u8>, MalformedMessage> {
        let mut fields: Vec<(&str, Box<RawValue>)> = Vec::new();
        let text = |value: &str| serde_json::value::to_raw_value(value).map_err(content);
        for (name, value) in self.attributes() {
            fields.push((name, text(&value)?));
        }
        let mut content_type = self.declared_content_type();
        let mut body = None;
        if self.has_data() {
            let json = match self.is_json().then(|| serde_json::from_slice::<Box<RawValue>>(without_bom(self.data()))) {
                Some(Ok(json)) => Some(json),
                // Content without a declared type may be anything.
                Some(Err(error)) if content_type.is_some() => return Err(content(error)),
                Some(Err(_)) | None => None,
            };
            body = Some(match json {
                // Surrounding whitespace or a byte order mark would be lost.
                Some(json) if json.get().len() == self.data().len() => ("data", json),
                json => {
                    content_type = content_type.or(json.map(|_| JSON));
                    ("data_base64", text(&STANDARD.encode(self.data()))?)
                }
            });
        }
        if let Some(content_type) = content_type {
            fields.push(("datacontenttype", text(content_type)?));
        }
        fields.extend(body);
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

    /// Reads a message in structured mode. `"data": null` is content: the JSON value null. Any other null means that
    /// the attribute is absent. A byte order mark is skipped.
    ///
    /// # Errors
    /// Returns [`MalformedMessage`]; for a list of messages, [`MalformedMessage::Batch`].
    pub fn from_structured(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let bytes = without_bom(bytes);
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(MalformedMessage::Batch);
        }
        let Members(members) = serde_json::from_slice(bytes).map_err(content)?;
        let mut fields: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
        for (name, value) in members {
            if fields.get(&name).is_some_and(|first| first.get() != value.get()) {
                return Err(MalformedMessage::Attribute { attribute: name, reason: TWICE.to_owned() });
            }
            fields.insert(name, value);
        }
        let data = fields.remove("data");
        fields.retain(|_, value| value.get() != NULL);
        let data_base64 = fields.remove("data_base64");
        let mut attributes = Vec::with_capacity(fields.len());
        for (name, value) in &fields {
            attributes.push((name.as_str(), attribute_text(name, value.get())?));
        }
        let declared = attributes.iter().find(|(name, _)| *name == "datacontenttype").map(|(_, value)| value.as_str());
        let (content_type, data) = match (data, data_base64) {
            (Some(data), Some(_)) if data.get() != NULL => {
                let reason = "it has both data and data_base64".to_owned();
                return Err(MalformedMessage::Content { reason });
            }
            // Bytes without a declared type are not JSON; otherwise they would be in `data`.
            (_, Some(text)) => (declared.or(Some(BYTES)), Some(decoded(text.get())?)),
            (Some(json), None) => (declared, text_or_json(declared, json.get())),
            (None, None) => (declared, None),
        };
        Self::from_attributes(attributes.iter().map(|(name, value)| (*name, value.as_str())), content_type, data)
    }
}

/// The JSON text of an absent value.
const NULL: &str = "null";
/// The content type of bytes of unknown type.
const BYTES: &str = "application/octet-stream";

/// The members of a JSON object in order, including duplicates.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// Returns UTF-8 text without the byte order mark that some writers prepend.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Converts a JSON error, without any of the content.
fn content(error: serde_json::Error) -> MalformedMessage {
    MalformedMessage::Content { reason: json_words(&error) }
}

fn decoded(data_base64: &str) -> Result<Vec<u8>, MalformedMessage> {
    let text: String = serde_json::from_str(data_base64).map_err(content)?;
    STANDARD.decode(text).map_err(|error| {
        let reason = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => {
                format!("data_base64 is wrong at its byte {at}")
            }
            other => format!("data_base64 is wrong: {other}"),
        };
        MalformedMessage::Content { reason }
    })
}

/// Returns the content of the member `data`.
fn text_or_json(content_type: Option<&str>, json: &str) -> Option<Vec<u8>> {
    match content_type {
        // Content of another type, written as a JSON string.
        Some(other) if !is_json(other) => match serde_json::from_str::<Option<String>>(json) {
            Ok(text) => text.map(String::into_bytes),
            Err(_) => Some(json.as_bytes().to_vec()),
        },
        _ => Some(json.as_bytes().to_vec()),
    }
}

/// Returns an attribute as text. In JSON it may be a string, a number, or a Boolean; elsewhere it is always text.
fn attribute_text(name: &str, json: &str) -> Result<String, MalformedMessage> {
    if json.starts_with('"') {
        return serde_json::from_str(json).map_err(content);
    }
    if json.starts_with(['{', '[']) {
        let reason = "an attribute is no object or list".to_owned();
        return Err(MalformedMessage::Attribute { attribute: name.to_owned(), reason });
    }
    Ok(json.to_owned())
}

/// Encodes a value as the HTTP and NATS bindings write it into a header: characters other than printable ASCII, and
/// `"`, `%`, and spaces, become `%XX`.
pub fn percent_encode(value: &str) -> Cow<'_, str> {
    use std::fmt::Write;
    let is_plain = |byte: u8| matches!(byte, b'!' | b'#'..=b'$' | b'&'..=b'~');
    if value.bytes().all(is_plain) {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len() + value.len() / 2);
    for byte in value.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` never fails.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// Decodes what [`percent_encode`] wrote. Returns `None` if the result is not UTF-8.
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
    use crate::binding::HeaderBinding;

    fn message() -> Message {
        let builder = Message::builder("shop.order.placed", "/shop").id("7").subject("order/17").key("order/17");
        builder.json(&serde_json::json!({ "cents": 100 })).unwrap().build().unwrap()
    }

    #[test]
    fn a_message_survives_the_structured_mode() {
        let binary = |headers: &[(&str, &str)], body: &[u8]| {
            let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/"), ("ce-type", "t")];
            let headers = required.iter().chain(headers).copied();
            HeaderBinding::new(&["ce-"]).read_text(None, headers, Some(body)).unwrap()
        };
        let messages = [
            message(),
            message().to_builder().json(&()).unwrap().build().unwrap(),
            message().to_builder().data("text/plain", b"null".to_vec()).build().unwrap(),
            message().to_builder().data("text/plain", Vec::new()).build().unwrap(),
            message().to_builder().data("application/octet-stream", vec![0, 159, 255]).build().unwrap(),
            message().to_builder().data("application/json", b"  {} ".to_vec()).build().unwrap(),
            message().to_builder().without_data().extension("traceparent", "00-ab").build().unwrap(),
            // Its content is stored elsewhere.
            message().to_builder().data("text/xml", b"x".to_vec()).without_data().build().unwrap(),
            binary(&[("ce-averyveryverylongextension1", "  blanks ")], b"{}"),
        ];
        for message in messages {
            let bytes = message.to_structured().unwrap();
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["specversion"], "1.0");
            assert_eq!(Message::from_structured(&bytes).unwrap(), message, "{json}");
            assert_eq!(Message::from_raw(&message.to_raw()).unwrap(), message, "{json}");
        }
        // Content without a declared type.
        for body in [&b"{"[..], b" 1"] {
            let again = Message::from_structured(&binary(&[], body).to_structured().unwrap()).unwrap();
            assert_eq!((again.data(), again.is_json()), (body, body == b" 1"));
        }
    }

    #[test]
    fn a_null_is_a_content_and_nothing_else() {
        let read = |fields: &str| {
            let json = format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t",{fields}}}"#);
            Message::from_structured(json.as_bytes()).unwrap()
        };
        let null = read(r#""data": null"#);
        assert_eq!((null.has_data(), null.data(), null.json::<Option<i64>>().unwrap()), (true, &b"null"[..], None));
        assert!(!read(r#""subject": null"#).has_data());
        let bytes = read(r#""data": null, "data_base64": "AP8=", "subject": null"#);
        assert_eq!((bytes.data(), bytes.subject()), (&[0, 255][..], None));
        assert_eq!(read(r#""data": 1, "data_base64": null"#).data(), b"1");
        assert!(!read(r#""data": null, "datacontenttype": "text/plain""#).has_data());
        assert_eq!(read(r#""data": "null", "datacontenttype": "text/plain""#).data(), b"null");
    }

    #[test]
    fn bytes_that_do_not_say_what_they_are_are_not_json() {
        let json = r#"{"specversion":"1.0","id":"1","source":"/","type":"t","data_base64":"AP8="}"#;
        let bytes = Message::from_structured(json.as_bytes()).unwrap();
        assert_eq!((bytes.is_json(), bytes.content_type()), (false, "application/octet-stream"));
        let json = json.replace("data_base64", "datacontenttype\":\"application/json\",\"data_base64");
        assert!(Message::from_structured(json.as_bytes()).unwrap().is_json());
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for secret in [
            r#""secret""#,
            r#"{"data_base64":7}"#,
            r#"{"data_base64":"secret?"}"#,
            r#"{"specversion":"1.0","id":"1","source":"/","type":"t","time":"secret"}"#,
        ] {
            let error = Message::from_structured(secret.as_bytes()).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_batch_is_refused() {
        let batch = [b" [", &*message().to_structured().unwrap(), b"]"].concat();
        assert_eq!(Message::from_structured(&batch), Err(MalformedMessage::Batch));
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
    fn an_empty_attribute_is_refused_as_empty_and_an_empty_extension_is_a_value() {
        let read = |more: &str| {
            let json = format!(r#"{{"specversion":"1.0","source":"/","type":"t",{more}}}"#);
            Message::from_structured(json.as_bytes())
        };
        assert!(read(r#""id":"""#).unwrap_err().to_string().contains("id is wrong: it is empty"));
        for attribute in ["subject", "dataschema", "datacontenttype"] {
            let error = read(&format!(r#""id":"1","{attribute}":"""#)).unwrap_err().to_string();
            assert!(error.contains(&format!("{attribute} is wrong: it is empty")), "{error}");
        }
        assert_eq!(read(r#""id":"1","tenant":"""#).unwrap().extension("tenant"), Some(""));
    }

    #[test]
    fn a_member_that_occurs_twice_is_refused_unless_it_says_the_same() {
        let read = |more: &str| {
            let json = format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t",{more}}}"#);
            Message::from_structured(json.as_bytes())
        };
        for twice in [r#""id":"2""#, r#""\u0069d":"2""#, r#""data":1,"data":2"#, r#""data":null,"data":2"#] {
            let error = read(twice).unwrap_err().to_string();
            assert!(error.ends_with("is wrong: it occurs twice, with different values"), "{error}");
        }
        assert_eq!(read(r#""id":"1""#).unwrap().id(), "1");
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_kept_in_the_content() {
        let bytes = [b"\xEF\xBB\xBF", &*message().to_structured().unwrap()].concat();
        assert_eq!(Message::from_structured(&bytes).unwrap(), message());
        let content = b"\xEF\xBB\xBF{\"cents\":7}";
        let marked = message().to_builder().data("application/json", content.to_vec()).build().unwrap();
        assert_eq!(marked.json::<serde_json::Value>().unwrap()["cents"], 7);
        assert_eq!(Message::from_structured(&marked.to_structured().unwrap()).unwrap(), marked);
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
