//! What operators do, on the memory store that is watched.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use es_core::{
    ConsumerName, ControlStore, DatabaseWait, Diagnostics, HandMove, Hold, HoldKind, NewOperation, Operation, Order,
    Position, StoreError,
};

use super::spy_store::SpyStore;

#[async_trait]
impl ControlStore for SpyStore {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.seen.hold_reads.fetch_add(1, Ordering::SeqCst);
        self.check_up().await?;
        self.inner.holds().await
    }

    async fn hold(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        self.inner.hold(consumer, kind, order).await
    }

    async fn release(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        self.inner.release(consumer, kind, order).await
    }

    async fn move_by_hand(
        &self,
        consumer: &ConsumerName,
        hand_move: HandMove,
        order: &Order,
    ) -> Result<Position, StoreError> {
        self.inner.move_by_hand(consumer, hand_move, order).await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, order: &Order) -> Result<(), StoreError> {
        self.inner.retire_consumer(consumer, order).await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, order: &Order) -> Result<u64, StoreError> {
        self.inner.revoke_leases(consumer, order).await
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
