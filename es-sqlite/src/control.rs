//! Operator actions on consumers, and the operations log.

use async_trait::async_trait;
use es_core::{
    CheckpointOverride, ConsumerName, ControlStore, Generation, GenerationState, NewOperation, Operation,
    OperationKind, OperatorRequest, Position, StoreError, Suspension, SuspensionKind, TableNames,
    check_operation_count, overridden_partitions, timestamp::from_unix_micros,
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    documents,
    error::{store_error, to_stored},
    generations::{DROP, DROP_STABLE, all, number_of, on},
    parking, partitions,
    projections::now,
    store::SqliteStore,
    writer::{begin, commit},
};

const SUSPENSIONS: &str = include_str!("../sql/suspensions.sql");
const SUSPEND: &str = include_str!("../sql/suspend.sql");
const RESUME: &str = include_str!("../sql/resume.sql");
const NOTE: &str = include_str!("../sql/operation_note.sql");
const OPERATIONS: &str = include_str!("../sql/operations.sql");
const REVOKE: &str = include_str!("../sql/leases_revoke.sql");
const HEAD: &str = include_str!("../sql/head.sql");
/// The statements that remove the rows of a consumer.
const REMOVALS: [&str; 3] = [
    include_str!("../sql/consumer_remove.sql"),
    include_str!("../sql/generations_remove.sql"),
    include_str!("../sql/suspensions_remove.sql"),
];

fn unreadable() -> StoreError {
    StoreError::Backend { source: "a line of the log of operations that this version does not know".into() }
}

fn to_position(number: i64) -> Position {
    Position::new(number.unsigned_abs())
}

fn to_suspension(row: &SqliteRow) -> Result<Suspension, StoreError> {
    let consumer: &str = row.try_get("consumer").map_err(store_error)?;
    let kind = SuspensionKind::parse(row.try_get("kind").map_err(store_error)?).ok_or_else(unreadable)?;
    let since = from_unix_micros(row.try_get("since").map_err(store_error)?).ok_or_else(unreadable)?;
    let by = row.try_get("suspended_by").map_err(store_error)?;
    Ok(Suspension::new(ConsumerName::parse(consumer)?, kind, by, since, row.try_get("reason").map_err(store_error)?))
}

fn to_operation(row: &SqliteRow) -> Result<Operation, StoreError> {
    let text = |column| row.try_get::<&str, _>(column).map_err(store_error);
    let number = |column| row.try_get::<i64, _>(column).map_err(store_error);
    let position =
        |column| Ok::<_, StoreError>(row.try_get::<Option<i64>, _>(column).map_err(store_error)?.map(to_position));
    let generation = u32::try_from(number("generation")?).ok().and_then(Generation::new).ok_or_else(unreadable)?;
    let consumer = ConsumerName::parse(text("consumer")?)?.in_generation(generation);
    let request = OperatorRequest::by(text("requested_by")?)?;
    let request = match row.try_get::<Option<&str>, _>("reason").map_err(store_error)? {
        Some(reason) => request.because(reason)?,
        None => request,
    };
    let what = NewOperation::new(OperationKind::new(text("kind")?)?, consumer, request);
    let what = what.moved(position("from_position")?, position("to_position")?);
    let at = from_unix_micros(number("at")?).ok_or_else(unreadable)?;
    Ok(Operation::new(number("id")?.unsigned_abs(), at, what))
}

pub(crate) async fn note(
    connection: &mut SqliteConnection,
    operation: &NewOperation,
    now: i64,
) -> Result<(), StoreError> {
    let NewOperation { kind, consumer, from, to, request, .. } = operation;
    let stored = |position: Option<Position>| position.map(|it| to_stored("a position", it.get())).transpose();
    let query = sqlx::query(NOTE).bind(now).bind(kind.as_str()).bind(consumer.base_text()).bind(number_of(consumer));
    let query = query.bind(stored(*from)?).bind(stored(*to)?).bind(request.author()).bind(request.reason());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

#[async_trait]
impl ControlStore for SqliteStore {
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let rows = sqlx::query(SUSPENSIONS).fetch_all(reader.connection()?).await.map_err(store_error);
        reader.settle(rows)?.iter().map(to_suspension).collect()
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        kind.check(request)?;
        let (consumer, request) = (consumer.base(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let (connection, now) = (begin(writer).await?, now());
                let query = sqlx::query(SUSPEND).bind(consumer.as_str()).bind(kind.as_str()).bind(request.author());
                let query = query.bind(now).bind(request.reason());
                let is_new = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0;
                if is_new {
                    note(connection, &NewOperation::new(kind.begun(), consumer, request), now).await?;
                }
                commit(connection).await?;
                Ok(is_new)
            })
        })
        .await
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        let (consumer, request) = (consumer.base(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let query = sqlx::query(RESUME).bind(consumer.as_str()).bind(kind.as_str());
                let was_suspended = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0;
                if was_suspended {
                    note(connection, &NewOperation::new(kind.ended(), consumer, request), now()).await?;
                }
                commit(connection).await?;
                Ok(was_suspended)
            })
        })
        .await
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        request.check_reason()?;
        let (consumer, request) = (consumer.clone(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let from = move_in(connection, &consumer, checkpoint_override, request).await?;
                commit(connection).await?;
                Ok(from)
            })
        })
        .await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        request.check_reason()?;
        let (consumer, request) = (consumer.base(), request.clone());
        for known in es_core::GenerationStore::generations(self, &consumer).await? {
            self.shared.forget_view(&known.name);
        }
        self.shared.forget_view(&consumer);
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                retire_in(connection, consumer, request).await?;
                commit(connection).await
            })
        })
        .await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        request.check_reason()?;
        let (consumer, request) = (consumer.base(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let query = sqlx::query(REVOKE).bind(consumer.as_str());
                let revoked = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected();
                if revoked > 0 {
                    note(connection, &NewOperation::new(OperationKind::LEASE_REVOKED, consumer, request), now())
                        .await?;
                }
                commit(connection).await?;
                Ok(revoked)
            })
        })
        .await
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        let operation = operation.clone();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                note(connection, &operation, now()).await?;
                commit(connection).await
            })
        })
        .await
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        check_operation_count(limit)?;
        let before = before.map(|before| i64::try_from(before).unwrap_or(i64::MAX));
        let query = sqlx::query(OPERATIONS).bind(consumer.map(ConsumerName::base_text)).bind(before);
        let query = query.bind(to_stored("a limit", limit as u64)?);
        let mut reader = self.shared.readers.get().await?;
        let rows = query.fetch_all(reader.connection()?).await.map_err(store_error);
        reader.settle(rows)?.iter().map(to_operation).collect()
    }
}

async fn move_in(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    checkpoint_override: CheckpointOverride,
    request: OperatorRequest,
) -> Result<Position, StoreError> {
    let consumer = &consumer.unpartitioned();
    let found = partitions::all_movable(connection, consumer).await?;
    let head: i64 = sqlx::query_scalar(HEAD).fetch_one(&mut *connection).await.map_err(store_error)?;
    let is_read_model = !all(connection, consumer).await?.is_empty();
    let (from, moved) = overridden_partitions(&found, checkpoint_override);
    let from = checkpoint_override.check(consumer, from, to_position(head), is_read_model)?;
    partitions::replace(connection, consumer, &moved).await?;
    if checkpoint_override.to() < from {
        parking::forget_after(connection, consumer, checkpoint_override.to()).await?;
    }
    let operation = NewOperation::new(checkpoint_override.kind(), consumer.clone(), request);
    note(connection, &operation.moved(Some(from), Some(checkpoint_override.to())), now()).await?;
    Ok(from)
}

async fn retire_in(
    connection: &mut SqliteConnection,
    consumer: ConsumerName,
    request: OperatorRequest,
) -> Result<(), StoreError> {
    let generations = all(connection, &consumer).await?;
    let live = generations.iter().find(|info| info.state == GenerationState::Live);
    let at = partitions::all(connection, live.map_or(&consumer, |live| &live.name)).await?;
    let at = at.iter().map(|reached| reached.position).min();
    let mut removed = 0;
    for removal in REMOVALS {
        let query = sqlx::query(removal).bind(consumer.as_str());
        removed += query.execute(&mut *connection).await.map_err(store_error)?.rows_affected();
    }
    if removed == 0 {
        return Err(StoreError::Refused { reason: "the store knows no consumer of that name" });
    }
    for queue in generations.iter().map(|info| &info.name).chain([&consumer]) {
        parking::forget_after(connection, queue, Position::ZERO).await?;
    }
    sqlx::query(REVOKE).bind(consumer.as_str()).execute(&mut *connection).await.map_err(store_error)?;
    let mut drops = vec![on(DROP_STABLE, &documents::table(&consumer.live()), "")];
    drops.push(on(DROP, "", &documents::table(&consumer)));
    for info in &generations {
        drops.push(on(DROP, "", &documents::table(&info.name)));
        for stable in &info.definition.tables {
            if info.state == GenerationState::Live {
                drops.push(on(DROP_STABLE, stable, ""));
            }
            drops.push(on(DROP, "", &TableNames::of(&info.name, stable)));
        }
    }
    for drop in drops {
        sqlx::query(drop).execute(&mut *connection).await.map_err(store_error)?;
    }
    note(connection, &NewOperation::new(OperationKind::RETIRE, consumer, request).moved(at, None), now()).await
}
