//! Messages: CloudEvents 1.0.

use std::{collections::BTreeMap, fmt, sync::Arc};

use es_core::limits as core_limits;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    cloud_events::without_bom,
    error::MalformedMessage,
    event_time::{format_time, parse_time},
    limits,
};

/// The names of the extension attributes that this framework gives and reads.
pub mod extension {
    /// The key within which order is kept.
    pub const PARTITION_KEY: &str = "partitionkey";
    /// The W3C trace context.
    pub const TRACE_PARENT: &str = "traceparent";
    /// What the whole conversation is known by.
    pub const CORRELATION: &str = "correlationid";
    /// The id of what led to this message.
    pub const CAUSATION: &str = "causationid";
    /// The event's position in the log of its source.
    pub const POSITION: &str = "position";
    /// The event's version in its stream.
    pub const VERSION: &str = "streamversion";
    /// When the event was recorded in the log of its source, which may be long after it happened.
    pub const RECORDED: &str = "recordedtime";
    /// Where the content is, if it was too large for the broker.
    pub const DATA_REF: &str = "dataref";
    /// After this time nobody wants it any more.
    pub const EXPIRY: &str = "expirytime";
    /// From 0 to 9, where the broker knows priorities.
    pub const PRIORITY: &str = "priority";
}

/// A message between systems: a CloudEvent 1.0. Cloning is cheap.
///
/// ```
/// use es_messaging::Message;
/// let message = Message::builder("shop.order.placed", "/shop/orders")
///     .id("7")
///     .subject("order/17")
///     .key("order/17")
///     .json(&serde_json::json!({ "cents": 100 }))?
///     .build()?;
/// assert_eq!(message.id(), "7");
/// assert_eq!(message.key(), Some("order/17"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    attributes: Arc<Attributes>,
    data: Option<Arc<[u8]>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attributes {
    id: String,
    source: String,
    message_type: String,
    subject: Option<String>,
    time: Option<OffsetDateTime>,
    data_schema: Option<String>,
    content_type: Option<String>,
    extensions: BTreeMap<String, String>,
}

impl Message {
    /// Begins a message of a type from a source (a URI reference of the system it comes from).
    pub fn builder(message_type: impl Into<String>, source: impl Into<String>) -> MessageBuilder {
        MessageBuilder {
            attributes: Attributes {
                id: String::new(),
                source: source.into(),
                message_type: message_type.into(),
                subject: None,
                time: None,
                data_schema: None,
                content_type: None,
                extensions: BTreeMap::new(),
            },
            data: None,
            name_bytes: limits::MAX_ATTRIBUTE_NAME_BYTES,
        }
    }

    /// A message of attributes by their CloudEvents names, and of its content: what came in binary mode.
    ///
    /// # Errors
    /// [`MalformedMessage`] if an attribute is missing or wrong.
    pub fn from_attributes<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
        content_type: Option<&str>,
        data: Option<Vec<u8>>,
    ) -> Result<Self, MalformedMessage> {
        let mut builder = Self::builder("", "");
        builder.name_bytes = limits::MAX_RECEIVED_NAME_BYTES;
        let mut spec_version = None;
        for (name, value) in attributes {
            match name {
                "id" | "source" | "type" if value.is_empty() => return Err(empty(name)),
                "specversion" => spec_version = Some(value),
                "id" => value.clone_into(&mut builder.attributes.id),
                "source" => value.clone_into(&mut builder.attributes.source),
                "type" => value.clone_into(&mut builder.attributes.message_type),
                "subject" => builder.attributes.subject = Some(value.to_owned()),
                "time" => builder.attributes.time = Some(parse_time("time", value)?),
                "dataschema" => builder.attributes.data_schema = Some(value.to_owned()),
                "datacontenttype" => builder.attributes.content_type = Some(value.to_owned()),
                _ => {
                    builder.attributes.extensions.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        match spec_version {
            None => return Err(MalformedMessage::MissingAttribute { attribute: "specversion" }),
            Some("1.0") => {}
            Some(other) => {
                let reason = format!("{other:?} is not 1.0");
                return Err(MalformedMessage::Attribute { attribute: "specversion".to_owned(), reason });
            }
        }
        if let Some(content_type) = content_type {
            builder.attributes.content_type = Some(content_type.to_owned());
        }
        builder.data = data.map(Into::into);
        builder.checked()
    }

    /// All attributes by their CloudEvents names, `specversion` first, without `datacontenttype`: what a binding puts into
    /// headers.
    pub fn attributes(&self) -> Vec<(&str, String)> {
        let own = &*self.attributes;
        let mut all = vec![
            ("specversion", "1.0".to_owned()),
            ("id", own.id.clone()),
            ("source", own.source.clone()),
            ("type", own.message_type.clone()),
        ];
        all.extend(own.subject.clone().map(|subject| ("subject", subject)));
        all.extend(own.time.and_then(format_time).map(|time| ("time", time)));
        all.extend(own.data_schema.clone().map(|schema| ("dataschema", schema)));
        all.extend(own.extensions.iter().map(|(name, value)| (name.as_str(), value.clone())));
        all
    }

    /// Its id: with the source it names the message, however often it is sent.
    pub fn id(&self) -> &str {
        &self.attributes.id
    }

    /// The system it comes from.
    pub fn source(&self) -> &str {
        &self.attributes.source
    }

    /// What kind of message it is.
    pub fn message_type(&self) -> &str {
        &self.attributes.message_type
    }

    /// What it is about: of a relayed event, its stream.
    pub fn subject(&self) -> Option<&str> {
        self.attributes.subject.as_deref()
    }

    /// When it happened.
    pub fn time(&self) -> Option<OffsetDateTime> {
        self.attributes.time
    }

    /// When it was recorded in the log of its source, if it says so: of an imported event long after it happened. Lag is measured from here.
    pub fn recorded_at(&self) -> Option<OffsetDateTime> {
        self.extension(extension::RECORDED).and_then(|time| parse_time(extension::RECORDED, time).ok())
    }

    /// Which schema its content has, as a URI.
    pub fn data_schema(&self) -> Option<&str> {
        self.attributes.data_schema.as_deref()
    }

    /// Which type its content has; JSON if it does not say.
    pub fn content_type(&self) -> &str {
        self.declared_content_type().unwrap_or(JSON)
    }

    /// Its attribute `datacontenttype`, if it has one: what a binding writes. A message whose content is elsewhere has one without a content.
    pub fn declared_content_type(&self) -> Option<&str> {
        self.attributes.content_type.as_deref()
    }

    /// Whether its content is JSON.
    pub fn is_json(&self) -> bool {
        is_json(self.content_type())
    }

    /// Its content; empty if it has none.
    pub fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// Whether it has a content at all.
    pub fn has_data(&self) -> bool {
        self.data.is_some()
    }

    /// Returns its content, read as JSON. A byte order mark is skipped. A message without content ([`has_data`](Self::has_data)) is read
    /// as `null`, so that an `Option` takes it.
    ///
    /// # Errors
    /// serde_json's, if it is not JSON or not of this form.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data.as_deref().map_or(b"null", without_bom))
    }

    /// An extension attribute; see [`extension`].
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.attributes.extensions.get(name).map(String::as_str)
    }

    /// The key within which order is kept.
    pub fn key(&self) -> Option<&str> {
        self.extension(extension::PARTITION_KEY)
    }

    /// After this time nobody wants it any more.
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        self.extension(extension::EXPIRY).and_then(|time| parse_time(extension::EXPIRY, time).ok())
    }

    /// From 0 to 9.
    pub fn priority(&self) -> Option<u8> {
        self.extension(extension::PRIORITY).and_then(|priority| priority.parse().ok()).filter(|priority| *priority <= 9)
    }

    /// About how many bytes it takes on a wire.
    pub fn size(&self) -> usize {
        let own = &*self.attributes;
        // Names, quotes and separators of what every message has, and a time.
        let fixed = 64 + own.id.len() + own.source.len() + own.message_type.len() + own.time.map_or(0, |_| 48);
        let optional = own.subject.iter().chain(&own.data_schema).map(|value| value.len() + 20);
        let extensions = own.extensions.iter().map(|(name, value)| name.len() + value.len() + 8);
        fixed + optional.chain(extensions).sum::<usize>() + self.content_type().len() + self.data().len()
    }

    /// The same message, to be changed.
    pub fn to_builder(&self) -> MessageBuilder {
        let name_bytes = limits::MAX_RECEIVED_NAME_BYTES;
        MessageBuilder { attributes: (*self.attributes).clone(), data: self.data.clone(), name_bytes }
    }
}

impl fmt::Debug for Message {
    /// Shows no content: it may be private and has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id())
            .field("type", &self.message_type())
            .field("source", &self.source())
            .field("bytes", &self.data().len())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Message`] step by step.
#[derive(Clone)]
#[must_use]
pub struct MessageBuilder {
    attributes: Attributes,
    data: Option<Arc<[u8]>>,
    /// Longest name of an attribute: longer ones are received than are given.
    name_bytes: usize,
}

impl fmt::Debug for MessageBuilder {
    /// Shows what the message shows: no content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.data.as_deref().map_or(0, <[u8]>::len);
        let Attributes { id, message_type, source, .. } = &self.attributes;
        write!(f, "MessageBuilder({id:?}, {message_type:?}, {source:?}, {bytes} bytes)")
    }
}

impl MessageBuilder {
    /// Its id; a fresh one (UUID version 7) if not said. Give one, if the message could be built twice.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.attributes.id = id.into();
        self
    }

    /// Another type.
    pub fn message_type(mut self, message_type: impl Into<String>) -> Self {
        self.attributes.message_type = message_type.into();
        self
    }

    /// What it is about.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.attributes.subject = Some(subject.into());
        self
    }

    /// When it happened.
    pub fn time(mut self, time: OffsetDateTime) -> Self {
        self.attributes.time = Some(time);
        self
    }

    /// Which schema its content has, as a URI.
    pub fn data_schema(mut self, schema: impl Into<String>) -> Self {
        self.attributes.data_schema = Some(schema.into());
        self
    }

    /// The key within which order is kept.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.extension(extension::PARTITION_KEY, key)
    }

    /// An extension attribute: lower-case letters and digits.
    pub fn extension(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// An extension attribute, if there is a value.
    pub fn maybe_extension(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.extension(name, value),
            None => self,
        }
    }

    /// After this time nobody wants it any more.
    pub fn expires_at(self, time: OffsetDateTime) -> Self {
        match format_time(time) {
            Some(text) => self.extension(extension::EXPIRY, text),
            // Beyond the year 9999: never.
            None => self,
        }
    }

    /// From 0 to 9; more counts as 9.
    pub fn priority(self, priority: u8) -> Self {
        self.extension(extension::PRIORITY, priority.min(9).to_string())
    }

    /// The same without an extension attribute.
    pub fn without_extension(mut self, name: &str) -> Self {
        self.attributes.extensions.remove(name);
        self
    }

    /// Content as JSON.
    ///
    /// # Errors
    /// serde_json's, if it cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, serde_json::Error> {
        Ok(self.data(JSON, serde_json::to_vec(data)?))
    }

    /// Content of some type.
    pub fn data(mut self, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.attributes.content_type = Some(content_type.into());
        self.data = Some(data.into().into());
        self
    }

    /// The same without content.
    pub fn without_data(mut self) -> Self {
        self.data = None;
        self
    }

    /// The message.
    ///
    /// # Errors
    /// [`MalformedMessage`] for an attribute that is empty, too long, or not as CloudEvents has it.
    pub fn build(mut self) -> Result<Message, MalformedMessage> {
        if self.attributes.id.is_empty() {
            self.attributes.id = Uuid::now_v7().to_string();
        }
        self.checked()
    }

    fn checked(self) -> Result<Message, MalformedMessage> {
        let own = &self.attributes;
        let required = [("id", &own.id), ("source", &own.source), ("type", &own.message_type)];
        for (attribute, value) in required {
            if value.is_empty() {
                return Err(MalformedMessage::MissingAttribute { attribute });
            }
        }
        let (subject, schema) = (own.subject.iter(), own.data_schema.iter());
        let texts = required.into_iter().chain(subject.map(|text| ("subject", text)));
        let texts = texts.chain(schema.map(|text| ("dataschema", text)));
        let texts = texts.chain(own.content_type.iter().map(|text| ("datacontenttype", text)));
        for (name, value) in texts.chain(own.extensions.iter().map(|(name, value)| (name.as_str(), value))) {
            let max = if name == "id" { core_limits::MAX_MESSAGE_ID_BYTES } else { limits::MAX_ATTRIBUTE_BYTES };
            let may_be_empty = own.extensions.contains_key(name);
            let reason = if value.is_empty() && !may_be_empty {
                return Err(empty(name));
            } else if value.len() > max {
                format!("{} bytes, at most {max}", value.len())
            } else if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && value.chars().any(char::is_control) {
                "it holds a control character".to_owned()
            } else {
                continue;
            };
            return Err(MalformedMessage::Attribute { attribute: name.to_owned(), reason });
        }
        if own.extensions.len() > limits::MAX_EXTENSIONS {
            let reason = format!("{} extension attributes, at most {}", own.extensions.len(), limits::MAX_EXTENSIONS);
            return Err(MalformedMessage::Content { reason });
        }
        let is_name = |name: &str| {
            (1..=self.name_bytes).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        for name in own.extensions.keys() {
            let reason = if RESERVED.contains(&name.as_str()) {
                "CloudEvents itself has an attribute of this name".to_owned()
            } else if is_name(name) {
                continue;
            } else {
                format!("a name has 1 to {} lower-case letters and digits", self.name_bytes)
            };
            return Err(MalformedMessage::Attribute { attribute: name.clone(), reason });
        }
        if let Some(time) = own.extensions.get(extension::EXPIRY) {
            parse_time(extension::EXPIRY, time)?;
        }
        Ok(Message { attributes: Arc::new(self.attributes), data: self.data })
    }
}

/// CloudEvents lets extension attributes alone be empty.
fn empty(attribute: &str) -> MalformedMessage {
    let reason = "it is empty; leave it out, or give it a value".to_owned();
    MalformedMessage::Attribute { attribute: attribute.to_owned(), reason }
}

pub(crate) const JSON: &str = "application/json";

/// What no extension attribute may be called: it would take the place of something else on a wire.
const RESERVED: [&str; 9] =
    ["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype", "data"];

pub(crate) fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    media_type == JSON || media_type == "text/json" || media_type.ends_with("+json")
}

/// A content type without its parameters, in lower case.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str) -> Result<Message, MalformedMessage> {
        Message::builder("t", "/").extension(name, "x").build()
    }

    #[test]
    fn a_name_that_is_given_is_short_and_one_that_is_received_may_be_long() {
        let (short, long) = ("a".repeat(20), "a".repeat(limits::MAX_RECEIVED_NAME_BYTES));
        assert!(with(&short).is_ok());
        assert!(with(&long).unwrap_err().to_string().contains("1 to 20"));
        let attributes = [("specversion", "1.0"), ("id", "1"), ("source", "/"), ("type", "t")];
        let received = |name: &str| Message::from_attributes(attributes.into_iter().chain([(name, "x")]), None, None);
        let message = received(&long).unwrap();
        // Whoever changes something else keeps it.
        assert_eq!(message.to_builder().key("k").build().unwrap().extension(&long), Some("x"));
        assert!(received(&"a".repeat(limits::MAX_RECEIVED_NAME_BYTES + 1)).is_err());
    }

    #[test]
    fn an_extension_cannot_take_the_place_of_an_attribute() {
        for name in RESERVED {
            assert!(matches!(with(name), Err(MalformedMessage::Attribute { attribute, .. }) if attribute == name));
        }
    }
}
