//! A schema of some format.

use std::fmt;

use serde_json::Value;

use crate::{error::SchemaError, limits};

/// What a schema is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SchemaFormat {
    /// JSON Schema.
    Json,
    /// Avro.
    Avro,
    /// Protobuf: the text of a `.proto` file.
    Protobuf,
}

impl SchemaFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Json, Self::Avro, Self::Protobuf];

    /// The word that registries have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
        }
    }

    /// Reads what [`as_str`](Self::as_str) gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }

    /// How a file of it ends.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Avro => "avsc",
            Self::Protobuf => "proto",
        }
    }
}

impl fmt::Display for SchemaFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A schema: a text of some format. Equal are those that say the same, whatever their spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    format: SchemaFormat,
    text: String,
}

impl Schema {
    /// A schema as JSON.
    ///
    /// # Errors
    /// [`SchemaError`] if it is neither an object nor a truth value, or too large.
    pub fn json_schema(schema: &Value) -> Result<Self, SchemaError> {
        Self::parse(SchemaFormat::Json, &schema.to_string())
    }

    /// Reads a schema. Its form is looked at as far as this build knows the format.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub fn parse(format: SchemaFormat, text: &str) -> Result<Self, SchemaError> {
        if text.len() > limits::MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLarge { limit: limits::MAX_SCHEMA_BYTES, actual: text.len() });
        }
        let text = match format {
            SchemaFormat::Protobuf => format!("{}\n", text.trim().replace("\r\n", "\n")),
            SchemaFormat::Json | SchemaFormat::Avro => {
                let invalid = |reason: String| SchemaError::Invalid { format, reason };
                let value: Value = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
                if format == SchemaFormat::Json && !(value.is_object() || value.is_boolean()) {
                    return Err(invalid("it should be an object".to_owned()));
                }
                let mut pretty = String::new();
                write_sorted(&value, 0, &mut pretty);
                pretty.push('\n');
                pretty
            }
        };
        let schema = Self { format, text };
        #[cfg(feature = "avro")]
        if format == SchemaFormat::Avro {
            schema.avro()?;
        }
        #[cfg(feature = "protobuf")]
        if format == SchemaFormat::Protobuf {
            schema.descriptor()?;
        }
        Ok(schema)
    }

    /// What it is written in.
    pub fn format(&self) -> SchemaFormat {
        self.format
    }

    /// Its text; of JSON with keys in order and spaces, to be read and compared.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A number that is another one for almost every other schema, to see changes by.
    pub fn fingerprint(&self) -> u64 {
        // FNV-1a: for changes by mistake, not by malice.
        self.text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }

    /// It as JSON.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`] for Protobuf.
    pub fn json(&self) -> Result<Value, SchemaError> {
        serde_json::from_str(&self.text)
            .map_err(|error| SchemaError::Invalid { format: self.format, reason: error.to_string() })
    }

    #[cfg(feature = "avro")]
    pub(crate) fn avro(&self) -> Result<apache_avro::Schema, SchemaError> {
        apache_avro::Schema::parse_str(&self.text)
            .map_err(|error| SchemaError::Invalid { format: self.format, reason: error.to_string() })
    }

    #[cfg(feature = "protobuf")]
    pub(crate) fn descriptor(&self) -> Result<prost_types::FileDescriptorProto, SchemaError> {
        protox_parse::parse("schema.proto", &self.text)
            .map_err(|error| SchemaError::Invalid { format: self.format, reason: error.to_string() })
    }
}

/// JSON with the keys of objects in order and short lists on one line.
fn write_sorted(value: &Value, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(out, depth + 1);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                if let Some(inner) = map.get(key) {
                    write_sorted(inner, depth + 1, out);
                }
            }
            line(out, depth);
            out.push('}');
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(out, depth + 1);
                write_sorted(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            out.push_str(&format!("[{}]", items.join(", ")));
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_that_say_the_same_are_equal() {
        let one = Schema::parse(SchemaFormat::Json, r#"{"type":"object","properties":{"b":{},"a":{"enum":[1,"x"]}}}"#);
        let same = json!({"properties": {"a": {"enum": [1, "x"]}, "b": {}}, "type": "object"});
        let (one, same) = (one.unwrap(), Schema::json_schema(&same).unwrap());
        assert_eq!(one, same);
        assert_eq!(one.fingerprint(), same.fingerprint());
        assert_eq!(one.json().unwrap(), same.json().unwrap());
        assert!(one.text().contains("\"enum\": [1, \"x\"]"));
        assert_ne!(one.fingerprint(), Schema::json_schema(&json!({})).unwrap().fingerprint());
    }

    #[test]
    fn what_is_no_schema_says_why() {
        let reason = |text: &str| Schema::parse(SchemaFormat::Json, text).unwrap_err().to_string();
        assert!(reason("{").contains("no JSON schema"));
        assert!(reason("[]").contains("object"));
        assert!(reason(&" ".repeat(limits::MAX_SCHEMA_BYTES + 1)).contains("at most"));
    }
}
