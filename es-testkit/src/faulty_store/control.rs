//! Every call of an operator, through [`FaultyStore::call`].

use async_trait::async_trait;
use es_core::{
    CheckpointOverride, ConsumerName, ControlStore, DatabaseWait, Diagnostics, NewOperation, Operation,
    OperatorRequest, Position, StoreError, Suspension, SuspensionKind,
};

use super::{FaultyStore, Operation as Which};

#[async_trait]
impl<S: ControlStore> ControlStore for FaultyStore<S> {
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.call(Which::Control, self.store.suspensions()).await
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.call(Which::Control, self.store.suspend(consumer, kind, request)).await
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.call(Which::Control, self.store.resume(consumer, kind, request)).await
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        self.call(Which::Control, self.store.override_checkpoint(consumer, checkpoint_override, request)).await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        self.call(Which::Control, self.store.retire_consumer(consumer, request)).await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.call(Which::Control, self.store.revoke_leases(consumer, request)).await
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        self.call(Which::Control, self.store.note(operation)).await
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        self.call(Which::Control, self.store.operations(consumer, before, limit)).await
    }
}

#[async_trait]
impl<S: Diagnostics> Diagnostics for FaultyStore<S> {
    async fn waiting_on(&self) -> Result<Vec<DatabaseWait>, StoreError> {
        self.store.waiting_on().await
    }
}
