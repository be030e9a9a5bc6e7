//! The outbox in memory.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, MemoryTables, lock};
use crate::{
    error::StoreError,
    lease_store::Fence,
    limits,
    outbox_store::{
        Enqueue, OutboxCursor, OutboxEntry, OutboxMessage, OutboxStats, OutboxStore, check_outbox_count,
        outbox_consumer,
    },
    timestamp::to_stored_precision,
};

/// The messages that were committed and are not confirmed. A message gets its number when it may be published, so the
/// numbers give the order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    numbers: u64,
    waiting: VecDeque<(u64, OutboxEntry)>,
    /// By the time for which they wait, then by the order of their commits.
    delayed: BTreeMap<(OffsetDateTime, u64), OutboxMessage>,
}

impl Outbox {
    /// Adds the messages of a transaction when it commits.
    pub(super) fn add(&mut self, messages: impl IntoIterator<Item = OutboxMessage>) {
        let now = now();
        for message in messages {
            match message.available_at.filter(|time| *time > now) {
                Some(time) => {
                    self.numbers += 1;
                    self.delayed.insert((time, self.numbers), message);
                }
                None => self.push(now, message),
            }
        }
    }

    fn push(&mut self, enqueued_at: OffsetDateTime, message: OutboxMessage) {
        self.numbers += 1;
        let cursor = OutboxCursor::new(self.numbers.to_string());
        self.waiting.push_back((self.numbers, OutboxEntry::new(cursor, enqueued_at, message)));
    }

    /// Moves the messages whose time has come to the end of the queue.
    fn take_due(&mut self) {
        let now = now();
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let ((time, _), message) = first.remove_entry();
            self.push(time, message);
        }
    }
}

fn now() -> OffsetDateTime {
    to_stored_precision(OffsetDateTime::now_utc())
}

#[async_trait]
impl OutboxStore for MemoryStore {
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        check_outbox_count(limit)?;
        let mut outbox = lock(&self.shared.outbox);
        outbox.take_due();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (_, entry) in &outbox.waiting {
            if entries.len() == limit || bytes >= limits::MAX_PAGE_BYTES {
                break;
            }
            bytes += entry.message.message.size();
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError> {
        let upto: u64 = upto.as_str().parse().map_err(|_| StoreError::Refused { reason: UNKNOWN_PLACE })?;
        let consumers = lock(&self.shared.consumers);
        consumers.leases.check_fence(&outbox_consumer()?, fence)?;
        let mut outbox = lock(&self.shared.outbox);
        if upto > outbox.numbers {
            return Err(StoreError::Refused { reason: UNKNOWN_PLACE });
        }
        while outbox.waiting.front().is_some_and(|(number, _)| *number <= upto) {
            outbox.waiting.pop_front();
        }
        Ok(())
    }

    async fn tidy_outbox(&self) -> Result<(), StoreError> {
        let mut outbox = lock(&self.shared.outbox);
        if outbox.waiting.is_empty() {
            outbox.waiting = VecDeque::new();
        }
        Ok(())
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        let mut outbox = lock(&self.shared.outbox);
        outbox.take_due();
        let waiting = outbox.waiting.iter().map(|(_, entry)| &entry.message);
        let bytes = waiting.chain(outbox.delayed.values()).map(|message| message.message.size() as u64).sum();
        let mut stats = OutboxStats { delayed: outbox.delayed.len() as u64, bytes, ..OutboxStats::default() };
        stats.waiting = (outbox.waiting.len() as u64).min(limits::MAX_COUNTED_OUTBOX);
        stats.oldest = outbox.waiting.front().map(|(_, entry)| entry.enqueued_at);
        Ok(stats)
    }
}

const UNKNOWN_PLACE: &str = "the outbox has no such place; confirm what it gave";

#[async_trait]
impl Enqueue for MemoryStore {
    type Connection = MemoryTables;

    async fn enqueue(&self, tables: &mut MemoryTables, message: &OutboxMessage) -> Result<(), StoreError> {
        message.check()?;
        tables.enqueued.push(message.clone());
        Ok(())
    }
}
