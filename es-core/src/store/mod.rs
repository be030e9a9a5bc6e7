//! The traits that stores implement, and types that only authors of stores and of libraries on top of them need. The
//! crate root does not re-export them.

mod record;

pub use record::{
    Change, Committed, Condition, DecideRecords, Record, RecordBatch, RecordBounds, RecordKey, RecordRange, RecordRead,
    RecordStore, Revision, ScanOrder, check_record_keys, check_scan_limit, check_scope, check_scope_size,
};
