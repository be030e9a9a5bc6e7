//! Blobs in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, lock};
use crate::{
    blob_store::{BlobStore, check_blob},
    error::StoreError,
};

/// Bytes by name, with the time when they were stored.
pub(super) type Blobs = HashMap<String, (OffsetDateTime, Vec<u8>)>;

#[async_trait]
impl BlobStore for MemoryStore {
    async fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check_blob(name, bytes)?;
        let mut blobs = lock(&self.shared.blobs);
        match blobs.get(name) {
            Some((_, kept)) if kept != bytes => Err(StoreError::Refused {
                reason: "other bytes are kept under this name; give each payload a name of its own",
            }),
            _ => {
                blobs.insert(name.to_owned(), (OffsetDateTime::now_utc(), bytes.to_vec()));
                Ok(())
            }
        }
    }

    async fn blob(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(lock(&self.shared.blobs).get(name).map(|(_, bytes)| bytes.clone()))
    }

    async fn drop_blobs_before(&self, time: OffsetDateTime) -> Result<u64, StoreError> {
        let mut blobs = lock(&self.shared.blobs);
        let count = blobs.len();
        blobs.retain(|_, (put_at, _)| *put_at >= time);
        Ok((count - blobs.len()) as u64)
    }
}
