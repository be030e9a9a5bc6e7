//! What a writer may write at one place: several schemas that all hold, without alternatives.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    document::{Document, NotUnderstood},
    types::{Types, of_schema},
    values::compare,
};
use crate::limits;

/// Keywords that are known to name no properties, or to name them where it is looked for.
const UNDERSTOOD: [&str; 22] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "pattern",
    "format",
];

/// Schemas that all hold, each without references and alternatives.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) schemas: Vec<Map<String, Value>>,
}

/// One end of a range.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) value: Value,
    pub(super) exclusive: bool,
}

/// All that a writer may write by some schemas, as alternatives that have no more of them in it at this place. None of them: nothing.
pub(super) fn alternatives(document: &Document<'_>, schemas: &[Value]) -> Result<Vec<Written>, NotUnderstood> {
    let mut all = vec![Written::default()];
    for schema in schemas {
        all = product(&all, &expand(document, schema, 0)?)?;
    }
    all.retain(|written| !written.types().is_empty());
    Ok(all)
}

fn expand(document: &Document<'_>, schema: &Value, depth: usize) -> Result<Vec<Written>, NotUnderstood> {
    if depth > limits::MAX_DEPTH {
        return Err("it refers to itself without end, or too deep".to_owned());
    }
    let map = match schema {
        Value::Bool(true) => return Ok(vec![Written::default()]),
        Value::Bool(false) => return Ok(Vec::new()),
        Value::Object(map) => map,
        _ => return Err("there is something that is no schema".to_owned()),
    };
    let (mut own, others) = document.parts(map)?;
    let mut unions = Vec::new();
    for keyword in ["anyOf", "oneOf"] {
        if let Some(union) = own.remove(keyword) {
            unions.push(union.as_array().ok_or("a union is no list")?.clone());
        }
    }
    let mut all = split_types(own);
    for other in others {
        all = product(&all, &expand(document, &other, depth + 1)?)?;
    }
    for union in unions {
        let mut branches = Vec::new();
        for branch in &union {
            branches.extend(expand(document, branch, depth + 1)?);
        }
        all = product(&all, &branches)?;
    }
    Ok(all)
}

/// A schema of several types as one for each.
fn split_types(own: Map<String, Value>) -> Vec<Written> {
    match own.get("type") {
        Some(Value::Array(types)) => {
            let one = |name: &Value| {
                let mut own = own.clone();
                own.insert("type".to_owned(), name.clone());
                Written { schemas: vec![own] }
            };
            types.iter().map(one).collect()
        }
        _ if own.is_empty() => vec![Written::default()],
        _ => vec![Written { schemas: vec![own] }],
    }
}

fn product(left: &[Written], right: &[Written]) -> Result<Vec<Written>, NotUnderstood> {
    if left.len() * right.len() > limits::MAX_ALTERNATIVES {
        return Err(format!("there are over {} alternatives", limits::MAX_ALTERNATIVES));
    }
    let both = |a: &Written, b: &Written| Written { schemas: a.schemas.iter().chain(&b.schemas).cloned().collect() };
    let all = left.iter().flat_map(|a| right.iter().map(move |b| both(a, b)));
    Ok(all.filter(|written| !written.types().is_empty()).collect())
}

impl Written {
    fn all<'a>(&'a self, keyword: &'a str) -> impl Iterator<Item = &'a Value> {
        self.schemas.iter().filter_map(move |schema| schema.get(keyword))
    }

    /// The types that it may be of.
    pub(super) fn types(&self) -> Types {
        let mut types = self.schemas.iter().fold(Types::ALL, |types, schema| types.and(of_schema(schema)));
        if let Some(values) = self.listed() {
            types = types.and(values.iter().fold(Types::NONE, |types, value| types.or(Types::of(value))));
        }
        types
    }

    /// The only values that it may be, if they are listed.
    fn listed(&self) -> Option<Vec<Value>> {
        let mut lists = Vec::new();
        lists.extend(self.all("const").map(|value| vec![value.clone()]));
        lists.extend(self.all("enum").filter_map(Value::as_array).cloned());
        let first = lists.first()?.clone();
        Some(first.into_iter().filter(|value| lists.iter().all(|list| list.contains(value))).collect())
    }

    /// The only values that it may be, if there are few.
    pub(super) fn values(&self) -> Option<Vec<Value>> {
        let of_types = |types: Types| match types {
            Types::NULL => Some(vec![Value::Null]),
            Types::BOOLEAN => Some(vec![Value::Bool(false), Value::Bool(true)]),
            _ => None,
        };
        let types = self.types();
        match self.listed() {
            Some(values) => Some(values.into_iter().filter(|value| types.has(Types::of(value))).collect()),
            None => of_types(types),
        }
    }

    /// The tightest lower or upper end of numbers.
    pub(super) fn number(&self, inclusive: &str, exclusive: &str, lower: bool) -> Option<Bound> {
        let bounds = self.all(inclusive).map(|value| (value, false));
        let bounds = bounds.chain(self.all(exclusive).map(|value| (value, true)));
        bounds.filter(|(value, _)| value.is_number()).fold(None, |best: Option<Bound>, (value, exclusive)| {
            let tighter = best.as_ref().is_none_or(|best| {
                let order = compare(value, &best.value);
                let order = if lower { order } else { order.reverse() };
                order.is_gt() || (order.is_eq() && exclusive)
            });
            if tighter { Some(Bound { value: value.clone(), exclusive }) } else { best }
        })
    }

    /// The largest of some lower bound on lengths.
    pub(super) fn at_least(&self, keyword: &str) -> u64 {
        self.all(keyword).filter_map(Value::as_u64).max().unwrap_or(0)
    }

    /// The smallest of some upper bound on lengths.
    pub(super) fn at_most(&self, keyword: &str) -> Option<u64> {
        self.all(keyword).filter_map(Value::as_u64).min()
    }

    /// Whether one of the schemas has exactly this value of a keyword.
    pub(super) fn says(&self, keyword: &str, value: &Value) -> bool {
        self.all(keyword).any(|own| own == value)
    }

    /// The values of a keyword.
    pub(super) fn given(&self, keyword: &str) -> Vec<Value> {
        self.all(keyword).cloned().collect()
    }

    /// The properties that are always there.
    pub(super) fn required(&self) -> BTreeSet<String> {
        let lists = self.all("required").filter_map(Value::as_array).flatten();
        lists.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The properties that it names.
    pub(super) fn named(&self) -> BTreeSet<String> {
        let named = self.all("properties").filter_map(Value::as_object).flat_map(Map::keys).cloned();
        named.chain(self.required()).collect()
    }

    /// The schemas of a property that is named somewhere in it.
    pub(super) fn property(&self, name: &str) -> Vec<Value> {
        let of = |schema: &Map<String, Value>| {
            let own = schema.get("properties").and_then(|properties| properties.get(name));
            // A pattern may speak of it in place of what is said of additional ones.
            own.or_else(|| schema.get("additionalProperties").filter(|_| !schema.contains_key("patternProperties")))
                .cloned()
        };
        self.schemas.iter().filter_map(of).collect()
    }

    /// The schemas of properties that are not named; `None` if it writes none. A keyword that is not understood may name any.
    pub(super) fn further(&self) -> Option<Vec<Value>> {
        let mut keywords = self.schemas.iter().flat_map(Map::keys);
        let may_name_others = keywords.any(|keyword| !UNDERSTOOD.contains(&keyword.as_str()));
        let speaks: Vec<Value> = self.given("additionalProperties");
        let names_all = speaks.is_empty() && self.schemas.iter().any(|schema| schema.contains_key("properties"));
        match may_name_others {
            true => Some(Vec::new()),
            false if names_all || speaks.contains(&Value::Bool(false)) => None,
            false => Some(speaks),
        }
    }

    /// The schemas of an item; `None` if there is none in that place.
    pub(super) fn item(&self, index: usize) -> Option<Vec<Value>> {
        if self.at_most("maxItems").is_some_and(|max| index as u64 >= max) {
            return None;
        }
        let schemas: Vec<Value> = self.schemas.iter().filter_map(|schema| item_of(schema, index).cloned()).collect();
        if schemas.contains(&Value::Bool(false)) { None } else { Some(schemas) }
    }

    /// How many items have a schema of their own.
    pub(super) fn prefix(&self) -> usize {
        self.all("prefixItems").filter_map(Value::as_array).map(Vec::len).max().unwrap_or(0)
    }
}

/// The schema of an item by one schema. A list of schemas under `items` is of older drafts, and says nothing here.
pub(super) fn item_of(schema: &Map<String, Value>, index: usize) -> Option<&Value> {
    let prefix = schema.get("prefixItems").and_then(Value::as_array);
    let own = prefix.and_then(|prefix| prefix.get(index));
    own.or_else(|| schema.get("items").filter(|items| !items.is_array()))
}
