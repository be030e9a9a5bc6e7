//! The checkpoints of the partitions of a generation.

use async_trait::async_trait;
use es_core::{
    ConsumerName, Partition, PartitionCheckpoint, PartitionStore, Position, SlotOffsets, StoreError, redistributed,
};
use sqlx::{PgConnection, SqlStr, postgres::PgRow};

use crate::{
    error::store_error,
    projections::storable,
    read_all::check_places,
    rows::{from_bigint, get, get_position, get_text, to_bigint},
    store::{PgStore, Shared},
};

const NOT_STARTED: StoreError =
    StoreError::Refused { reason: "the consumer has no checkpoint yet; start its partitions first" };

fn partition(row: &PgRow) -> Result<PartitionCheckpoint, StoreError> {
    let consumer = ConsumerName::parse(get_text(row, 0)?)?;
    let slot_offsets = get::<Option<String>>(row, 2)?.unwrap_or_default();
    let unreadable = || StoreError::Backend { source: "a checkpoint that this version does not know".into() };
    let slot_offsets = SlotOffsets::parse(&slot_offsets).ok_or_else(unreadable)?;
    let reached =
        PartitionCheckpoint::new(consumer, get_position(row, 1)?).with(slot_offsets, from_bigint(get(row, 3)?));
    Ok(reached.at_events(get(row, 5)?, get(row, 6)?))
}

/// The checkpoints of a generation, by partition, and whether they are frozen.
async fn read(
    shared: &Shared,
    connection: &mut PgConnection,
    sql: &SqlStr,
    generation: &ConsumerName,
) -> Result<(Vec<PartitionCheckpoint>, bool), StoreError> {
    let query = shared.query(sql).bind(generation.unpartitioned().as_str().to_owned());
    let rows = query.fetch_all(connection).await.map_err(store_error)?;
    let mut is_frozen = false;
    for row in &rows {
        is_frozen |= get::<bool>(row, 4)?;
    }
    let mut all = rows.iter().map(partition).collect::<Result<Vec<_>, _>>()?;
    all.sort_by_key(PartitionCheckpoint::partition);
    Ok((all, is_frozen))
}

/// The checkpoints of a generation as they are.
pub(crate) async fn all(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    Ok(read(shared, connection, &shared.statements.partitions, generation).await?.0)
}

/// The same, while nobody else makes, moves or removes them; and whether they are frozen.
pub(crate) async fn all_locked(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
) -> Result<(Vec<PartitionCheckpoint>, bool), StoreError> {
    lock_partition_epoch(shared, connection, generation).await?;
    read(shared, connection, &shared.statements.lock_partitions, generation).await
}

async fn lock_partition_epoch(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
) -> Result<(), StoreError> {
    let lock =
        shared.query(&shared.statements.lock_partition_epoch).bind(generation.unpartitioned().as_str().to_owned());
    lock.execute(connection).await.map_err(store_error)?;
    Ok(())
}

async fn add(shared: &Shared, connection: &mut PgConnection, new: &[PartitionCheckpoint]) -> Result<(), StoreError> {
    let names: Vec<String> = new.iter().map(|new| new.consumer.as_str().to_owned()).collect();
    let positions = new.iter().map(|new| storable(new.position)).collect::<Result<Vec<_>, _>>()?;
    let text_of = |slot_offsets: &SlotOffsets| (!slot_offsets.is_empty()).then(|| slot_offsets.to_string());
    let slot_offsets: Vec<Option<String>> = new.iter().map(|new| text_of(&new.slot_offsets)).collect();
    let partition_epochs: Vec<i64> = new.iter().map(|new| to_bigint(new.partition_epoch)).collect();
    let ends = new.iter().map(|new| storable(new.slot_offsets.end())).collect::<Result<Vec<_>, _>>()?;
    let query = shared.query(&shared.statements.add_partitions).bind(names).bind(positions).bind(slot_offsets);
    let query = query.bind(partition_epochs).bind(ends);
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Removes the checkpoints of a generation.
pub(crate) async fn remove(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
) -> Result<(), StoreError> {
    lock_partition_epoch(shared, connection, generation).await?;
    let query = shared.query(&shared.statements.remove_partitions).bind(generation.unpartitioned().as_str().to_owned());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Shares out the slots of a generation anew, in a transaction in which its checkpoints are locked.
pub(crate) async fn change(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    old: &[PartitionCheckpoint],
    count: u16,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let new = redistributed(old, &generation.unpartitioned(), count)?;
    if new == old {
        return Ok(new);
    }
    check_fit(shared, connection, old).await?;
    replace(shared, connection, generation, &new).await?;
    all(shared, connection, generation).await
}

/// Checks that the log holds everything on which some checkpoints rest.
///
/// # Errors
/// [`StoreError::LogWentBack`].
pub(crate) async fn check_fit(
    shared: &Shared,
    connection: &mut PgConnection,
    all: &[PartitionCheckpoint],
) -> Result<(), StoreError> {
    check_places(shared, connection, all.iter().filter_map(PartitionCheckpoint::witness)).await
}

/// Puts other checkpoints in the place of those that a generation has.
pub(crate) async fn replace(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    new: &[PartitionCheckpoint],
) -> Result<(), StoreError> {
    remove(shared, connection, generation).await?;
    add(shared, connection, new).await
}

/// Freezes the checkpoints of a generation, of which there is one at least from here on, or lets them move again; gives where
/// they are.
pub(crate) async fn freeze(
    shared: &Shared,
    connection: &mut PgConnection,
    generation: &ConsumerName,
    is_frozen: bool,
) -> Result<Vec<PartitionCheckpoint>, StoreError> {
    let (mut found, _) = all_locked(shared, connection, generation).await?;
    if found.is_empty() {
        found.push(PartitionCheckpoint::new(generation.unpartitioned(), Position::ZERO));
        add(shared, connection, &found).await?;
    }
    let query = shared.query(&shared.statements.freeze_checkpoint).bind(generation.unpartitioned().as_str().to_owned());
    query.bind(is_frozen).execute(connection).await.map_err(store_error)?;
    Ok(found)
}

fn retired(generation: &ConsumerName) -> StoreError {
    StoreError::StaleGeneration { generation: generation.clone() }
}

#[async_trait]
impl PartitionStore for PgStore {
    async fn partitions(&self, generation: &ConsumerName) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        let read = || async {
            let mut session = self.shared.session().await?;
            let all = all(&self.shared, &mut session, generation).await?;
            session.finish().await?;
            Ok(all)
        };
        self.shared.reading(read).await
    }

    async fn start_partitions(
        &self,
        generation: &ConsumerName,
        count: u16,
        at: Position,
    ) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        let new = |partition| PartitionCheckpoint::new(generation.in_partition(partition), at);
        let new: Vec<_> = Partition::all(count)?.into_iter().map(new).collect();
        let mut transaction = self.shared.transaction().await?;
        // Without a lock at first: whoever has begun may hold it for as long as a page takes.
        let statements = &self.shared.statements;
        let mut found = read(&self.shared, &mut transaction, &statements.partitions, generation).await?;
        if found.0.is_empty() {
            lock_partition_epoch(&self.shared, &mut transaction, generation).await?;
            found = read(&self.shared, &mut transaction, &statements.partitions, generation).await?;
        }
        let (found, is_frozen) = found;
        if is_frozen {
            return Err(retired(generation));
        }
        if !found.is_empty() {
            return Ok(found);
        }
        add(&self.shared, &mut transaction, &new).await?;
        let new = all(&self.shared, &mut transaction, generation).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(new)
    }

    async fn repartition(&self, generation: &ConsumerName, count: u16) -> Result<Vec<PartitionCheckpoint>, StoreError> {
        Partition::all(count)?;
        let mut transaction = self.shared.transaction().await?;
        let (old, is_frozen) = all_locked(&self.shared, &mut transaction, generation).await?;
        if is_frozen {
            return Err(retired(generation));
        }
        if old.is_empty() {
            return Err(NOT_STARTED);
        }
        let new = change(&self.shared, &mut transaction, generation, &old, count).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(new)
    }
}
