//! Parked events.

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, EventKey, OperatorRequest, ParkFailure, ParkedEdit, ParkedEvent, ParkedQueue, ParkedTotals,
    Parking, ParkingAction, ParkingRecord, ParkingStore, Payload, Position, RetryRequest, StoreError,
    check_parked_count, check_parked_edit, limits, timestamp::from_unix_micros,
};
use sqlx::{
    Row, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use time::OffsetDateTime;

use crate::{
    error::{corrupt, store_error, to_bound, to_stored},
    projections::now,
    rows::{id_in, to_json},
    store::SqliteStore,
    writer::BEGIN_WRITE,
};

const AMONG: &str = include_str!("../sql/parked_among.sql");
const OPEN: &str = include_str!("../sql/parked_open.sql");
const ADD: &str = include_str!("../sql/parked_add.sql");
const REMOVE: &str = include_str!("../sql/parked_remove.sql");
const FORGET: &str = include_str!("../sql/parked_forget.sql");
const TOTALS: &str = include_str!("../sql/parked_totals.sql");
const QUEUES: &str = include_str!("../sql/parked_queues.sql");
const QUEUE: &str = include_str!("../sql/parked_queue.sql");
const EVENTS: &str = include_str!("../sql/parked_events.sql");
const EDIT: &str = include_str!("../sql/parked_edit.sql");
const REQUEST_RETRY: &str = include_str!("../sql/request_retry.sql");
const RETRY_REQUESTS: &str = include_str!("../sql/retry_requests.sql");
const FAILED: &str = include_str!("../sql/parked_failed.sql");
const DISCARD: &str = include_str!("../sql/parked_discard.sql");
const RECORD: &str = include_str!("../sql/parking_record.sql");
const HISTORY: &str = include_str!("../sql/parking_history.sql");
const COMMIT: &str = include_str!("../sql/commit.sql");

/// Applies the changes to parked events that belong to the move of a checkpoint, in the same transaction.
pub(crate) async fn follow(connection: &mut SqliteConnection, advance: &Advance) -> Result<(), StoreError> {
    if advance.to < advance.from {
        forget_after(connection, &advance.queue(), advance.to).await?;
    }
    change(connection, &advance.queue(), &advance.parking).await
}

/// Changes the parked events of a consumer in a transaction in which its checkpoint moves.
///
/// # Errors
/// Returns [`StoreError::ParkingChanged`] if they are not those that the caller expects. In this case the transaction
/// must not be committed.
async fn change(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    parking: &Parking,
) -> Result<(), StoreError> {
    let changed = |key: &EventKey| StoreError::ParkingChanged { consumer: consumer.clone(), key: key.clone() };
    if !parking.park.is_empty() {
        let failures = parking.park.iter().filter_map(|park| Some((park.key.to_string(), park.failure.as_ref()?)));
        let opened: Vec<_> = failures.map(|(key, failure)| (key, failure.error.as_str(), failure.attempts)).collect();
        if !opened.is_empty() {
            let open = sqlx::query(OPEN).bind(consumer.as_str()).bind(to_json(&opened)?).bind(now());
            open.execute(&mut *connection).await.map_err(store_error)?;
        }
        let keys: Vec<EventKey> = parking.park.iter().map(|park| park.key.clone()).collect();
        let parked = among(connection, consumer, &keys).await?;
        if let Some(lost) = keys.iter().find(|key| !parked.contains(&key.to_string())) {
            return Err(changed(lost));
        }
        let events = parking.park.iter().map(|park| (park.key.to_string(), to_bound(park.position.get())));
        let events: Vec<_> = events.collect();
        let add = sqlx::query(ADD).bind(consumer.as_str()).bind(to_json(&events)?).bind(now());
        add.execute(&mut *connection).await.map_err(store_error)?;
    }
    if let Some(first) = parking.unpark.first() {
        let events = parking.unpark.iter().map(|gone| (gone.key.to_string(), to_bound(gone.position.get())));
        let events: Vec<_> = events.collect();
        let remove = sqlx::query(REMOVE).bind(consumer.as_str()).bind(to_json(&events)?);
        let removed = remove.execute(&mut *connection).await.map_err(store_error)?.rows_affected();
        if removed != events.len() as u64 {
            return Err(changed(&first.key));
        }
    }
    Ok(())
}

/// Removes the parked events after a position, in a transaction in which the checkpoint moves back or is removed.
pub(crate) async fn forget_after(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    position: Position,
) -> Result<(), StoreError> {
    let forget = sqlx::query(FORGET).bind(consumer.as_str()).bind(to_bound(position.get()));
    forget.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Returns which keys are parked, as texts.
async fn among(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    keys: &[EventKey],
) -> Result<Vec<String>, StoreError> {
    let keys: std::collections::BTreeSet<String> = keys.iter().map(EventKey::to_string).collect();
    let query = sqlx::query(AMONG).bind(consumer.as_str()).bind(to_json(&keys)?);
    let rows = query.fetch_all(connection).await.map_err(store_error)?;
    rows.iter().map(|row| row.try_get("key").map_err(store_error)).collect()
}

fn time_of(row: &SqliteRow, column: &str) -> Result<OffsetDateTime, StoreError> {
    let micros: i64 = row.try_get(column).map_err(store_error)?;
    from_unix_micros(micros).ok_or_else(|| corrupt(0, "the time of a parked event is out of range"))
}

fn key_of(row: &SqliteRow) -> Result<EventKey, StoreError> {
    let key: &str = row.try_get("key").map_err(store_error)?;
    Ok(key.parse()?)
}

fn to_queue(row: &SqliteRow) -> Result<ParkedQueue, StoreError> {
    let text = |column| row.try_get::<String, _>(column).map_err(store_error);
    let number = |column| row.try_get::<i64, _>(column).map_err(store_error);
    let failure = ParkFailure::new(&text("first_error")?, u32::try_from(number("attempts")?).unwrap_or(u32::MAX));
    let events = number("events")?.unsigned_abs();
    let mut queue = ParkedQueue::new(key_of(row)?, events, &failure, time_of(row, "parked_at")?);
    (queue.last_error, queue.tried_at) = (text("last_error")?, time_of(row, "tried_at")?);
    if row.try_get::<Option<i64>, _>("retry_at").map_err(store_error)?.is_some() {
        let (by, reason) = (text("retry_by")?, row.try_get("retry_reason").map_err(store_error)?);
        queue.retry = Some(RetryRequest::new(by, time_of(row, "retry_at")?, reason));
    }
    Ok(queue)
}

fn to_event(row: &SqliteRow) -> Result<ParkedEvent, StoreError> {
    let position: i64 = row.try_get("position").map_err(store_error)?;
    let edited: Option<String> = row.try_get("edited").map_err(store_error)?;
    let event = ParkedEvent::new(
        Position::new(position.unsigned_abs()),
        time_of(row, "parked_at")?,
        edited.map(Payload::trusted),
    );
    Ok(event.at_event(id_in(row, "event_id")?))
}

fn to_record(consumer: &ConsumerName, row: &SqliteRow) -> Result<ParkingRecord, StoreError> {
    let unreadable =
        || StoreError::Backend { source: "a record of parked events that this version does not know".into() };
    let id: i64 = row.try_get("id").map_err(store_error)?;
    let action = ParkingAction::parse(row.try_get("action").map_err(store_error)?).ok_or_else(unreadable)?;
    let (at, key) = (time_of(row, "at")?, key_of(row)?);
    let mut record = ParkingRecord::new(id.unsigned_abs(), at, consumer.clone(), key, action);
    let position: Option<i64> = row.try_get("position").map_err(store_error)?;
    record.position = position.map(|position| Position::new(position.unsigned_abs()));
    record.by = row.try_get("by").map_err(store_error)?;
    record.reason = row.try_get("reason").map_err(store_error)?;
    record.payload = row.try_get::<Option<String>, _>("payload").map_err(store_error)?.map(Payload::trusted);
    Ok(record)
}

/// Adds entries to the history.
async fn record(
    connection: &mut SqliteConnection,
    consumer: &ConsumerName,
    key: &EventKey,
    positions: &[Option<i64>],
    action: ParkingAction,
    request: &OperatorRequest,
    payload: Option<&Payload>,
) -> Result<(), StoreError> {
    let query = sqlx::query(RECORD).bind(consumer.as_str()).bind(key.to_string()).bind(to_json(&positions)?);
    let query = query.bind(action.as_str()).bind(request.author()).bind(request.reason());
    let query = query.bind(payload.map(Payload::as_str)).bind(now());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

impl SqliteStore {
    pub(crate) async fn rows(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>, StoreError> {
        let mut reader = self.shared.readers.get().await?;
        let rows = query.fetch_all(reader.connection()?).await;
        reader.settle(rows.map_err(store_error))
    }
}

#[async_trait]
impl ParkingStore for SqliteStore {
    async fn parked_totals(&self) -> Result<Vec<(ConsumerName, ParkedTotals)>, StoreError> {
        let rows = self.rows(sqlx::query(TOTALS)).await?;
        let total = |row: &SqliteRow| {
            let number = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs).map_err(store_error);
            let consumer = ConsumerName::parse(row.try_get("consumer").map_err(store_error)?)?;
            Ok((consumer, ParkedTotals { keys: number("keys")?, events: number("events")? }))
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
        // The empty text comes before every key.
        let after = after.map(EventKey::to_string).unwrap_or_default();
        let rows = self.rows(sqlx::query(QUEUES).bind(consumer.as_str()).bind(after).bind(limit as i64)).await?;
        rows.iter().map(to_queue).collect()
    }

    async fn parked_queue(&self, consumer: &ConsumerName, key: &EventKey) -> Result<Option<ParkedQueue>, StoreError> {
        let rows = self.rows(sqlx::query(QUEUE).bind(consumer.as_str()).bind(key.to_string())).await?;
        rows.first().map(to_queue).transpose()
    }

    async fn parked_among(&self, consumer: &ConsumerName, keys: &[EventKey]) -> Result<Vec<EventKey>, StoreError> {
        check_parked_count(keys.len())?;
        let mut reader = self.shared.readers.get().await?;
        let found = among(reader.connection()?, consumer, keys).await;
        reader.settle(found)?.iter().map(|key| Ok(key.parse()?)).collect()
    }

    async fn parked_events(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        after: Position,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, StoreError> {
        check_parked_count(limit)?;
        let query = sqlx::query(EVENTS).bind(consumer.as_str()).bind(key.to_string());
        let rows = self.rows(query.bind(to_bound(after.get())).bind(limit as i64)).await?;
        rows.iter().map(to_event).collect()
    }

    async fn request_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        edit.map_or(Ok(()), |edit| check_parked_edit(edit, request))?;
        let (consumer, key, edit, request) = (consumer.clone(), key.clone(), edit.cloned(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = writer.for_transaction()?;
                sqlx::query(BEGIN_WRITE).execute(&mut *connection).await.map_err(store_error)?;
                let query = sqlx::query(REQUEST_RETRY).bind(consumer.as_str()).bind(key.to_string()).bind(now());
                let query = query.bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
                let is_parked = query.execute(&mut *connection).await.map_err(store_error)?.rows_affected() > 0;
                if let Some(ParkedEdit { position, payload, .. }) = edit.filter(|_| is_parked) {
                    let stored = to_stored("a position", position.get())?;
                    let change = sqlx::query(EDIT).bind(consumer.as_str()).bind(key.to_string());
                    let change = change.bind(stored).bind(payload.as_str().to_owned());
                    if change.execute(&mut *connection).await.map_err(store_error)?.rows_affected() == 0 {
                        return Err(StoreError::Refused {
                            reason: "the event that is to be edited is not parked under this key",
                        });
                    }
                    let (positions, action) = ([Some(stored)], ParkingAction::Edit);
                    record(connection, &consumer, &key, &positions, action, &request, Some(&payload)).await?;
                }
                if is_parked {
                    record(connection, &consumer, &key, &[None], ParkingAction::Retry, &request, None).await?;
                }
                sqlx::query(COMMIT).execute(connection).await.map_err(store_error)?;
                Ok(is_parked)
            })
        })
        .await
    }

    async fn retry_requests(&self, consumer: &ConsumerName) -> Result<Vec<EventKey>, StoreError> {
        let query = sqlx::query(RETRY_REQUESTS).bind(consumer.as_str()).bind(limits::RETRY_REQUESTS_PER_READ as i64);
        self.rows(query).await?.iter().map(key_of).collect()
    }

    async fn note_failed_retry(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        failure: &ParkFailure,
    ) -> Result<(), StoreError> {
        let (consumer, key, failure) = (consumer.clone(), key.to_string(), failure.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let query = sqlx::query(FAILED).bind(consumer.as_str()).bind(key);
                let query = query.bind(failure.error).bind(i64::from(failure.attempts)).bind(now());
                query.execute(writer.connection()?).await.map_err(store_error)?;
                Ok(())
            })
        })
        .await
    }

    async fn discard_parked(
        &self,
        consumer: &ConsumerName,
        key: &EventKey,
        position: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        request.check_reason()?;
        let position = position.map(|position| to_stored("a position", position.get())).transpose()?;
        let (consumer, key, request) = (consumer.clone(), key.clone(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = writer.for_transaction()?;
                sqlx::query(BEGIN_WRITE).execute(&mut *connection).await.map_err(store_error)?;
                let discard = sqlx::query(DISCARD).bind(consumer.as_str()).bind(key.to_string()).bind(position);
                let rows = discard.fetch_all(&mut *connection).await.map_err(store_error)?;
                let positions = rows.iter().map(|row| row.try_get("position").map(Some).map_err(store_error));
                let positions: Vec<Option<i64>> = positions.collect::<Result<_, _>>()?;
                record(connection, &consumer, &key, &positions, ParkingAction::Discard, &request, None).await?;
                sqlx::query(COMMIT).execute(connection).await.map_err(store_error)?;
                Ok(positions.len() as u64)
            })
        })
        .await
    }

    async fn parking_history(
        &self,
        consumer: &ConsumerName,
        after: u64,
        limit: usize,
    ) -> Result<Vec<ParkingRecord>, StoreError> {
        check_parked_count(limit)?;
        let query = sqlx::query(HISTORY).bind(consumer.as_str()).bind(to_bound(after)).bind(limit as i64);
        self.rows(query).await?.iter().map(|row| to_record(consumer, row)).collect()
    }
}
