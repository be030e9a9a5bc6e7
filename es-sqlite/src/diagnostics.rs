//! For whom the calls of this store wait: SQLite does not say who holds its lock.

use es_core::Diagnostics;

use crate::store::SqliteStore;

impl Diagnostics for SqliteStore {}
