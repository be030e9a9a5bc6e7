//! A document of JSON Schema: its references, and what its draft says about them.

use serde_json::{Map, Value};

use crate::limits;

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: [&str; 14] = [
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$anchor",
];

/// A draft that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Draft {
    /// And draft 6. A reference makes everything beside it void.
    Draft7,
    Draft2019,
    /// The first that has `prefixItems`.
    Draft2020,
}

/// A document, of a draft that is understood.
pub(super) struct Document<'a> {
    root: &'a Value,
    draft: Draft,
}

/// Why a part of a document is not understood.
pub(super) type NotUnderstood = String;

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Result<Self, NotUnderstood> {
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or("2020-12");
        let known = [
            ("2020-12", Draft::Draft2020),
            ("2019-09", Draft::Draft2019),
            ("draft-07", Draft::Draft7),
            ("draft-06", Draft::Draft7),
        ];
        let found = known.iter().find(|(name, _)| draft.contains(name));
        let (_, draft) = found.ok_or_else(|| format!("the draft {draft:?} is not understood"))?;
        Ok(Self { root, draft: *draft })
    }

    pub(super) fn root(&self) -> &'a Value {
        self.root
    }

    /// Whether the same text means the same in another document, as far as it refers to nothing.
    pub(super) fn speaks_as(&self, other: &Self) -> bool {
        self.draft == other.draft
    }

    /// The definitions that references lead to.
    pub(super) fn definitions(&self) -> (Option<&'a Value>, Option<&'a Value>) {
        (self.root.get("$defs"), self.root.get("definitions"))
    }

    /// The keywords of a schema without its references, and the schemas that it is besides: what it refers to, and `allOf`.
    pub(super) fn parts(&self, schema: &Map<String, Value>) -> Result<(Map<String, Value>, Vec<Value>), NotUnderstood> {
        if schema.contains_key("$id") && self.root.as_object() != Some(schema) {
            return Err("an `$id` inside a schema is not understood".to_owned());
        }
        let mut others = Vec::new();
        if let Some(reference) = schema.get("$ref") {
            others.push(self.resolve(reference)?.clone());
            if self.draft == Draft::Draft7 {
                return Ok((Map::new(), others));
            }
        }
        if let Some(all) = schema.get("allOf") {
            others.extend(all.as_array().ok_or("`allOf` is no list")?.iter().cloned());
        }
        let own = schema.iter().filter(|(name, _)| {
            let is_void = *name == "prefixItems" && self.draft < Draft::Draft2020;
            let is_elsewhere = *name == "$ref" || *name == "allOf";
            !(is_void || is_elsewhere || ANNOTATIONS.contains(&name.as_str()) || name.starts_with("x-"))
        });
        Ok((own.map(|(name, value)| (name.clone(), value.clone())).collect(), others))
    }

    fn resolve(&self, reference: &Value) -> Result<&'a Value, NotUnderstood> {
        let text = reference.as_str().ok_or("a `$ref` is no text")?;
        let pointer =
            text.strip_prefix('#').ok_or_else(|| format!("the reference {text:?} leads out of the document"))?;
        if pointer.contains('%') {
            return Err(format!("the reference {text:?} is percent-encoded, which is not understood"));
        }
        self.root.pointer(pointer).ok_or_else(|| format!("the reference {text:?} leads nowhere"))
    }
}

/// Whether there is a reference anywhere in it.
pub(super) fn refers(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth > limits::MAX_DEPTH => true,
        Value::Object(map) => {
            map.contains_key("$ref")
                || map.contains_key("$dynamicRef")
                || map.values().any(|value| refers(value, depth + 1))
        }
        Value::Array(items) => items.iter().any(|item| refers(item, depth + 1)),
        _ => false,
    }
}
