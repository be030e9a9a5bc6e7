//! A store in memory with one defect: what operators do.

use async_trait::async_trait;
use es_core::{
    Advance, CheckpointOverride, ConsumerName, ConsumerStore, ControlStore, Diagnostics, EventStore, GenerationStore,
    NewOperation, Operation, OperatorRequest, Position, StoreError, Suspension, SuspensionKind,
};

use tokio::task::yield_now;

use crate::{defect::Defect, store::BrokenStore};

impl Diagnostics for BrokenStore {}

#[async_trait]
impl ControlStore for BrokenStore {
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        self.store.suspensions().await
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        if self.defect == Defect::SuspendsTwice {
            self.store.resume(consumer, kind, request).await?;
        }
        self.store.suspend(consumer, kind, request).await
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.store.resume(consumer, kind, request).await
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        let is_broken = matches!(self.defect, Defect::MovesByHandAnywhere | Defect::NotesAMomentLater);
        let from = match self.store.checkpoint(consumer).await? {
            Some(checkpoint) if is_broken => checkpoint.position,
            _ => return self.store.override_checkpoint(consumer, checkpoint_override, request).await,
        };
        if self.defect == Defect::NotesAMomentLater {
            checkpoint_override.check(consumer, Some(from), self.store.head().await?, false)?;
        }
        self.store.move_checkpoint(&Advance::new(consumer, from, checkpoint_override.to())).await?;
        if self.defect == Defect::NotesAMomentLater {
            for _ in 0..Self::MOMENT_YIELDS {
                yield_now().await;
            }
        }
        let operation = NewOperation::new(checkpoint_override.kind(), consumer.clone(), request.clone());
        self.store.note(&operation.moved(Some(from), Some(checkpoint_override.to()))).await?;
        Ok(from)
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        let generations = self.store.generations(consumer).await?;
        self.store.retire_consumer(consumer, request).await?;
        if self.defect == Defect::KeepsWhatIsRetired {
            for known in generations {
                self.store.live_generation(&known.name, &known.definition).await?;
            }
        }
        Ok(())
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.store.revoke_leases(consumer, request).await
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
