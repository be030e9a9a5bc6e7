//! Checks messages by their schemas.

use std::{collections::HashMap, fmt, sync::Arc};

use es_messaging::{Invalid, Message, MessageValidator};
use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use crate::{
    error::SchemaError,
    limits,
    schema::{Schema, SchemaFormat},
    schema_set::SchemaSet,
};

/// What is wrong with a message, by its schema. Shows where, and never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaViolation {
    /// Its content breaks its schema.
    #[error("the content of a message of type {message_type:?} breaks its schema: {}", .places.join("; "))]
    Content {
        /// Its type.
        message_type: String,
        /// Where and how, at most [`limits::MAX_VIOLATIONS`].
        places: Vec<String>,
    },
    /// Its content is not JSON.
    #[error("the content of a message of type {message_type:?} is not JSON: {reason}")]
    NotJson {
        /// Its type.
        message_type: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No schema is known for it, and one is asked for.
    #[error("no schema is known for messages of type {message_type:?}{}", .data_schema.as_ref().map(|uri| format!(" with the schema {uri:?}")).unwrap_or_default())]
    Unknown {
        /// Its type.
        message_type: String,
        /// The schema that it names.
        data_schema: Option<String>,
    },
}

/// Checks messages by the JSON Schemas of their types, and of their `dataschema`. Cloning is cheap.
#[derive(Clone, Default)]
pub struct SchemaValidator {
    by_type: HashMap<String, Arc<Validator>>,
    by_data_schema: HashMap<String, Arc<Validator>>,
    strict: bool,
}

impl SchemaValidator {
    /// Checks messages of the types of a set. Others pass.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] for a schema that cannot be used, or that refers to one elsewhere: nothing is fetched.
    pub fn new(set: &SchemaSet) -> Result<Self, SchemaError> {
        let mut validator = Self::default();
        for (message_type, schema) in set.iter().filter(|(_, schema)| schema.format() == SchemaFormat::Json) {
            validator.by_type.insert(message_type.to_owned(), compile(schema)?);
        }
        Ok(validator)
    }

    /// The same, checking messages whose `dataschema` is this by another schema than that of their type.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] for a schema that cannot be used.
    pub fn data_schema(mut self, uri: impl Into<String>, schema: &Schema) -> Result<Self, SchemaError> {
        self.by_data_schema.insert(uri.into(), compile(schema)?);
        Ok(self)
    }

    /// The same, refusing messages that no schema is known for, and JSON Schemas' messages that are of another content type.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Checks a message.
    ///
    /// # Errors
    /// [`SchemaViolation`] says where and what, and shows no value.
    pub fn check(&self, message: &Message) -> Result<(), SchemaViolation> {
        let by_schema = message.data_schema().and_then(|uri| self.by_data_schema.get(uri));
        let message_type = || message.message_type().to_owned();
        let Some(validator) = by_schema.or_else(|| self.by_type.get(message.message_type())) else {
            let data_schema = message.data_schema().map(str::to_owned);
            let unknown = SchemaViolation::Unknown { message_type: message_type(), data_schema };
            return if self.strict { Err(unknown) } else { Ok(()) };
        };
        if !message.is_json() {
            // Another format has its own checks when it is decoded.
            let reason = format!("it says that it is {}", message.content_type());
            let other = SchemaViolation::NotJson { message_type: message_type(), reason };
            return if self.strict { Err(other) } else { Ok(()) };
        }
        let document: Value = serde_json::from_slice(message.data()).map_err(|error| SchemaViolation::NotJson {
            message_type: message_type(),
            reason: format!("line {}, column {}", error.line(), error.column()),
        })?;
        let errors = validator.iter_errors(&document).take(limits::MAX_VIOLATIONS);
        let places: Vec<String> = errors
            .map(|error| {
                let path = error.instance_path().to_string();
                format!("{}: {}", if path.is_empty() { "/" } else { &path }, problem(&error))
            })
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        Err(SchemaViolation::Content { message_type: message_type(), places })
    }
}

/// What is wrong, without values, and without the names of properties that the schema does not know: they are content too.
fn problem(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            format!("{} properties that its schema does not have", unexpected.len())
        }
        _ => error.masked().to_string(),
    }
}

impl MessageValidator for SchemaValidator {
    fn validate(&self, message: &Message) -> Result<(), Invalid> {
        self.check(message).map_err(|violation| Invalid(violation.to_string()))
    }
}

impl fmt::Debug for SchemaValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (types, schemas) = (self.by_type.len(), self.by_data_schema.len());
        write!(f, "SchemaValidator({types} types, {schemas} data schemas, strict: {})", self.strict)
    }
}

fn compile(schema: &Schema) -> Result<Arc<Validator>, SchemaError> {
    let document = schema.json()?;
    // Patterns without lookaround take linear time, whatever a message holds.
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    let validator = options.build(&document).map_err(|error| SchemaError::Invalid {
        format: schema.format(),
        reason: format!("{}: {error}", error.instance_path()),
    })?;
    Ok(Arc::new(validator))
}
