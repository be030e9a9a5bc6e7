//! Every call of an operator, through [`FaultyStore::call`].

use async_trait::async_trait;
use es_core::{
    ConsumerName, ControlStore, DatabaseWait, Diagnostics, HandMove, Hold, HoldKind, NewOperation, Operation, Order,
    Position, StoreError,
};

use super::{FaultyStore, Operation as Which};

#[async_trait]
impl<S: ControlStore> ControlStore for FaultyStore<S> {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.call(Which::Control, self.store.holds()).await
    }

    async fn hold(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        self.call(Which::Control, self.store.hold(consumer, kind, order)).await
    }

    async fn release(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        self.call(Which::Control, self.store.release(consumer, kind, order)).await
    }

    async fn move_by_hand(
        &self,
        consumer: &ConsumerName,
        hand_move: HandMove,
        order: &Order,
    ) -> Result<Position, StoreError> {
        self.call(Which::Control, self.store.move_by_hand(consumer, hand_move, order)).await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, order: &Order) -> Result<(), StoreError> {
        self.call(Which::Control, self.store.retire_consumer(consumer, order)).await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, order: &Order) -> Result<u64, StoreError> {
        self.call(Which::Control, self.store.revoke_leases(consumer, order)).await
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
