//! Storage for payloads that are too large for a broker.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    error::{InvalidName, StoreError},
    limits,
    name::check_word,
};

/// Checks the name of a blob. Stores call it.
///
/// # Errors
/// Returns [`InvalidName`] if it is empty, longer than [`limits::MAX_BLOB_NAME_BYTES`], or contains anything except
/// ASCII letters, digits, `_`, `-`, and `.`.
pub fn check_blob_name(name: &str) -> Result<(), InvalidName> {
    check_word("name of a blob", name, limits::MAX_BLOB_NAME_BYTES)
}

/// Stores bytes by name. It is used for payloads that are too large for a broker: the message carries only the name (a
/// claim check). The trait is object-safe.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Stores bytes under a name. Storing the same bytes again updates their time to now.
    ///
    /// # Errors
    /// Returns the errors of [`check_blob`], and [`StoreError::Refused`] if other bytes are stored under the name.
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Returns the bytes stored under a name, or `None` if there are none.
    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Deletes all blobs that were last stored before a time, by the store's clock. Returns the number of deleted
    /// blobs.
    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError>;
}

/// Checks the name and the size of a blob. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_BLOB_BYTES`], and [`StoreError::InvalidName`] for a name
/// that is empty, longer than [`limits::MAX_BLOB_NAME_BYTES`], or contains anything except ASCII letters, digits, `_`,
/// `-`, and `.`.
pub fn check_blob(name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    check_blob_name(name)?;
    let (limit, actual) = (limits::MAX_BLOB_BYTES as u64, bytes.len() as u64);
    match actual > limit {
        true => Err(StoreError::LimitExceeded { what: "bytes of a blob", limit, actual }),
        false => Ok(()),
    }
}

#[async_trait]
impl<S: BlobStore + ?Sized> BlobStore for Arc<S> {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        (**self).put_blob(name, bytes).await
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).blob(name).await
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        (**self).drop_blobs_before(time).await
    }
}
