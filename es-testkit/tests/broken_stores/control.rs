//! A store in memory with one defect: what operators do.

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, ConsumerStore, ControlStore, Diagnostics, EventStore, GenerationStore, HandMove, Hold,
    HoldKind, NewOperation, Operation, Order, Position, StoreError,
};

use tokio::task::yield_now;

use crate::{defect::Defect, store::BrokenStore};

impl Diagnostics for BrokenStore {}

#[async_trait]
impl ControlStore for BrokenStore {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.store.holds().await
    }

    async fn hold(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        if self.defect == Defect::HoldsTwice {
            self.store.release(consumer, kind, order).await?;
        }
        self.store.hold(consumer, kind, order).await
    }

    async fn release(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        self.store.release(consumer, kind, order).await
    }

    async fn move_by_hand(
        &self,
        consumer: &ConsumerName,
        hand_move: HandMove,
        order: &Order,
    ) -> Result<Position, StoreError> {
        let is_broken = matches!(self.defect, Defect::MovesByHandAnywhere | Defect::NotesAMomentLater);
        let from = match self.store.checkpoint(consumer).await? {
            Some(checkpoint) if is_broken => checkpoint.position,
            _ => return self.store.move_by_hand(consumer, hand_move, order).await,
        };
        if self.defect == Defect::NotesAMomentLater {
            hand_move.check(consumer, Some(from), self.store.head().await?, false)?;
        }
        self.store.move_checkpoint(&Advance::new(consumer, from, hand_move.to())).await?;
        if self.defect == Defect::NotesAMomentLater {
            for _ in 0..Self::MOMENT_YIELDS {
                yield_now().await;
            }
        }
        let operation = NewOperation::new(hand_move.kind(), consumer.clone(), order.clone());
        self.store.note(&operation.moved(Some(from), Some(hand_move.to()))).await?;
        Ok(from)
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, order: &Order) -> Result<(), StoreError> {
        let generations = self.store.generations(consumer).await?;
        self.store.retire_consumer(consumer, order).await?;
        if self.defect == Defect::KeepsWhatIsRetired {
            for known in generations {
                self.store.live_generation(&known.name, &known.code).await?;
            }
        }
        Ok(())
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, order: &Order) -> Result<u64, StoreError> {
        self.store.revoke_leases(consumer, order).await
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        self.store.note(operation).await
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        self.store.operations(consumer, before, limit).await
    }
}
