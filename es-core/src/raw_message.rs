//! A message as bytes and headers.

use std::{collections::BTreeMap, fmt};

use crate::{digest::digest_of, error::StoreError, limits};

/// A message as bytes with headers, whatever they mean: what an outbox keeps until it is published, and what is kept of one that
/// could not be handled.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawMessage {
    /// Its headers, by name. The type of the content is the header `content-type`.
    pub headers: BTreeMap<String, String>,
    /// Its content.
    pub body: Vec<u8>,
}

impl RawMessage {
    /// A message of some type of content.
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = BTreeMap::from([("content-type".to_owned(), content_type.to_owned())]);
        Self { headers, body: body.into() }
    }

    /// One of its headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Bytes of the body and of the headers.
    pub fn size(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.body.len()
    }

    /// Returns the SHA-256 of its headers and its body as hexadecimal digits: two different messages have different digests.
    pub fn digest(&self) -> String {
        let headers = self.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        digest_of(headers.chain([&*self.body]))
    }

    /// Checks its size. Stores call it.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_RAW_MESSAGE_BYTES`].
    pub fn check(&self) -> Result<(), StoreError> {
        let (limit, actual) = (limits::MAX_RAW_MESSAGE_BYTES as u64, self.size() as u64);
        if actual > limit {
            return Err(StoreError::LimitExceeded { what: "bytes of a message", limit, actual });
        }
        Ok(())
    }
}

impl fmt::Debug for RawMessage {
    /// Shows sizes alone: a message may be private and has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawMessage({} headers, {} bytes)", self.headers.len(), self.body.len())
    }
}
