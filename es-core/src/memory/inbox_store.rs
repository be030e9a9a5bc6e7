//! The inbox in memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{MemoryStore, MemoryUnit, lock};
use crate::{
    consumer_name::ConsumerName,
    error::StoreError,
    inbox_store::{InboxKey, InboxStats, InboxStore, Received, check_inbox_keys},
    limits,
};

/// The IDs of handled messages, each with a digest of the message's content.
type Ids = HashMap<(ConsumerName, String), u64>;

/// The handled messages. One partition receives new IDs, and the others age.
#[derive(Debug)]
pub(super) struct Inbox {
    current: Ids,
    current_since: OffsetDateTime,
    older: Vec<Older>,
}

#[derive(Debug)]
struct Older {
    ids: Ids,
    /// A time at or after the last record in the partition.
    until: OffsetDateTime,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { current: Ids::new(), current_since: OffsetDateTime::now_utc(), older: Vec::new() }
    }
}

impl Inbox {
    /// Returns the digest of the content that was handled under an ID.
    fn content_of(&self, id: &(ConsumerName, String)) -> Option<u64> {
        let older = || self.older.iter().find_map(|older| older.ids.get(id));
        self.current.get(id).or_else(older).copied()
    }

    pub(super) fn remember(&mut self, ids: Ids) {
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
        self.older.iter().flat_map(|older| older.ids.keys()).chain(self.current.keys())
    }
}

#[async_trait]
impl InboxStore for MemoryStore {
    type Unit = MemoryUnit;

    async fn receive(
        &self,
        consumer: &ConsumerName,
        keys: &[InboxKey<'_>],
    ) -> Result<Received<MemoryUnit>, StoreError> {
        check_inbox_keys(keys)?;
        // From here on, no other unit is open, so no other caller is handling one of these messages.
        let mut unit = self.begin_unit().await?;
        let inbox = lock(&self.shared.inbox);
        let mut handled = HashMap::new();
        for key in keys {
            let id = (consumer.clone(), key.id.to_owned());
            match inbox.content_of(&id) {
                Some(content) => drop(handled.insert(id.1, content)),
                None => drop(unit.handled.entry(id).or_insert(key.content)),
            }
        }
        Ok(Received::compared(unit, keys, &handled))
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
