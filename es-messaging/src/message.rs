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

/// The names of the extension attributes that this framework writes and reads.
pub mod extension {
    /// The key within which messages stay in order.
    pub const PARTITION_KEY: &str = "partitionkey";
    /// The W3C trace context.
    pub const TRACE_PARENT: &str = "traceparent";
    /// The correlation ID, which identifies the whole business transaction.
    pub const CORRELATION: &str = "correlationid";
    /// The ID of the direct cause of this message.
    pub const CAUSATION: &str = "causationid";
    /// The position of the event in the log of its source.
    pub const POSITION: &str = "position";
    /// The version of the event in its stream.
    pub const VERSION: &str = "streamversion";
    /// When the event was recorded in the log of its source, which may be long after it happened.
    pub const RECORDED: &str = "recordedtime";
    /// Where the content is stored, if it was too large for the broker.
    pub const DATA_REF: &str = "dataref";
    /// The time at which the message expires.
    pub const EXPIRY: &str = "expirytime";
    /// The priority from 0 to 9, for brokers that support priorities.
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
    /// Returns a builder for a message of a type. The source is a URI reference of the system that the message comes
    /// from.
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

    /// Creates a message from attributes, by their CloudEvents names, and content. This is how a message arrives in
    /// binary mode.
    ///
    /// # Errors
    /// Returns [`MalformedMessage`] if an attribute is missing or invalid.
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

    /// Returns all attributes by their CloudEvents names, `specversion` first, without `datacontenttype`. A binding
    /// writes them into headers.
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

    /// Returns the ID. Together with the source it identifies the message, no matter how often it is sent.
    pub fn id(&self) -> &str {
        &self.attributes.id
    }

    /// Returns the system that the message comes from.
    pub fn source(&self) -> &str {
        &self.attributes.source
    }

    /// Returns the type of the message.
    pub fn message_type(&self) -> &str {
        &self.attributes.message_type
    }

    /// Returns what the message is about. For a relayed event, this is its stream.
    pub fn subject(&self) -> Option<&str> {
        self.attributes.subject.as_deref()
    }

    /// Returns when the event happened.
    pub fn time(&self) -> Option<OffsetDateTime> {
        self.attributes.time
    }

    /// Returns when the event was recorded in the log of its source, if the message states that. An imported event may
    /// be recorded long after it happened. Lag is measured from this time.
    pub fn recorded_at(&self) -> Option<OffsetDateTime> {
        self.extension(extension::RECORDED).and_then(|time| parse_time(extension::RECORDED, time).ok())
    }

    /// Returns the schema of the content, as a URI.
    pub fn data_schema(&self) -> Option<&str> {
        self.attributes.data_schema.as_deref()
    }

    /// Returns the type of the content; JSON if the message does not state it.
    pub fn content_type(&self) -> &str {
        self.declared_content_type().unwrap_or(JSON)
    }

    /// Returns the attribute `datacontenttype`, if there is one, as a binding writes it. A message whose content is
    /// stored elsewhere has this attribute but no content.
    pub fn declared_content_type(&self) -> Option<&str> {
        self.attributes.content_type.as_deref()
    }

    /// Returns whether the content is JSON.
    pub fn is_json(&self) -> bool {
        is_json(self.content_type())
    }

    /// Returns the content; empty if there is none.
    pub fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// Returns whether the message has content.
    pub fn has_data(&self) -> bool {
        self.data.is_some()
    }

    /// Decodes the content from JSON, skipping a byte order mark. A message without content
    /// ([`has_data`](Self::has_data)) is decoded as `null`, so that it can be read into an `Option`.
    ///
    /// # Errors
    /// Returns an error of `serde_json` if the content is not JSON or does not have this form.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data.as_deref().map_or(b"null", without_bom))
    }

    /// Returns an extension attribute; see [`extension`].
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.attributes.extensions.get(name).map(String::as_str)
    }

    /// Returns the key within which messages stay in order.
    pub fn key(&self) -> Option<&str> {
        self.extension(extension::PARTITION_KEY)
    }

    /// Returns the time at which the message expires.
    pub fn expires_at(&self) -> Option<OffsetDateTime> {
        self.extension(extension::EXPIRY).and_then(|time| parse_time(extension::EXPIRY, time).ok())
    }

    /// Returns the priority, from 0 to 9.
    pub fn priority(&self) -> Option<u8> {
        self.extension(extension::PRIORITY).and_then(|priority| priority.parse().ok()).filter(|priority| *priority <= 9)
    }

    /// Returns the approximate number of bytes of the message in transit.
    pub fn size(&self) -> usize {
        let own = &*self.attributes;
        // Names, quotes, and separators of the attributes that every message has, and a time.
        let fixed = 64 + own.id.len() + own.source.len() + own.message_type.len() + own.time.map_or(0, |_| 48);
        let optional = own.subject.iter().chain(&own.data_schema).map(|value| value.len() + 20);
        let extensions = own.extensions.iter().map(|(name, value)| name.len() + value.len() + 8);
        fixed + optional.chain(extensions).sum::<usize>() + self.content_type().len() + self.data().len()
    }

    /// Returns a builder with the contents of this message.
    pub fn to_builder(&self) -> MessageBuilder {
        let name_bytes = limits::MAX_RECEIVED_NAME_BYTES;
        MessageBuilder { attributes: (*self.attributes).clone(), data: self.data.clone(), name_bytes }
    }
}

impl fmt::Debug for Message {
    /// Does not show the content, which may be private and must not appear in logs.
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
    /// The maximum length of an attribute name. Received names may be longer than names set here.
    name_bytes: usize,
}

impl fmt::Debug for MessageBuilder {
    /// Does not show the content, as for the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.data.as_deref().map_or(0, <[u8]>::len);
        let Attributes { id, message_type, source, .. } = &self.attributes;
        write!(f, "MessageBuilder({id:?}, {message_type:?}, {source:?}, {bytes} bytes)")
    }
}

impl MessageBuilder {
    /// Sets the ID. The default is a new UUID (version 7). Set an ID if the message could be built twice.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.attributes.id = id.into();
        self
    }

    /// Sets the type.
    pub fn message_type(mut self, message_type: impl Into<String>) -> Self {
        self.attributes.message_type = message_type.into();
        self
    }

    /// Sets what the message is about.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.attributes.subject = Some(subject.into());
        self
    }

    /// Sets when the event happened.
    pub fn time(mut self, time: OffsetDateTime) -> Self {
        self.attributes.time = Some(time);
        self
    }

    /// Sets the schema of the content, as a URI.
    pub fn data_schema(mut self, schema: impl Into<String>) -> Self {
        self.attributes.data_schema = Some(schema.into());
        self
    }

    /// Sets the key within which messages stay in order.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.extension(extension::PARTITION_KEY, key)
    }

    /// Sets an extension attribute. Its name consists of lowercase letters and digits.
    pub fn extension(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Sets an extension attribute, if there is a value.
    pub fn maybe_extension(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.extension(name, value),
            None => self,
        }
    }

    /// Sets the time at which the message expires.
    pub fn expires_at(self, time: OffsetDateTime) -> Self {
        match format_time(time) {
            Some(text) => self.extension(extension::EXPIRY, text),
            // Beyond the year 9999: the message never expires.
            None => self,
        }
    }

    /// Sets the priority, from 0 to 9. Larger values count as 9.
    pub fn priority(self, priority: u8) -> Self {
        self.extension(extension::PRIORITY, priority.min(9).to_string())
    }

    /// Removes an extension attribute.
    pub fn without_extension(mut self, name: &str) -> Self {
        self.attributes.extensions.remove(name);
        self
    }

    /// Sets the content as JSON.
    ///
    /// # Errors
    /// Returns an error of `serde_json` if the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, serde_json::Error> {
        Ok(self.data(JSON, serde_json::to_vec(data)?))
    }

    /// Sets the content and its type.
    pub fn data(mut self, content_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.attributes.content_type = Some(content_type.into());
        self.data = Some(data.into().into());
        self
    }

    /// Removes the content.
    pub fn without_data(mut self) -> Self {
        self.data = None;
        self
    }

    /// Builds the message.
    ///
    /// # Errors
    /// Returns [`MalformedMessage`] if an attribute is empty, too long, or violates the CloudEvents specification.
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

/// CloudEvents allows only extension attributes to be empty.
fn empty(attribute: &str) -> MalformedMessage {
    let reason = "it is empty; leave it out, or give it a value".to_owned();
    MalformedMessage::Attribute { attribute: attribute.to_owned(), reason }
}

pub(crate) const JSON: &str = "application/json";

/// Names that an extension attribute must not have, because it would replace something else in transit.
const RESERVED: [&str; 9] =
    ["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype", "data"];

pub(crate) fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    media_type == JSON || media_type == "text/json" || media_type.ends_with("+json")
}

/// Returns a content type without its parameters, in lowercase.
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
        // Changing another attribute keeps the long name.
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
