//! Schemas from types, registries, formats, and what the check of compatibility promises.
#![cfg(all(feature = "json-schema", feature = "avro", feature = "protobuf", feature = "registry-http"))]

mod confluent;
mod files;
mod formats;
mod generated;
mod promises;
mod server;
mod validation;
