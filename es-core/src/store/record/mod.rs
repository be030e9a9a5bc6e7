//! Records: small JSON values under ordered keys, for state that coordinates work.

mod batch;
mod key;
mod range;
mod read;
mod record_store;

pub use batch::{Change, Condition, RecordBatch};
pub use key::RecordKey;
pub use range::{RecordBounds, RecordRange, ScanOrder, check_scope};
pub use read::{Committed, Record, RecordRead, Revision};
pub use record_store::{DecideRecords, RecordStore, check_record_keys, check_scan_limit, check_scope_size};

use crate::error::StoreError;

/// Checks a count or a size against a limit.
fn check_limit(what: &'static str, limit: usize, actual: usize) -> Result<(), StoreError> {
    match actual > limit {
        true => Err(StoreError::LimitExceeded { what, limit: limit as u64, actual: actual as u64 }),
        false => Ok(()),
    }
}
