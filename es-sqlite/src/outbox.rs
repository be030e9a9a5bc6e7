//! The outbox: messages of the callers' own transactions.

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Enqueue, Fence, Lease, OutboxCursor, OutboxEntry, OutboxMessage, OutboxStats, OutboxStore, RawMessage, StoreError,
    check_outbox_count, limits, outbox_consumer,
    timestamp::{from_unix_micros, unix_micros},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;

use crate::{
    error::{store_error, unreadable},
    leases::is_newest,
    projections::now,
    rows::to_json,
    store::SqliteStore,
    writer::{begin, commit},
};

const NUMBER: &str = include_str!("../sql/outbox_number.sql");
const ADD: [&str; 2] = [include_str!("../sql/outbox_add_0.sql"), include_str!("../sql/outbox_add_1.sql")];
const EMPTY: [&str; 2] = [include_str!("../sql/outbox_empty_0.sql"), include_str!("../sql/outbox_empty_1.sql")];
const DELAY: &str = include_str!("../sql/outbox_delay.sql");
const DELAYED_BYTES: &str = include_str!("../sql/outbox_delayed_bytes.sql");
const IS_DUE: &str = include_str!("../sql/outbox_is_due.sql");
const DUE: &str = include_str!("../sql/outbox_due.sql");
const DELAYED_REMOVE: &str = include_str!("../sql/outbox_delayed_remove.sql");
const READ: &str = include_str!("../sql/outbox_read.sql");
const STATE: &str = include_str!("../sql/outbox_state.sql");
const CONFIRM: &str = include_str!("../sql/outbox_confirm.sql");
const ROTATE: &str = include_str!("../sql/outbox_rotate.sql");
const NEWEST: [&str; 2] = [include_str!("../sql/outbox_newest_0.sql"), include_str!("../sql/outbox_newest_1.sql")];
const STATS: &str = include_str!("../sql/outbox_stats.sql");

/// Size at which new messages are written to the other table, in bytes of the messages in the first.
const ROTATE_BYTES: i64 = 8 * 1_024 * 1_024;
/// Maximum number of delayed messages that one read moves.
const MOVED_PER_READ: usize = 100;

const UNKNOWN_PLACE: StoreError = StoreError::Refused { reason: "the outbox has no such place; confirm what it gave" };

/// A message in its stored form.
struct Stored<'a> {
    topic: &'a str,
    key: Option<&'a str>,
    headers: &'a str,
    body: &'a [u8],
}

impl Stored<'_> {
    fn bytes(&self) -> i64 {
        let bytes = self.topic.len() + self.key.map_or(0, str::len) + self.headers.len() + self.body.len();
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }

    /// Adds the message at the end of the queue.
    async fn add(
        &self,
        connection: &mut SqliteConnection,
        enqueued_at: i64,
        available_at: Option<i64>,
    ) -> Result<(), StoreError> {
        let row = sqlx::query(NUMBER).bind(self.bytes()).fetch_one(&mut *connection).await.map_err(store_error)?;
        let (id, current): (i64, i64) = (column(&row, "last_id")?, column(&row, "current")?);
        let query = sqlx::query(if current == 0 { ADD[0] } else { ADD[1] }).bind(id).bind(enqueued_at);
        let query = query.bind(available_at).bind(self.topic).bind(self.key).bind(self.headers).bind(self.body);
        query.execute(connection).await.map_err(store_error)?;
        Ok(())
    }

    async fn delay(&self, connection: &mut SqliteConnection, available_at: i64) -> Result<(), StoreError> {
        let query = sqlx::query(DELAY).bind(available_at).bind(self.topic).bind(self.key);
        query.bind(self.headers).bind(self.body).execute(&mut *connection).await.map_err(store_error)?;
        sqlx::query(DELAYED_BYTES).bind(self.bytes()).execute(connection).await.map_err(store_error)?;
        Ok(())
    }
}

fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(name).map_err(store_error)
}

fn to_time(micros: i64) -> Result<OffsetDateTime, StoreError> {
    from_unix_micros(micros)
        .ok_or_else(|| StoreError::Backend { source: "the time of a message is out of range".into() })
}

fn to_entry(row: &SqliteRow) -> Result<OutboxEntry, StoreError> {
    let headers = serde_json::from_str(column(row, "headers")?).map_err(unreadable)?;
    let raw = RawMessage { headers, body: column(row, "body")? };
    let mut message = OutboxMessage::new(column::<String>(row, "topic")?, raw);
    message.key = column(row, "key")?;
    message.available_at = column::<Option<i64>>(row, "available_at")?.map(to_time).transpose()?;
    let cursor = OutboxCursor::new(column::<i64>(row, "id")?.to_string());
    Ok(OutboxEntry::new(cursor, to_time(column(row, "enqueued_at")?)?, message))
}

/// Writes a message in the transaction of a connection.
pub(crate) async fn enqueue(connection: &mut SqliteConnection, message: &OutboxMessage) -> Result<(), StoreError> {
    message.check()?;
    let headers = to_json(&message.message.headers)?;
    let stored =
        Stored { topic: &message.topic, key: message.key.as_deref(), headers: &headers, body: &message.message.body };
    let (now, available_at) = (now(), message.available_at.map(unix_micros));
    match available_at {
        Some(time) if time > now => stored.delay(connection, time).await,
        _ => stored.add(connection, now, available_at).await,
    }
}

/// Moves delayed messages whose time has come to the end of the queue.
async fn move_due(connection: &mut SqliteConnection, now: i64) -> Result<(), StoreError> {
    for _ in 0..MOVED_PER_READ {
        let row = sqlx::query(DUE).bind(now).fetch_optional(&mut *connection).await.map_err(store_error)?;
        let Some(row) = row else { break };
        let (id, time): (i64, i64) = (column(&row, "id")?, column(&row, "available_at")?);
        let stored = Stored {
            topic: column(&row, "topic")?,
            key: column(&row, "key")?,
            headers: column(&row, "headers")?,
            body: column(&row, "body")?,
        };
        stored.add(connection, time, Some(time)).await?;
        sqlx::query(DELAYED_REMOVE).bind(id).execute(&mut *connection).await.map_err(store_error)?;
        sqlx::query(DELAYED_BYTES).bind(-stored.bytes()).execute(&mut *connection).await.map_err(store_error)?;
    }
    Ok(())
}

/// The current state of the outbox tables.
struct State {
    current: usize,
    last_id: i64,
    confirmed_id: i64,
    bytes: [i64; 2],
}

impl State {
    async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        let row = sqlx::query(STATE).fetch_one(connection).await.map_err(store_error)?;
        Ok(Self {
            current: usize::from(column::<i64>(&row, "current")? != 0),
            last_id: column(&row, "last_id")?,
            confirmed_id: column(&row, "confirmed_id")?,
            bytes: [column(&row, "bytes_0")?, column(&row, "bytes_1")?],
        })
    }

    fn has_outgrown(&self) -> bool {
        self.bytes[self.current] >= ROTATE_BYTES
    }

    /// Returns whether there may be messages to remove.
    fn is_untidy(&self) -> bool {
        self.has_outgrown() || self.bytes[1 - self.current] > 0
    }
}

async fn tidy(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let state = State::read(connection).await?;
    let other = 1 - state.current;
    let mut is_empty = state.bytes[other] == 0;
    if !is_empty {
        // Everything in this table is older than the content of the current one.
        let newest: Option<i64> =
            sqlx::query_scalar(NEWEST[other]).fetch_one(&mut *connection).await.map_err(store_error)?;
        is_empty = newest.is_none_or(|id| id <= state.confirmed_id);
        if is_empty {
            sqlx::raw_sql(EMPTY[other]).execute(&mut *connection).await.map_err(store_error)?;
        }
    }
    if is_empty && state.has_outgrown() {
        sqlx::query(ROTATE).execute(connection).await.map_err(store_error)?;
    }
    Ok(())
}

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn read_outbox(&self, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        check_outbox_count(limit)?;
        let (limit, most_bytes) = (limit as i64, limits::MAX_PAGE_BYTES as i64);
        let now = now();
        let is_due = {
            let mut reader = self.shared.readers.get().await?;
            let is_due = sqlx::query(IS_DUE).bind(now).fetch_optional(reader.connection()?).await.map_err(store_error);
            reader.settle(is_due)?.is_some()
        };
        if is_due {
            self.write_in_task(move |writer| {
                Box::pin(async move {
                    let connection = begin(writer).await?;
                    move_due(connection, now).await?;
                    commit(connection).await
                })
            })
            .await?;
        }
        let mut reader = self.shared.readers.get().await?;
        let rows = sqlx::query(READ).bind(limit).bind(most_bytes).fetch_all(reader.connection()?).await;
        reader.settle(rows.map_err(store_error))?.iter().map(to_entry).collect()
    }

    async fn confirm_outbox(&self, fence: Fence, upto: &OutboxCursor) -> Result<(), StoreError> {
        let upto: i64 = upto.as_str().parse().map_err(|_| UNKNOWN_PLACE)?;
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let consumer = outbox_consumer()?;
                if !is_newest(connection, &consumer, Lease::new(fence, Duration::ZERO)).await? {
                    return Err(StoreError::LeaseLost { consumer });
                }
                if upto > State::read(connection).await?.last_id {
                    return Err(UNKNOWN_PLACE);
                }
                sqlx::query(CONFIRM).bind(upto).execute(&mut *connection).await.map_err(store_error)?;
                commit(connection).await
            })
        })
        .await
    }

    async fn tidy_outbox(&self) -> Result<(), StoreError> {
        let is_untidy = {
            let mut reader = self.shared.readers.get().await?;
            let state = State::read(reader.connection()?).await;
            reader.settle(state)?.is_untidy()
        };
        if !is_untidy {
            return Ok(());
        }
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                tidy(connection).await?;
                commit(connection).await
            })
        })
        .await
    }

    async fn outbox_stats(&self) -> Result<OutboxStats, StoreError> {
        let counted = i64::try_from(limits::MAX_COUNTED_OUTBOX).unwrap_or(i64::MAX);
        let mut reader = self.shared.readers.get().await?;
        let row = sqlx::query(STATS).bind(now()).bind(counted).fetch_one(reader.connection()?).await;
        let row = reader.settle(row.map_err(store_error))?;
        let number = |name| column::<i64>(&row, name).map(i64::unsigned_abs);
        let times = [column::<Option<i64>>(&row, "oldest")?, column(&row, "oldest_due")?];
        let mut stats = OutboxStats::default();
        stats.waiting = (number("waiting")? + number("due")?).min(limits::MAX_COUNTED_OUTBOX);
        stats.oldest = times.into_iter().flatten().min().map(to_time).transpose()?;
        (stats.delayed, stats.bytes) = (number("delayed")?, number("bytes")?);
        Ok(stats)
    }
}

/// Uses a connection to the store's file, in a transaction of the caller.
#[async_trait]
impl Enqueue for SqliteStore {
    type Connection = SqliteConnection;

    async fn enqueue(&self, connection: &mut SqliteConnection, message: &OutboxMessage) -> Result<(), StoreError> {
        enqueue(connection, message).await
    }
}
