//! How well JSON matches a type that reads it: what the type ignores, and what it fills in.

use std::{cell::Cell, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

/// How well a payload matches a form. A smaller value is a better match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fit {
    /// Number of fields of the payload that the form does not know.
    pub(crate) ignored: usize,
    /// Whether the form accepts any fields at all, as a map does. It is a worse match than a form that names the
    /// fields.
    pub(crate) takes_anything: bool,
    /// Number of fields of the form that the payload does not have.
    pub(crate) defaulted: usize,
}

impl Fit {
    /// Nothing is ignored and nothing is filled in.
    pub(crate) const PERFECT: Self = Self { ignored: 0, takes_anything: false, defaulted: 0 };
}

/// Measures the match while a payload is read.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    fit: Cell<Fit>,
    /// Whether the last value was ignored as a whole.
    was_ignored: Cell<bool>,
}

impl Measure {
    pub(crate) fn fit(&self) -> Fit {
        self.fit.get()
    }

    pub(crate) fn note_ignored(&self, fields: usize) {
        self.change(|fit| fit.ignored += fields);
    }

    fn change(&self, change: impl FnOnce(&mut Fit)) {
        let mut fit = self.fit.get();
        change(&mut fit);
        self.fit.set(fit);
    }
}

/// Passes everything on to the inner deserializer, visitor, seed, or access.
pub(crate) struct Measured<'a, T> {
    inner: T,
    measure: &'a Measure,
    /// The number of fields that a struct names.
    named: usize,
    /// Whether it is the payload itself, not a part of it.
    is_root: bool,
}

impl<'a, T> Measured<'a, T> {
    /// Measures the reader of a whole payload.
    pub(crate) fn root(inner: T, measure: &'a Measure) -> Self {
        Self { inner, measure, named: 0, is_root: true }
    }

    /// Measures the visitor of a struct variant that names this number of fields.
    pub(crate) fn fields(inner: T, measure: &'a Measure, named: usize) -> Self {
        Self { inner, measure, named, is_root: false }
    }

    fn part(inner: T, measure: &'a Measure) -> Self {
        Self::fields(inner, measure, 0)
    }
}

macro_rules! pass_on {
    ($($method:ident($($argument:ident: $type:ty),*)),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* Measured::part(visitor, self.measure))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Measured<'_, D> {
    type Error = D::Error;

    pass_on!(
        deserialize_bool(), deserialize_i8(), deserialize_i16(), deserialize_i32(), deserialize_i64(),
        deserialize_i128(), deserialize_u8(), deserialize_u16(), deserialize_u32(), deserialize_u64(),
        deserialize_u128(), deserialize_f32(), deserialize_f64(), deserialize_char(), deserialize_str(),
        deserialize_string(), deserialize_bytes(), deserialize_byte_buf(), deserialize_option(), deserialize_unit(),
        deserialize_unit_struct(name: &'static str), deserialize_newtype_struct(name: &'static str), deserialize_seq(),
        deserialize_tuple(len: usize), deserialize_tuple_struct(name: &'static str, len: usize),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]), deserialize_identifier(),
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.measure.change(|fit| fit.takes_anything |= self.is_root);
        self.inner.deserialize_any(Measured::part(visitor, self.measure))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.measure.change(|fit| fit.takes_anything |= self.is_root);
        self.inner.deserialize_map(Measured::part(visitor, self.measure))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_struct(name, fields, Measured::fields(visitor, self.measure, fields.len()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.measure.note_ignored(1);
        self.measure.was_ignored.set(true);
        self.inner.deserialize_ignored_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Measured<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit!(
        visit_bool: bool, visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128, visit_u8: u8,
        visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128, visit_f32: f32, visit_f64: f64,
        visit_char: char, visit_str: &str, visit_borrowed_str: &'de str, visit_string: String, visit_bytes: &[u8],
        visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>,
    );

    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Measured::part(deserializer, self.measure))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Measured::part(deserializer, self.measure))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Measured::part(elements, self.measure))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        // Each known field that is present is subtracted when it is read.
        self.measure.change(|fit| fit.defaulted += self.named);
        self.inner.visit_map(Measured::fields(fields, self.measure, self.named))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Measured::part(variant, self.measure))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Measured<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Measured::part(deserializer, self.measure))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Measured<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let element = self.inner.next_element_seed(Measured::part(seed, self.measure));
        self.measure.was_ignored.set(false);
        element
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Measured<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.inner.next_value_seed(Measured::part(seed, self.measure));
        if !self.measure.was_ignored.replace(false) && self.named > 0 {
            self.named -= 1;
            self.measure.change(|fit| fit.defaulted -= 1);
        }
        value
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'a, A: EnumAccess<'de>> EnumAccess<'de> for Measured<'a, A> {
    type Error = A::Error;
    type Variant = Measured<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.inner.variant_seed(seed)?;
        Ok((value, Measured::part(variant, self.measure)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Measured<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Measured::part(seed, self.measure))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Measured::part(visitor, self.measure))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Measured::fields(visitor, self.measure, fields.len()))
    }
}
