//! A store in memory with one defect: the outbox.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use es_core::{
    Enqueue, Fence, LeaseStore, Leased, MemoryTables, OutboxCursor, OutboxEntry, OutboxMessage, OutboxStats,
    OutboxStore, StoreError, limits, outbox_consumer,
};

use crate::{defect::Defect, store::BrokenStore};

/// What the outbox of a defect remembers.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Messages written so far.
    written: AtomicU64,
    /// The highest number that was given.
    passed: AtomicU64,
    /// Bytes that were published.
    published: AtomicU64,
    /// What was confirmed.
    confirmed: Mutex<Vec<OutboxEntry>>,
    /// What comes again after a place was confirmed twice.
    back: Mutex<Vec<OutboxEntry>>,
}

/// The header in which a message has its number.
const NUMBER: &str = "number";

#[async_trait]
impl OutboxStore for BrokenStore {
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let remembered = &self.shared.outbox;
        let most = limit.min(limits::MAX_OUTBOX_PER_READ);
        let limit = if self.defect == Defect::ReadsAnyNumberOfMessages { most } else { limit };
        let mut entries = self.store.read_outbox(limit).await?;
        match self.defect {
            Defect::SkipsALateMessage => {
                let passed = remembered.passed.load(Ordering::SeqCst);
                entries.retain_mut(|entry| {
                    let number = entry.message.message.headers.remove(NUMBER);
                    let number = number.and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
                    remembered.passed.fetch_max(number, Ordering::SeqCst);
                    number >= passed
                });
            }
            Defect::GivesAMessageOnce => {
                if let Some(last) = entries.last() {
                    let fence = self.any_fence().await?;
                    self.store.confirm_outbox(fence, &last.cursor).await?;
                }
            }
            Defect::GivesTheLatestMessageFirst => {
                let cursors: Vec<_> = entries.iter().map(|entry| entry.cursor.clone()).collect();
                entries.reverse();
                entries.iter_mut().zip(cursors).for_each(|(entry, cursor)| entry.cursor = cursor);
            }
            Defect::ConfirmsBackwards => {
                let mut back = remembered.back.lock().unwrap().clone();
                back.append(&mut entries);
                back.truncate(limit);
                entries = back;
            }
            _ => {}
        }
        Ok(entries)
    }

    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError> {
        let entries = self.store.read_outbox(limits::MAX_OUTBOX_PER_READ).await?;
        let fence = match self.defect {
            Defect::ConfirmsWithoutALease => self.any_fence().await?,
            _ => fence,
        };
        self.store.confirm_outbox(fence, upto).await?;
        let count = entries.iter().position(|entry| entry.cursor == *upto).map_or(0, |at| at + 1);
        let bytes: usize = entries[..count].iter().map(|entry| entry.message.message.size()).sum();
        let remembered = &self.shared.outbox;
        remembered.published.fetch_add(bytes as u64, Ordering::SeqCst);
        let mut confirmed = remembered.confirmed.lock().unwrap();
        let mut back = remembered.back.lock().unwrap();
        match confirmed.iter().position(|entry| entry.cursor == *upto) {
            Some(at) => *back = confirmed[at + 1..].to_vec(),
            None => {
                back.clear();
                confirmed.extend(entries.into_iter().take(count));
            }
        }
        Ok(())
    }

    async fn tidy_outbox(&self) -> Result<(), StoreError> {
        self.store.tidy_outbox().await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        let mut stats = self.store.outbox_stats().await?;
        match self.defect {
            Defect::KeepsWhatWasPublished => stats.bytes += self.shared.outbox.published.load(Ordering::SeqCst),
            Defect::TellsOfNoMessages => (stats.waiting, stats.oldest) = (0, None),
            _ => {}
        }
        Ok(stats)
    }
}

impl BrokenStore {
    /// The fence of whoever has the lease.
    async fn any_fence(&self) -> Result<Fence, StoreError> {
        let (consumer, time) = (outbox_consumer()?, std::time::Duration::from_secs(600));
        let owner = match self.store.claim_lease(&consumer, "nobody", time).await? {
            Leased::Yours(lease) => return Ok(lease.fence),
            Leased::Taken(holder) => holder.owner,
        };
        match self.store.claim_lease(&consumer, &owner, time).await? {
            Leased::Yours(lease) => Ok(lease.fence),
            Leased::Taken(_) => Err(StoreError::LeaseLost { consumer }),
        }
    }
}

#[async_trait]
impl Enqueue for BrokenStore {
    type Connection = MemoryTables;

    async fn enqueue(&self, tables: &mut MemoryTables, message: &OutboxMessage) -> Result<(), StoreError> {
        let mut message = message.clone();
        match self.defect {
            Defect::EnqueuesAtOnce => {
                let mut transaction = self.store.begin().await;
                self.store.enqueue(transaction.connection(), &message).await?;
                return transaction.commit().await;
            }
            Defect::SkipsALateMessage if message.available_at.is_none() => {
                let number = self.shared.outbox.written.fetch_add(1, Ordering::SeqCst) + 1;
                message.message.headers.insert(NUMBER.to_owned(), number.to_string());
            }
            Defect::PublishesBeforeItsTime => message.available_at = None,
            _ => {}
        }
        self.store.enqueue(tables, &message).await
    }
}
