//! A store in memory with one defect: the inbox and its units.

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Append, Appended, ConsumerName, DeadLetter, EventStore, InboxKey, InboxStats, InboxStore, MemoryTables, MemoryUnit,
    MessageUnit, NewDeadLetter, Novelty, OutboxMessage, Received, StoreError,
};
use tokio::task::yield_now;

use crate::{defect::Defect, store::BrokenStore};

/// The unit of a store with one defect.
pub(crate) struct BrokenUnit {
    unit: MemoryUnit,
    store: BrokenStore,
    /// For defects that send appends by themselves.
    appends: Vec<Append>,
    has_savepoint: bool,
}

impl BrokenStore {
    fn unit(&self, unit: MemoryUnit) -> BrokenUnit {
        BrokenUnit { unit, store: self.clone(), appends: Vec::new(), has_savepoint: false }
    }
}

#[async_trait]
impl InboxStore for BrokenStore {
    type Unit = BrokenUnit;

    async fn receive(
        &self,
        consumer: &ConsumerName,
        keys: &[InboxKey<'_>],
    ) -> Result<Received<BrokenUnit>, StoreError> {
        let mut received = self.store.receive(consumer, keys).await?;
        match self.defect {
            Defect::ForgetsWhatWasHandled => {
                received.unit.rollback().await?;
                received.unit = self.store.begin_unit().await?;
            }
            Defect::HandlesRepeatsWithinABatch => {
                for (place, key) in keys.iter().enumerate() {
                    if keys[..place].iter().zip(&received.novelty).any(|it| it == (key, &Novelty::New)) {
                        received.novelty[place] = Novelty::New;
                    }
                }
            }
            Defect::KnowsMessagesByTheirIdAlone => {
                received.novelty.iter_mut().filter(|it| **it == Novelty::IdReused).for_each(|it| *it = Novelty::Known);
            }
            Defect::RemembersWhatWasRolledBack => {
                received.unit.commit().await?;
                received.unit = self.store.begin_unit().await?;
            }
            Defect::LooksBeforeItWaits => {
                received.unit.rollback().await?;
                for _ in 0..Self::MOMENT_YIELDS {
                    yield_now().await;
                }
                received.unit = self.store.receive(consumer, keys).await?.unit;
            }
            _ => {}
        }
        Ok(Received::new(self.unit(received.unit), received.novelty))
    }

    async fn begin_unit(&self) -> Result<BrokenUnit, StoreError> {
        Ok(self.unit(self.store.begin_unit().await?))
    }

    async fn rotate_inbox(&self, keep: Duration) -> Result<(), StoreError> {
        let keep = if self.defect == Defect::ForgetsTooEarly { keep / 4 } else { keep };
        self.store.rotate_inbox(keep).await
    }

    async fn inbox_stats(&self) -> Result<InboxStats, StoreError> {
        self.store.inbox_stats().await
    }
}

#[async_trait]
impl MessageUnit for BrokenUnit {
    type Connection = MemoryTables;

    fn connection(&mut self) -> &mut MemoryTables {
        self.unit.connection()
    }

    fn append(&mut self, append: Append) -> Result<(), StoreError> {
        match self.store.defect {
            Defect::AppendsAfterTheCommit | Defect::RollsBackRowsAlone => {
                es_core::check_append_count(self.appends.len())?;
                self.appends.push(append);
                Ok(())
            }
            _ => self.unit.append(append),
        }
    }

    async fn enqueue(&mut self, message: &OutboxMessage) -> Result<(), StoreError> {
        self.unit.enqueue(message).await
    }

    async fn add_dead_letter(&mut self, letter: &NewDeadLetter) -> Result<(), StoreError> {
        self.unit.add_dead_letter(letter).await
    }

    async fn resolve_dead_letter(&mut self, letter: &DeadLetter) -> Result<bool, StoreError> {
        let was_there = self.unit.resolve_dead_letter(letter).await?;
        Ok(was_there || self.store.defect == Defect::ResolvesWhatIsGone)
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        if self.store.defect == Defect::RollsBackToTheFirstSavepoint && self.has_savepoint {
            return Ok(());
        }
        self.has_savepoint = true;
        self.unit.savepoint().await
    }

    async fn rollback_to(&mut self) -> Result<(), StoreError> {
        self.unit.rollback_to().await
    }

    async fn commit(mut self) -> Result<Vec<Appended>, StoreError> {
        if self.store.defect == Defect::AppendsAfterTheCommit {
            self.unit.commit().await?;
            let mut outcomes = Vec::new();
            for append in &self.appends {
                outcomes.push(self.store.store.append(append).await?);
            }
            return Ok(outcomes);
        }
        for append in std::mem::take(&mut self.appends) {
            self.unit.append(append)?;
        }
        self.unit.commit().await
    }

    async fn rollback(self) -> Result<(), StoreError> {
        self.unit.rollback().await
    }
}
