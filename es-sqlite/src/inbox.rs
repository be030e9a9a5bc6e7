//! The inbox, which makes messages take effect once.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use es_core::{ConsumerName, InboxKey, InboxStats, InboxStore, Received, StoreError, check_inbox_keys, limits};
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    handler_scope,
    projections::now,
    rows::to_json,
    store::SqliteStore,
    unit_of_work::UnitOfWork,
    writer::{begin, commit},
};

const RING: &str = include_str!("../sql/inbox_ring.sql");
const RECEIVE: &str = include_str!("../sql/inbox_receive.sql");
const KNOWN: &str = include_str!("../sql/inbox_known.sql");
const COUNT: &str = include_str!("../sql/inbox_count.sql");
const EMPTY: &str = include_str!("../sql/inbox_empty.sql");
const TURN: &str = include_str!("../sql/inbox_turn.sql");

/// A partition of the inbox that is not empty.
struct InUse {
    partition: i64,
    opened_at: i64,
    closed_at: Option<i64>,
    ids: i64,
    bytes: i64,
}

impl InUse {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let number = |column| row.try_get::<i64, _>(column).map_err(store_error);
        let closed_at = row.try_get("closed_at").map_err(store_error)?;
        let (ids, bytes) = (number("ids")?, number("bytes")?);
        Ok(Self { partition: number("partition")?, opened_at: number("opened_at")?, closed_at, ids, bytes })
    }

    fn is_older(&self, than: i64) -> bool {
        self.closed_at.is_some_and(|closed_at| closed_at <= than)
    }
}

async fn ring(connection: &mut SqliteConnection) -> Result<Vec<InUse>, StoreError> {
    let rows = sqlx::query(RING).fetch_all(connection).await.map_err(store_error)?;
    rows.iter().map(InUse::read).collect()
}

/// Records that messages are handled, in a transaction that writes. Returns the contents of those that were handled
/// before.
async fn receive(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    contents: &BTreeMap<&str, i64>,
) -> Result<HashMap<String, u64>, StoreError> {
    let ring = ring(connection).await?;
    let open = ring.first().filter(|partition| partition.closed_at.is_none());
    let no_partition = || StoreError::Backend { source: "no partition of the inbox is open".into() };
    let open = open.ok_or_else(no_partition)?.partition;
    let note = AssertSqlSafe(RECEIVE.replace("{open}", &open.to_string()));
    let note = sqlx::query(note).bind(consumer.as_str()).bind(to_json(&contents.iter().collect::<Vec<_>>())?);
    let rows = note.fetch_all(&mut *connection).await.map_err(store_error)?;
    let new = rows.iter().map(|row| row.try_get("id").map_err(store_error));
    let new: HashSet<String> = new.collect::<Result<_, _>>()?;
    let bytes: usize = new.iter().map(|id| id.len() + consumer.as_str().len()).sum();
    let count = sqlx::query(COUNT).bind(open).bind(new.len() as i64).bind(bytes as i64);
    count.execute(&mut *connection).await.map_err(store_error)?;
    let known: Vec<&str> = contents.keys().copied().filter(|id| !new.contains(*id)).collect();
    if known.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(KNOWN).bind(consumer.as_str()).bind(to_json(&known)?).fetch_all(connection).await;
    let pair = |row: &SqliteRow| Ok((row.try_get("id")?, row.try_get::<i64, _>("content")?.cast_unsigned()));
    rows.map_err(store_error)?.iter().map(|row| pair(row).map_err(store_error)).collect()
}

/// Deletes old IDs, and opens another partition in time.
async fn rotate(connection: &mut SqliteConnection, keep: i64, now: i64) -> Result<(), StoreError> {
    let mut ring = ring(connection).await?;
    let is_due = |open: &InUse| open.ids > 0 && open.opened_at <= now - turns_after(keep);
    if let Some(open) = ring.first_mut().filter(|open| open.closed_at.is_none() && is_due(open)) {
        open.closed_at = Some(now);
        turn(connection, open.partition, Some(open.opened_at), Some(now)).await?;
    }
    for old in ring.iter().filter(|partition| partition.is_older(now - keep)) {
        let empty = AssertSqlSafe(EMPTY.replace("{partition}", &old.partition.to_string()));
        sqlx::query(empty).execute(&mut *connection).await.map_err(store_error)?;
        turn(connection, old.partition, None, None).await?;
    }
    ring.retain(|partition| !partition.is_older(now - keep));
    if ring.iter().any(|partition| partition.closed_at.is_none()) {
        return Ok(());
    }
    let mut partitions = 0..i64::from(limits::INBOX_PARTITIONS);
    match partitions.find(|partition| ring.iter().all(|in_use| in_use.partition != *partition)) {
        Some(free) => turn(connection, free, Some(now), None).await,
        // This only happens if the call has a longer time than before. The last partition then stays open longer.
        None => match ring.iter().find(|partition| partition.closed_at == Some(now)) {
            Some(last) => turn(connection, last.partition, Some(last.opened_at), None).await,
            None => Ok(()),
        },
    }
}

/// Returns the time after which another partition is opened, chosen so that one of them is always empty when it is
/// needed.
fn turns_after(keep: i64) -> i64 {
    keep / i64::from(limits::INBOX_PARTITIONS - 1)
}

async fn turn(
    connection: &mut SqliteConnection,
    partition: i64,
    opened_at: Option<i64>,
    closed_at: Option<i64>,
) -> Result<(), StoreError> {
    let turn = sqlx::query(TURN).bind(partition).bind(opened_at).bind(closed_at);
    turn.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// A unit holds the store's only writer, so there is one unit at a time. A call waits for a unit that handles one of
/// the same messages for as long as the busy timeout. If a handler writes to the store outside its unit, the write is
/// refused, because it would wait for itself.
#[async_trait]
impl InboxStore for SqliteStore {
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
        // Keep the first message of each ID.
        let each_once = keys.iter().rev().map(|key| (key.id, key.content.cast_signed())).collect();
        let handled = unit.receive(consumer, &each_once).await?;
        Ok(Received::compared(unit, keys, &handled))
    }

    async fn begin_unit(&self) -> Result<UnitOfWork, StoreError> {
        self.begin().await
    }

    async fn rotate_inbox(&self, keep: Duration) -> Result<(), StoreError> {
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX).min(MAX_KEEP_MICROS);
        let rows = self.rows(sqlx::query(RING)).await?;
        let ring: Vec<InUse> = rows.iter().map(InUse::read).collect::<Result<_, _>>()?;
        let (now, is_open) = (now(), |partition: &InUse| partition.closed_at.is_none());
        let is_due = |partition: &InUse| is_open(partition) && partition.opened_at <= now - turns_after(keep);
        if !ring.iter().any(|partition| partition.is_older(now - keep) || is_due(partition)) {
            return Ok(());
        }
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                rotate(connection, keep, crate::projections::now()).await?;
                commit(connection).await
            })
        })
        .await
    }

    async fn inbox_stats(&self) -> Result<InboxStats, StoreError> {
        let mut stats = InboxStats::default();
        for row in self.rows(sqlx::query(RING)).await? {
            let partition = InUse::read(&row)?;
            stats.remembered += partition.ids.unsigned_abs();
            stats.bytes += partition.bytes.unsigned_abs();
        }
        Ok(stats)
    }

    fn in_handler<F>(&self, handler: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        let file = Arc::clone(&self.shared.file);
        async move { handler_scope::in_handler(&file, handler).await }
    }
}

impl UnitOfWork {
    async fn receive(
        &mut self,
        consumer: &ConsumerName,
        contents: &BTreeMap<&str, i64>,
    ) -> Result<HashMap<String, u64>, StoreError> {
        let handled = receive(self.transaction.connection(), consumer, contents).await;
        self.transaction.settle(handled)
    }
}

/// A thousand years. The time that long ago can still be represented.
const MAX_KEEP_MICROS: i64 = 1_000 * 366 * 24 * 3_600 * 1_000_000;
