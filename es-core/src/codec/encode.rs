//! Splits an event enum: the name of the variant becomes the event type, and its content the payload.

use std::{any::type_name, cell::Cell, fmt};

use serde::ser::{self, Impossible, Serialize};

use super::storable::{NotStorable, Storable, check_storable};
use crate::{
    codec::redact::without_content,
    error::EncodeError,
    event::{EventType, Payload},
    limits,
};

/// An event or value as JSON, with the findings of the check.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) payload: Payload,
    pub(crate) storable: Storable,
}

/// Returns the type and payload of an event.
pub(crate) fn encode_event<E: Serialize>(event: &E) -> Result<(EventType, Encoded), EncodeError> {
    let mut variant = "";
    let storable = Cell::default();
    let json = event.serialize(VariantSerializer { variant: &mut variant, storable: &storable });
    let json = json.map_err(|failure| match failure {
        Failure::NotExternallyTagged => EncodeError::NotExternallyTagged { type_name: type_name::<E>() },
        Failure::NotStorable(problem) => not_storable(variant, problem),
        Failure::Json(source) => not_json(variant, &source),
    })?;
    Ok((EventType::new(variant)?, Encoded { payload: Payload::trusted(json), storable: storable.get() }))
}

/// Returns any other value as JSON, with the same checks.
pub(crate) fn encode_value<T: Serialize>(what: &str, value: &T) -> Result<Encoded, EncodeError> {
    let storable = check_storable(value, 0).map_err(|problem| not_storable(what, problem))?;
    let json = serde_json::to_string(value).map_err(|source| not_json(what, &source))?;
    Ok(Encoded { payload: Payload::trusted(json), storable })
}

fn not_storable(event_type: &str, problem: NotStorable) -> EncodeError {
    let event_type = event_type.to_owned();
    match problem {
        NotStorable::NotFinite => EncodeError::NotFinite { event_type },
        NotStorable::Nul => EncodeError::NulCharacter { event_type },
        NotStorable::TooDeep => EncodeError::TooDeep { event_type, limit: limits::MAX_JSON_DEPTH },
        NotStorable::RepeatedKey => EncodeError::RepeatedKey { event_type },
        NotStorable::Custom => EncodeError::Json { event_type, source: ser::Error::custom("its Serialize failed") },
    }
}

fn not_json(event_type: &str, source: &serde_json::Error) -> EncodeError {
    EncodeError::Json { event_type: event_type.to_owned(), source: without_content(source) }
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

/// Accepts the variant of an enum and nothing else.
struct VariantSerializer<'a> {
    variant: &'a mut &'static str,
    storable: &'a Cell<Storable>,
}

fn check<T: Serialize + ?Sized>(value: &T, depth: usize, storable: &Cell<Storable>) -> Result<(), Failure> {
    let (before, part) = (storable.get(), check_storable(value, depth).map_err(Failure::NotStorable)?);
    storable.set(Storable {
        is_unusual: before.is_unusual || part.is_unusual,
        null_somes: before.null_somes + part.null_somes,
    });
    Ok(())
}

/// Writes the JSON text of a variant's content, field by field.
struct Content<'a> {
    json: Vec<u8>,
    closing: u8,
    storable: &'a Cell<Storable>,
}

impl<'a> Content<'a> {
    /// The initial capacity, which is enough for most events.
    const USUAL_BYTES: usize = 256;

    fn open(opening: u8, closing: u8, storable: &'a Cell<Storable>) -> Self {
        let mut json = Vec::with_capacity(Self::USUAL_BYTES);
        json.push(opening);
        Self { json, closing, storable }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        check(value, 1, self.storable)?;
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

impl<'a> ser::Serializer for VariantSerializer<'a> {
    type Ok = String;
    type Error = Failure;
    type SerializeSeq = Impossible<String, Failure>;
    type SerializeTuple = Impossible<String, Failure>;
    type SerializeTupleStruct = Impossible<String, Failure>;
    type SerializeTupleVariant = Content<'a>;
    type SerializeMap = Impossible<String, Failure>;
    type SerializeStruct = Impossible<String, Failure>;
    type SerializeStructVariant = Content<'a>;

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
        check(value, 0, self.storable)?;
        serde_json::to_string(value).map_err(Failure::Json)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Content<'a>, Failure> {
        *self.variant = variant;
        Ok(Content::open(b'[', b']', self.storable))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Content<'a>, Failure> {
        *self.variant = variant;
        Ok(Content::open(b'{', b'}', self.storable))
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

impl ser::SerializeTupleVariant for Content<'_> {
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

impl ser::SerializeStructVariant for Content<'_> {
    type Ok = String;
    type Error = Failure;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Failure> {
        self.separate();
        self.push(name)?;
        self.json.push(b':');
        self.push(value)
    }

    fn skip_field(&mut self, _: &'static str) -> Result<(), Failure> {
        self.storable.set(Storable { is_unusual: true, ..self.storable.get() });
        Ok(())
    }

    fn end(self) -> Result<String, Failure> {
        self.close()
    }
}
