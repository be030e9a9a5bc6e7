//! CloudEvents as AMQP messages.
//!
//! The binding is written for AMQP 1.0; RabbitMQ carries its application properties as headers, and its content type as the
//! property of that name.

use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};

use es_core::{DeadReason, RawMessage};
use es_messaging::{ContentMode, MalformedMessage, Message, PublishError, STRUCTURED_CONTENT_TYPE, Undecodable};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use time::OffsetDateTime;

use crate::{BROKER, limits};

/// What the names of the attributes begin with.
const PREFIX: &str = "cloudEvents:";
/// The same, as others may write it.
const OTHER_PREFIX: &str = "cloudEvents_";
/// How often a quorum queue has given the message back.
const DELIVERY_COUNT: &str = "x-delivery-count";
const PERSISTENT: u8 = 2;
/// What a header takes besides its name and its value: two lengths and a kind.
const HEADER_BYTES: usize = 6;
/// What the frame of the properties takes besides the texts in them.
const FRAME_BYTES: usize = 36;

/// The header of an attribute.
pub(crate) fn header(properties: &BasicProperties, attribute: &str) -> Option<String> {
    let headers = properties.headers().as_ref()?.inner();
    let value =
        [PREFIX, OTHER_PREFIX].into_iter().find_map(|prefix| headers.get(format!("{prefix}{attribute}").as_str()));
    value.and_then(text).map(Cow::into_owned)
}

fn refused(kind: DeadReason, reason: String) -> PublishError {
    PublishError::Refused { broker: BROKER, kind, reason }
}

/// The properties and the body of a message. In structured mode too the attributes are headers, as the binding allows: by them a message
/// is recognised that comes back.
pub(crate) fn encode(message: &Message, mode: ContentMode) -> Result<(BasicProperties, Cow<'_, [u8]>), PublishError> {
    let properties = properties(message)?;
    match mode {
        ContentMode::Binary => Ok((properties, message.data().into())),
        ContentMode::Structured => {
            let body = message.to_structured().map_err(|error| refused(DeadReason::Refused, error.to_string()))?;
            Ok((properties.with_content_type(ShortString::from(STRUCTURED_CONTENT_TYPE)), body.into()))
        }
    }
}

/// A message in binary mode.
fn properties(message: &Message) -> Result<BasicProperties, PublishError> {
    let mut headers = FieldTable::default();
    for (name, value) in message.attributes() {
        // A name has at most 20 bytes.
        if let Ok(name) = ShortString::try_new(format!("{PREFIX}{name}")) {
            headers.insert(name, AMQPValue::LongString(value.into()));
        }
    }
    let mut properties = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    if message.has_data() {
        let content_type = ShortString::try_new(message.content_type()).map_err(|_| {
            let most = limits::SHORT_STRING_BYTES;
            refused(
                DeadReason::Refused,
                format!("its content type has {} bytes, at most {most}", message.content_type().len()),
            )
        })?;
        properties = properties.with_content_type(content_type);
    }
    if let Ok(id) = ShortString::try_new(message.id()) {
        properties = properties.with_message_id(id);
    }
    if let Some(priority) = message.priority() {
        properties = properties.with_priority(priority);
    }
    if let Some(at) = message.expires_at() {
        let left = (at - OffsetDateTime::from(SystemTime::now())).whole_milliseconds();
        if left <= 0 {
            return Err(refused(DeadReason::Expired, format!("it expired at {at}")));
        }
        // The longest that the server takes; some 49 days.
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        if let Ok(left) = ShortString::try_new(left.to_string()) {
            properties = properties.with_expiration(left);
        }
    }
    Ok(properties)
}

/// About how many bytes a message's properties take: never less than that.
pub(crate) fn properties_bytes(properties: &BasicProperties) -> usize {
    let table = properties.headers().as_ref();
    let headers = table.into_iter().flat_map(|table| table.inner().iter()).map(|(name, value)| {
        let value = if let AMQPValue::LongString(text) = value { text.as_bytes().len() } else { 0 };
        name.as_str().len() + value + HEADER_BYTES
    });
    let texts = [properties.content_type(), properties.message_id(), properties.expiration()];
    let texts = texts.into_iter().flatten().map(|text| text.as_str().len() + 1);
    FRAME_BYTES + headers.chain(texts).sum::<usize>()
}

/// Reads a message, in binary or structured mode.
pub(crate) fn message(properties: &BasicProperties, body: Vec<u8>) -> Result<Message, Undecodable> {
    let content_type = properties.content_type().as_ref().map(ShortString::as_str);
    let read = match content_type {
        Some(kind) if kind.starts_with(STRUCTURED_CONTENT_TYPE) => Message::from_structured(&body),
        _ => binary(properties, content_type, &body),
    };
    read.map_err(|error| Undecodable { error, raw: raw(properties, content_type, body) })
}

fn binary(properties: &BasicProperties, content_type: Option<&str>, body: &[u8]) -> Result<Message, MalformedMessage> {
    let table = properties.headers().as_ref();
    let headers = table.into_iter().flat_map(|table| table.inner().iter());
    let mut attributes: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(table.map_or(0, |table| table.inner().len()));
    attributes.extend(headers.filter_map(|(name, value)| {
        let name = name.as_str();
        let name = name.strip_prefix(PREFIX).or_else(|| name.strip_prefix(OTHER_PREFIX))?;
        Some((name, text(value)?))
    }));
    // AMQP has no message without a body: one without content has no type of content either.
    let data = (content_type.is_some() || !body.is_empty()).then(|| body.to_vec());
    Message::from_attributes(attributes.iter().map(|(name, value)| (*name, &**value)), content_type, data)
}

/// What came, as dead letters keep it.
fn raw(properties: &BasicProperties, content_type: Option<&str>, body: Vec<u8>) -> RawMessage {
    let table = properties.headers().as_ref();
    let headers = table.into_iter().flat_map(|table| table.inner().iter());
    let mut headers: BTreeMap<String, String> =
        headers.filter_map(|(name, value)| Some((name.to_string(), text(value)?.into_owned()))).collect();
    headers.extend(content_type.map(|kind| ("content-type".to_owned(), kind.to_owned())));
    RawMessage { headers, body }
}

/// How often the message has been given, with this time.
pub(crate) fn attempt(properties: &BasicProperties, redelivered: bool) -> u32 {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let count = headers.and_then(|headers| headers.get(DELIVERY_COUNT)).and_then(text);
    match count.and_then(|count| count.parse::<u32>().ok()) {
        Some(before) => before.saturating_add(1),
        None => 1 + u32::from(redelivered),
    }
}

/// A value as CloudEvents writes it.
fn text(value: &AMQPValue) -> Option<Cow<'_, str>> {
    Some(match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::Boolean(value) => value.to_string().into(),
        AMQPValue::ShortShortInt(value) => value.to_string().into(),
        AMQPValue::ShortShortUInt(value) => value.to_string().into(),
        AMQPValue::ShortInt(value) => value.to_string().into(),
        AMQPValue::ShortUInt(value) => value.to_string().into(),
        AMQPValue::LongInt(value) => value.to_string().into(),
        AMQPValue::LongUInt(value) => value.to_string().into(),
        AMQPValue::LongLongInt(value) => value.to_string().into(),
        AMQPValue::Timestamp(seconds) => {
            let at = OffsetDateTime::from_unix_timestamp(i64::try_from(*seconds).ok()?).ok()?;
            at.format(&time::format_description::well_known::Rfc3339).ok()?.into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Message {
        let builder = Message::builder("shop.order.placed", "/shop").id("7").subject("größe").key("order/17");
        builder.json(&serde_json::json!({ "cents": 100 })).unwrap().build().unwrap()
    }

    #[test]
    fn a_message_survives_the_binary_mode() {
        let sent = sent();
        let properties = properties(&sent).unwrap();
        assert_eq!(header(&properties, "id").as_deref(), Some("7"));
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(message(&properties, sent.data().to_vec()).unwrap(), sent);
    }

    #[test]
    fn a_message_survives_the_structured_mode() {
        let sent = sent().to_builder().data("text/plain", vec![0, 255]).build().unwrap();
        let (properties, body) = encode(&sent, ContentMode::Structured).unwrap();
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/cloudevents+json");
        let read = message(&properties, body.into_owned()).unwrap();
        assert_eq!((read.attributes(), read.data()), (sent.attributes(), sent.data()));
        let broken = sent.to_builder().data("application/json", b"{".to_vec()).build().unwrap();
        let error = encode(&broken, ContentMode::Structured).unwrap_err();
        assert!(matches!(error, PublishError::Refused { .. }), "{error:?}");
    }

    #[test]
    fn attributes_of_other_senders_are_understood() {
        let mut headers = FieldTable::default();
        for (name, value) in [("specversion", "1.0"), ("id", "1"), ("source", "/"), ("type", "t")] {
            headers.insert(format!("cloudEvents_{name}").into(), AMQPValue::LongString(value.into()));
        }
        headers.insert("cloudEvents_time".into(), AMQPValue::Timestamp(0));
        headers.insert("cloudEvents_sequence".into(), AMQPValue::LongInt(-7));
        let read = message(&BasicProperties::default().with_headers(headers), Vec::new()).unwrap();
        assert_eq!(read.time().unwrap().unix_timestamp(), 0);
        assert_eq!((read.extension("sequence"), read.has_data()), (Some("-7"), false));
    }

    #[test]
    fn the_structured_mode_is_read() {
        let kind = ShortString::from("application/cloudevents+json; charset=utf-8");
        let structured = sent().to_structured().unwrap();
        let read = message(&BasicProperties::default().with_content_type(kind), structured).unwrap();
        assert_eq!((read.id(), read.subject(), read.data()), ("7", Some("größe"), sent().data()));
    }

    #[test]
    fn what_is_no_cloud_event_is_kept_as_it_came() {
        let properties = BasicProperties::default().with_content_type("text/plain".into());
        let undecodable = message(&properties, b"hello".to_vec()).unwrap_err();
        assert_eq!(undecodable.error, MalformedMessage::MissingAttribute { attribute: "specversion" });
        assert_eq!(
            (undecodable.raw.header("content-type"), &*undecodable.raw.body),
            (Some("text/plain"), &b"hello"[..])
        );
    }

    #[test]
    fn a_message_that_has_expired_is_not_sent() {
        let late = sent().to_builder().extension("expirytime", "2020-01-01T00:00:00Z").build().unwrap();
        let error = properties(&late).unwrap_err();
        assert!(matches!(error, PublishError::Refused { kind: DeadReason::Expired, .. }), "{error:?}");
    }
}
