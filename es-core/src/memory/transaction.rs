//! A caller's own transaction, in memory.

use super::{MemoryStore, MemoryTables, lock};
use crate::error::StoreError;

/// A transaction on the tables of a [`MemoryStore`], for tests of code that writes rows and messages without events.
/// Several transactions may be open at once. Of those that change tables, the first one to commit wins. If a
/// transaction is dropped, none of its changes are kept.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct MemoryTransaction {
    store: MemoryStore,
    before: MemoryTables,
    tables: MemoryTables,
}

impl MemoryStore {
    /// Begins a transaction on the tables.
    ///
    /// # Cancel safety
    /// This method is cancel safe: it has no effect until it returns.
    pub async fn begin(&self) -> MemoryTransaction {
        let before = self.tables().await;
        MemoryTransaction { store: self.clone(), tables: before.clone(), before }
    }

    /// Applies the changes that were made to a copy of the tables.
    pub(super) fn commit(&self, tables: &mut MemoryTables, mut changed: MemoryTables) {
        let enqueued = std::mem::take(&mut changed.enqueued);
        lock(&self.shared.outbox).add(enqueued);
        *tables = changed;
    }
}

impl MemoryTransaction {
    /// Returns the tables that the transaction writes.
    pub fn connection(&mut self) -> &mut MemoryTables {
        &mut self.tables
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// Returns [`StoreError::Busy`] if the transaction changed tables and another one has also changed tables since it
    /// began. Nothing was stored. Begin again.
    ///
    /// # Cancel safety
    /// If the future is dropped, either everything is stored or nothing.
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
