//! How domain events become JSON and back.
//!
//! The event type is the serde name of the enum's variant and the payload is the variant's content, written and read
//! without an intermediate value. serde_json does the JSON; what stands here is the one layer around it that takes
//! the enum apart ([`encode`]) and puts it together again ([`decode`]).

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
