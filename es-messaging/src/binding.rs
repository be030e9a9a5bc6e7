//! Reads CloudEvents from what a protocol carries: the mode of a message, and its attributes in headers.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::{
    cloud_events::{STRUCTURED_CONTENT_TYPE, percent_decode},
    error::MalformedMessage,
    limits,
    message::{Message, extension, media_type},
};

/// The mode of a received message, according to its content type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceivedMode {
    /// The attributes are headers, and the content is the body.
    Binary,
    /// The body is one CloudEvent as JSON.
    Structured,
    /// The body is a batch of CloudEvents, which is not supported.
    Batched,
    /// The body is one CloudEvent in an unsupported format, such as Avro or XML; contains the media type.
    OtherFormat(String),
}

impl ReceivedMode {
    /// Returns the mode for a content type. Case and parameters do not matter.
    pub fn of(content_type: Option<&str>) -> Self {
        const CLOUD_EVENT: &str = "application/cloudevents";
        let media_type = media_type(content_type.unwrap_or_default());
        match media_type.strip_prefix(CLOUD_EVENT) {
            Some("") => Self::Structured,
            Some(_) if media_type == STRUCTURED_CONTENT_TYPE => Self::Structured,
            Some(rest) if rest.starts_with("-batch") => Self::Batched,
            Some(rest) if rest.starts_with('+') => Self::OtherFormat(media_type),
            _ => Self::Binary,
        }
    }
}

/// How a protocol represents CloudEvents. All broker adapters read messages with a `HeaderBinding`, so that all of them
/// accept the same messages.
///
/// ```
/// use es_messaging::HeaderBinding;
/// const HTTP: HeaderBinding = HeaderBinding::new(&["ce-"]).escaped();
/// let headers = [("CE-ID", "7"), ("ce-source", "/shop"), ("ce-type", "t"), ("ce-specversion", "1.0"), ("ce-subject", "%41")];
/// let message = HTTP.read_text(Some("application/json"), headers, Some(b"17"))?;
/// assert_eq!((message.id(), message.subject(), message.data()), ("7", Some("A"), &b"17"[..]));
/// # Ok::<(), es_messaging::MalformedMessage>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct HeaderBinding {
    prefixes: &'static [&'static str],
    escaped: bool,
}

impl HeaderBinding {
    /// Returns a binding whose attributes are headers with one of these prefixes. The case of header names does not
    /// matter.
    pub const fn new(prefixes: &'static [&'static str]) -> Self {
        Self { prefixes, escaped: false }
    }

    /// Returns the binding for a protocol whose values are percent-encoded and may be quoted, as in HTTP.
    pub const fn escaped(self) -> Self {
        Self { escaped: true, ..self }
    }

    /// Returns the name of the attribute that a header holds, if it holds one.
    pub fn attribute<'n>(&self, header: &'n str) -> Option<Cow<'n, str>> {
        self.prefixes.iter().find_map(|prefix| {
            let (start, name) = header.split_at_checked(prefix.len())?;
            start.eq_ignore_ascii_case(prefix).then(|| lower_case(name))
        })
    }

    /// Reads a message whose headers are text. See [`read`](Self::read).
    ///
    /// # Errors
    /// Returns [`MalformedMessage`] if the message is invalid.
    pub fn read_text<'a>(
        &self,
        content_type: Option<&str>,
        headers: impl IntoIterator<Item = (&'a str, &'a str)>,
        body: Option<&[u8]>,
    ) -> Result<Message, MalformedMessage> {
        self.read(content_type, headers, |_, value| Ok(Some(value.into())), body)
    }

    /// Reads a message whose headers are bytes. A header without a value is ignored. See [`read`](Self::read).
    ///
    /// # Errors
    /// Returns [`MalformedMessage`] if the message is invalid.
    pub fn read_bytes<'a>(
        &self,
        content_type: Option<&str>,
        headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>,
        body: Option<&[u8]>,
    ) -> Result<Message, MalformedMessage> {
        let text = |_: &str, value: Option<&'a [u8]>| match value.map(str::from_utf8).transpose() {
            Ok(text) => Ok(text.map(Cow::Borrowed)),
            Err(_) => Err("it is not UTF-8".to_owned()),
        };
        self.read(content_type, headers, text, body)
    }

    /// Reads a message in binary or structured mode. `text` converts a header's value to text, given the name of its
    /// attribute. It returns `None` for a value that stands for an absent attribute, and an error for an invalid value.
    /// `body` is `None` if the protocol itself states that there is none.
    ///
    /// An empty body counts as content only if the message has a content type and no `dataref` to content elsewhere.
    ///
    /// # Errors
    /// Returns [`MalformedMessage`] if the message is invalid; for a batch, [`MalformedMessage::Batch`].
    pub fn read<'a, V>(
        &self,
        content_type: Option<&str>,
        headers: impl IntoIterator<Item = (&'a str, V)>,
        text: impl Fn(&str, V) -> Result<Option<Cow<'a, str>>, String>,
        body: Option<&[u8]>,
    ) -> Result<Message, MalformedMessage> {
        match ReceivedMode::of(content_type) {
            ReceivedMode::Structured => return Message::from_structured(body.unwrap_or_default()),
            ReceivedMode::Batched => return Err(MalformedMessage::Batch),
            ReceivedMode::OtherFormat(media_type) => return Err(MalformedMessage::Format { media_type }),
            ReceivedMode::Binary => {}
        }
        let mut attributes: BTreeMap<Cow<'a, str>, Cow<'a, str>> = BTreeMap::new();
        for (header, value) in headers {
            let Some(name) = self.attribute(header) else { continue };
            let wrong = |reason: &str| {
                Err(MalformedMessage::Attribute { attribute: name.clone().into_owned(), reason: reason.to_owned() })
            };
            let value = match text(&name, value) {
                Ok(Some(value)) => value,
                Ok(None) => continue,
                Err(reason) => return wrong(&reason),
            };
            let value = match self.escaped.then(|| unescape(&value)) {
                None => value,
                Some(Some(unescaped)) => unescaped.into(),
                Some(None) => return wrong("its percent-encoding is not UTF-8"),
            };
            match attributes.get(&name) {
                Some(first) if *first != value => return wrong(TWICE),
                Some(_) => {}
                None => {
                    attributes.insert(name, value);
                }
            }
        }
        let explicit = attributes.remove("datacontenttype");
        // Some clients send an empty content type of the protocol for an absent one.
        let of_protocol = content_type.filter(|content_type| !content_type.trim().is_empty());
        let content_type = explicit.as_deref().or(of_protocol);
        let means_empty = content_type.is_some() && !attributes.contains_key(extension::DATA_REF);
        let data = body.filter(|body| means_empty || !body.is_empty()).map(<[u8]>::to_vec);
        Message::from_attributes(attributes.iter().map(|(name, value)| (&**name, &**value)), content_type, data)
    }
}

/// The reason why a duplicate attribute is refused.
pub(crate) const TWICE: &str = "it occurs twice, with different values";

fn lower_case(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => name.to_ascii_lowercase().into(),
        false => name.into(),
    }
}

/// Decodes a value of an HTTP header: removes quotes, if there are any, and then percent-decodes.
fn unescape(value: &str) -> Option<String> {
    percent_decode(&unquote(value))
}

/// Returns a quoted string without its quotes and escapes. Other text is returned unchanged.
fn unquote(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.into() };
    let (mut out, mut letters) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return value.into(),
            '\\' => match letters.next() {
                Some(escaped) => out.push(escaped),
                None => return value.into(),
            },
            letter => out.push(letter),
        }
    }
    out.into()
}

/// The prefix for a key of bytes that cannot be an attribute directly.
const BYTES_KEY: &str = "base64:";
/// The prefix for the hash of a key that is too long for an attribute.
const LONG_KEY: &str = "sha256:";

/// Returns the partition key for a key of bytes, as Kafka has them. If the bytes are text that an attribute can
/// contain, the result is the text itself. Otherwise it is `base64:` and the bytes, or `sha256:` and their hash if they
/// are too long. Different keys have different results.
pub fn partition_key(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes)
        && text.len() <= limits::MAX_ATTRIBUTE_BYTES
        && !text.chars().any(char::is_control)
        && !text.starts_with(BYTES_KEY)
        && !text.starts_with(LONG_KEY)
    {
        return text.to_owned();
    }
    // Base64 encodes three bytes as four letters.
    if bytes.len().div_ceil(3) * 4 + BYTES_KEY.len() <= limits::MAX_ATTRIBUTE_BYTES {
        return format!("{BYTES_KEY}{}", STANDARD.encode(bytes));
    }
    format!("{LONG_KEY}{}", STANDARD.encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: HeaderBinding = HeaderBinding::new(&["cloudEvents:", "ce-"]);
    const ESCAPED: HeaderBinding = HeaderBinding::new(&["ce-"]).escaped();
    const REQUIRED: [(&str, &str); 4] =
        [("ce-specversion", "1.0"), ("ce-id", "7"), ("ce-source", "/shop"), ("ce-type", "t")];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        REQUIRED.iter().chain(more).copied().collect()
    }

    #[test]
    fn a_content_type_tells_the_mode_whatever_its_case_and_parameters() {
        for structured in [
            "application/cloudevents+json",
            "Application/CloudEvents+JSON",
            "application/cloudevents+json;charset=UTF-8",
            " application/cloudevents+json ; charset=utf-8",
            "application/cloudevents",
        ] {
            assert_eq!(ReceivedMode::of(Some(structured)), ReceivedMode::Structured, "{structured}");
        }
        for batched in ["application/cloudevents-batch+json", "APPLICATION/CLOUDEVENTS-BATCH+JSON; a=b"] {
            assert_eq!(ReceivedMode::of(Some(batched)), ReceivedMode::Batched, "{batched}");
        }
        let avro = ReceivedMode::OtherFormat("application/cloudevents+avro".to_owned());
        assert_eq!(ReceivedMode::of(Some("application/cloudevents+Avro")), avro);
        for binary in [None, Some(""), Some("application/json"), Some("application/cloudeventsx"), Some("text/plain")] {
            assert_eq!(ReceivedMode::of(binary), ReceivedMode::Binary, "{binary:?}");
        }
    }

    #[test]
    fn batches_and_other_formats_are_refused_in_so_many_words() {
        let refused = |content_type: &str| PLAIN.read_text(Some(content_type), REQUIRED, Some(b"[]")).unwrap_err();
        assert_eq!(refused("application/CloudEvents-Batch+json"), MalformedMessage::Batch);
        let avro = refused("application/cloudevents+avro").to_string();
        assert!(avro.contains("application/cloudevents+avro"), "{avro}");
    }

    #[test]
    fn names_of_headers_have_any_case_and_any_prefix() {
        let headers = [
            ("CE-SpecVersion", "1.0"),
            ("CLOUDEVENTS:ID", "7"),
            ("cloudEvents:source", "/shop"),
            ("ce-type", "t"),
            ("Ce-ComExampleExt", "x"),
            ("other", "y"),
        ];
        let message = PLAIN.read_text(None, headers, None).unwrap();
        assert_eq!((message.id(), message.extension("comexampleext"), message.has_data()), ("7", Some("x"), false));
    }

    #[test]
    fn an_attribute_that_is_there_twice_must_be_the_same() {
        let message = PLAIN.read_text(None, with(&[("cloudEvents:id", "7")]), None).unwrap();
        assert_eq!(message.id(), "7");
        let error = PLAIN.read_text(None, with(&[("cloudEvents:id", "8")]), None).unwrap_err();
        assert!(matches!(&error, MalformedMessage::Attribute { attribute, .. } if attribute == "id"), "{error}");
    }

    #[test]
    fn escaped_values_lose_their_quotes_and_then_their_percent_signs() {
        for (value, text) in [
            ("plain", "plain"),
            (r#""a \"q\" \\ b""#, r#"a "q" \ b"#),
            ("%22quoted%22", "\"quoted\""),
            ("\"gr%C3%B6%C3%9Fe\"", "größe"),
            (r#""a" and "b""#, r#""a" and "b""#),
            ("\"", "\""),
            ("\"\"", ""),
            (r#""a\""#, r#""a\""#),
            ("100 %", "100 %"),
            ("größe", "größe"),
        ] {
            let message = ESCAPED.read_text(None, with(&[("ce-note", value)]), None).unwrap();
            assert_eq!(message.extension("note"), Some(text), "{value}");
            let message = PLAIN.read_text(None, with(&[("ce-note", value)]), None).unwrap();
            assert_eq!(message.extension("note"), Some(value));
        }
        assert!(ESCAPED.read_text(None, with(&[("ce-subject", "%FF")]), None).is_err());
    }

    #[test]
    fn an_empty_body_is_a_content_only_where_a_type_says_so() {
        let read = |more: &[_], content_type, body| PLAIN.read_text(content_type, with(more), body).unwrap().has_data();
        assert!(!read(&[], None, Some(b"")));
        assert!(read(&[], Some("text/plain"), Some(b"")));
        assert!(!read(&[], Some(""), Some(b"")));
        assert!(read(&[("ce-datacontenttype", "text/plain")], None, Some(b"")));
        assert!(!read(&[("ce-dataref", "elsewhere")], Some("text/plain"), Some(b"")));
        assert!(!read(&[], Some("text/plain"), None));
        assert!(read(&[], None, Some(b"x")));
        let explicit = with(&[("ce-datacontenttype", "text/xml")]);
        assert_eq!(PLAIN.read_text(Some("text/plain"), explicit, Some(b"x")).unwrap().content_type(), "text/xml");
    }

    #[test]
    fn every_key_of_bytes_is_a_partition_key_of_its_own() {
        let long = "x".repeat(limits::MAX_ATTRIBUTE_BYTES);
        for plain in ["", "k", "größe 1", "base 64", &long] {
            assert_eq!(partition_key(plain.as_bytes()), plain);
        }
        let longer = [long.as_bytes(), b"x"].concat();
        let other = [long.as_bytes(), b"y"].concat();
        let odd: [&[u8]; 8] =
            [&[0, 255], &[0; 8], b"\0\0\0\0\0\0\0\x01", b"base64:AP8=", b"sha256:x", &[255; 5_000], &longer, &other];
        let keys: Vec<String> = odd.iter().map(|bytes| partition_key(bytes)).collect();
        assert_eq!((keys[0].as_str(), keys[1].as_str()), ("base64:AP8=", "base64:AAAAAAAAAAA="));
        for key in &keys {
            let message = Message::builder("t", "/").key(key).build().unwrap();
            assert_eq!(message.key(), Some(&**key));
        }
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), odd.len());
    }
}
