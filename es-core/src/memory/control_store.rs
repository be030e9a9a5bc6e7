//! What operators do, in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Consumers, MemoryStore, lock};
use crate::{
    consumer_name::ConsumerName,
    control_store::{ControlStore, HandMove, Hold, HoldKind},
    diagnostics::Diagnostics,
    error::StoreError,
    generation_store::TableNames,
    operation::{NewOperation, Operation, OperationKind, Order, check_operation_count},
    partition::moved_by_hand,
    position::Position,
    timestamp::to_stored_precision,
};

impl Diagnostics for MemoryStore {}

impl Consumers {
    pub(super) fn note(&mut self, operation: NewOperation) -> OffsetDateTime {
        let at = to_stored_precision(OffsetDateTime::now_utc());
        let id = self.operations.len() as u64 + 1;
        self.operations.push(Operation::new(id, at, operation));
        at
    }
}

#[async_trait]
impl ControlStore for MemoryStore {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        Ok(lock(&self.shared.consumers).holds.values().cloned().collect())
    }

    async fn hold(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        kind.check(order)?;
        let mut consumers = lock(&self.shared.consumers);
        let key = (consumer.base(), kind);
        if consumers.holds.contains_key(&key) {
            return Ok(false);
        }
        let since = consumers.note(NewOperation::new(kind.begun(), key.0.clone(), order.clone()));
        let (by, reason) = (order.author().to_owned(), order.reason().map(str::to_owned));
        let hold = Hold::new(key.0.clone(), kind, by, since, reason);
        consumers.holds.insert(key, hold);
        Ok(true)
    }

    async fn release(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        let mut consumers = lock(&self.shared.consumers);
        let was_held = consumers.holds.remove(&(consumer.base(), kind)).is_some();
        if was_held {
            consumers.note(NewOperation::new(kind.ended(), consumer.base(), order.clone()));
        }
        Ok(was_held)
    }

    async fn move_by_hand(
        &self,
        consumer: &ConsumerName,
        hand_move: HandMove,
        order: &Order,
    ) -> Result<Position, StoreError> {
        order.check_reason()?;
        // Waits for a page of a projection that is being applied, as a row lock would.
        let _tables = self.shared.tables.lock().await;
        let log = lock(&self.shared.log);
        let head = log.head();
        let mut consumers = lock(&self.shared.consumers);
        consumers.check_not_retired(consumer)?;
        let consumer = &consumer.whole();
        let (from, moved) = moved_by_hand(&consumers.partitions_of(consumer), hand_move);
        let from = hand_move.check(consumer, from, head, consumers.generations.contains_key(consumer))?;
        consumers.replace(&log, consumer, &moved);
        if hand_move.to() < from {
            consumers.parked.forget_after(consumer, hand_move.to());
        }
        let operation = NewOperation::new(hand_move.kind(), consumer.clone(), order.clone());
        consumers.note(operation.moved(Some(from), Some(hand_move.to())));
        Ok(from)
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, order: &Order) -> Result<(), StoreError> {
        order.check_reason()?;
        let mut own_tables = self.shared.tables.lock().await;
        let mut consumers = lock(&self.shared.consumers);
        let base = consumer.base();
        let is_of_it = |name: &ConsumerName| name.base() == base;
        let is_known = consumers.checkpoints.keys().any(is_of_it)
            || consumers.generations.keys().any(is_of_it)
            || consumers.holds.keys().any(|(name, _)| is_of_it(name));
        if !is_known {
            return Err(StoreError::Refused { reason: "the store knows no consumer of that name" });
        }
        let at = consumers.live(&base).map_or_else(|| base.clone(), |live| live.name.clone());
        let from = consumers.position_of(&at);
        for (generation, known) in &consumers.generations {
            for table in known.code.tables.iter().filter(|_| is_of_it(generation)) {
                own_tables.tables.remove(&TableNames::of(generation, table));
                own_tables.live.remove(table);
            }
        }
        consumers.checkpoints.retain(|name, _| !is_of_it(name));
        consumers.generations.retain(|name, _| !is_of_it(name));
        consumers.documents.retain(|name, _| !is_of_it(name));
        consumers.parked.remove(&base);
        consumers.leases.revoke(&base);
        consumers.holds.retain(|(name, _), _| !is_of_it(name));
        consumers.note(NewOperation::new(OperationKind::RETIRE, base, order.clone()).moved(from, None));
        Ok(())
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, order: &Order) -> Result<u64, StoreError> {
        order.check_reason()?;
        let mut consumers = lock(&self.shared.consumers);
        let revoked = consumers.leases.revoke(&consumer.base());
        if revoked > 0 {
            consumers.note(NewOperation::new(OperationKind::LEASE_REVOKED, consumer.base(), order.clone()));
        }
        Ok(revoked)
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        lock(&self.shared.consumers).note(operation.clone());
        Ok(())
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        check_operation_count(limit)?;
        let consumer = consumer.map(ConsumerName::base);
        let consumers = lock(&self.shared.consumers);
        let wanted = consumers.operations.iter().rev().filter(|operation| {
            before.is_none_or(|before| operation.id < before)
                && consumer.as_ref().is_none_or(|consumer| operation.what.consumer.base() == *consumer)
        });
        Ok(wanted.take(limit).cloned().collect())
    }
}
