//! Messages as bytes and headers.

use std::{collections::BTreeMap, fmt};

use crate::{digest::digest_of, error::StoreError, limits};

/// A message as bytes with headers, whatever they mean. An outbox keeps messages in this form until they are published,
/// and so does the storage for messages that could not be handled.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawMessage {
    /// The headers, by name. The content type is in the header `content-type`.
    pub headers: BTreeMap<String, String>,
    /// The content.
    pub body: Vec<u8>,
}

impl RawMessage {
    /// Creates a message with a content type.
    pub fn new(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = BTreeMap::from([("content-type".to_owned(), content_type.to_owned())]);
        Self { headers, body: body.into() }
    }

    /// Returns one of the headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Returns the size of the body and the headers, in bytes.
    pub fn size(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.body.len()
    }

    /// Returns the SHA-256 of the headers and the body as hexadecimal digits. Two different messages have different
    /// digests.
    pub fn digest(&self) -> String {
        let headers = self.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        digest_of(headers.chain([&*self.body]))
    }

    /// Checks the size. Stores call it.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_RAW_MESSAGE_BYTES`].
    pub fn check(&self) -> Result<(), StoreError> {
        let (limit, actual) = (limits::MAX_RAW_MESSAGE_BYTES as u64, self.size() as u64);
        if actual > limit {
            return Err(StoreError::LimitExceeded { what: "bytes of a message", limit, actual });
        }
        Ok(())
    }
}

impl fmt::Debug for RawMessage {
    /// Shows only sizes: a message may be private and must not appear in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawMessage({} headers, {} bytes)", self.headers.len(), self.body.len())
    }
}
