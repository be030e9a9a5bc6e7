//! The checkpoints of the partitions of a generation.

use async_trait::async_trait;
use es_core::{
    ConsumerName, Partition, PartitionCheckpoint, PartitionStore, Position, SlotOffsets, StoreError, redistributed,
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::{store_error, to_stored, unreadable as not_encoded},
    projections::now,
    read_all::check_places,
    rows::id_in,
    store::SqliteStore,
    writer::{begin, commit},
};

const PARTITIONS: &str = include_str!("../sql/partitions.sql");
const ADD: &str = include_str!("../sql/partitions_add.sql");
const REMOVE: &str = include_str!("../sql/partitions_remove.sql");
const FREEZE: &str = include_str!("../sql/freeze_checkpoint.sql");

const NOT_STARTED: StoreError =
    StoreError::Refused { reason: "the consumer has no checkpoint yet; start its partitions first" };

fn partition(row: &SqliteRow) -> Result<PartitionCheckpoint, StoreError> {
    let number = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs).map_err(store_error);
    let consumer = ConsumerName::parse(row.try_get("consumer").map_err(store_error)?)?;
    let slot_offsets: Option<&str> = row.try_get("slot_offsets").map_err(store_error)?;
    let unreadable = || StoreError::Backend { source: "a checkpoint that this version does not know".into() };
    let slot_offsets = SlotOffsets::parse(slot_offsets.unwrap_or_default()).ok_or_else(unreadable)?;
    let reached = PartitionCheckpoint::new(consumer, Position::new(number("position")?));
    let reached = reached.with(slot_offsets, number("partition_epoch")?);
    Ok(reached.at_events(id_in(row, "event_id")?, id_in(row, "slot_offsets_event_id")?))
}

async fn rows_of(connection: &mut SqliteConnection, generation: &ConsumerName) -> Result<Vec<SqliteRow>, StoreError> {
    sqlx::query(PARTITIONS).bind(generation.unpartitioned().as_str()).fetch_all(connection).await.map_err(store_error)
}

fn in_order(rows: &[SqliteRow]) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let mut all = rows.iter().map(partition).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(PartitionCheckpoint::partition);
    Ok(all)
}

/// Returns the checkpoints of a generation, ordered by partition.
pub(crate) async fn all(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    in_order(&rows_of(connection, generation).await?)
}

/// Returns the checkpoints of a generation, unless they are frozen.
pub(crate) async fn all_movable(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let rows = rows_of(connection, generation).await?;
    for row in &rows {
        if row.try_get("is_frozen").map_err(store_error)? {
            return Err(StoreError::StaleGeneration { generation: generation.clone() });
        }
    }
    in_order(&rows)
}

pub(crate) async fn add(connection: &mut SqliteConnection, new: &[PartitionCheckpoint]) -> Result<(), StoreError> {
    let row_of = |new: &PartitionCheckpoint| {
        let slot_offsets = (!new.slot_offsets.is_empty()).then(|| new.slot_offsets.to_string());
        let position = to_stored("a position", new.position.get())?;
        let (partition_epoch, slot_offsets_end) = (
            to_stored("a partition epoch", new.partition_epoch)?,
            to_stored("a position", new.slot_offsets.end().get())?,
        );
        Ok((new.consumer.as_str().to_owned(), position, slot_offsets, partition_epoch, slot_offsets_end))
    };
    let rows = new.iter().map(row_of).collect::<Result<Vec<_>, StoreError>>()?;
    let rows = serde_json::to_string(&rows).map_err(not_encoded)?;
    sqlx::query(ADD).bind(rows).bind(now()).execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Removes the checkpoints of a generation.
pub(crate) async fn remove(connection: &mut SqliteConnection, generation: &ConsumerName) -> Result<(), StoreError> {
    sqlx::query(REMOVE).bind(generation.unpartitioned().as_str()).execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Redistributes the slots of a generation, in a transaction that the caller ends.
pub(crate) async fn change(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    old: &[PartitionCheckpoint],
    count: u16,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let new = redistributed(old, &generation.unpartitioned(), count)?;
    if new == old {
        return Ok(new);
    }
    check_fit(connection, old).await?;
    replace(connection, generation, &new).await?;
    all(connection, generation).await
}

/// Checks that the log contains every event that proves one of these checkpoints.
///
/// # Errors
/// Returns [`StoreError::LogWentBack`] if an event is missing.
pub(crate) async fn check_fit(
    connection: &mut SqliteConnection,
    all: &[PartitionCheckpoint],
) -> Result<(), StoreError> {
    check_places(connection, all.iter().filter_map(PartitionCheckpoint::witness)).await
}

/// Replaces the checkpoints of a generation.
pub(crate) async fn replace(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    new: &[PartitionCheckpoint],
) -> Result<(), StoreError> {
    remove(connection, generation).await?;
    add(connection, new).await
}

/// Freezes the checkpoints of a generation, or lets them move again. Creates a checkpoint if there is none. Returns the
/// positions.
pub(crate) async fn freeze(
    connection: &mut SqliteConnection,
    generation: &ConsumerName,
    is_frozen: bool,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let mut found = all(connection, generation).await?;
    if found.is_empty() {
        found.push(PartitionCheckpoint::new(generation.unpartitioned(), Position::ZERO));
        add(connection, &found).await?;
    }
    let query = sqlx::query(FREEZE).bind(generation.unpartitioned().as_str().to_owned()).bind(is_frozen);
    query.execute(connection).await.map_err(store_error)?;
    Ok(found)
}

#[async_trait]
impl PartitionStore for SqliteStore {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let found = all(reader.connection()?, generation).await;
        reader.settle(found)
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        let new = |partition| PartitionCheckpoint::new(generation.in_partition(partition), at);
        let new: Vec<_> = Partition::all(count)?.into_iter().map(new).collect();
        let generation = generation.clone();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let mut found = all_movable(connection, &generation).await?;
                if found.is_empty() {
                    add(connection, &new).await?;
                    found = all(connection, &generation).await?;
                }
                commit(connection).await?;
                Ok(found)
            })
        })
        .await
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        Partition::all(count)?;
        let generation = generation.clone();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let old = all_movable(connection, &generation).await?;
                if old.is_empty() {
                    return Err(NOT_STARTED);
                }
                let new = change(connection, &generation, &old, count).await?;
                commit(connection).await?;
                Ok(new)
            })
        })
        .await
    }
}
