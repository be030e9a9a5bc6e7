//! Maps events to integration messages.

use std::{borrow::Cow, marker::PhantomData};

use es_core::{EventSet, Recorded};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::draft::{Drafts, MapError};

/// Turns events into the messages that other systems see, which are a contract with them. A mapper can rename, omit,
/// enrich, and split. What it does not write into a message stays private.
///
/// A mapper must create the same messages for the same event each time, because an event may be mapped again after a
/// crash. It cannot wait, so any additional data must already be in memory.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum OrderEvent { Placed { cents: i64, notes: String }, Checked }
/// # impl es_core::DomainEvent for OrderEvent { const CATEGORY: &'static str = "order"; }
/// use es_core::Recorded;
/// use es_messaging::{Drafts, MapError, MessageMapper};
///
/// struct ShopContract;
///
/// impl MessageMapper for ShopContract {
///     type Event = OrderEvent;
///
///     fn map(&self, event: &Recorded<OrderEvent>, messages: &mut Drafts<'_>) -> Result<(), MapError> {
///         match &event.event {
///             // The notes are private.
///             OrderEvent::Placed { cents, .. } => {
///                 let placed = messages.message("shop.order.placed").json(&serde_json::json!({ "cents": cents }))?;
///                 messages.add(placed)
///             }
///             OrderEvent::Checked => Ok(()),
///         }
///     }
/// }
/// ```
pub trait MessageMapper: Send + Sync + 'static {
    /// The events to map.
    type Event: EventSet;

    /// Returns the key within which the messages of events stay in order. The default is the stream. The key of an
    /// event must never change, because it determines the partition of a partitioned relay.
    fn key<'a>(&'a self, event: &'a Recorded<Self::Event>) -> Cow<'a, str> {
        event.stream().as_str().into()
    }

    /// Creates the messages of an event: none, one, or several.
    ///
    /// # Errors
    /// Returns [`MapError`]. The relay's failure policy decides what happens; the event is not skipped.
    fn map(&self, event: &Recorded<Self::Event>, messages: &mut Drafts<'_>) -> Result<(), MapError>;
}

/// A mapper that calls a closure; see [`map_with`] and [`map_into`].
pub struct MapWith<E, F> {
    map: F,
    events: PhantomData<fn(E)>,
}

impl<E, F> std::fmt::Debug for MapWith<E, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MapWith")
    }
}

impl<E, F> MessageMapper for MapWith<E, F>
where
    E: EventSet,
    F: Fn(&Recorded<E>, &mut Drafts<'_>) -> Result<(), MapError> + Send + Sync + 'static,
{
    type Event = E;

    fn map(&self, event: &Recorded<E>, messages: &mut Drafts<'_>) -> Result<(), MapError> {
        (self.map)(event, messages)
    }
}

/// Returns a mapper that calls a closure.
pub fn map_with<E, F>(map: F) -> MapWith<E, F>
where
    E: EventSet,
    F: Fn(&Recorded<E>, &mut Drafts<'_>) -> Result<(), MapError> + Send + Sync + 'static,
{
    MapWith { map, events: PhantomData }
}

/// Returns a mapper for the simple case: each event becomes a variant of an enum of integration messages in serde's
/// default form, or nothing. The type of the message is `prefix` followed by the name of the variant; its content is
/// the content of the variant.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum OrderEvent { Placed { cents: i64, notes: String }, Checked }
/// # impl es_core::DomainEvent for OrderEvent { const CATEGORY: &'static str = "order"; }
/// #[derive(Serialize)]
/// enum ShopMessage { OrderPlaced { cents: i64 } }
///
/// let mapper = es_messaging::map_into("shop.", |event: &es_core::Recorded<OrderEvent>| match &event.event {
///     OrderEvent::Placed { cents, .. } => Some(ShopMessage::OrderPlaced { cents: *cents }),
///     OrderEvent::Checked => None,
/// });
/// # let _ = mapper;
/// ```
pub fn map_into<E, M, F>(prefix: impl Into<String>, map: F) -> impl MessageMapper<Event = E>
where
    E: EventSet,
    M: Serialize,
    F: Fn(&Recorded<E>) -> Option<M> + Send + Sync + 'static,
{
    let prefix = prefix.into();
    map_with(move |event: &Recorded<E>, messages: &mut Drafts<'_>| {
        let Some(message) = map(event) else { return Ok(()) };
        let json = serde_json::to_string(&message)?;
        let (variant, content) = variant_of(&json).ok_or(MapError::NoVariant)?;
        let draft = messages.message(format!("{prefix}{variant}")).data(crate::message::JSON, content);
        messages.add(draft)
    })
}

/// Returns the name and the content of a variant in serde's default form.
fn variant_of(json: &str) -> Option<(Cow<'_, str>, &str)> {
    if json.starts_with('"') {
        return serde_json::from_str::<Cow<'_, str>>(json).ok().map(|unit| (unit, "{}"));
    }
    let Variant(name, content) = serde_json::from_str(json).ok()?;
    Some((name, content.get()))
}

/// An object with one field.
struct Variant<'a>(Cow<'a, str>, &'a RawValue);

impl<'de> Deserialize<'de> for Variant<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneField)
    }
}

struct OneField;

impl<'de> Visitor<'de> for OneField {
    type Value = Variant<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of one field")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Variant<'de>, A::Error> {
        let field = fields.next_entry::<Cow<'de, str>, &RawValue>()?;
        let (name, content) = field.ok_or_else(|| Error::custom("no field"))?;
        match fields.next_key::<IgnoredAny>()? {
            None => Ok(Variant(name, content)),
            Some(_) => Err(Error::custom("more than one field")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_is_told_from_its_content() {
        assert_eq!(variant_of(r#""Closed""#).unwrap(), ("Closed".into(), "{}"));
        assert_eq!(variant_of(r#"{"Placed":{"cents":1}}"#).unwrap(), ("Placed".into(), r#"{"cents":1}"#));
        assert!(variant_of(r#"{"a":1,"b":2}"#).is_none());
        assert!(variant_of("7").is_none());
    }
}
