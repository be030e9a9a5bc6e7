//! Schemas by the types of messages, made from types of Rust.

use std::collections::{BTreeMap, BTreeSet};

use es_core::DomainEvent;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use crate::{error::SchemaError, schema::Schema};

/// The schemas of an application's messages, by type.
///
/// ```
/// use es_messaging_schemas::SchemaSet;
/// # use serde::{Deserialize, Serialize};
/// #[derive(schemars::JsonSchema, Serialize)]
/// struct OrderPlaced {
///     cents: i64,
/// }
/// #[derive(schemars::JsonSchema, Serialize, Deserialize)]
/// enum OrderEvent {
///     Placed { cents: i64 },
///     Paid,
/// }
/// # impl es_core::DomainEvent for OrderEvent { const CATEGORY: &'static str = "order"; }
///
/// let schemas = SchemaSet::new().payload::<OrderPlaced>("shop.order.placed")?.events::<OrderEvent>()?;
/// assert_eq!(schemas.types().collect::<Vec<_>>(), ["order.Paid", "order.Placed", "shop.order.placed"]);
/// # Ok::<(), es_messaging_schemas::SchemaError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SchemaSet {
    schemas: BTreeMap<String, Schema>,
}

impl SchemaSet {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The schema of what messages of a type hold.
    ///
    /// # Errors
    /// [`SchemaError::Twice`].
    pub fn payload<T: JsonSchema>(self, message_type: &str) -> Result<Self, SchemaError> {
        let schema = schemars::schema_for!(T);
        self.schema(message_type, Schema::json_schema(schema.as_value())?)
    }

    /// The schemas of a domain event's payloads, as they are stored, under `{category}.{type}`.
    ///
    /// # Errors
    /// [`SchemaError::NotAnEvent`] for an enum that is not in serde's default form.
    pub fn events<E: DomainEvent + JsonSchema>(self) -> Result<Self, SchemaError> {
        self.events_as::<E>(|event_type| format!("{}.{event_type}", E::CATEGORY))
    }

    /// The schemas of a domain event's payloads, under names of one's own, made of the types of the events.
    ///
    /// # Errors
    /// [`SchemaError::NotAnEvent`] for an enum that is not in serde's default form.
    pub fn events_as<E: JsonSchema>(mut self, name: impl Fn(&str) -> String) -> Result<Self, SchemaError> {
        let schema = schemars::schema_for!(E);
        for (event_type, payload) in payloads(schema.as_value(), std::any::type_name::<E>())? {
            self = self.schema(&name(&event_type), Schema::json_schema(&payload)?)?;
        }
        Ok(self)
    }

    /// A schema from elsewhere.
    ///
    /// # Errors
    /// [`SchemaError::Twice`].
    pub fn schema(mut self, message_type: &str, schema: Schema) -> Result<Self, SchemaError> {
        if self.schemas.insert(message_type.to_owned(), schema).is_some() {
            return Err(SchemaError::Twice { name: message_type.to_owned() });
        }
        Ok(self)
    }

    /// The types, in order.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.schemas.keys().map(String::as_str)
    }

    /// The schema of a type.
    pub fn get(&self, message_type: &str) -> Option<&Schema> {
        self.schemas.get(message_type)
    }

    /// All of them, in the order of their types.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.schemas.iter().map(|(message_type, schema)| (message_type.as_str(), schema))
    }
}

/// The payload of each variant of an externally tagged enum.
fn payloads(schema: &Value, type_name: &'static str) -> Result<Vec<(String, Value)>, SchemaError> {
    let wrong = |reason: &str| SchemaError::NotAnEvent { type_name, reason: reason.to_owned() };
    let variants = match (schema.get("oneOf"), schema.get("enum")) {
        (Some(Value::Array(variants)), _) => variants.clone(),
        // Unit variants alone.
        (_, Some(Value::Array(_))) => vec![schema.clone()],
        _ => return Err(wrong("it has no variants")),
    };
    let mut payloads = Vec::new();
    for variant in variants {
        let names: Vec<String> = match (variant.get("const"), variant.get("enum")) {
            (Some(Value::String(name)), _) => vec![name.clone()],
            (_, Some(Value::Array(names))) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if !names.is_empty() {
            // Stored as `{}`.
            let unit = |name: String| (name.clone(), json!({"title": name, "type": "object", "properties": {}}));
            payloads.extend(names.into_iter().map(unit));
            continue;
        }
        let properties = variant.get("properties").and_then(Value::as_object);
        let only: Option<(&String, &Value)> =
            properties.filter(|properties| properties.len() == 1).and_then(|properties| properties.iter().next());
        let Some((name, payload)) = only else {
            return Err(wrong("a variant is not tagged from outside"));
        };
        payloads.push((name.clone(), payload.clone()));
    }
    let definitions = schema.get("$defs").and_then(Value::as_object);
    let draft = schema.get("$schema");
    for (name, payload) in &mut payloads {
        let map = match payload {
            Value::Object(map) => map,
            // A payload that may be anything.
            other => {
                *other = json!({});
                other.as_object_mut().ok_or_else(|| wrong("a payload has no schema"))?
            }
        };
        map.entry("title").or_insert_with(|| Value::from(name.as_str()));
        if let Some(draft) = draft {
            map.insert("$schema".to_owned(), draft.clone());
        }
        let used = definitions.map(|definitions| used(&Value::Object(map.clone()), definitions)).unwrap_or_default();
        if !used.is_empty() {
            map.insert("$defs".to_owned(), Value::Object(used));
        }
    }
    Ok(payloads)
}

/// The definitions that a schema refers to, and those that these refer to.
fn used(schema: &Value, definitions: &Map<String, Value>) -> Map<String, Value> {
    let (mut found, mut open) = (BTreeSet::new(), BTreeSet::new());
    references(schema, &mut open);
    while let Some(name) = open.pop_first() {
        if let Some(definition) = definitions.get(&name)
            && found.insert(name)
        {
            references(definition, &mut open);
        }
        open.retain(|name| !found.contains(name));
    }
    found.into_iter().filter_map(|name| definitions.get(&name).map(|schema| (name, schema.clone()))).collect()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let reference = map.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix("#/$defs/"));
            found.extend(reference.map(|name| name.replace("~1", "/").replace("~0", "~")));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
