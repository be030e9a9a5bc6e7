//! What operators do to consumers, and the log of it.

use async_trait::async_trait;
use es_core::{
    CheckpointOverride, ConsumerName, ControlStore, Generation, GenerationInfo, GenerationState, NewOperation,
    Operation, OperationKind, OperatorRequest, Position, StoreError, Suspension, SuspensionKind, check_operation_count,
    overridden_partitions,
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

fn to_suspension(row: &PgRow) -> Result<Suspension, StoreError> {
    let kind = SuspensionKind::parse(get_text(row, 1)?).ok_or_else(unreadable)?;
    Ok(Suspension::new(ConsumerName::parse(get_text(row, 0)?)?, kind, get(row, 2)?, get(row, 3)?, get(row, 4)?))
}

fn to_operation(row: &PgRow) -> Result<Operation, StoreError> {
    let position = |column| Ok::<_, StoreError>(get::<Option<i64>>(row, column)?.map(from_bigint).map(Position::new));
    let generation = u32::try_from(get::<i64>(row, 4)?).ok().and_then(Generation::new).ok_or_else(unreadable)?;
    let consumer = ConsumerName::parse(get_text(row, 3)?)?.in_generation(generation);
    let request = OperatorRequest::by(get_text(row, 7)?)?;
    let request = match get::<Option<String>>(row, 8)? {
        Some(reason) => request.because(&reason)?,
        None => request,
    };
    let what = NewOperation::new(OperationKind::new(get_text(row, 2)?)?, consumer, request);
    Ok(Operation::new(from_bigint(get(row, 0)?), get(row, 1)?, what.moved(position(5)?, position(6)?)))
}

pub(crate) async fn note(
    shared: &Shared,
    connection: &mut PgConnection,
    operation: &NewOperation,
) -> Result<(), StoreError> {
    let NewOperation { kind, consumer, from, to, request, .. } = operation;
    let query = shared.query(&shared.statements.note_operation).bind(kind.as_str().to_owned());
    let query = query.bind(consumer.base_text().to_owned()).bind(number_of(consumer));
    let query = query.bind(from.map(storable).transpose()?).bind(to.map(storable).transpose()?);
    let query = query.bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

impl PgStore {
    /// Begins or ends a suspension by one of the two statements; returns whether that changed anything.
    async fn change_suspension(
        &self,
        statement: &SqlStr,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        operation: &OperationKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        let mut session = self.shared.session().await?;
        let query = self.shared.query(statement).bind(consumer.base_text().to_owned()).bind(kind.as_str());
        let query = query.bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
        let query = query.bind(operation.as_str().to_owned());
        let changed = query.execute(&mut *session).await.map_err(store_error)?.rows_affected();
        session.finish().await?;
        Ok(changed > 0)
    }
}

#[async_trait]
impl ControlStore for PgStore {
    async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.suspensions)).await?;
        rows.iter().map(to_suspension).collect()
    }

    async fn suspend(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        kind.check(request)?;
        self.change_suspension(&self.shared.statements.suspend, consumer, kind, &kind.begun(), request).await
    }

    async fn resume(
        &self,
        consumer: &ConsumerName,
        kind: SuspensionKind,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.change_suspension(&self.shared.statements.resume, consumer, kind, &kind.ended(), request).await
    }

    async fn override_checkpoint(
        &self,
        consumer: &ConsumerName,
        checkpoint_override: CheckpointOverride,
        request: &OperatorRequest,
    ) -> Result<Position, StoreError> {
        request.check_reason()?;
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        let consumer = &consumer.unpartitioned();
        let is_read_model = !all_locked(shared, &mut transaction, consumer).await?.is_empty();
        // Waits for a page that is being applied.
        let (found, is_frozen) = partitions::all_locked(shared, &mut transaction, consumer).await?;
        if is_frozen {
            return Err(StoreError::StaleGeneration { generation: consumer.clone() });
        }
        let query = shared.query(&shared.statements.head);
        let head = get_position(&query.fetch_one(&mut *transaction).await.map_err(store_error)?, 0)?;
        let (from, moved) = overridden_partitions(&found, checkpoint_override);
        let from = checkpoint_override.check(consumer, from, head, is_read_model)?;
        partitions::replace(shared, &mut transaction, consumer, &moved).await?;
        if checkpoint_override.to() < from {
            parking::forget_after(shared, &mut transaction, consumer, checkpoint_override.to()).await?;
        }
        let operation = NewOperation::new(checkpoint_override.kind(), consumer.clone(), request.clone());
        note(shared, &mut transaction, &operation.moved(Some(from), Some(checkpoint_override.to()))).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(from)
    }

    async fn retire_consumer(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<(), StoreError> {
        request.check_reason()?;
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
        let operation = NewOperation::new(OperationKind::RETIRE, consumer.clone(), request.clone()).moved(at, None);
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

    async fn revoke_leases(&self, consumer: &ConsumerName, request: &OperatorRequest) -> Result<u64, StoreError> {
        request.check_reason()?;
        let mut transaction = self.shared.transaction().await?;
        let query = self.shared.query(&self.shared.statements.revoke_leases).bind(consumer.base_text().to_owned());
        let revoked = query.execute(&mut *transaction).await.map_err(store_error)?.rows_affected();
        if revoked > 0 {
            let operation = NewOperation::new(OperationKind::LEASE_REVOKED, consumer.base(), request.clone());
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
        info.definition.tables.iter().map(move |table| stable(table))
    });
    let own = generations.iter().flat_map(|info| {
        let own = |table| statements.of_table(TableStatement::DROP, &info.name, table, "");
        info.definition.tables.iter().map(move |table| own(table))
    });
    let first = std::iter::once(consumer.clone()).filter(|_| generations.is_empty());
    let documents = generations.iter().map(|info| info.name.clone()).chain(first);
    std::iter::once(statements.of_view(ViewStatement::DROP_LIVE, consumer))
        .chain(of_readers)
        .chain(own)
        .chain(documents.map(|generation| statements.of_view(ViewStatement::DROP, &generation)))
        .collect()
}
