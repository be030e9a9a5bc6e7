//! Operator actions, in memory.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Consumers, MemoryStore, lock};
use crate::{
    consumer_name::ConsumerName,
    control_store::{CheckpointOverride, ControlStore, Suspension, SuspensionKind},
    diagnostics::Diagnostics,
    error::StoreError,
    generation_store::TableNames,
    operation::{NewOperation, Operation, OperationKind, OperatorRequest, check_operation_count},
    partition::overridden_partitions,
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
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        Ok(lock(&self.shared.consumers).suspensions.values().cloned().collect())
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        kind.check(request)?;
        let mut consumers = lock(&self.shared.consumers);
        let key = (consumer.base(), kind);
        if consumers.suspensions.contains_key(&key) {
            return Ok(false);
        }
        let since = consumers.note(NewOperation::new(kind.begun(), key.0.clone(), request.clone()));
        let (by, reason) = (request.author().to_owned(), request.reason().map(str::to_owned));
        let suspension = Suspension::new(key.0.clone(), kind, by, since, reason);
        consumers.suspensions.insert(key, suspension);
        Ok(true)
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        let mut consumers = lock(&self.shared.consumers);
        let was_suspended = consumers.suspensions.remove(&(consumer.base(), kind)).is_some();
        if was_suspended {
            consumers.note(NewOperation::new(kind.ended(), consumer.base(), request.clone()));
        }
        Ok(was_suspended)
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        request.check_reason()?;
        // Waits for a projection that is applying a page, as a row lock would.
        let _tables = self.shared.tables.lock().await;
        let log = lock(&self.shared.log);
        let head = log.head();
        let mut consumers = lock(&self.shared.consumers);
        consumers.check_not_retired(consumer)?;
        let consumer = &consumer.unpartitioned();
        let (from, moved) = overridden_partitions(&consumers.partitions_of(consumer), checkpoint_override);
        let from = checkpoint_override.check(consumer, from, head, consumers.generations.contains_key(consumer))?;
        consumers.replace(&log, consumer, &moved);
        if checkpoint_override.to() < from {
            consumers.parked.forget_after(consumer, checkpoint_override.to());
        }
        let operation = NewOperation::new(checkpoint_override.kind(), consumer.clone(), request.clone());
        consumers.note(operation.moved(Some(from), Some(checkpoint_override.to())));
        Ok(from)
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        request.check_reason()?;
        let mut own_tables = self.shared.tables.lock().await;
        let mut consumers = lock(&self.shared.consumers);
        let base = consumer.base();
        let is_of_it = |name: &ConsumerName| name.base() == base;
        let is_known = consumers.checkpoints.keys().any(is_of_it)
            || consumers.generations.keys().any(is_of_it)
            || consumers.suspensions.keys().any(|(name, _)| is_of_it(name));
        if !is_known {
            return Err(StoreError::Refused { reason: "the store knows no consumer of that name" });
        }
        let at = consumers.live(&base).map_or_else(|| base.clone(), |live| live.name.clone());
        let from = consumers.position_of(&at);
        for (generation, known) in &consumers.generations {
            for table in known.definition.tables.iter().filter(|_| is_of_it(generation)) {
                own_tables.tables.remove(&TableNames::of(generation, table));
                own_tables.live.remove(table);
            }
        }
        consumers.checkpoints.retain(|name, _| !is_of_it(name));
        consumers.generations.retain(|name, _| !is_of_it(name));
        consumers.documents.retain(|name, _| !is_of_it(name));
        consumers.parked.remove(&base);
        consumers.leases.revoke(&base);
        consumers.suspensions.retain(|(name, _), _| !is_of_it(name));
        consumers.note(NewOperation::new(OperationKind::RETIRE, base, request.clone()).moved(from, None));
        Ok(())
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        request.check_reason()?;
        let mut consumers = lock(&self.shared.consumers);
        let revoked = consumers.leases.revoke(&consumer.base());
        if revoked > 0 {
            consumers.note(NewOperation::new(OperationKind::LEASE_REVOKED, consumer.base(), request.clone()));
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
