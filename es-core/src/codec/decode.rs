//! Builds an event enum from its type and payload.

use std::fmt;

use serde::{
    de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};

use super::fit::{Fit, Measure, Measured};

/// The reason why an event could not be decoded. The caller adds the place of the event.
#[derive(Debug)]
pub(crate) enum RawDecodeError {
    /// The enum has no such variant.
    UnknownType,
    /// The payload does not match the variant.
    Payload(serde_json::Error),
}

/// Decodes the event of a stored type and payload.
pub(crate) fn decode_event<E: DeserializeOwned>(event_type: &str, payload: &str) -> Result<E, RawDecodeError> {
    read_event(EventDeserializer { event_type, payload, measure: None })
}

/// Decodes the event of a stored type and payload. Also returns how well the payload matches it.
pub(crate) fn measure_event<E: DeserializeOwned>(event_type: &str, payload: &str) -> Result<(E, Fit), RawDecodeError> {
    let measure = Measure::default();
    let event = read_event(EventDeserializer { event_type, payload, measure: Some(&measure) })?;
    Ok((event, measure.fit()))
}

/// Returns how well a payload matches any other type.
pub(crate) fn measure_value<T: DeserializeOwned>(payload: &str) -> Result<Fit, serde_json::Error> {
    let measure = Measure::default();
    let mut json = serde_json::Deserializer::from_str(payload);
    T::deserialize(Measured::root(&mut json, &measure))?;
    json.end()?;
    Ok(measure.fit())
}

fn read_event<E: DeserializeOwned>(deserializer: EventDeserializer<'_>) -> Result<E, RawDecodeError> {
    E::deserialize(deserializer).map_err(|failure| match failure {
        Failure::UnknownVariant => RawDecodeError::UnknownType,
        Failure::Json(error) => RawDecodeError::Payload(error),
    })
}

#[derive(Debug)]
enum Failure {
    UnknownVariant,
    Json(serde_json::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariant => f.write_str("unknown event type"),
            Self::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Json(de::Error::custom(message))
    }

    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::UnknownVariant
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

#[derive(Clone, Copy)]
struct EventDeserializer<'a> {
    event_type: &'a str,
    payload: &'a str,
    /// Measures the payload, if requested.
    measure: Option<&'a Measure>,
}

impl<'de> de::Deserializer<'de> for EventDeserializer<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Failure> {
        Err(de::Error::custom("the type is not an enum in serde's default (externally tagged) form"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> de::EnumAccess<'de> for EventDeserializer<'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        let name: de::value::StrDeserializer<'_, Failure> = self.event_type.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> EventDeserializer<'de> {
    /// Reads the payload from its first byte to its last.
    fn read<T>(
        self,
        read: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'de>>) -> Result<T, serde_json::Error>,
    ) -> Result<T, Failure> {
        let mut json = serde_json::Deserializer::from_str(self.payload);
        let value = read(&mut json)?;
        json.end()?;
        Ok(value)
    }
}

impl<'de> de::VariantAccess<'de> for EventDeserializer<'de> {
    type Error = Failure;

    /// The content of the payload is ignored, as serde ignores fields that a struct no longer has.
    fn unit_variant(self) -> Result<(), Failure> {
        let Some(measure) = self.measure else {
            return self.read(|json| de::Deserialize::deserialize(json).map(|IgnoredAny| ()));
        };
        let ignored = self.read(|json| de::Deserializer::deserialize_any(json, CountFields))?;
        measure.note_ignored(ignored);
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        self.read(|json| match self.measure {
            None => seed.deserialize(json),
            Some(measure) => seed.deserialize(Measured::root(json, measure)),
        })
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.read(|json| match self.measure {
            None => de::Deserializer::deserialize_tuple(json, len, visitor),
            Some(measure) => de::Deserializer::deserialize_tuple(Measured::root(json, measure), len, visitor),
        })
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        self.read(|json| match self.measure {
            None => de::Deserializer::deserialize_struct(json, "", fields, visitor),
            Some(measure) => de::Deserializer::deserialize_struct(Measured::root(json, measure), "", fields, visitor),
        })
    }
}

/// Counts the fields of an object, or the elements of an array. Every other value except null counts as one.
struct CountFields;

impl<'de> Visitor<'de> for CountFields {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_str<E>(self, _: &str) -> Result<usize, E> {
        Ok(1)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut elements: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut fields: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}
