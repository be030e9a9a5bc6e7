//! How domain events become JSON and back.
//!
//! The event type is the serde name of the enum's variant, and the payload is the variant's content. Both are written
//! and read without an intermediate value. serde_json handles the JSON. This module is the one layer around it, which
//! splits the enum ([`encode`]) and rebuilds it ([`decode`]).

pub(crate) mod decode;
pub(crate) mod decoder;
pub(crate) mod encode;
pub(crate) mod fit;
pub(crate) mod json_text;
pub(crate) mod json_value;
pub(crate) mod outline;
pub(crate) mod read_back;
pub(crate) mod redact;
mod storable;

#[cfg(test)]
mod tests;
