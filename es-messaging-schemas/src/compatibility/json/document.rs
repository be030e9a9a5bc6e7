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

/// A document, of a draft that is understood.
pub(super) struct Document<'a> {
    root: &'a Value,
    /// In older drafts a reference makes everything beside it void.
    references_alone: bool,
}

/// Why a part of a document is not understood.
pub(super) type NotUnderstood = String;

impl<'a> Document<'a> {
    pub(super) fn new(root: &'a Value) -> Result<Self, NotUnderstood> {
        let draft = root.get("$schema").and_then(Value::as_str).unwrap_or("2020-12");
        let references_alone = if ["2020-12", "2019-09"].iter().any(|known| draft.contains(known)) {
            false
        } else if ["draft-07", "draft-06"].iter().any(|known| draft.contains(known)) {
            true
        } else {
            return Err(format!("the draft {draft:?} is not understood"));
        };
        Ok(Self { root, references_alone })
    }

    pub(super) fn root(&self) -> &'a Value {
        self.root
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
            if self.references_alone {
                return Ok((Map::new(), others));
            }
        }
        if let Some(all) = schema.get("allOf") {
            others.extend(all.as_array().ok_or("`allOf` is no list")?.iter().cloned());
        }
        let own = schema.iter().filter(|(name, _)| {
            !(ANNOTATIONS.contains(&name.as_str()) || *name == "$ref" || *name == "allOf" || name.starts_with("x-"))
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
