//! Which errors of a store pass by themselves.

use crate::error::StoreError;

impl StoreError {
    /// Whether trying the same call again, unchanged, can succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unavailable { .. })
    }
}
