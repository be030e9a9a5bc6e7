//! What operators do to consumers, and the log of it.

use async_trait::async_trait;
use es_core::{
    ConsumerName, ControlStore, Generation, GenerationInfo, GenerationState, HandMove, Hold, HoldKind, NewOperation,
    Operation, OperationKind, Order, Position, StoreError, check_operation_count, moved_by_hand,
};
use sqlx::{PgConnection, SqlStr, postgres::PgRow};

use crate::{
    error::store_error,
    generations::{NEXT_LOCK_TIMEOUT, SWAP_LOCK_TIMEOUT, all_locked, execute, number_of, set_lock_timeout},
    parking, partitions,
    projections::storable,
    rows::{from_bigint, get, get_position, get_text, to_bigint},
    statements::{TableStatement, ViewStatement},
    store::{PgStore, Shared},
};

fn unreadable() -> StoreError {
    StoreError::Backend { source: "a line of the log of operations that this version does not know".into() }
}

fn to_hold(row: &PgRow) -> Result<Hold, StoreError> {
    let kind = HoldKind::parse(get_text(row, 1)?).ok_or_else(unreadable)?;
    Ok(Hold::new(ConsumerName::parse(get_text(row, 0)?)?, kind, get(row, 2)?, get(row, 3)?, get(row, 4)?))
}

fn to_operation(row: &PgRow) -> Result<Operation, StoreError> {
    let position = |column| Ok::<_, StoreError>(get::<Option<i64>>(row, column)?.map(from_bigint).map(Position::new));
    let generation = u32::try_from(get::<i64>(row, 4)?).ok().and_then(Generation::new).ok_or_else(unreadable)?;
    let consumer = ConsumerName::parse(get_text(row, 3)?)?.in_generation(generation);
    let order = Order::by(get_text(row, 7)?)?;
    let order = match get::<Option<String>>(row, 8)? {
        Some(reason) => order.because(&reason)?,
        None => order,
    };
    let what = NewOperation::new(OperationKind::new(get_text(row, 2)?)?, consumer, order);
    Ok(Operation::new(from_bigint(get(row, 0)?), get(row, 1)?, what.moved(position(5)?, position(6)?)))
}

pub(crate) async fn note(
    shared: &Shared,
    connection: &mut PgConnection,
    operation: &NewOperation,
) -> Result<(), StoreError> {
    let NewOperation { kind, consumer, from, to, order, .. } = operation;
    let query = shared.query(&shared.statements.note_operation).bind(kind.as_str().to_owned());
    let query = query.bind(consumer.base_text().to_owned()).bind(number_of(consumer));
    let query = query.bind(from.map(storable).transpose()?).bind(to.map(storable).transpose()?);
    let query = query.bind(order.author().to_owned()).bind(order.reason().map(str::to_owned));
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

impl PgStore {
    /// Changes a hold by one of the statements that do so; says whether that changed anything.
    async fn change_hold(
        &self,
        statement: &SqlStr,
        consumer: &ConsumerName,
        kind: HoldKind,
        operation: &OperationKind,
        order: &Order,
    ) -> Result<bool, StoreError> {
        let mut session = self.shared.session().await?;
        let query = self.shared.query(statement).bind(consumer.base_text().to_owned()).bind(kind.as_str());
        let query = query.bind(order.author().to_owned()).bind(order.reason().map(str::to_owned));
        let query = query.bind(operation.as_str().to_owned());
        let changed = query.execute(&mut *session).await.map_err(store_error)?.rows_affected();
        session.finish().await?;
        Ok(changed > 0)
    }
}

#[async_trait]
impl ControlStore for PgStore {
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.holds)).await?;
        rows.iter().map(to_hold).collect()
    }

    async fn hold(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        kind.check(order)?;
        self.change_hold(&self.shared.statements.hold, consumer, kind, &kind.begun(), order).await
    }

    async fn release(&self, consumer: &ConsumerName, kind: HoldKind, order: &Order) -> Result<bool, StoreError> {
        self.change_hold(&self.shared.statements.release_hold, consumer, kind, &kind.ended(), order).await
    }

    async fn move_by_hand(
        &self,
        consumer: &ConsumerName,
        hand_move: HandMove,
        order: &Order,
    ) -> Result<Position, StoreError> {
        order.check_reason()?;
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        let consumer = &consumer.whole();
        let is_read_model = !all_locked(shared, &mut transaction, consumer).await?.is_empty();
        // Waits for a page that is being applied.
        let (found, is_frozen) = partitions::all_locked(shared, &mut transaction, consumer).await?;
        if is_frozen {
            return Err(StoreError::Retired { generation: consumer.clone() });
        }
        let query = shared.query(&shared.statements.head);
        let head = get_position(&query.fetch_one(&mut *transaction).await.map_err(store_error)?, 0)?;
        let (from, moved) = moved_by_hand(&found, hand_move);
        let from = hand_move.check(consumer, from, head, is_read_model)?;
        partitions::replace(shared, &mut transaction, consumer, &moved).await?;
        if hand_move.to() < from {
            parking::forget_after(shared, &mut transaction, consumer, hand_move.to()).await?;
        }
        let operation = NewOperation::new(hand_move.kind(), consumer.clone(), order.clone());
        note(shared, &mut transaction, &operation.moved(Some(from), Some(hand_move.to()))).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(from)
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, order: &Order) -> Result<(), StoreError> {
        order.check_reason()?;
        let (shared, consumer) = (&self.shared, consumer.base());
        let mut transaction = shared.transaction().await?;
        set_lock_timeout(shared, &mut transaction, SWAP_LOCK_TIMEOUT).await?;
        let known = all_locked(shared, &mut transaction, &consumer).await?;
        let generations: Vec<GenerationInfo> = known.into_iter().map(|known| known.info).collect();
        let query = shared.query(&shared.statements.remove_consumer).bind(consumer.as_str().to_owned());
        let row = query.fetch_one(&mut *transaction).await.map_err(store_error)?;
        if get::<i64>(&row, 0)? == 0 {
            return Err(StoreError::Refused { reason: "the store knows no consumer of that name" });
        }
        let at = get::<Option<i64>>(&row, 1)?.map(from_bigint).map(Position::new);
        let operation = NewOperation::new(OperationKind::RETIRE, consumer.clone(), order.clone()).moved(at, None);
        note(shared, &mut transaction, &operation).await?;
        for queue in generations.iter().map(|info| &info.name).chain([&consumer]) {
            parking::forget_after(shared, &mut transaction, queue, Position::ZERO).await?;
        }
        // Last, since readers wait from here on.
        for drop in drops(shared, &consumer, &generations) {
            execute(&mut transaction, drop).await.map_err(store_error)?;
            set_lock_timeout(shared, &mut transaction, NEXT_LOCK_TIMEOUT).await?;
        }
        transaction.commit().await.map_err(store_error)
    }

    async fn revoke_leases(&self, consumer: &ConsumerName, order: &Order) -> Result<u64, StoreError> {
        order.check_reason()?;
        let mut transaction = self.shared.transaction().await?;
        let query = self.shared.query(&self.shared.statements.revoke_leases).bind(consumer.base_text().to_owned());
        let revoked = query.execute(&mut *transaction).await.map_err(store_error)?.rows_affected();
        if revoked > 0 {
            let operation = NewOperation::new(OperationKind::LEASE_REVOKED, consumer.base(), order.clone());
            note(&self.shared, &mut transaction, &operation).await?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(revoked)
    }

    async fn note(&self, operation: &NewOperation) -> Result<(), StoreError> {
        let mut session = self.shared.session().await?;
        note(&self.shared, &mut session, operation).await?;
        session.finish().await
    }

    async fn operations(
        &self,
        consumer: Option<&ConsumerName>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        check_operation_count(limit)?;
        let query = || {
            let query = self.shared.query(&self.shared.statements.operations);
            let query = query.bind(consumer.map(|consumer| consumer.base_text().to_owned()));
            query.bind(before.map(to_bigint)).bind(to_bigint(limit as u64))
        };
        let rows = self.rows(query).await?;
        rows.iter().map(to_operation).collect()
    }
}

/// What drops the tables of a consumer in all its generations, and before them what readers use.
fn drops(shared: &Shared, consumer: &ConsumerName, generations: &[GenerationInfo]) -> Vec<SqlStr> {
    let statements = &shared.statements;
    let live = generations.iter().filter(|info| info.state == GenerationState::Live);
    let of_readers = live.flat_map(|info| {
        let stable = |table| statements.of_table(TableStatement::DROP_STABLE_IF_ANY, &info.name, table, "");
        info.code.tables.iter().map(move |table| stable(table))
    });
    let own = generations.iter().flat_map(|info| {
        let own = |table| statements.of_table(TableStatement::DROP, &info.name, table, "");
        info.code.tables.iter().map(move |table| own(table))
    });
    let first = std::iter::once(consumer.clone()).filter(|_| generations.is_empty());
    let documents = generations.iter().map(|info| info.name.clone()).chain(first);
    std::iter::once(statements.of_view(ViewStatement::DROP_LIVE, consumer))
        .chain(of_readers)
        .chain(own)
        .chain(documents.map(|generation| statements.of_view(ViewStatement::DROP, &generation)))
        .collect()
}
