//! A transaction of the caller's own, in memory.

use super::{MemoryStore, MemoryTables, lock};
use crate::error::StoreError;

/// A transaction on the tables of a [`MemoryStore`]: for tests of code that writes rows and messages without events. Several may be
/// open at once; of those that change tables, the first to commit wins. Dropped, nothing of it is kept.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct MemoryTransaction {
    store: MemoryStore,
    before: MemoryTables,
    tables: MemoryTables,
}

impl MemoryStore {
    /// Begins a transaction on its tables.
    ///
    /// # Cancel safety
    /// Safe: nothing has happened yet.
    pub async fn begin(&self) -> MemoryTransaction {
        let before = self.tables().await;
        MemoryTransaction { store: self.clone(), tables: before.clone(), before }
    }

    /// Makes what was done to a copy of the tables.
    pub(super) fn commit(&self, tables: &mut MemoryTables, mut changed: MemoryTables) {
        let enqueued = std::mem::take(&mut changed.enqueued);
        lock(&self.shared.outbox).add(enqueued);
        *tables = changed;
    }
}

impl MemoryTransaction {
    /// What the transaction writes with.
    pub fn connection(&mut self) -> &mut MemoryTables {
        &mut self.tables
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if it changed tables, and somebody else did since it began: nothing was stored, begin again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves everything stored or nothing.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Self { store, before, tables: mut changed } = self;
        let mut tables = store.shared.tables.lock().await;
        let has_changed = changed.tables != before.tables || changed.live != before.live;
        if *tables != before {
            if has_changed {
                let waiting_for = "the tables, which another transaction has changed since this one began".to_owned();
                return Err(StoreError::Busy { waiting_for, source: None });
            }
            let enqueued = std::mem::take(&mut changed.enqueued);
            changed = MemoryTables { enqueued, ..tables.clone() };
        }
        store.commit(&mut tables, changed);
        Ok(())
    }
}
