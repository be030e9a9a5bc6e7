//! The form of a type as serde sees it, as deep as serde describes it: its fields, variants, and kinds of values. No
//! data is read.
//!
//! The outline repeatedly asks the type what it expects to read, each time one step further on the way to one of its
//! parts. Each time, the probe rejects the request in the end, so no value of the type is ever created.

use std::fmt::{self, Write};

use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
        VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::limits::{MAX_OUTLINE_DEPTH, MAX_OUTLINE_PARTS};

/// Returns the variants of an externally tagged enum, by the names that are read, or `None` for any other type.
pub(crate) fn variants_of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    match node_at::<T>(&[]) {
        Node::Enum(_, variants) => Some(variants),
        _ => None,
    }
}

/// Returns the whole outline as text. A type that contains itself is followed once.
pub(crate) fn outline_of<T: DeserializeOwned>() -> String {
    let mut outline = Outline { text: String::new(), parts: 0, path: Vec::new(), open: Vec::new() };
    outline.add::<T>();
    outline.text
}

/// What the type expects at a place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Node {
    Leaf(&'static str),
    Optional,
    Newtype(&'static str),
    Seq,
    Map,
    Tuple(&'static str, usize),
    Struct(&'static str, &'static [&'static str]),
    Enum(&'static str, &'static [&'static str]),
}

struct Outline {
    text: String,
    parts: usize,
    /// The index of the part at each step.
    path: Vec<usize>,
    /// The nodes on the path.
    open: Vec<Node>,
}

impl Outline {
    fn add<T: DeserializeOwned>(&mut self) {
        self.parts += 1;
        let node = node_at::<T>(&self.path);
        if matches!(node, Node::Struct(..) | Node::Enum(..)) && self.open.contains(&node)
            || self.parts > MAX_OUTLINE_PARTS
            || self.path.len() > MAX_OUTLINE_DEPTH
        {
            self.text.push('^');
            return;
        }
        self.open.push(node);
        match node {
            Node::Leaf(kind) => self.text.push_str(kind),
            Node::Optional => self.list::<T>("?", ["value"]),
            Node::Newtype(name) => self.list::<T>(name, ["0"]),
            Node::Seq => self.list::<T>("seq", ["element"]),
            Node::Map => self.list::<T>("map", ["value"]),
            Node::Tuple(name, len) => self.list::<T>(name, (0..len).map(|index| index.to_string())),
            Node::Struct(name, parts) | Node::Enum(name, parts) => self.list::<T>(name, parts.iter().copied()),
        }
        self.open.pop();
    }

    fn list<T: DeserializeOwned>(&mut self, name: &str, parts: impl IntoIterator<Item = impl fmt::Display>) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{name}(");
        for (index, part) in parts.into_iter().enumerate() {
            let _ = write!(self.text, "{part}:");
            self.path.push(index);
            self.add::<T>();
            self.path.pop();
            self.text.push(',');
        }
        self.text.push(')');
    }
}

fn node_at<T: DeserializeOwned>(path: &[usize]) -> Node {
    let mut node = Node::Leaf("opaque");
    // Always an error: the probe records the request and rejects it.
    let _ = T::deserialize(Probe { path, node: &mut node });
    node
}

/// Follows a path, and records what the type expects at its end.
struct Probe<'a> {
    path: &'a [usize],
    node: &'a mut Node,
}

impl<'a> Probe<'a> {
    /// Returns the next part and the probe for it. At the end of the path, records the node.
    fn step(self, node: Node) -> Result<(usize, Self), Refused> {
        match self.path.split_first() {
            Some((&part, path)) => Ok((part, Self { path, ..self })),
            None => {
                *self.node = node;
                Err(Refused)
            }
        }
    }
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

macro_rules! leaf {
    ($($method:ident: $kind:literal),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
            Err(self.step(Node::Leaf($kind)).err().unwrap_or(Refused))
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Refused;

    leaf!(
        deserialize_any: "any", deserialize_bool: "bool", deserialize_i8: "i8", deserialize_i16: "i16",
        deserialize_i32: "i32", deserialize_i64: "i64", deserialize_i128: "i128", deserialize_u8: "u8",
        deserialize_u16: "u16", deserialize_u32: "u32", deserialize_u64: "u64", deserialize_u128: "u128",
        deserialize_f32: "f32", deserialize_f64: "f64", deserialize_char: "char", deserialize_str: "str",
        deserialize_string: "str", deserialize_bytes: "bytes", deserialize_byte_buf: "bytes", deserialize_unit: "unit",
        deserialize_identifier: "name", deserialize_ignored_any: "ignored",
    );

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, _: V) -> Result<V::Value, Refused> {
        Err(self.step(Node::Leaf(name)).err().unwrap_or(Refused))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self.step(Node::Optional)?.1)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self.step(Node::Newtype(name))?.1)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let (_, probe) = self.step(Node::Seq)?;
        visitor.visit_seq(Elements { probe: Some(probe), before: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_tuple_struct("tuple", len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let (before, probe) = self.step(Node::Tuple(name, len))?;
        visitor.visit_seq(Elements { probe: Some(probe), before })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let (_, probe) = self.step(Node::Map)?;
        visitor.visit_map(Entry { probe: Some(probe), key: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let (field, probe) = self.step(Node::Struct(name, fields))?;
        visitor.visit_map(Entry { probe: Some(probe), key: fields.get(field).copied() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let (variant, probe) = self.step(Node::Enum(name, variants))?;
        visitor.visit_enum(Variant { probe, name: variants.get(variant).ok_or(Refused)? })
    }
}

/// The elements up to the one that is probed. Those before it are made up, as far as that is possible.
struct Elements<'a> {
    probe: Option<Probe<'a>>,
    before: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        if self.before > 0 {
            self.before -= 1;
            return seed.deserialize(MadeUp).map(Some);
        }
        seed.deserialize(self.probe.take().ok_or(Refused)?).map(Some)
    }
}

/// The one field or entry that is probed.
struct Entry<'a> {
    probe: Option<Probe<'a>>,
    key: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        match self.key {
            Some(key) => seed.deserialize(name(key)).map(Some),
            None => seed.deserialize(MadeUp).map(Some),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        seed.deserialize(self.probe.take().ok_or(Refused)?)
    }
}

fn name(text: &'static str) -> StrDeserializer<'static, Refused> {
    text.into_deserializer()
}

struct Variant<'a> {
    probe: Probe<'a>,
    name: &'static str,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Refused;
    type Variant = Probe<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Probe<'a>), Refused> {
        Ok((seed.deserialize(name(self.name))?, self.probe))
    }
}

impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Err(self.step(Node::Leaf("unit")).err().unwrap_or(Refused))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_struct("variant", fields, visitor)
    }
}

/// Makes up a value of a simple kind, to skip an element.
struct MadeUp;

impl<'de> Deserializer<'de> for MadeUp {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(Refused)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bool(false)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_u64(0)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_f64(0.0)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_char('a')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_str("")
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(de::value::SeqDeserializer::new(std::iter::empty::<()>()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(de::value::MapDeserializer::new(std::iter::empty::<((), ())>()))
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit_struct tuple tuple_struct struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "never read")]
    struct Tree {
        leaf: Option<Leaf>,
        children: Vec<Tree>,
        by_name: HashMap<String, (i64, Kind)>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "never read")]
    struct Leaf(u8);

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "never read")]
    enum Kind {
        Plain,
        One(Leaf),
        Two { x: f64 },
        Pair(char, String),
    }

    #[test]
    fn the_outline_goes_down_to_the_kinds_of_values_and_ends_where_a_type_contains_itself() {
        let kind = "Kind(Plain:unit,One:Leaf(0:u8,),Two:variant(x:f64,),Pair:tuple(0:char,1:str,),)";
        let expected = format!(
            "Tree(leaf:?(value:Leaf(0:u8,),),children:seq(element:^,),by_name:map(value:tuple(0:i64,1:{kind},),),)"
        );
        assert_eq!(outline_of::<Tree>(), expected);
        assert_eq!(outline_of::<Leaf>(), "Leaf(0:u8,)");
        assert_eq!(variants_of::<Kind>(), Some(["Plain", "One", "Two", "Pair"].as_slice()));
        assert_eq!((variants_of::<Tree>(), variants_of::<Leaf>()), (None, None));
    }

    #[test]
    fn the_outline_of_a_wide_type_is_bounded() {
        type Four<T> = (T, T, T, T);
        type Wide = Four<Four<Four<Four<Four<Four<Four<u8>>>>>>>;
        assert!(outline_of::<Wide>().len() < 20 * MAX_OUTLINE_PARTS);
    }
}
