//! The transaction in which messages take effect, in memory.

use std::collections::HashMap;

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::{MemoryStore, MemoryTables, dead_letter_store::DeadLetters, lock};
use crate::{
    append::{Append, Appended},
    consumer_name::ConsumerName,
    dead_letter::{DeadLetter, NewDeadLetter},
    error::StoreError,
    inbox_store::{MessageUnit, check_append_count},
    limits,
    outbox_store::OutboxMessage,
};

/// The transaction of a [`MemoryStore`] in which messages take effect. There is one at a time. Other units,
/// projections, operations on dead letters, and [`MemoryStore::tables`] wait for its end. Appends to the store itself
/// do not wait, and are kept if the unit is rolled back.
#[must_use = "a unit that is dropped is rolled back"]
#[derive(Debug)]
pub struct MemoryUnit {
    store: MemoryStore,
    /// Held until the end of the unit.
    tables: OwnedMutexGuard<MemoryTables>,
    /// Messages by consumer and ID, each with a digest of its content.
    pub(super) handled: HashMap<(ConsumerName, String), u64>,
    changes: Changes,
    savepoint: Option<Changes>,
}

/// The changes that the commit makes.
#[derive(Debug, Clone)]
struct Changes {
    tables: MemoryTables,
    appends: Vec<Append>,
    dead_letters: Option<DeadLetters>,
}

impl MemoryUnit {
    pub(super) fn new(store: MemoryStore, tables: OwnedMutexGuard<MemoryTables>) -> Self {
        let changes = Changes { tables: tables.clone(), appends: Vec::new(), dead_letters: None };
        Self { store, tables, handled: HashMap::new(), changes, savepoint: None }
    }

    /// Returns the dead letters as this unit sees them.
    fn dead_letters(&mut self) -> &mut DeadLetters {
        let store = &self.store;
        self.changes.dead_letters.get_or_insert_with(|| lock(&store.shared.dead_letters).clone())
    }
}

#[async_trait]
impl MessageUnit for MemoryUnit {
    type Connection = MemoryTables;

    fn connection(&mut self) -> &mut MemoryTables {
        &mut self.changes.tables
    }

    fn append(&mut self, append: Append) -> Result<(), StoreError> {
        append.check_payload_limit(limits::MAX_PAYLOAD_BYTES)?;
        check_append_count(self.changes.appends.len())?;
        self.changes.appends.push(append);
        Ok(())
    }

    async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError> {
        message.check()?;
        self.changes.tables.enqueued.push(message.clone());
        Ok(())
    }

    async fn add_dead_letter(&mut self, letter: &NewDeadLetter) -> Result<(), StoreError> {
        letter.check()?;
        self.dead_letters().add(letter);
        Ok(())
    }

    async fn resolve_dead_letter(&mut self, letter: &DeadLetter) -> Result<bool, StoreError> {
        Ok(self.dead_letters().resolve(letter))
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.savepoint = Some(self.changes.clone());
        Ok(())
    }

    async fn rollback_to(&mut self) -> Result<(), StoreError> {
        match &self.savepoint {
            Some(savepoint) => {
                self.changes = savepoint.clone();
                Ok(())
            }
            None => {
                Err(StoreError::Refused { reason: "this unit has no savepoint: call savepoint before rollback_to" })
            }
        }
    }

    async fn commit(mut self) -> Result<Vec<Appended>, StoreError> {
        // Nothing is awaited and nothing can fail after the appends, so either everything happens or nothing.
        let outcomes = lock(&self.store.shared.log).append_all(&self.changes.appends)?;
        lock(&self.store.shared.inbox).remember(std::mem::take(&mut self.handled));
        if let Some(dead_letters) = self.changes.dead_letters {
            *lock(&self.store.shared.dead_letters) = dead_letters;
        }
        self.store.commit(&mut self.tables, self.changes.tables);
        if let Some(head) = outcomes.iter().map(|appended| appended.last_position).max() {
            self.store.shared.wakeups.notify(head);
        }
        Ok(outcomes)
    }

    async fn rollback(self) -> Result<(), StoreError> {
        Ok(())
    }
}
