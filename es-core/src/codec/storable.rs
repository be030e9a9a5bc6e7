//! Finds what JSON, a database, or a reader would lose: floats that are not finite, NUL characters in texts, duplicate
//! keys of an object, and nesting that is deeper than readers support.
//!
//! serde_json silently writes NaN as `null`, so each value is walked once before it is written. The walk also records
//! whether the value uses a feature of serde that is often written in a form that cannot be read back
//! ([`Storable::is_unusual`]).

use std::{cell::Cell, collections::HashSet, fmt};

use serde::ser::{self, Serialize};

use crate::limits::MAX_JSON_DEPTH;

/// The reason why a value cannot be stored.
#[derive(Debug)]
pub(crate) enum NotStorable {
    NotFinite,
    Nul,
    TooDeep,
    RepeatedKey,
    /// The value's own `Serialize` failed. The error may quote the value.
    Custom,
}

impl fmt::Display for NotStorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite => f.write_str("a float that is not a finite number"),
            Self::Nul => f.write_str("a NUL character"),
            Self::TooDeep => write!(f, "a value that is nested more than {MAX_JSON_DEPTH} levels deep"),
            Self::RepeatedKey => f.write_str("an object with the same key twice"),
            Self::Custom => f.write_str("a value whose Serialize failed"),
        }
    }
}

impl std::error::Error for NotStorable {}

impl ser::Error for NotStorable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Custom
    }
}

/// The findings about a value that can be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Storable {
    /// Whether there is a flattened field, a skipped field, an `Option` whose content is null, an integer of more than
    /// 64 bits, bytes, a key that is not a text, or an `f32` that a conversion through `f64` would change. Whether such
    /// a value can be read back depends on the attributes of its type, which serde does not report. It therefore has to
    /// be tried.
    pub(crate) is_unusual: bool,
    /// How many `Some` values were written as `null`: `Some(None)` and `Some(())`. In JSON they look like `None`.
    pub(crate) null_somes: usize,
}

/// Walks a value that is `depth` levels deep in the JSON text, and stops at the first part that cannot be stored.
pub(crate) fn check_storable<T: Serialize + ?Sized>(value: &T, depth: usize) -> Result<Storable, NotStorable> {
    let seen = Cell::default();
    value.serialize(Walk { depth, seen: &seen })?;
    Ok(seen.get())
}

/// The kind of a value in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Text,
    Null,
    Other,
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    /// The number of arrays and objects around the value.
    depth: usize,
    seen: &'a Cell<Storable>,
}

impl<'a> Walk<'a> {
    fn note_unusual(self) {
        self.seen.set(Storable { is_unusual: true, ..self.seen.get() });
    }

    /// Enters this number of arrays or objects.
    fn inside(self, levels: usize) -> Result<Elements<'a>, NotStorable> {
        let depth = self.depth + levels;
        if depth > MAX_JSON_DEPTH {
            return Err(NotStorable::TooDeep);
        }
        Ok(Elements { walk: Self { depth, ..self }, keys: None })
    }
}

/// The elements of an array or the fields of an object.
struct Elements<'a> {
    walk: Walk<'a>,
    /// The keys so far, for flattened fields, where nothing else prevents duplicates.
    keys: Option<HashSet<String>>,
}

macro_rules! accept {
    ($($method:ident: $ty:ty),* $(,)?) => {
        $(fn $method(self, _: $ty) -> Result<Wrote, NotStorable> { Ok(Wrote::Other) })*
    };
}

impl<'a> ser::Serializer for Walk<'a> {
    type Ok = Wrote;
    type Error = NotStorable;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Elements<'a>;
    type SerializeStruct = Elements<'a>;
    type SerializeStructVariant = Elements<'a>;

    accept!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    );

    fn serialize_i128(self, value: i128) -> Result<Wrote, NotStorable> {
        if i64::try_from(value).is_err() && u64::try_from(value).is_err() {
            self.note_unusual();
        }
        Ok(Wrote::Other)
    }

    fn serialize_u128(self, value: u128) -> Result<Wrote, NotStorable> {
        if u64::try_from(value).is_err() {
            self.note_unusual();
        }
        Ok(Wrote::Other)
    }

    fn serialize_f32(self, value: f32) -> Result<Wrote, NotStorable> {
        if !value.is_finite() {
            return Err(NotStorable::NotFinite);
        }
        // Behind `flatten` and tags, serde first reads a number as `f64`.
        if value.to_string().parse::<f64>().ok().is_none_or(|read| (read as f32).to_bits() != value.to_bits()) {
            self.note_unusual();
        }
        Ok(Wrote::Other)
    }

    fn serialize_f64(self, value: f64) -> Result<Wrote, NotStorable> {
        if value.is_finite() { Ok(Wrote::Other) } else { Err(NotStorable::NotFinite) }
    }

    fn serialize_char(self, value: char) -> Result<Wrote, NotStorable> {
        if value == '\0' { Err(NotStorable::Nul) } else { Ok(Wrote::Text) }
    }

    fn serialize_str(self, value: &str) -> Result<Wrote, NotStorable> {
        if value.as_bytes().contains(&0) { Err(NotStorable::Nul) } else { Ok(Wrote::Text) }
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Wrote, NotStorable> {
        self.note_unusual();
        self.inside(1)?;
        Ok(Wrote::Other)
    }

    fn serialize_none(self) -> Result<Wrote, NotStorable> {
        Ok(Wrote::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Wrote, NotStorable> {
        let wrote = value.serialize(self)?;
        if wrote == Wrote::Null {
            let null_somes = self.seen.get().null_somes + 1;
            self.seen.set(Storable { is_unusual: true, null_somes });
        }
        Ok(wrote)
    }

    fn serialize_unit(self) -> Result<Wrote, NotStorable> {
        Ok(Wrote::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Wrote, NotStorable> {
        Ok(Wrote::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<Wrote, NotStorable> {
        Ok(Wrote::Text)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Wrote, NotStorable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Wrote, NotStorable> {
        value.serialize(self.inside(1)?.walk)?;
        Ok(Wrote::Other)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, NotStorable> {
        self.inside(1)
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, NotStorable> {
        self.inside(1)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, NotStorable> {
        self.inside(1)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, NotStorable> {
        self.inside(2)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Elements<'a>, NotStorable> {
        let mut elements = self.inside(1)?;
        if len.is_none() {
            // Flattened fields come from several places, which may use the same key.
            self.note_unusual();
            elements.keys = Some(HashSet::new());
        }
        Ok(elements)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, NotStorable> {
        self.inside(1)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, NotStorable> {
        self.inside(2)
    }
}

macro_rules! walk_elements {
    ($($trait:ident::$method:ident),* $(,)?) => {
        $(impl ser::$trait for Elements<'_> {
            type Ok = Wrote;
            type Error = NotStorable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotStorable> {
                value.serialize(self.walk).map(|_| ())
            }

            fn end(self) -> Result<Wrote, NotStorable> {
                Ok(Wrote::Other)
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
        $(impl ser::$trait for Elements<'_> {
            type Ok = Wrote;
            type Error = NotStorable;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), NotStorable> {
                value.serialize(self.walk).map(|_| ())
            }

            fn skip_field(&mut self, _: &'static str) -> Result<(), NotStorable> {
                self.walk.note_unusual();
                Ok(())
            }

            fn end(self) -> Result<Wrote, NotStorable> {
                Ok(Wrote::Other)
            }
        })*
    };
}

walk_fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Elements<'_> {
    type Ok = Wrote;
    type Error = NotStorable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotStorable> {
        if key.serialize(self.walk)? != Wrote::Text {
            self.walk.note_unusual();
        }
        // A value that cannot be a key is reported by the writer.
        if let Some(keys) = &mut self.keys
            && let Ok(json) = serde_json::to_string(key)
            && !keys.insert(json)
        {
            return Err(NotStorable::RepeatedKey);
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotStorable> {
        value.serialize(self.walk).map(|_| ())
    }

    fn end(self) -> Result<Wrote, NotStorable> {
        Ok(Wrote::Other)
    }
}
