//! Diagnostics of blocked calls, which SQLite does not support: it does not report who holds its lock.

use es_core::Diagnostics;

use crate::store::SqliteStore;

impl Diagnostics for SqliteStore {}
