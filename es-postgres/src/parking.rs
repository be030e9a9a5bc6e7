//! Parked events.

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, EventKey, OperatorRequest, ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals,
    ParkingAction, ParkingRecord, ParkingStore, Payload, Position, RetryRequest, StoreError, check_parked_count,
    check_parked_edit, limits,
};
use sqlx::{
    PgConnection, Postgres,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use crate::{
    error::{read_error, store_error},
    rows::{from_bigint, get, get_position, get_text, to_bigint},
    store::{PgStore, Shared},
};

/// Does to the parked events what the move of a checkpoint asks for, in the same transaction.
///
/// # Errors
/// [`StoreError::ParkingChanged`] if they are not what the caller believes; the transaction must not be committed then.
pub(crate) async fn follow(
    shared: &Shared,
    connection: &mut PgConnection,
    advance: &Advance,
) -> Result<(), StoreError> {
    let (queue, parking) = (advance.queue(), &advance.parking);
    if advance.to < advance.from {
        forget_after(shared, connection, &queue, advance.to).await?;
    }
    if parking.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = parking.park.iter().map(|park| park.key.to_string()).collect();
    let positions: Vec<i64> = parking.park.iter().map(|park| to_bigint(park.position.get())).collect();
    let failures = || parking.park.iter().map(|park| park.failure.as_ref());
    let errors: Vec<Option<&str>> = failures().map(|failure| failure.map(|failure| failure.error.as_str())).collect();
    let attempts: Vec<Option<i64>> = failures().map(|failure| failure.map(|failure| failure.attempts.into())).collect();
    let gone_keys: Vec<String> = parking.unpark.iter().map(|gone| gone.key.to_string()).collect();
    let gone_positions: Vec<i64> = parking.unpark.iter().map(|gone| to_bigint(gone.position.get())).collect();
    let query = shared.query(&shared.statements.change_parked).bind(queue.as_str().to_owned());
    let query = query.bind(keys).bind(positions).bind(errors).bind(attempts).bind(gone_keys).bind(gone_positions);
    let row = query.fetch_one(connection).await.map_err(store_error)?;
    match get::<Option<String>>(&row, 0)? {
        None => Ok(()),
        Some(key) => Err(StoreError::ParkingChanged { consumer: queue, key: key.parse()? }),
    }
}

/// Forgets the parked events after a position, in a transaction in which the checkpoint moves back or goes away.
pub(crate) async fn forget_after(
    shared: &Shared,
    connection: &mut PgConnection,
    consumer: &ConsumerName,
    position: Position,
) -> Result<(), StoreError> {
    let query = shared.query(&shared.statements.forget_parked).bind(consumer.as_str().to_owned());
    query.bind(to_bigint(position.get())).execute(connection).await.map_err(store_error)?;
    Ok(())
}

fn to_queue(row: &PgRow) -> Result<ParkedQueue, StoreError> {
    let failure = ParkFailure::new(get_text(row, 3)?, u32::try_from(get::<i64>(row, 5)?).unwrap_or(u32::MAX));
    let events = from_bigint(get(row, 1)?);
    let mut queue = ParkedQueue::new(get_text(row, 0)?.parse()?, events, &failure, get(row, 2)?);
    (queue.last_error, queue.tried_at) = (get(row, 4)?, get(row, 6)?);
    if let (Some(at), Some(by)) = (get(row, 7)?, get(row, 8)?) {
        queue.retry = Some(RetryRequest::new(by, at, get(row, 9)?));
    }
    Ok(queue)
}

fn to_event(row: &PgRow) -> Result<ParkedEvent, StoreError> {
    let edited: Option<String> = get(row, 2)?;
    Ok(ParkedEvent::new(get_position(row, 0)?, get(row, 1)?, edited.map(Payload::trusted)).at_event(get(row, 3)?))
}

fn to_record(consumer: &ConsumerName, row: &PgRow) -> Result<ParkingRecord, StoreError> {
    let unreadable =
        || StoreError::Backend { source: "a record of parked events that this version does not know".into() };
    let action = ParkingAction::parse(get_text(row, 4)?).ok_or_else(unreadable)?;
    let (id, key) = (from_bigint(get(row, 0)?), get_text(row, 2)?.parse()?);
    let mut record = ParkingRecord::new(id, get(row, 1)?, consumer.clone(), key, action);
    record.position = get::<Option<i64>>(row, 3)?.map(|position| Position::new(from_bigint(position)));
    (record.by, record.reason) = (get(row, 5)?, get(row, 6)?);
    record.payload = get::<Option<String>>(row, 7)?.map(Payload::trusted);
    Ok(record)
}

impl PgStore {
    /// The rows of a statement that only reads.
    pub(crate) async fn rows<'q, F>(&self, query: F) -> Result<Vec<PgRow>, StoreError>
    where
        F: Fn() -> Query<'q, Postgres, PgArguments>,
    {
        let read = || async {
            let mut session = self.shared.session().await?;
            let rows = query().fetch_all(&mut *session).await.map_err(read_error)?;
            session.finish().await?;
            Ok(rows)
        };
        self.shared.reading(read).await
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        (consumer, key): (&ConsumerName, &EventKey),
        action: ParkingAction,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<(), StoreError> {
        let query = self.shared.query(&self.shared.statements.record_parking).bind(consumer.as_str().to_owned());
        let query = query.bind(key.to_string()).bind(edit.map(|edit| to_bigint(edit.position.get())));
        let query =
            query.bind(action.as_str()).bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
        let query = query.bind(edit.map(|edit| edit.payload.as_str().to_owned()));
        query.execute(connection).await.map_err(store_error)?;
        Ok(())
    }
}

#[async_trait]
impl ParkingStore for PgStore {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.parked_totals)).await?;
        let total = |row: &PgRow| {
            let totals = ParkedTotals { keys: from_bigint(get(row, 1)?), events: from_bigint(get(row, 2)?) };
            Ok((ConsumerName::parse(get_text(row, 0)?)?, totals))
        };
        rows.iter().map(total).collect()
    }

    async fn parked_queues(
        &self,
        consumer: &ConsumerName,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, StoreError> {
        check_parked_count(limit)?;
        // The empty text is before every key.
        let after = after.map(EventKey::to_string).unwrap_or_default();
        let query = || {
            let query = self.shared.query(&self.shared.statements.parked_queues).bind(consumer.as_str().to_owned());
            query.bind(after.clone()).bind(to_bigint(limit as u64))
        };
        let rows = self.rows(query).await?;
        rows.iter().map(to_queue).collect()
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        let query = || {
            let query = self.shared.query(&self.shared.statements.parked_queue).bind(consumer.as_str().to_owned());
            query.bind(key.to_string())
        };
        let rows = self.rows(query).await?;
        rows.first().map(to_queue).transpose()
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        check_parked_count(keys.len())?;
        let keys: Vec<String> = keys.iter().map(EventKey::to_string).collect();
        let query = || {
            let query = self.shared.query(&self.shared.statements.parked_among).bind(consumer.as_str().to_owned());
            query.bind(keys.clone())
        };
        let rows = self.rows(query).await?;
        rows.iter().map(|row| Ok(get_text(row, 0)?.parse()?)).collect()
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        check_parked_count(limit)?;
        let query = || {
            let query = self.shared.query(&self.shared.statements.parked_events).bind(consumer.as_str().to_owned());
            query.bind(key.to_string()).bind(to_bigint(after.get())).bind(to_bigint(limit as u64))
        };
        self.rows(query).await?.iter().map(to_event).collect()
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        edit.map_or(Ok(()), |edit| check_parked_edit(edit, request))?;
        let mut transaction = self.shared.transaction().await?;
        // The key's row first: then nobody frees it meanwhile.
        let query = self.shared.query(&self.shared.statements.request_retry).bind(consumer.as_str().to_owned());
        let query =
            query.bind(key.to_string()).bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
        if query.execute(&mut *transaction).await.map_err(store_error)?.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(edit) = edit {
            let change = self.shared.query(&self.shared.statements.edit_parked).bind(consumer.as_str().to_owned());
            let change = change.bind(key.to_string()).bind(to_bigint(edit.position.get()));
            let change = change.bind(edit.payload.as_str().to_owned());
            if change.execute(&mut *transaction).await.map_err(store_error)?.rows_affected() == 0 {
                return Err(StoreError::Refused {
                    reason: "the event that is to be edited is not parked under this key",
                });
            }
            self.record(&mut transaction, (consumer, key), ParkingAction::Edit, Some(edit), request).await?;
        }
        self.record(&mut transaction, (consumer, key), ParkingAction::Retry, None, request).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(true)
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        let query = || {
            let query = self.shared.query(&self.shared.statements.retry_requests).bind(consumer.as_str().to_owned());
            query.bind(to_bigint(limits::RETRY_REQUESTS_PER_READ as u64))
        };
        let rows = self.rows(query).await?;
        rows.iter().map(|row| Ok(get_text(row, 0)?.parse()?)).collect()
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        let query = self.shared.query(&self.shared.statements.note_failed_retry).bind(consumer.as_str().to_owned());
        let query = query.bind(key.to_string()).bind(failure.error.clone()).bind(i64::from(failure.attempts));
        let mut session = self.shared.session().await?;
        query.execute(&mut *session).await.map_err(store_error)?;
        session.finish().await
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        request.check_reason()?;
        let mut transaction = self.shared.transaction().await?;
        let lock = self.shared.query(&self.shared.statements.lock_parked_key).bind(consumer.as_str().to_owned());
        let lock = lock.bind(key.to_string());
        lock.execute(&mut *transaction).await.map_err(store_error)?;
        let query = self.shared.query(&self.shared.statements.discard_parked).bind(consumer.as_str().to_owned());
        let query = query.bind(key.to_string()).bind(position.map(|position| to_bigint(position.get())));
        let query = query.bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
        let row = query.fetch_one(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(from_bigint(get(&row, 0)?))
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        check_parked_count(limit)?;
        let query = || {
            let query = self.shared.query(&self.shared.statements.parking_history).bind(consumer.as_str().to_owned());
            query.bind(to_bigint(after)).bind(to_bigint(limit as u64))
        };
        let rows = self.rows(query).await?;
        rows.iter().map(|row| to_record(consumer, row)).collect()
    }
}
