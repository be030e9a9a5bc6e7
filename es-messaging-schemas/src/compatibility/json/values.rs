//! Whether single values are valid: those that a schema lists.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{
    document::{Document, NotUnderstood},
    types::{Types, of_schema},
    writer::item_of,
};
use crate::limits;

/// Compares numbers, exactly where both are whole.
pub(super) fn compare(a: &Value, b: &Value) -> Ordering {
    let whole = |value: &Value| value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
    }
}

/// Whether a value is valid by a schema; an error for what is not understood.
pub(super) fn accepts(
    document: &Document<'_>,
    schema: &Value,
    value: &Value,
    depth: usize,
) -> Result<bool, NotUnderstood> {
    if depth > limits::MAX_DEPTH {
        return Err("it refers to itself without end, or too deep".to_owned());
    }
    let map = match schema {
        Value::Bool(all) => return Ok(*all),
        Value::Object(map) => map,
        _ => return Err("there is something that is no schema".to_owned()),
    };
    let (own, others) = document.parts(map)?;
    for other in others {
        if !accepts(document, &other, value, depth + 1)? {
            return Ok(false);
        }
    }
    for (keyword, said) in &own {
        if !holds(document, &own, keyword, said, value, depth)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(
    document: &Document<'_>,
    own: &Map<String, Value>,
    keyword: &str,
    said: &Value,
    value: &Value,
    depth: usize,
) -> Result<bool, NotUnderstood> {
    let each = |schemas: &Value| -> Result<Vec<bool>, NotUnderstood> {
        let schemas = schemas.as_array().ok_or("a union is no list")?;
        schemas.iter().map(|schema| accepts(document, schema, value, depth + 1)).collect()
    };
    let count = said.as_u64().unwrap_or_default();
    let length = |value: &Value| -> Option<u64> {
        match (keyword, value) {
            ("minLength" | "maxLength", Value::String(text)) => Some(text.chars().count() as u64),
            ("minItems" | "maxItems", Value::Array(items)) => Some(items.len() as u64),
            ("minProperties" | "maxProperties", Value::Object(map)) => Some(map.len() as u64),
            _ => None,
        }
    };
    Ok(match (keyword, value) {
        ("type", _) => of_schema(own).has(Types::of(value)),
        ("const", _) => said == value,
        ("enum", _) => said.as_array().is_some_and(|values| values.contains(value)),
        ("anyOf", _) => each(said)?.contains(&true),
        ("oneOf", _) => each(said)?.into_iter().filter(|accepted| *accepted).count() == 1,
        ("minLength" | "minItems" | "minProperties", _) => length(value).is_none_or(|length| length >= count),
        ("maxLength" | "maxItems" | "maxProperties", _) => length(value).is_none_or(|length| length <= count),
        ("minimum", Value::Number(_)) => compare(value, said).is_ge(),
        ("maximum", Value::Number(_)) => compare(value, said).is_le(),
        ("exclusiveMinimum", Value::Number(_)) => compare(value, said).is_gt(),
        ("exclusiveMaximum", Value::Number(_)) => compare(value, said).is_lt(),
        ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", _) => true,
        ("required", Value::Object(map)) => {
            let names = said.as_array().ok_or("`required` is no list")?;
            names.iter().filter_map(Value::as_str).all(|name| map.contains_key(name))
        }
        ("properties" | "additionalProperties", Value::Object(map)) if !own.contains_key("patternProperties") => {
            let named = own.get("properties").and_then(Value::as_object);
            for (name, inner) in map {
                let schema = named.and_then(|named| named.get(name)).or_else(|| own.get("additionalProperties"));
                if let Some(schema) = schema
                    && !accepts(document, schema, inner, depth + 1)?
                {
                    return Ok(false);
                }
            }
            true
        }
        ("items" | "prefixItems", Value::Array(items)) if !own.get("items").is_some_and(Value::is_array) => {
            for (index, inner) in items.iter().enumerate() {
                if let Some(schema) = item_of(own, index)
                    && !accepts(document, schema, inner, depth + 1)?
                {
                    return Ok(false);
                }
            }
            true
        }
        ("required" | "properties" | "additionalProperties", other) if !other.is_object() => true,
        ("items" | "prefixItems", other) if !other.is_array() => true,
        ("format", Value::Number(number)) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            match (super::formats::range(said), whole) {
                (Some((low, high)), Some(number)) => (low..=high).contains(&number),
                _ => return Err(format!("the format {said} is not understood for listed values")),
            }
        }
        ("format" | "pattern" | "contentEncoding" | "contentMediaType", other) if !other.is_string() => true,
        _ => return Err(format!("the keyword `{keyword}` is not understood")),
    })
}
