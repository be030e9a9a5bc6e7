//! How content is written into messages, and read out of them.

use std::sync::Arc;

use es_core::BoxError;
use es_messaging::{Message, MessageBuilder};
use serde::{Serialize, de::DeserializeOwned};

use crate::{framing::FrameError, registry::SchemaId};

/// Why content could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It cannot be written in this format.
    #[error("it cannot be written as {content_type}: {source}")]
    Encode {
        /// The format.
        content_type: &'static str,
        /// What the encoder says.
        source: BoxError,
    },
    /// It is not what its format and schema say.
    #[error("it cannot be read as {content_type}: {source}")]
    Decode {
        /// The format.
        content_type: &'static str,
        /// What the decoder says.
        source: BoxError,
    },
    /// The message has another type of content.
    #[error("the content is {actual:?}, and {expected} is read here")]
    ContentType {
        /// What is read.
        expected: &'static str,
        /// What it says it is.
        actual: String,
    },
    /// It is not framed as it should be.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// It was written by a schema that is not known here: learn it from the registry.
    #[error("it was written by the schema {id}, which is not known here")]
    UnknownSchema {
        /// Which one.
        id: SchemaId,
    },
    /// It was written by a schema that is not known here.
    #[error("it was written by the schema {uri:?}, which is not known here")]
    UnknownDataSchema {
        /// Which one.
        uri: String,
    },
    /// The frame is of another message than is read here.
    #[error("it is the message {actual:?} of its schema, and {expected:?} is read here")]
    OtherMessage {
        /// The message that is read.
        expected: Vec<u32>,
        /// The message that it is.
        actual: Vec<u32>,
    },
}

/// A format of content: how values of a type become bytes, and bytes values.
pub trait PayloadFormat<T>: Send + Sync {
    /// The type of content, as messages name it.
    fn content_type(&self) -> &'static str;

    /// The schema, as messages name it.
    fn data_schema(&self) -> Option<&str> {
        None
    }

    /// A value as bytes.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn encode(&self, value: &T) -> Result<Vec<u8>, PayloadError>;

    /// The value in a message's content.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn decode(&self, message: &Message) -> Result<T, PayloadError>;

    /// Writes a value into a message: its content, what type that has, and which schema.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn write(&self, builder: MessageBuilder, value: &T) -> Result<MessageBuilder, PayloadError> {
        let builder = builder.data(self.content_type(), self.encode(value)?);
        Ok(match self.data_schema() {
            Some(schema) => builder.data_schema(schema),
            None => builder,
        })
    }

    /// Reads a value out of a message that says it has this format.
    ///
    /// # Errors
    /// [`PayloadError`].
    fn read(&self, message: &Message) -> Result<T, PayloadError> {
        let given = message.content_type().split(';').next().unwrap_or_default().trim();
        let is_json = self.content_type() == JSON && message.is_json();
        if !is_json && !given.eq_ignore_ascii_case(self.content_type()) {
            let actual = given.to_owned();
            return Err(PayloadError::ContentType { expected: self.content_type(), actual });
        }
        self.decode(message)
    }
}

const JSON: &str = "application/json";

/// JSON: what messages hold if nothing else is said.
#[derive(Debug, Clone, Default)]
pub struct JsonFormat {
    data_schema: Option<Arc<str>>,
}

impl JsonFormat {
    /// JSON, without the name of a schema.
    pub fn new() -> Self {
        Self::default()
    }

    /// JSON of a schema, by its URI.
    pub fn of_schema(uri: &str) -> Self {
        Self { data_schema: Some(uri.into()) }
    }
}

impl<T: Serialize + DeserializeOwned> PayloadFormat<T> for JsonFormat {
    fn content_type(&self) -> &'static str {
        JSON
    }

    fn data_schema(&self) -> Option<&str> {
        self.data_schema.as_deref()
    }

    fn encode(&self, value: &T) -> Result<Vec<u8>, PayloadError> {
        serde_json::to_vec(value).map_err(|error| PayloadError::Encode { content_type: JSON, source: error.into() })
    }

    fn decode(&self, message: &Message) -> Result<T, PayloadError> {
        message.json().map_err(|error| {
            // serde_json's text may show a value.
            let place = format!("line {}, column {}", error.line(), error.column());
            PayloadError::Decode { content_type: JSON, source: place.into() }
        })
    }
}
