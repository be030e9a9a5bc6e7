//! Schemas of messages: made from types, kept in a registry, compared when they change.
//!
//! - A [`SchemaSet`] has the JSON Schemas of an application's messages and events (feature `json-schema`), a
//!   [`SchemaValidator`] checks messages by them.
//! - A [`SchemaRegistry`] keeps versions: [`FileRegistry`] in a folder of the repository, `ConfluentRegistry` by HTTP (feature
//!   `registry-http`).
//! - [`Compatibility`] says whether a changed schema goes with those before it.
//! - A [`PayloadFormat`] writes and reads content: JSON, Avro (feature `avro`), Protobuf (feature `protobuf`).

#[cfg(feature = "avro")]
mod avro_bounds;
#[cfg(feature = "avro")]
mod avro_format;
pub mod compatibility;
#[cfg(feature = "registry-http")]
mod confluent;
mod error;
mod file_registry;
pub mod framing;
pub mod limits;
mod payload;
#[cfg(feature = "protobuf")]
mod protobuf_format;
mod registry;
mod schema;
#[cfg(feature = "json-schema")]
mod schema_set;
#[cfg(feature = "json-schema")]
mod validator;

#[cfg(feature = "avro")]
pub use avro_format::AvroFormat;
pub use compatibility::{Compatibility, Finding, Report, can_read};
#[cfg(feature = "registry-http")]
pub use confluent::{ConfluentConfig, ConfluentRegistry};
pub use error::{RegistryError, SchemaError};
pub use file_registry::{Change, FileRegistry};
pub use framing::FrameError;
pub use payload::{JsonFormat, PayloadError, PayloadFormat};
#[cfg(feature = "protobuf")]
pub use protobuf_format::ProtobufFormat;
pub use registry::{Registered, SchemaId, SchemaRegistry, SchemaVersion};
pub use schema::{Schema, SchemaFormat};
#[cfg(feature = "json-schema")]
pub use schema_set::SchemaSet;
#[cfg(feature = "json-schema")]
pub use validator::{SchemaValidator, SchemaViolation};
