//! What a type looks like to serde: the variants of an enum, the fields of a struct. Nothing is read.

use std::fmt;

use serde::{
    de::{self, DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};

/// The outermost shape of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An externally tagged enum with these variants.
    Enum(&'static [&'static str]),
    /// A struct with these fields.
    Struct(&'static str, &'static [&'static str]),
    /// Anything else.
    Other,
}

/// The shape of a type, found by asking it what it would like to read.
pub(crate) fn shape_of<T: DeserializeOwned>() -> Shape {
    let mut shape = Shape::Other;
    // Always an error: the probe notes the request and refuses it.
    let _ = T::deserialize(Probe { shape: &mut shape });
    shape
}

struct Probe<'a> {
    shape: &'a mut Shape,
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a probe reads nothing")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Refused> {
        *self.shape = Shape::Enum(variants);
        Err(Refused)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Refused> {
        *self.shape = Shape::Struct(name, fields);
        Err(Refused)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}
