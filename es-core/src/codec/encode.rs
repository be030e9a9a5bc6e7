//! Takes an event enum apart: the variant's name is the event type, its content the payload.

use std::{any::type_name, fmt};

use serde::ser::{self, Impossible, Serialize};

use super::storable::{NotStorable, check_storable};
use crate::{
    error::EncodeError,
    event::{EventType, Payload},
};

/// The type and payload of an event.
pub(crate) fn encode_event<E: Serialize>(event: &E) -> Result<(EventType, Payload), EncodeError> {
    let failed_on = |event_type: &str, error: Failure| match error {
        Failure::NotExternallyTagged => EncodeError::NotExternallyTagged { type_name: type_name::<E>() },
        Failure::NotStorable(NotStorable::NotFinite) => EncodeError::NotFinite { event_type: event_type.to_owned() },
        Failure::NotStorable(NotStorable::Nul) => EncodeError::NulCharacter { event_type: event_type.to_owned() },
        Failure::NotStorable(NotStorable::Custom(message)) => {
            EncodeError::Json { event_type: event_type.to_owned(), source: ser::Error::custom(message) }
        }
        Failure::Json(source) => EncodeError::Json { event_type: event_type.to_owned(), source },
    };
    let mut variant = "";
    let json = event.serialize(VariantSerializer { variant: &mut variant }).map_err(|e| failed_on(variant, e))?;
    Ok((EventType::new(variant)?, Payload::trusted(json)))
}

/// Any other value as JSON, with the same checks.
pub(crate) fn encode_value<T: Serialize>(what: &str, value: &T) -> Result<Payload, EncodeError> {
    let event_type = || what.to_owned();
    check_storable(value).map_err(|error| match error {
        NotStorable::NotFinite => EncodeError::NotFinite { event_type: event_type() },
        NotStorable::Nul => EncodeError::NulCharacter { event_type: event_type() },
        NotStorable::Custom(message) => {
            EncodeError::Json { event_type: event_type(), source: ser::Error::custom(message) }
        }
    })?;
    let json = serde_json::to_string(value).map_err(|source| EncodeError::Json { event_type: event_type(), source })?;
    Ok(Payload::trusted(json))
}

#[derive(Debug)]
enum Failure {
    NotExternallyTagged,
    NotStorable(NotStorable),
    Json(serde_json::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Failure {}

impl ser::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Json(ser::Error::custom(message))
    }
}

/// Accepts an enum's variant and nothing else.
struct VariantSerializer<'a> {
    variant: &'a mut &'static str,
}

/// The JSON text of a variant's content, field by field.
struct Content {
    json: Vec<u8>,
    closing: u8,
}

impl Content {
    /// Room to begin with: enough for most events.
    const USUAL_BYTES: usize = 256;

    fn open(opening: u8, closing: u8) -> Self {
        let mut json = Vec::with_capacity(Self::USUAL_BYTES);
        json.push(opening);
        Self { json, closing }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        check_storable(value).map_err(Failure::NotStorable)?;
        serde_json::to_writer(&mut self.json, value).map_err(Failure::Json)
    }

    fn separate(&mut self) {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
    }

    fn close(mut self) -> Result<String, Failure> {
        self.json.push(self.closing);
        String::from_utf8(self.json).map_err(ser::Error::custom)
    }
}

macro_rules! refuse {
    ($($method:ident: $ty:ty),* $(,)?) => {
        $(fn $method(self, _: $ty) -> Result<String, Failure> { Err(Failure::NotExternallyTagged) })*
    };
}

impl ser::Serializer for VariantSerializer<'_> {
    type Ok = String;
    type Error = Failure;
    type SerializeSeq = Impossible<String, Failure>;
    type SerializeTuple = Impossible<String, Failure>;
    type SerializeTupleStruct = Impossible<String, Failure>;
    type SerializeTupleVariant = Content;
    type SerializeMap = Impossible<String, Failure>;
    type SerializeStruct = Impossible<String, Failure>;
    type SerializeStructVariant = Content;

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<String, Failure> {
        *self.variant = variant;
        Ok("{}".to_owned())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<String, Failure> {
        *self.variant = variant;
        check_storable(value).map_err(Failure::NotStorable)?;
        serde_json::to_string(value).map_err(Failure::Json)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Content, Failure> {
        *self.variant = variant;
        Ok(Content::open(b'[', b']'))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Content, Failure> {
        *self.variant = variant;
        Ok(Content::open(b'{', b'}'))
    }

    refuse!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    );

    fn serialize_none(self) -> Result<String, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<String, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_unit(self) -> Result<String, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<String, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Failure> {
        Err(Failure::NotExternallyTagged)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Failure> {
        Err(Failure::NotExternallyTagged)
    }
}

impl ser::SerializeTupleVariant for Content {
    type Ok = String;
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.separate();
        self.push(value)
    }

    fn end(self) -> Result<String, Failure> {
        self.close()
    }
}

impl ser::SerializeStructVariant for Content {
    type Ok = String;
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Failure> {
        self.separate();
        self.push(name)?;
        self.json.push(b':');
        self.push(value)
    }

    fn end(self) -> Result<String, Failure> {
        self.close()
    }
}
