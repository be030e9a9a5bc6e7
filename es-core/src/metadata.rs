//! What is known about an event besides its payload.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    error::{InvalidName, StoreError},
    limits,
    name::check_text,
};

/// What is known about an event besides its payload: who, why, from where; typed for what everybody needs and
/// open for the rest.
///
/// ```
/// use es_core::Metadata;
/// let metadata = Metadata::new().with_actor("teller-7").with_extra("branch", "Prague");
/// assert_eq!(metadata.actor(), Some("teller-7"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Shared by the copies that a store, a page and a handler hold of one event. None is the same as empty fields.
    fields: Option<Arc<Fields>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    causation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_parent: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, serde_json::Value>,
}

/// The fields of metadata that says nothing.
static NO_FIELDS: Fields = Fields {
    correlation: None,
    causation: None,
    actor: None,
    source: None,
    trace_parent: None,
    extra: BTreeMap::new(),
};

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        Ok(Self { fields: (fields != NO_FIELDS).then(|| Arc::new(fields)) })
    }
}

macro_rules! text_field {
    ($field:ident, $with:ident, $doc:literal) => {
        #[doc = concat!("The ", $doc, ", if known.")]
        pub fn $field(&self) -> Option<&str> {
            self.fields().$field.as_deref()
        }

        #[doc = concat!("Sets the ", $doc, ".")]
        #[must_use]
        pub fn $with(mut self, $field: impl Into<String>) -> Self {
            self.fields_mut().$field = Some($field.into());
            self
        }
    };
}

impl Metadata {
    /// Metadata that says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn fields(&self) -> &Fields {
        self.fields.as_deref().unwrap_or(&NO_FIELDS)
    }

    fn fields_mut(&mut self) -> &mut Fields {
        Arc::make_mut(self.fields.get_or_insert_default())
    }

    text_field!(correlation, with_correlation, "id shared by everything that one request or process set off");
    text_field!(causation, with_causation, "id of the command or event that directly led to this event");
    text_field!(actor, with_actor, "person or service on whose behalf it happened");
    text_field!(source, with_source, "program or system that recorded it");
    text_field!(trace_parent, with_trace_parent, "W3C trace context (`traceparent`)");

    /// Everything else, by name.
    pub fn extra(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.fields().extra
    }

    /// Adds something of the application's own.
    #[must_use]
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.fields_mut().extra.insert(name.into(), value.into());
        self
    }

    /// The JSON object that stores keep.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads the JSON object that [`to_json`](Self::to_json) wrote. Fields of newer versions are ignored.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Checks sizes and characters; gives the size as JSON in bytes.
    pub(crate) fn check(&self) -> Result<usize, StoreError> {
        let fields = self.fields();
        let texts = [
            ("correlation", &fields.correlation),
            ("causation", &fields.causation),
            ("actor", &fields.actor),
            ("source", &fields.source),
            ("trace parent", &fields.trace_parent),
        ];
        for (what, text) in texts {
            if let Some(text) = text {
                check_text(what, text, limits::MAX_METADATA_TEXT_BYTES)?;
            }
        }
        for (name, value) in &fields.extra {
            check_text("metadata name", name, limits::MAX_METADATA_TEXT_BYTES)?;
            check_no_nul(name, value)?;
        }
        // The values are plain JSON already, so writing them cannot fail.
        let bytes = self.to_json().map_or(0, |json| json.len());
        if bytes > limits::MAX_METADATA_BYTES {
            return Err(StoreError::LimitExceeded {
                what: "bytes of an event's metadata",
                limit: limits::MAX_METADATA_BYTES as u64,
                actual: bytes as u64,
            });
        }
        Ok(bytes)
    }
}

fn check_no_nul(name: &str, value: &serde_json::Value) -> Result<(), InvalidName> {
    use serde_json::Value;
    let refuse = |at| InvalidName::new("metadata value of", name, crate::error::NameProblem::ControlCharacter { at });
    match value {
        Value::String(text) => text.find('\0').map_or(Ok(()), |at| Err(refuse(at))),
        Value::Array(values) => values.iter().try_for_each(|value| check_no_nul(name, value)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            key.find('\0').map_or(Ok(()), |at| Err(refuse(at)))?;
            check_no_nul(name, value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_round_trips_and_leaves_out_what_is_not_known() {
        let metadata = Metadata::new().with_actor("ann").with_extra("n", 1);
        let json = metadata.to_json().unwrap();
        assert_eq!(json, r#"{"actor":"ann","extra":{"n":1}}"#);
        assert_eq!(Metadata::from_json(&json).unwrap(), metadata);
        assert_eq!(Metadata::from_json(r#"{"added_in_a_newer_version":1}"#).unwrap(), Metadata::new());
    }

    #[test]
    fn a_control_character_or_too_much_metadata_is_refused() {
        assert!(matches!(Metadata::new().with_actor("a\0b").check(), Err(StoreError::InvalidName(_))));
        assert!(matches!(Metadata::new().with_extra("x", "a\0b").check(), Err(StoreError::InvalidName(_))));
        let large = Metadata::new().with_extra("x", "y".repeat(limits::MAX_METADATA_BYTES));
        assert!(matches!(large.check(), Err(StoreError::LimitExceeded { .. })));
    }
}
