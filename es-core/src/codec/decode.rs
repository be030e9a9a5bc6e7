//! Puts an event enum together again from its type and payload.

use std::fmt;

use serde::{
    de::{self, DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, Visitor},
    forward_to_deserialize_any,
};

/// Why an event could not be put together; where it happened is added by the caller.
#[derive(Debug)]
pub(crate) enum RawDecodeError {
    /// The enum has no such variant.
    UnknownType,
    /// The payload does not fit the variant.
    Payload(serde_json::Error),
}

/// The event of a stored type and payload.
pub(crate) fn decode_event<E: DeserializeOwned>(event_type: &str, payload: &str) -> Result<E, RawDecodeError> {
    E::deserialize(EventDeserializer { event_type, payload }).map_err(|failure| match failure {
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

    /// Whatever the payload holds is ignored, as serde ignores fields that a struct no longer has.
    fn unit_variant(self) -> Result<(), Failure> {
        self.read(|json| de::Deserialize::deserialize(json).map(|IgnoredAny| ()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        self.read(|json| seed.deserialize(json))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.read(|json| de::Deserializer::deserialize_tuple(json, len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Failure> {
        self.read(|json| de::Deserializer::deserialize_struct(json, "", fields, visitor))
    }
}
