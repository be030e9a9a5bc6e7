//! What operators do to consumers, and the log of it.

use async_trait::async_trait;
use es_core::{
    ConsumerName, ControlStore, Generation, GenerationState, HandMove, Hold, HoldKind, NewOperation, Operation,
    OperationKind, Order, Position, StoreError, TableNames, check_operation_count, moved_by_hand,
    timestamp::from_unix_micros,
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

const HOLDS: &str = include_str!("../sql/holds.sql");
const HOLD: &str = include_str!("../sql/hold_add.sql");
const RELEASE: &str = include_str!("../sql/hold_remove.sql");
const NOTE: &str = include_str!("../sql/operation_note.sql");
const OPERATIONS: &str = include_str!("../sql/operations.sql");
const REVOKE: &str = include_str!("../sql/leases_revoke.sql");
const HEAD: &str = include_str!("../sql/head.sql");
/// What removes the rows of a consumer.
const REMOVALS: [&str; 3] = [
    include_str!("../sql/consumer_remove.sql"),
    include_str!("../sql/generations_remove.sql"),
    include_str!("../sql/holds_remove.sql"),
];

fn unreadable() -> StoreError {
    StoreError::Backend { source: "a line of the log of operations that this version does not know".into() }
}

fn to_position(number: i64) -> Position {
    Position::new(number.unsigned_abs())
}

fn to_hold(row: &SqliteRow) -> Result<Hold, StoreError> {
    let consumer: &str = row.try_get("consumer").map_err(store_error)?;
    let kind = HoldKind::parse(row.try_get("kind").map_err(store_error)?).ok_or_else(unreadable)?;
    let since = from_unix_micros(row.try_get("since").map_err(store_error)?).ok_or_else(unreadable)?;
    let by = row.try_get("held_by").map_err(store_error)?;
    Ok(Hold::new(ConsumerName::parse(consumer)?, kind, by, since, row.try_get("reason").map_err(store_error)?))
}

fn to_operation(row: &SqliteRow) -> Result<Operation, StoreError> {
    let text = |column| row.try_get::<&str, _>(column).map_err(store_error);
    let number = |column| row.try_get::<i64, _>(column).map_err(store_error);
    let position =
        |column| Ok::<_, StoreError>(row.try_get::<Option<i64>, _>(column).map_err(store_error)?.map(to_position));
    let generation = u32::try_from(number("generation")?).ok().and_then(Generation::new).ok_or_else(unreadable)?;
    let consumer = ConsumerName::parse(text("consumer")?)?.in_generation(generation);
    let order = Order::by(text("ordered_by")?)?;
    let order = match row.try_get::<Option<&str>, _>("reason").map_err(store_error)? {
        Some(reason) => order.because(reason)?,
        None => order,
    };
    let what = NewOperation::new(OperationKind::new(text("kind")?)?, consumer, order);
    let what = what.moved(position("from_position")?, position("to_position")?);
    let at = from_unix_micros(number("at")?).ok_or_else(unreadable)?;
    Ok(Operation::new(number("id")?.unsigned_abs(), at, what))
}

pub(crate) async fn note(
    connection: &mut SqliteConnection,
    operation: &NewOperation,
    now: i64,
) -> Result<(), StoreError> {
    let NewOperation { kind, consumer, from, to, order, .. } = operation;
    let stored = |position: Option<Position>| position.map(|it| to_stored("a position", it.get())).transpose();
    let query = sqlx::query(NOTE).bind(now).bind(kind.as_str()).bind(consumer.base_text()).bind(number_of(consumer));
    let query = query.bind(stored(*from)?).bind(stored(*to)?).bind(order.author()).bind(order.reason());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

#[async_trait]
impl ControlStore for SqliteStore {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let rows = sqlx::query(HOLDS).fetch_all(reader.connection()?).await.map_err(store_error);
        reader.settle(rows)?.iter().map(to_hold).collect()
    }

    async fn hold(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        kind.check(order)?;
        let (consumer, order) = (consumer.base(), order.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let (connection, now) = (begin(writer).await?, now());
                let query = sqlx::query(HOLD).bind(consumer.as_str()).bind(kind.as_str()).bind(order.author());
                let query = query.bind(now).bind(order.reason());
                let is_new = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0;
                if is_new {
                    note(connection, &NewOperation::new(kind.begun(), consumer, order), now).await?;
                }
                commit(connection).await?;
                Ok(is_new)
            })
        })
        .await
    }

    async fn release(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        let (consumer, order) = (consumer.base(), order.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let query = sqlx::query(RELEASE).bind(consumer.as_str()).bind(kind.as_str());
                let was_held = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0;
                if was_held {
                    note(connection, &NewOperation::new(kind.ended(), consumer, order), now()).await?;
                }
                commit(connection).await?;
                Ok(was_held)
            })
        })
        .await
    }

    async fn move_by_hand(
        &self,
        consumer: &ConsumerName,
        hand_move: HandMove,
        order: &Order,
    ) -> Result<Position, StoreError> {
        order.check_reason()?;
        let (consumer, order) = (consumer.clone(), order.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let from = move_in(connection, &consumer, hand_move, order).await?;
                commit(connection).await?;
                Ok(from)
            })
        })
        .await
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, order: &Order) -> Result<(), StoreError> {
        order.check_reason()?;
        let (consumer, order) = (consumer.base(), order.clone());
        for known in es_core::GenerationStore::generations(self, &consumer).await? {
            self.shared.forget_view(&known.name);
        }
        self.shared.forget_view(&consumer);
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                retire_in(connection, consumer, order).await?;
                commit(connection).await
            })
        })
        .await
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, order: &Order) -> Result<u64, StoreError> {
        order.check_reason()?;
        let (consumer, order) = (consumer.base(), order.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let query = sqlx::query(REVOKE).bind(consumer.as_str());
                let revoked = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected();
                if revoked > 0 {
                    note(connection, &NewOperation::new(OperationKind::LEASE_REVOKED, consumer, order), now()).await?;
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
    hand_move: HandMove,
    order: Order,
) -> Result<Position, StoreError> {
    let consumer = &consumer.whole();
    let found = partitions::all_movable(connection, consumer).await?;
    let head: i64 = sqlx::query_scalar(HEAD).fetch_one(&mut *connection).await.map_err(store_error)?;
    let is_read_model = !all(connection, consumer).await?.is_empty();
    let (from, moved) = moved_by_hand(&found, hand_move);
    let from = hand_move.check(consumer, from, to_position(head), is_read_model)?;
    partitions::replace(connection, consumer, &moved).await?;
    if hand_move.to() < from {
        parking::forget_after(connection, consumer, hand_move.to()).await?;
    }
    let operation = NewOperation::new(hand_move.kind(), consumer.clone(), order);
    note(connection, &operation.moved(Some(from), Some(hand_move.to())), now()).await?;
    Ok(from)
}

async fn retire_in(connection: &mut SqliteConnection, consumer: ConsumerName, order: Order) -> Result<(), StoreError> {
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
        for stable in &info.code.tables {
            if info.state == GenerationState::Live {
                drops.push(on(DROP_STABLE, stable, ""));
            }
            drops.push(on(DROP, "", &TableNames::of(&info.name, stable)));
        }
    }
    for drop in drops {
        sqlx::query(drop).execute(&mut *connection).await.map_err(store_error)?;
    }
    note(connection, &NewOperation::new(OperationKind::RETIRE, consumer, order).moved(at, None), now()).await
}
