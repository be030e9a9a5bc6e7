//! Protobuf as content of messages.

use std::{fmt, marker::PhantomData};

use es_messaging::Message;
use prost::Message as ProstMessage;

use crate::{
    framing::{frame_protobuf, unframe_protobuf},
    limits,
    payload::{PayloadError, PayloadFormat},
    registry::SchemaId,
};

const PROTOBUF: &str = "application/protobuf";

/// Protobuf, of a message type that prost made or derived.
pub struct ProtobufFormat<T> {
    data_schema: Option<String>,
    framed: Option<(SchemaId, Vec<u32>)>,
    of: PhantomData<fn(T) -> T>,
}

impl<T: ProstMessage + Default> ProtobufFormat<T> {
    /// Protobuf of a schema that messages name by a URI.
    pub fn new(uri: &str) -> Self {
        Self { data_schema: Some(uri.to_owned()), framed: None, of: PhantomData }
    }

    /// Protobuf of a schema that a registry knows by an id, in Confluent's frame. The indexes say which message of the schema's file it is;
    /// `[0]` is the first one. What is read may be of any schema of the registry, as long as it is the same message.
    pub fn framed(id: SchemaId, indexes: impl Into<Vec<u32>>) -> Self {
        Self { data_schema: None, framed: Some((id, indexes.into())), of: PhantomData }
    }
}

impl<T: ProstMessage + Default> PayloadFormat<T> for ProtobufFormat<T> {
    fn content_type(&self) -> &'static str {
        PROTOBUF
    }

    fn data_schema(&self) -> Option<&str> {
        self.data_schema.as_deref()
    }

    fn encode(&self, value: &T) -> Result<Vec<u8>, PayloadError> {
        let content = value.encode_to_vec();
        match &self.framed {
            Some((id, indexes)) => Ok(frame_protobuf(*id, indexes, &content)?),
            None => Ok(content),
        }
    }

    fn decode(&self, message: &Message) -> Result<T, PayloadError> {
        let content = match &self.framed {
            Some((_, expected)) => {
                let (_, actual, content) = unframe_protobuf(message.data())?;
                if actual != *expected {
                    return Err(PayloadError::OtherMessage { expected: expected.clone(), actual });
                }
                content
            }
            None => message.data(),
        };
        if content.len() > limits::MAX_PROTOBUF_BYTES {
            let source = format!("it has {} bytes, at most {}", content.len(), limits::MAX_PROTOBUF_BYTES).into();
            return Err(PayloadError::Decode { content_type: PROTOBUF, source });
        }
        T::decode(content).map_err(|error| PayloadError::Decode { content_type: PROTOBUF, source: error.into() })
    }
}

impl<T> fmt::Debug for ProtobufFormat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtobufFormat({:?}, {:?})", self.data_schema, self.framed)
    }
}
