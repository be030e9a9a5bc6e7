//! Messages that take effect once.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use es_core::{ConsumerName, InboxKey, InboxStats, InboxStore, Received, StoreError, check_inbox_keys};

use crate::{
    error::store_error,
    generations::{SWAP_LOCK_TIMEOUT, set_lock_timeout},
    handler_scope,
    rows::{from_bigint, get},
    store::PgStore,
    unit_of_work::UnitOfWork,
};

/// Whoever handles one of the messages at the same moment is waited for as long as the lock timeout. A handler that appends to the store past
/// its unit is refused, as in a projection: the events would stay though the unit is rolled back.
#[async_trait]
impl InboxStore for PgStore {
    type Unit = UnitOfWork;

    async fn receive(
        &self,
        consumer: &ConsumerName,
        keys: &[InboxKey<'_>],
    ) -> Result<Received<UnitOfWork>, StoreError> {
        check_inbox_keys(keys)?;
        let mut unit = self.begin().await?;
        if keys.is_empty() {
            return Ok(Received::new(unit, Vec::new()));
        }
        // The first of each id, in the order of the ids.
        let each_once: BTreeMap<&str, u64> = keys.iter().rev().map(|key| (key.id, key.content)).collect();
        let (shared, connection) = unit.parts();
        let lock_timeout_ms = i32::try_from(shared.settings.lock_timeout.as_millis()).unwrap_or(i32::MAX);
        let ids: Vec<String> = each_once.keys().map(|&id| id.to_owned()).collect();
        let contents: Vec<i64> = each_once.values().map(|&content| content.cast_signed()).collect();
        let query = shared
            .query(&shared.statements.receive_messages)
            .bind(consumer.as_str().to_owned())
            .bind(ids)
            .bind(contents)
            .bind(lock_timeout_ms);
        let row = query.fetch_one(connection).await.map_err(store_error)?;
        let ids = get::<Option<Vec<String>>>(&row, 0)?.unwrap_or_default();
        let contents = get::<Option<Vec<i64>>>(&row, 1)?.unwrap_or_default();
        let handled: HashMap<_, _> = ids.into_iter().zip(contents.into_iter().map(i64::cast_unsigned)).collect();
        Ok(Received::compared(unit, keys, &handled))
    }

    async fn begin_unit(&self) -> Result<UnitOfWork, StoreError> {
        let mut unit = self.begin().await?;
        let (shared, connection) = unit.parts();
        let query = shared.query(&shared.statements.flush_at_commit);
        query.execute(connection).await.map_err(store_error)?;
        Ok(unit)
    }

    /// Where there is something to forget, it waits for the units that are open, for a second at most, and new ones wait behind it.
    async fn rotate_inbox(&self, keep: Duration) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        set_lock_timeout(shared, &mut transaction, SWAP_LOCK_TIMEOUT).await?;
        let micros = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX).min(MAX_KEEP_MICROS);
        let query = shared.query(&shared.statements.rotate_inbox).bind(micros);
        query.execute(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    async fn inbox_stats(&self) -> Result<InboxStats, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.inbox_stats)).await?;
        let mut stats = InboxStats::default();
        if let Some(row) = rows.first() {
            (stats.remembered, stats.bytes) = (from_bigint(get(row, 0)?), from_bigint(get(row, 1)?));
        }
        Ok(stats)
    }

    fn in_handler<F>(&self, handler: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        handler_scope::in_handler(&self.shared, handler)
    }
}

/// A thousand years: a time before that is still one that the database knows.
const MAX_KEEP_MICROS: i64 = 1_000 * 366 * 24 * 3_600 * 1_000_000;
