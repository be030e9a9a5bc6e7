//! Checkpoints, views, and projections.

use async_trait::async_trait;
use es_core::{
    Advance, Bookmark, Checkpoint, ConsumerName, ConsumerStore, Document, DocumentChange, DocumentQuery, Generation,
    PageProjection, PartitionCheckpoint, Position, ProjectionError, ProjectionStore, RecordedEvent, StoreError,
    check_document_count,
    timestamp::{from_unix_micros, unix_micros},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{
    documents,
    error::{corrupt, store_error, to_bound, to_stored},
    generations,
    handler_scope::{in_handler, refuse_in_handler},
    leases,
    page_time::bounded,
    parking, partitions,
    read_all::check_places,
    rows::id_in,
    shared_commit::Member,
    store::SqliteStore,
    writer::{begin, commit},
};

const CHECKPOINT: &str = include_str!("../sql/checkpoint.sql");
const CHECKPOINTS: &str = include_str!("../sql/checkpoints.sql");
const START: &str = include_str!("../sql/start_checkpoint.sql");
const MOVE: &str = include_str!("../sql/move_checkpoint.sql");
const RESET: &str = include_str!("../sql/reset_checkpoint.sql");

pub(crate) fn now() -> i64 {
    unix_micros(OffsetDateTime::now_utc())
}

fn to_checkpoint(row: &SqliteRow) -> Result<Checkpoint, StoreError> {
    let consumer: &str = row.try_get("consumer").map_err(store_error)?;
    let position: i64 = row.try_get("position").map_err(store_error)?;
    let updated_at: i64 = row.try_get("updated_at").map_err(store_error)?;
    let updated_at =
        from_unix_micros(updated_at).ok_or_else(|| corrupt(position, "the time of a checkpoint is out of range"))?;
    let checkpoint =
        Checkpoint::new(ConsumerName::parse(consumer)?, Position::new(position.unsigned_abs()), updated_at);
    Ok(checkpoint.at_event(id_in(row, "event_id")?))
}

async fn checkpoint_row(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
) -> Result<Option<SqliteRow>, StoreError> {
    sqlx::query(CHECKPOINT).bind(consumer.as_str()).fetch_optional(connection).await.map_err(store_error)
}

async fn compare_and_move(connection: &mut SqliteConnection, advance: &Advance) -> Result<(), StoreError> {
    advance.check()?;
    let Advance { consumer, from, to, lease, seen, .. } = advance;
    // A checkpoint beyond the range of the database cannot exist, so it is not at the position that the caller expects.
    let from_stored = i64::try_from(from.get()).unwrap_or(-1);
    let moved = sqlx::query(MOVE)
        .bind(consumer.as_str())
        .bind(from_stored)
        .bind(to_stored("a position", to.get())?)
        .bind(now())
        .bind(lease.map(|lease| to_stored("a fence", lease.fence.get())).transpose()?)
        // A partition epoch beyond the range of the database cannot exist either.
        .bind(i64::try_from(advance.partition_epoch).unwrap_or(-1))
        .bind(seen.map(|seen| to_bound(seen.position().get())))
        .bind(seen.and_then(Bookmark::event_id).map(|id| id.simple().to_string()))
        // Read all rows: a statement outside a transaction commits only at its end.
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    if !moved.is_empty() {
        return Ok(());
    }
    check_places(connection, seen.iter().copied()).await?;
    if let Some(lease) = *lease
        && !leases::is_newest(connection, consumer, lease).await?
    {
        return Err(StoreError::LeaseLost { consumer: consumer.clone() });
    }
    let row = checkpoint_row(connection, consumer).await?;
    let (is_gone, actual) = match &row {
        Some(row) => {
            let partition_epoch: i64 = row.try_get("partition_epoch").map_err(store_error)?;
            let is_frozen: bool = row.try_get("is_frozen").map_err(store_error)?;
            (is_frozen || partition_epoch.unsigned_abs() != advance.partition_epoch, to_checkpoint(row)?.position)
        }
        None => {
            let others = partitions::all(connection, consumer).await?;
            (advance.partition_epoch != 0 || consumer.partition().is_some() || !others.is_empty(), Position::ZERO)
        }
    };
    if is_gone {
        return Err(StoreError::StaleGeneration { generation: consumer.clone() });
    }
    Err(StoreError::CheckpointMoved { consumer: consumer.clone(), expected: *from, actual })
}

/// Moves a checkpoint in a transaction that the caller ends.
pub(crate) async fn move_in_transaction(
    connection: &mut SqliteConnection,
    advance: &Advance,
) -> Result<(), StoreError> {
    compare_and_move(connection, advance).await?;
    parking::follow(connection, advance).await
}

/// Moves the checkpoints of a generation to 0, in a transaction that the caller ends.
async fn reset(connection: &mut SqliteConnection, consumer: &ConsumerName) -> Result<(), StoreError> {
    let generation = consumer.unpartitioned();
    let query = sqlx::query(RESET).bind(generation.as_str().to_owned()).bind(now());
    if query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0 {
        return parking::forget_after(connection, &generation, Position::ZERO).await;
    }
    if partitions::all(connection, &generation).await?.is_empty() {
        return partitions::add(connection, &[PartitionCheckpoint::new(generation, Position::ZERO)]).await;
    }
    Err(StoreError::StaleGeneration { generation })
}

impl SqliteStore {
    /// Begins a write in which the code of a projection may run.
    async fn join(&self, what: &str, projection: &ConsumerName) -> Result<Member, StoreError> {
        refuse_in_handler(&self.shared.file)?;
        self.shared.writer.join(format!("{what} of {projection}")).await
    }

    /// Returns whether a view has its table. Once created, the table stays, so a positive result is remembered.
    async fn has_view(&self, view: &ConsumerName) -> Result<bool, StoreError> {
        let view = &view.unpartitioned();
        if self.shared.knows_view(view) {
            return Ok(true);
        }
        let mut reader = self.shared.readers.get().await?;
        let exists = documents::exists(reader.connection()?, view).await;
        let exists = reader.settle(exists.map_err(store_error))?;
        if exists {
            self.shared.know_view(view);
        }
        Ok(exists)
    }
}

/// Ends a write in which the code of a projection ran, or undoes it.
async fn end(mut member: Member, done: Result<(), ProjectionError>) -> Result<(), ProjectionError> {
    match done {
        Ok(()) => Ok(member.end().await?),
        Err(ProjectionError::Store(error)) => {
            let failed = member.settle(Err(error));
            member.undo().await?;
            Ok(failed?)
        }
        Err(error) => {
            member.undo().await?;
            Err(error)
        }
    }
}

#[async_trait]
impl ConsumerStore for SqliteStore {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let row = checkpoint_row(reader.connection()?, consumer).await;
        reader.settle(row)?.as_ref().map(to_checkpoint).transpose()
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let rows = sqlx::query(CHECKPOINTS).fetch_all(reader.connection()?).await;
        reader.settle(rows.map_err(store_error))?.iter().map(to_checkpoint).collect()
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        let at = to_stored("a position", at.get())?;
        let consumer = consumer.clone();
        self.write_shared(format!("the checkpoint of {consumer}"), move |connection| {
            Box::pin(async move {
                let query = sqlx::query(START).bind(consumer.as_str()).bind(at).bind(now());
                match query.fetch_optional(connection).await.map_err(store_error)? {
                    Some(row) => to_checkpoint(&row),
                    // The consumer has other partitions.
                    None => Err(StoreError::StaleGeneration { generation: consumer }),
                }
            })
        })
        .await
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        let advance = advance.clone();
        self.write_shared(format!("the checkpoint of {}", advance.consumer), move |connection| {
            Box::pin(async move { move_in_transaction(connection, &advance).await })
        })
        .await
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        if self.has_view(view).await? {
            return Ok(());
        }
        let view = &view.unpartitioned();
        let own = view.clone();
        self.write_shared(format!("the table of {view}"), move |connection| {
            Box::pin(async move {
                documents::prepare(connection, &own).await.map_err(store_error)?;
                if own.generation() == Some(Generation::FIRST)
                    && !documents::exists(connection, &own.live()).await.map_err(store_error)?
                {
                    generations::show(connection, &documents::table(&own.live()), &documents::table(&own)).await?;
                }
                Ok(())
            })
        })
        .await?;
        self.shared.know_view(view);
        Ok(())
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        check_document_count(keys.len())?;
        if keys.is_empty() || !self.has_view(view).await? {
            return Ok(Vec::new());
        }
        let mut reader = self.shared.readers.get().await?;
        let documents = documents::get(reader.connection()?, view, keys).await;
        reader.settle(documents.map_err(store_error))
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        query.check()?;
        if !self.has_view(view).await? {
            return Ok(Vec::new());
        }
        let mut reader = self.shared.readers.get().await?;
        let documents = documents::list(reader.connection()?, view, query).await;
        reader.settle(documents)
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        self.prepare_view(&advance.consumer).await?;
        let changes = documents::Changes::new(&advance.consumer, changes)?;
        let advance = advance.clone();
        self.write_shared(format!("the documents of {}", advance.consumer), move |connection| {
            Box::pin(async move {
                move_in_transaction(connection, &advance).await?;
                changes.write(connection).await.map_err(store_error)
            })
        })
        .await
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.prepare_view(view).await?;
        let view = view.clone();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                documents::clear(connection, &view).await.map_err(store_error)?;
                reset(connection, &view).await?;
                commit(connection).await
            })
        })
        .await
    }
}

#[async_trait]
impl ProjectionStore for SqliteStore {
    type Connection = SqliteConnection;

    async fn prepare_projection(
        &self,
        projection: &dyn PageProjection<SqliteConnection>,
    ) -> Result<(), ProjectionError> {
        let mut member = self.join("the tables", projection.name()).await?;
        let done = async {
            let connection = member.connection()?;
            in_handler(&self.shared.file, projection.prepare(&mut *connection)).await?;
            if projection.name().generation() == Some(Generation::FIRST) {
                in_handler(&self.shared.file, projection.after_load(&mut *connection)).await?;
            }
            Ok(generations::show_first(connection, projection.name(), &projection.definition().tables).await?)
        };
        let done = done.await;
        end(member, done).await
    }

    async fn finish_projection(
        &self,
        projection: &dyn PageProjection<SqliteConnection>,
    ) -> Result<(), ProjectionError> {
        let mut member = self.join("what is made after the load", projection.name()).await?;
        let done = async { in_handler(&self.shared.file, projection.after_load(member.connection()?)).await };
        let done = done.await;
        end(member, done).await
    }

    async fn apply_page(
        &self,
        projection: &dyn PageProjection<SqliteConnection>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        if events.is_empty() {
            return Ok(self.move_checkpoint(advance).await?);
        }
        let mut member = self.join("a page", projection.name()).await?;
        let done = async {
            let connection = member.connection()?;
            move_in_transaction(connection, advance).await?;
            let handler = in_handler(&self.shared.file, projection.apply_page(connection, events));
            bounded(&self.shared.writer.turns, projection.name(), events.len(), handler).await
        };
        let done = done.await;
        end(member, done).await
    }

    async fn clear_projection(&self, projection: &dyn PageProjection<SqliteConnection>) -> Result<(), ProjectionError> {
        let mut member = self.join("the emptying", projection.name()).await?;
        let done = async {
            let connection = member.connection()?;
            in_handler(&self.shared.file, projection.clear(&mut *connection)).await?;
            Ok(reset(connection, projection.name()).await?)
        };
        let done = done.await;
        end(member, done).await
    }
}
