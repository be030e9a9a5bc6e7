//! What operators do, on the memory store that is watched.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use es_core::{
    CheckpointOverride, ConsumerName, ControlStore, DatabaseWait, Diagnostics, NewOperation, Operation,
    OperatorRequest, Position, StoreError, Suspension, SuspensionKind,
};

use super::spy_store::SpyStore;

#[async_trait]
impl ControlStore for SpyStore {
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.seen.suspension_reads.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        self.inner.suspensions().await
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.inner.suspend(consumer, kind, request).await
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.inner.resume(consumer, kind, request).await
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        self.inner.override_checkpoint(consumer, checkpoint_override, request).await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        self.inner.retire_consumer(consumer, request).await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.inner.revoke_leases(consumer, request).await
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        self.inner.note(operation).await
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        self.inner.operations(consumer, before, limit).await
    }
}

#[async_trait]
impl Diagnostics for SpyStore {
    async fn waiting_on(&self) -> Result<Vec<DatabaseWait>, StoreError> {
        Ok(self.seen.waits.lock().unwrap().clone())
    }
}
