//! The outbox: messages of the callers' own transactions. See docs/adr/0006-outbox.md.

use async_trait::async_trait;
use es_core::{
    Enqueue, Fence, OutboxCursor, OutboxEntry, OutboxMessage, OutboxStats, OutboxStore, RawMessage, StoreError,
    check_outbox_count, limits, outbox_consumer,
};
use sqlx::{PgConnection, postgres::PgRow};

use crate::{
    error::store_error,
    rows::{from_bigint, get, get_text, to_bigint},
    store::{PgStore, Shared},
};

/// Writers go on in another partition when the one that they write to takes so many bytes, without its indexes.
const ROTATE_BYTES: i64 = 8 * 1_024 * 1_024;
/// So many batches may be confirmed before their places are forgotten.
const PROGRESS_ROWS: i64 = 1_000;

const UNKNOWN_PLACE: StoreError = StoreError::Refused { reason: "the outbox has no such place; confirm what it gave" };

/// Writes a message in the transaction of a connection.
pub(crate) async fn enqueue(
    shared: &Shared,
    connection: &mut PgConnection,
    message: &OutboxMessage,
) -> Result<(), StoreError> {
    message.check()?;
    let OutboxMessage { topic, key, message, available_at, .. } = message;
    let headers =
        serde_json::to_string(&message.headers).map_err(|error| StoreError::Backend { source: error.into() })?;
    let query = shared.query(&shared.statements.enqueue).bind(topic.as_str()).bind(key.as_deref()).bind(headers);
    query.bind(message.body.as_slice()).bind(*available_at).execute(connection).await.map_err(store_error)?;
    Ok(())
}

fn to_cursor(tick: i64, number: i64) -> OutboxCursor {
    OutboxCursor::new(format!("{tick}:{number}"))
}

fn of_cursor(cursor: &OutboxCursor) -> Result<(i64, i64), StoreError> {
    let (tick, number) = cursor.as_str().split_once(':').ok_or(UNKNOWN_PLACE)?;
    match (tick.parse(), number.parse()) {
        (Ok(tick), Ok(number)) => Ok((tick, number)),
        _ => Err(UNKNOWN_PLACE),
    }
}

fn to_entry(row: &PgRow) -> Result<OutboxEntry, StoreError> {
    let headers =
        serde_json::from_str(get_text(row, 6)?).map_err(|error| StoreError::Backend { source: error.into() })?;
    let raw = RawMessage { headers, body: get(row, 7)? };
    let mut message = OutboxMessage::new(get_text(row, 4)?, raw);
    (message.key, message.available_at) = (get(row, 5)?, get(row, 3)?);
    Ok(OutboxEntry::new(to_cursor(get(row, 0)?, get(row, 1)?), get(row, 2)?, message))
}

#[async_trait]
impl OutboxStore for PgStore {
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        check_outbox_count(limit)?;
        let limit = to_bigint(limit as u64);
        // In a transaction of its own, which the next one sees.
        let mut session = self.shared.transaction().await?;
        let query =
            self.shared.query(&self.shared.statements.move_due).bind(to_bigint(limits::MAX_OUTBOX_PER_READ as u64));
        query.execute(&mut *session).await.map_err(store_error)?;
        session.commit().await.map_err(store_error)?;
        let mut transaction = self.shared.transaction().await?;
        let query = self.shared.query(&self.shared.statements.read_outbox).bind(limit);
        let query = query.bind(to_bigint(limits::MAX_PAGE_BYTES as u64));
        let rows = query.fetch_all(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        rows.iter().map(to_entry).collect()
    }

    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError> {
        let (tick, number) = of_cursor(upto)?;
        let mut transaction = self.shared.transaction().await?;
        let query = self.shared.query(&self.shared.statements.confirm_outbox);
        let query = query.bind(to_bigint(fence.get())).bind(tick).bind(number);
        let row = query.fetch_one(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        match get::<i32>(&row, 0)? {
            0 => Ok(()),
            -2 => Err(StoreError::LeaseLost { consumer: outbox_consumer()? }),
            _ => Err(UNKNOWN_PLACE),
        }
    }

    async fn tidy_outbox(&self) -> Result<(), StoreError> {
        let mut transaction = self.shared.transaction().await?;
        let query = self.shared.query(&self.shared.statements.tidy_outbox).bind(ROTATE_BYTES).bind(PROGRESS_ROWS);
        query.execute(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        let mut transaction = self.shared.transaction().await?;
        let query = self.shared.query(&self.shared.statements.outbox_stats).bind(to_bigint(limits::MAX_COUNTED_OUTBOX));
        let row = query.fetch_one(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        let mut stats = OutboxStats::default();
        (stats.waiting, stats.oldest) = (from_bigint(get(&row, 0)?).min(limits::MAX_COUNTED_OUTBOX), get(&row, 1)?);
        (stats.delayed, stats.bytes) = (from_bigint(get(&row, 2)?), from_bigint(get(&row, 3)?));
        Ok(stats)
    }
}

/// With a connection in a transaction of the caller's, at any isolation level.
#[async_trait]
impl Enqueue for PgStore {
    type Connection = PgConnection;

    async fn enqueue(&self, connection: &mut PgConnection, message: &OutboxMessage) -> Result<(), StoreError> {
        enqueue(&self.shared, connection, message).await
    }
}
