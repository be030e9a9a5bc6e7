//! Finds what JSON or a database would lose: floats that are not finite numbers, and NUL characters in texts.
//!
//! serde_json writes NaN as `null` without a word, so a value is walked once before it is written.

use std::fmt;

use serde::ser::{self, Serialize};

/// What cannot be stored.
#[derive(Debug)]
pub(crate) enum NotStorable {
    NotFinite,
    Nul,
    /// The value's own `Serialize` failed.
    Custom(String),
}

impl fmt::Display for NotStorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite => f.write_str("a float that is not a finite number"),
            Self::Nul => f.write_str("a NUL character"),
            Self::Custom(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for NotStorable {}

impl ser::Error for NotStorable {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Walks a value and stops at the first part that cannot be stored.
pub(crate) fn check_storable<T: Serialize + ?Sized>(value: &T) -> Result<(), NotStorable> {
    value.serialize(Walk)
}

#[derive(Clone, Copy)]
struct Walk;

macro_rules! accept {
    ($($method:ident: $ty:ty),* $(,)?) => {
        $(fn $method(self, _: $ty) -> Result<(), NotStorable> { Ok(()) })*
    };
}

impl ser::Serializer for Walk {
    type Ok = ();
    type Error = NotStorable;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    accept!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    );

    fn serialize_f32(self, value: f32) -> Result<(), NotStorable> {
        if value.is_finite() { Ok(()) } else { Err(NotStorable::NotFinite) }
    }

    fn serialize_f64(self, value: f64) -> Result<(), NotStorable> {
        if value.is_finite() { Ok(()) } else { Err(NotStorable::NotFinite) }
    }

    fn serialize_char(self, value: char) -> Result<(), NotStorable> {
        if value == '\0' { Err(NotStorable::Nul) } else { Ok(()) }
    }

    fn serialize_str(self, value: &str) -> Result<(), NotStorable> {
        if value.as_bytes().contains(&0) { Err(NotStorable::Nul) } else { Ok(()) }
    }

    fn serialize_none(self) -> Result<(), NotStorable> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotStorable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NotStorable> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), NotStorable> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), NotStorable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotStorable> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, NotStorable> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, NotStorable> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NotStorable> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, NotStorable> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, NotStorable> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotStorable> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, NotStorable> {
        Ok(self)
    }
}

macro_rules! walk_elements {
    ($($trait:ident::$method:ident),* $(,)?) => {
        $(impl ser::$trait for Walk {
            type Ok = ();
            type Error = NotStorable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotStorable> {
                value.serialize(*self)
            }

            fn end(self) -> Result<(), NotStorable> {
                Ok(())
            }
        })*
    };
}

walk_elements!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
);

macro_rules! walk_fields {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Walk {
            type Ok = ();
            type Error = NotStorable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), NotStorable> {
                value.serialize(*self)
            }

            fn end(self) -> Result<(), NotStorable> {
                Ok(())
            }
        })*
    };
}

walk_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Walk {
    type Ok = ();
    type Error = NotStorable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotStorable> {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotStorable> {
        value.serialize(*self)
    }

    fn end(self) -> Result<(), NotStorable> {
        Ok(())
    }
}
