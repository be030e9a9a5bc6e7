//! CloudEvents as AMQP messages.
//!
//! The binding is written for AMQP 1.0; RabbitMQ carries its application properties as headers, and its content type as the
//! property of that name. The binding for RabbitMQ that the CloudEvents project links to has other names of headers: both are read.

use std::{borrow::Cow, collections::BTreeMap, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use es_core::{DeadReason, RawMessage, timestamp::rfc3339};
use es_messaging::{
    ContentMode, HeaderBinding, Message, PublishError, STRUCTURED_CONTENT_TYPE, Undecodable, extension,
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{BROKER, limits};

/// The names of headers that attributes are published under. Messages with any of them are received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderPrefix {
    /// `cloudEvents:id`, as the AMQP binding has it. The default.
    #[default]
    Colon,
    /// `cloudEvents_id`, as the AMQP binding allows for JMS.
    Underscore,
    /// `ce-id`, as the RabbitMQ binding has it, which the CloudEvents project links to and its SDKs implement.
    Ce,
}

impl HeaderPrefix {
    const fn text(self) -> &'static str {
        match self {
            Self::Colon => "cloudEvents:",
            Self::Underscore => "cloudEvents_",
            Self::Ce => "ce-",
        }
    }
}

const BINDING: HeaderBinding =
    HeaderBinding::new(&[HeaderPrefix::Colon.text(), HeaderPrefix::Underscore.text(), HeaderPrefix::Ce.text()]);
/// How often a quorum queue has given the message back.
const DELIVERY_COUNT: &str = "x-delivery-count";
const PERSISTENT: u8 = 2;
/// What a header takes besides its name and its value: two lengths and a kind.
const HEADER_BYTES: usize = 6;
/// What the frame of the properties takes besides the texts in them.
const FRAME_BYTES: usize = 36;

/// The header of an attribute.
pub(crate) fn header(properties: &BasicProperties, attribute: &str) -> Option<String> {
    let mut headers = properties.headers().as_ref()?.inner().iter();
    let (name, value) = headers.find(|(name, _)| BINDING.attribute(name.as_str()).as_deref() == Some(attribute))?;
    text(name.as_str(), value).ok().flatten().map(Cow::into_owned)
}

fn refused(kind: DeadReason, reason: String) -> PublishError {
    PublishError::Refused { broker: BROKER, kind, reason }
}

/// The properties and the body of a message. In structured mode too the attributes are headers, as the binding allows: by them a message
/// is recognised that comes back.
pub(crate) fn encode(
    message: &Message,
    mode: ContentMode,
    prefix: HeaderPrefix,
) -> Result<(BasicProperties, Cow<'_, [u8]>), PublishError> {
    let properties = properties(message, prefix)?;
    match mode.suited_to(message) {
        ContentMode::Binary => Ok((properties, message.data().into())),
        ContentMode::Structured => {
            let body = message.to_structured().map_err(|error| refused(DeadReason::Refused, error.to_string()))?;
            Ok((properties.with_content_type(ShortString::from(STRUCTURED_CONTENT_TYPE)), body.into()))
        }
    }
}

/// A message in binary mode.
fn properties(message: &Message, prefix: HeaderPrefix) -> Result<BasicProperties, PublishError> {
    let mut headers = FieldTable::default();
    for (name, value) in message.attributes() {
        // No name is too long for that.
        if let Ok(name) = ShortString::try_new(format!("{}{name}", prefix.text())) {
            headers.insert(name, AMQPValue::LongString(value.into()));
        }
    }
    let mut properties = BasicProperties::default().with_headers(headers).with_delivery_mode(PERSISTENT);
    if let Some(content_type) = message.declared_content_type() {
        let content_type = ShortString::try_new(content_type).map_err(|_| {
            let (bytes, most) = (content_type.len(), limits::SHORT_STRING_BYTES);
            refused(DeadReason::Refused, format!("its content type has {bytes} bytes, at most {most}"))
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
            return Err(refused(DeadReason::Expired, format!("it expired at {}", rfc3339(at))));
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
    let table = properties.headers().as_ref();
    let headers = table.into_iter().flat_map(|table| table.inner().iter());
    let headers = headers.map(|(name, value)| (name.as_str(), value));
    let read = BINDING.read(content_type, headers, text, Some(&body));
    read.map_err(|error| Undecodable { error, raw: raw(properties, content_type, body) })
}

/// What came, as dead letters keep it.
fn raw(properties: &BasicProperties, content_type: Option<&str>, body: Vec<u8>) -> RawMessage {
    let table = properties.headers().as_ref();
    let headers = table.into_iter().flat_map(|table| table.inner().iter());
    let mut headers: BTreeMap<String, String> =
        headers.filter_map(|(name, value)| Some((name.to_string(), plain(value)?.into_owned()))).collect();
    headers.extend(content_type.map(|kind| ("content-type".to_owned(), kind.to_owned())));
    RawMessage { headers, body }
}

/// How often the message has been given, with this time.
pub(crate) fn attempt(properties: &BasicProperties, redelivered: bool) -> u32 {
    let headers = properties.headers().as_ref().map(FieldTable::inner);
    let count = headers.and_then(|headers| headers.get(DELIVERY_COUNT)).and_then(plain);
    match count.and_then(|count| count.parse::<u32>().ok()) {
        Some(before) => before.saturating_add(1),
        None => 1 + u32::from(redelivered),
    }
}

/// Integers from here on count milliseconds, smaller ones seconds: in seconds it is the year 5138.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// The value of an attribute as CloudEvents writes it; nothing for one that is not set.
fn text<'v>(attribute: &str, value: &'v AMQPValue) -> Result<Option<Cow<'v, str>>, String> {
    if matches!(value, AMQPValue::Void) {
        return Ok(None);
    }
    let is_time = matches!(attribute, "time" | extension::EXPIRY);
    let text = match integer(value).filter(|_| is_time) {
        // The AMQP binding of an SDK writes a time as an integer: a timestamp of AMQP 1.0, which counts milliseconds.
        Some(number) if number.abs() >= FIRST_MILLISECONDS => at(i128::from(number) * 1_000_000),
        Some(number) => at(i128::from(number) * 1_000_000_000),
        None => plain(value),
    };
    text.map(Some)
        .ok_or_else(|| "its type in AMQP has no counterpart in CloudEvents, or its text is not UTF-8".to_owned())
}

/// A moment, so many nanoseconds after 1970.
fn at(nanoseconds: i128) -> Option<Cow<'static, str>> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    Some(at.format(&Rfc3339).ok()?.into())
}

fn integer(value: &AMQPValue) -> Option<i64> {
    Some(match *value {
        AMQPValue::ShortShortInt(value) => value.into(),
        AMQPValue::ShortShortUInt(value) => value.into(),
        AMQPValue::ShortInt(value) => value.into(),
        AMQPValue::ShortUInt(value) => value.into(),
        AMQPValue::LongInt(value) => value.into(),
        AMQPValue::LongUInt(value) => value.into(),
        AMQPValue::LongLongInt(value) => value,
        _ => return None,
    })
}

/// A value as CloudEvents writes it, if it knows the type.
fn plain(value: &AMQPValue) -> Option<Cow<'_, str>> {
    Some(match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::Boolean(value) => value.to_string().into(),
        AMQPValue::Float(value) => value.to_string().into(),
        AMQPValue::Double(value) => value.to_string().into(),
        AMQPValue::ByteArray(bytes) => STANDARD.encode(bytes.as_slice()).into(),
        // AMQP 0-9-1 counts seconds.
        AMQPValue::Timestamp(seconds) => return at(i128::from(*seconds) * 1_000_000_000),
        other => integer(other)?.to_string().into(),
    })
}

#[cfg(test)]
mod tests {
    use es_messaging::MalformedMessage;
    use es_testkit::sdk_messages;

    use super::*;

    fn sent() -> Message {
        let builder = Message::builder("shop.order.placed", "/shop").id("7").subject("größe").key("order/17");
        builder.json(&serde_json::json!({ "cents": 100 })).unwrap().build().unwrap()
    }

    #[test]
    fn a_message_survives_the_binary_mode() {
        let sent = sent();
        let (properties, _) = encode(&sent, ContentMode::Binary, HeaderPrefix::Colon).unwrap();
        assert_eq!(header(&properties, "id").as_deref(), Some("7"));
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
        assert_eq!(message(&properties, sent.data().to_vec()).unwrap(), sent);
    }

    #[test]
    fn a_message_survives_the_structured_mode() {
        let sent = sent().to_builder().data("text/plain", vec![0, 255]).build().unwrap();
        let (properties, body) = encode(&sent, ContentMode::Structured, HeaderPrefix::Colon).unwrap();
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/cloudevents+json");
        let read = message(&properties, body.into_owned()).unwrap();
        assert_eq!((read.attributes(), read.data()), (sent.attributes(), sent.data()));
        let broken = sent.to_builder().data("application/json", b"{".to_vec()).build().unwrap();
        let error = encode(&broken, ContentMode::Structured, HeaderPrefix::Colon).unwrap_err();
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
    fn what_the_sdk_writes_with_each_of_its_bindings_is_read() {
        for sdk in ["amqp", "rabbitmq", "structured"].into_iter().flat_map(sdk_messages) {
            let mut headers = FieldTable::default();
            for (name, value) in &sdk.headers {
                let value = match value {
                    serde_json::Value::Bool(value) => AMQPValue::Boolean(*value),
                    serde_json::Value::Number(number) => AMQPValue::LongLongInt(number.as_i64().unwrap()),
                    other => AMQPValue::LongString(other.as_str().unwrap().into()),
                };
                headers.insert(name.as_str().into(), value);
            }
            let mut properties = BasicProperties::default().with_headers(headers);
            if let Some(kind) = &sdk.content_type {
                properties = properties.with_content_type(kind.as_str().into());
            }
            sdk.check(&message(&properties, sdk.body()).unwrap());
        }
    }

    #[test]
    fn a_time_is_a_text_a_timestamp_or_a_number() {
        let time = |attribute: &str, value: AMQPValue| text(attribute, &value).map(|text| text.map(Cow::into_owned));
        let noon = || Ok(Some("2026-11-30T12:00:00Z".to_owned()));
        assert_eq!(time("time", AMQPValue::LongLongInt(1_796_040_000_000)), noon());
        assert_eq!(time("time", AMQPValue::LongInt(1_796_040_000)), noon());
        assert_eq!(time("expirytime", AMQPValue::Timestamp(1_796_040_000)), noon());
        assert_eq!(time("sequence", AMQPValue::LongInt(1_796_040_000)), Ok(Some("1796040000".to_owned())));
        assert!(time("time", AMQPValue::LongLongInt(i64::MIN + 1)).is_err());
    }

    #[test]
    fn every_type_of_amqp_is_an_attribute_or_an_error_and_never_left_out() {
        let of = |value: AMQPValue| text("x", &value).map(|text| text.map(Cow::into_owned));
        for (value, expected) in [
            (AMQPValue::Boolean(true), "true"),
            (AMQPValue::ShortShortUInt(7), "7"),
            (AMQPValue::Double(1.5), "1.5"),
            (AMQPValue::ByteArray(vec![0, 255].into()), "AP8="),
            (AMQPValue::ShortString("short".into()), "short"),
        ] {
            assert_eq!(of(value), Ok(Some(expected.to_owned())));
        }
        assert_eq!(of(AMQPValue::Void), Ok(None));
        for wrong in [
            AMQPValue::FieldTable(FieldTable::default()),
            AMQPValue::LongString(vec![0xff].into()),
            AMQPValue::Timestamp(u64::MAX),
        ] {
            let mut headers = FieldTable::default();
            headers.insert("ce-x".into(), wrong);
            let error = message(&BasicProperties::default().with_headers(headers), Vec::new()).unwrap_err().error;
            assert!(matches!(&error, MalformedMessage::Attribute { attribute, .. } if attribute == "x"), "{error}");
        }
    }

    #[test]
    fn a_message_survives_under_each_prefix() {
        for (prefix, name) in [
            (HeaderPrefix::Colon, "cloudEvents:id"),
            (HeaderPrefix::Underscore, "cloudEvents_id"),
            (HeaderPrefix::Ce, "ce-id"),
        ] {
            let content = sent();
            let (properties, body) = encode(&content, ContentMode::Binary, prefix).unwrap();
            assert!(properties.headers().as_ref().unwrap().inner().contains_key(name), "{name}");
            assert_eq!(header(&properties, "id").as_deref(), Some("7"));
            assert_eq!(message(&properties, body.into_owned()).unwrap(), content);
        }
    }

    #[test]
    fn an_event_in_an_event_stays_inside() {
        let inner = sent().to_structured().unwrap();
        let outer = sent().to_builder().id("8").data(STRUCTURED_CONTENT_TYPE, inner).build().unwrap();
        let (properties, body) = encode(&outer, ContentMode::Binary, HeaderPrefix::Colon).unwrap();
        assert_eq!(message(&properties, body.into_owned()).unwrap(), outer);
    }

    #[test]
    fn the_structured_mode_is_read() {
        let kind = ShortString::from("Application/CloudEvents+JSON; charset=utf-8");
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
        let error = properties(&late, HeaderPrefix::Colon).unwrap_err();
        assert!(matches!(&error, PublishError::Refused { kind: DeadReason::Expired, .. }), "{error:?}");
        assert!(error.to_string().ends_with("it expired at 2020-01-01T00:00:00Z"), "{error}");
    }
}
