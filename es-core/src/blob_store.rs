//! What keeps payloads that are too large for a broker.

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
/// [`InvalidName`] if it is empty, over [`limits::MAX_BLOB_NAME_BYTES`], or has other than ASCII letters, digits, `_`, `-` and `.`.
pub fn check_blob_name(name: &str) -> Result<(), InvalidName> {
    check_word("name of a blob", name, limits::MAX_BLOB_NAME_BYTES)
}

/// Keeps bytes by name: payloads that are too large for a broker, of which the message carries the name alone (a claim check).
/// Object-safe.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Keeps bytes under a name; the same bytes again count as put now.
    ///
    /// # Errors
    /// As [`check_blob`]; [`StoreError::Refused`] if other bytes are kept under the name.
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// The bytes; `None` if there are none of the name.
    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Throws away all that were put before a time, by the store's clock. Gives how many.
    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError>;
}

/// Checks the name and the size of a blob. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_BLOB_BYTES`]; [`StoreError::InvalidName`] for a name that is empty, over
/// [`limits::MAX_BLOB_NAME_BYTES`] or of other than ASCII letters, digits, `_`, `-` and `.`.
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
