//! Which messages have been handled, in memory.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, MemoryUnit, lock};
use crate::{
    consumer_name::ConsumerName,
    error::StoreError,
    inbox_store::{InboxStats, InboxStore, Received, check_message_ids},
    limits,
};

/// The ids of handled messages: one partition takes new ones, the others grow old.
#[derive(Debug)]
pub(super) struct Inbox {
    current: HashSet<(ConsumerName, String)>,
    current_since: OffsetDateTime,
    older: Vec<Older>,
}

#[derive(Debug)]
struct Older {
    ids: HashSet<(ConsumerName, String)>,
    /// When the last of them was noted, or later.
    until: OffsetDateTime,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { current: HashSet::new(), current_since: OffsetDateTime::now_utc(), older: Vec::new() }
    }
}

impl Inbox {
    fn knows(&self, id: &(ConsumerName, String)) -> bool {
        self.current.contains(id) || self.older.iter().any(|older| older.ids.contains(id))
    }

    pub(super) fn remember(&mut self, ids: Vec<(ConsumerName, String)>) {
        self.current.extend(ids);
    }

    fn rotate(&mut self, keep: Duration, now: OffsetDateTime) {
        if !self.current.is_empty() && now - self.current_since >= keep / (limits::INBOX_PARTITIONS - 1) {
            self.older.push(Older { ids: std::mem::take(&mut self.current), until: now });
            self.current_since = now;
        }
        self.older.retain(|older| now - older.until < keep);
    }

    fn all(&self) -> impl Iterator<Item = &(ConsumerName, String)> {
        self.older.iter().flat_map(|older| &older.ids).chain(&self.current)
    }
}

#[async_trait]
impl InboxStore for MemoryStore {
    type Unit = MemoryUnit;

    async fn receive(&self, consumer: &ConsumerName, ids: &[&str]) -> Result<Received<MemoryUnit>, StoreError> {
        check_message_ids(ids)?;
        // From here on no other unit is open: whoever handles one of them has ended.
        let mut unit = self.begin_unit().await?;
        let inbox = lock(&self.shared.inbox);
        let mut seen = HashSet::new();
        let mut is_new = Vec::with_capacity(ids.len());
        for &id in ids {
            let id = (consumer.clone(), id.to_owned());
            is_new.push(!inbox.knows(&id) && seen.insert(id));
        }
        unit.handled = seen.into_iter().collect();
        Ok(Received::new(unit, is_new))
    }

    async fn begin_unit(&self) -> Result<MemoryUnit, StoreError> {
        let tables = Arc::clone(&self.shared.tables).lock_owned().await;
        Ok(MemoryUnit::new(self.clone(), tables))
    }

    async fn rotate_inbox(&self, keep: Duration) -> Result<(), StoreError> {
        let _tables = self.shared.tables.lock().await;
        lock(&self.shared.inbox).rotate(keep, OffsetDateTime::now_utc());
        Ok(())
    }

    async fn inbox_stats(&self) -> Result<InboxStats, StoreError> {
        let inbox = lock(&self.shared.inbox);
        let bytes = inbox.all().map(|(consumer, id)| (consumer.as_str().len() + id.len()) as u64).sum();
        Ok(InboxStats { remembered: inbox.all().count() as u64, bytes })
    }
}
