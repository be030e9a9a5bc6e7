//! The harness of the store in memory.

use es_core::{
    HandlerError, InvalidName, MemoryStore, MemoryTables, MemoryTransaction, MemoryUnit, Projection, Recorded,
    TableNames,
};
use serde_json::{Value, json};

use crate::{
    bank::AccountEvent,
    harness::{LedgerRow, OpenTransaction, StoreHarness},
};

/// Gives the conformance suite stores in memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryHarness;

impl StoreHarness for MemoryHarness {
    type Store = MemoryStore;
    type Unit = MemoryUnit;
    type Ledger = MemoryLedger;
    type Transaction = MemoryTransaction;

    const CONCURRENT_TRANSACTIONS: bool = true;

    async fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }

    async fn reopened(&self, store: &MemoryStore) -> MemoryStore {
        store.clone()
    }

    async fn begin(&self, store: &MemoryStore) -> MemoryTransaction {
        store.begin().await
    }

    fn ledger(&self, name: &str) -> MemoryLedger {
        MemoryLedger { name: name.to_owned(), table: name.to_owned() }
    }

    async fn ledger_rows(&self, store: &MemoryStore, name: &str) -> Vec<LedgerRow> {
        store.tables().await.table(name).values().flat_map(rows_of).collect()
    }
}

impl OpenTransaction for MemoryTransaction {
    type Connection = MemoryTables;

    fn connection(&mut self) -> &mut MemoryTables {
        self.connection()
    }

    async fn commit(self) {
        if let Err(error) = self.commit().await {
            panic!("a transaction was not committed: {error}");
        }
    }

    async fn rollback(self) {}
}

/// The ledger in memory: for each position a list of rows, so that an event applied twice shows as two.
#[derive(Debug, Clone)]
pub struct MemoryLedger {
    name: String,
    table: String,
}

impl Projection for MemoryLedger {
    type Connection = MemoryTables;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.name
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(Some(Self { name: self.name.clone(), table: names.table(&self.name)? }))
    }

    async fn apply(&self, tables: &mut MemoryTables, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let LedgerRow { position, stream, event_type, cents } = LedgerRow::of(event);
        let row = json!([position, stream, event_type, cents]);
        // Zeros in front: the table is ordered by text.
        let rows = tables.table(&self.table).entry(format!("{position:020}")).or_insert_with(|| json!([]));
        if let Value::Array(rows) = rows {
            rows.push(row);
        }
        Ok(())
    }

    async fn clear(&self, tables: &mut MemoryTables) -> Result<(), HandlerError> {
        tables.table(&self.table).clear();
        Ok(())
    }
}

fn rows_of(rows: &Value) -> Vec<LedgerRow> {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    rows.iter()
        .map(|row| LedgerRow {
            position: row[0].as_u64().unwrap_or_default(),
            stream: row[1].as_str().unwrap_or_default().to_owned(),
            event_type: row[2].as_str().unwrap_or_default().to_owned(),
            cents: row[3].as_i64().unwrap_or_default(),
        })
        .collect()
}
