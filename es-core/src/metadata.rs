//! Information about an event besides its payload.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    codec::redact::without_content,
    error::{InvalidName, NameProblem, StoreError},
    limits,
    name::check_text,
};

/// Information about an event besides its payload: who caused it, why, and from where. The common fields are typed, and
/// applications can add their own. Cloning is cheap, because the events of one command share their metadata.
///
/// ```
/// use es_core::Metadata;
/// let metadata = Metadata::new().with_actor("teller-7").with_extra("branch", "Prague");
/// assert_eq!(metadata.actor(), Some("teller-7"));
/// ```
#[derive(Clone, Default)]
pub struct Metadata {
    /// `None` if all fields are empty.
    shared: Option<Arc<Shared>>,
}

#[derive(Default)]
struct Shared {
    fields: Fields,
    /// The JSON text, after it was first requested.
    json: OnceLock<String>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema_version: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, serde_json::Value>,
}

static EMPTY: Fields = Fields {
    correlation: None,
    causation: None,
    actor: None,
    source: None,
    trace_parent: None,
    schema_version: None,
    extra: BTreeMap::new(),
};

/// A clone is made to be changed, so it does not keep the JSON text.
impl Clone for Shared {
    fn clone(&self) -> Self {
        Self { fields: self.fields.clone(), json: OnceLock::new() }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.fields(), f)
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || self.fields() == other.fields()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::deserialize(deserializer).map(Self::from)
    }
}

impl From<Fields> for Metadata {
    fn from(fields: Fields) -> Self {
        if fields == EMPTY {
            Self::new()
        } else {
            Self { shared: Some(Arc::new(Shared { fields, json: OnceLock::new() })) }
        }
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
            self.change().$field = Some($field.into());
            self
        }
    };
}

impl Metadata {
    /// Creates empty metadata.
    pub fn new() -> Self {
        Self::default()
    }

    text_field!(correlation, with_correlation, "id shared by everything that one request or process set off");
    text_field!(causation, with_causation, "id of the command or event that directly led to this event");
    text_field!(actor, with_actor, "person or service on whose behalf it happened");
    text_field!(source, with_source, "program or system that recorded it");
    text_field!(trace_parent, with_trace_parent, "W3C trace context (`traceparent`)");

    /// Returns the [schema version](crate::DomainEvent::SCHEMA_VERSION) in which the event was written (by default,
    /// 1).
    pub fn schema_version(&self) -> u32 {
        self.fields().schema_version.unwrap_or(1)
    }

    /// Sets the schema version. Repositories and [`NewEvent::of`](crate::NewEvent::of) do this automatically; use it
    /// for events that are built by hand.
    #[must_use]
    pub fn with_schema_version(mut self, version: u32) -> Self {
        let version = (version != 1).then_some(version);
        if self.fields().schema_version != version {
            self.change().schema_version = version;
        }
        self
    }

    /// Returns all other fields, by name.
    pub fn extra(&self) -> &BTreeMap<String, serde_json::Value> {
        &self.fields().extra
    }

    /// Adds a field of the application's own.
    #[must_use]
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.change().extra.insert(name.into(), value.into());
        self
    }

    /// Returns the JSON object that stores keep. It is written once for all values that share this metadata.
    ///
    /// # Errors
    /// Returns serde_json's error, which cannot happen: all fields are JSON already.
    pub fn json(&self) -> Result<&str, serde_json::Error> {
        let Some(shared) = &self.shared else { return Ok("{}") };
        if let Some(json) = shared.json.get() {
            return Ok(json);
        }
        let json = serde_json::to_string(&shared.fields)?;
        Ok(shared.json.get_or_init(|| json))
    }

    /// Returns [`json`](Self::json) as an owned string.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        self.json().map(str::to_owned)
    }

    /// Returns whether both share the same memory, and are therefore equal without a comparison.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.shared, &other.shared) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }

    fn fields(&self) -> &Fields {
        self.shared.as_ref().map_or(&EMPTY, |shared| &shared.fields)
    }

    fn change(&mut self) -> &mut Fields {
        let shared = Arc::make_mut(self.shared.get_or_insert_default());
        shared.json = OnceLock::new();
        &mut shared.fields
    }

    /// Reads the JSON object that [`to_json`](Self::to_json) wrote. Fields of newer versions are ignored.
    ///
    /// # Errors
    /// Returns serde_json's error, without the content.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json).map_err(|error| without_content(&error))
    }

    /// Checks sizes and characters, and returns the size as JSON in bytes.
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
            check_value(name, value, 0)?;
        }
        // The values are plain JSON already, so writing them cannot fail.
        let bytes = self.json().map_or(0, str::len);
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

/// Checks a value that is nested in `depth` arrays and objects.
fn check_value(name: &str, value: &serde_json::Value, depth: usize) -> Result<(), StoreError> {
    use serde_json::Value;
    let check_text = |text: &str| match text.find('\0') {
        None => Ok(()),
        Some(at) => Err(InvalidName::new("metadata value of", name, NameProblem::ControlCharacter { at })),
    };
    if depth > limits::MAX_JSON_DEPTH {
        return Err(StoreError::LimitExceeded {
            what: "levels of arrays and objects in a value of metadata",
            limit: limits::MAX_JSON_DEPTH as u64,
            actual: depth as u64,
        });
    }
    match value {
        Value::String(text) => Ok(check_text(text)?),
        Value::Array(values) => values.iter().try_for_each(|value| check_value(name, value, depth + 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            check_text(key)?;
            check_value(name, value, depth + 1)
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
    fn a_copy_that_is_changed_leaves_the_first_one_as_it_was() {
        let first = Metadata::new().with_actor("ann");
        assert_eq!(first.json().unwrap(), r#"{"actor":"ann"}"#);
        let second = first.clone().with_actor("bob");
        assert_eq!(second.json().unwrap(), r#"{"actor":"bob"}"#);
        let third = second.with_source("till");
        assert_eq!(third.to_json().unwrap(), r#"{"actor":"bob","source":"till"}"#);
        assert_eq!(first.json().unwrap(), r#"{"actor":"ann"}"#);
        assert_eq!(Metadata::new().json().unwrap(), Metadata::from_json("{}").unwrap().json().unwrap());
        assert!(first.clone().is_shared_with(&first) && first != third && Metadata::new() != first);
    }

    #[test]
    fn a_control_character_or_too_much_metadata_is_refused() {
        assert!(matches!(Metadata::new().with_actor("a\0b").check(), Err(StoreError::InvalidName(_))));
        assert!(matches!(Metadata::new().with_extra("x", "a\0b").check(), Err(StoreError::InvalidName(_))));
        let large = Metadata::new().with_extra("x", "y".repeat(limits::MAX_METADATA_BYTES));
        assert!(matches!(large.check(), Err(StoreError::LimitExceeded { .. })));
    }
}
