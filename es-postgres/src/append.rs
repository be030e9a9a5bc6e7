//! Appending: one call of the function `append`, and what its rows mean.

use es_core::{Append, Appended, AppendedStream, ExpectedVersion, IdempotencyKey, StoreError, StreamAppend, StreamId};
use sqlx::{PgConnection, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::store_error,
    handler_scope::refuse_in_handler,
    inline,
    rows::{get, get_position, get_text, get_version, to_bigint},
    store::Shared,
};

/// Appends in a transaction of its own.
pub(crate) async fn append(shared: &Shared, append: &Append) -> Result<Appended, StoreError> {
    check(shared, append)?;
    let appended = if shared.inline.is_empty() {
        let mut session = shared.session().await?;
        let appended = call(shared, &mut session, append, Commit::Own).await?;
        session.finish().await?;
        appended
    } else {
        let mut transaction = shared.transaction().await?;
        let appended = call(shared, &mut transaction, append, Commit::Own).await?;
        inline::apply(shared, &mut transaction, append, &appended).await?;
        transaction.commit().await.map_err(store_error)?;
        appended
    };
    shared.signals.announce(appended.last_position);
    Ok(appended)
}

/// Appends in the caller's transaction.
pub(crate) async fn append_in(
    shared: &Shared,
    connection: &mut PgConnection,
    append: &Append,
) -> Result<Appended, StoreError> {
    check(shared, append)?;
    let appended = call(shared, connection, append, Commit::Callers).await?;
    inline::apply(shared, connection, append, &appended).await?;
    Ok(appended)
}

/// Appends in the transaction of a unit of work.
pub(crate) async fn append_in_unit(
    shared: &Shared,
    connection: &mut PgConnection,
    append: &Append,
) -> Result<Appended, StoreError> {
    let appended = call(shared, connection, append, Commit::Own).await?;
    inline::apply(shared, connection, append, &appended).await?;
    Ok(appended)
}

/// What can be refused without the database.
pub(crate) fn check(shared: &Shared, append: &Append) -> Result<(), StoreError> {
    refuse_in_handler(shared)?;
    append.check_payload_limit(shared.settings.max_payload_bytes)
}

/// The outcome of the append that was stored under a key.
pub(crate) async fn find_append(shared: &Shared, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
    let mut session = shared.session().await?;
    let query = shared.query(&shared.statements.find_append).bind(key.as_str());
    let rows = query.fetch_all(&mut *session).await.map_err(store_error)?;
    session.finish().await?;
    if rows.is_empty() {
        return Ok(None);
    }
    outcome(&rows, 0, true).map(Some)
}

/// Whose transaction an append is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    /// The store's: it is durable when it has been committed.
    Own,
    /// The caller's, who may have chosen otherwise.
    Callers,
}

/// Calls the function `append`.
async fn call(
    shared: &Shared,
    connection: &mut PgConnection,
    append: &Append,
    commit: Commit,
) -> Result<Appended, StoreError> {
    let arguments = Arguments::of(append)?;
    let lock_timeout_ms = i32::try_from(shared.settings.lock_timeout.as_millis()).unwrap_or(i32::MAX);
    let query = shared
        .query(&shared.statements.append)
        .bind(&arguments.streams)
        .bind(&arguments.categories)
        .bind(&arguments.expected)
        .bind(&arguments.decided_after)
        .bind(&arguments.offsets)
        .bind(&arguments.counts)
        .bind(&arguments.parts)
        .bind(&arguments.ids)
        .bind(&arguments.types)
        .bind(&arguments.payloads)
        .bind(&arguments.metadata)
        .bind(&arguments.occurred_at)
        .bind(append.idempotency_key().map(IdempotencyKey::as_str))
        // 0 would wait for ever.
        .bind(lock_timeout_ms.max(1))
        .bind(commit == Commit::Own);
    let rows = query.fetch_all(connection).await.map_err(store_error)?;
    interpret(append, &rows)
}

/// The arrays that the function takes.
#[derive(Default)]
struct Arguments<'a> {
    streams: Vec<&'a str>,
    categories: Vec<&'a str>,
    expected: Vec<i64>,
    decided_after: Vec<Option<Uuid>>,
    offsets: Vec<i32>,
    counts: Vec<i32>,
    parts: Vec<i32>,
    ids: Vec<Uuid>,
    types: Vec<&'a str>,
    payloads: Vec<&'a str>,
    metadata: Vec<String>,
    occurred_at: Vec<Option<OffsetDateTime>>,
}

impl<'a> Arguments<'a> {
    fn of(append: &'a Append) -> Result<Self, StoreError> {
        let mut arguments = Self::default();
        // Both counts are limited to a few thousands.
        let mut offset = 0_i32;
        for (part, index) in append.streams().iter().zip(1_i32..) {
            let count = i32::try_from(part.events().len()).unwrap_or(i32::MAX);
            arguments.push_stream(part, offset, count);
            for event in part.events() {
                arguments.parts.push(index);
                arguments.ids.push(event.id());
                arguments.types.push(event.event_type());
                arguments.payloads.push(event.payload().as_str());
                let metadata = event.metadata().to_json();
                arguments.metadata.push(metadata.map_err(|error| StoreError::Backend { source: error.into() })?);
                arguments.occurred_at.push(event.occurred_at());
            }
            offset = offset.saturating_add(count);
        }
        Ok(arguments)
    }

    fn push_stream(&mut self, part: &'a StreamAppend, offset: i32, count: i32) {
        self.streams.push(part.stream().as_str());
        self.categories.push(part.stream().category());
        self.expected.push(match part.expected() {
            ExpectedVersion::Any => -2,
            ExpectedVersion::Exists => -1,
            ExpectedVersion::NoStream => 0,
            // No stream gets as far as the largest number.
            ExpectedVersion::Exact(version) => to_bigint(version.get()),
        });
        self.decided_after.push(part.expected_last_event());
        self.offsets.push(offset);
        self.counts.push(count);
    }
}

/// What the function's rows mean.
fn interpret(append: &Append, rows: &[PgRow]) -> Result<Appended, StoreError> {
    let first = rows.first().ok_or_else(|| unexpected("no rows"))?;
    match get_text(first, 0)? {
        "appended" => outcome(rows, 1, false),
        "repeated" => outcome(rows, 1, true),
        "conflict" => {
            let stream = get_text(first, 1)?;
            let part = append.streams().iter().find(|part| part.stream().as_str() == stream);
            let part = part.ok_or_else(|| unexpected("a conflict on another stream"))?;
            let (stream, expected) = (part.stream().clone(), part.expected());
            Err(StoreError::Conflict { stream, expected, actual: get_version(first, 3)? })
        }
        "id_reused" => Err(StoreError::IdReused { what: "event id", id: get_text(first, 6)?.to_owned() }),
        "key_reused" => Err(StoreError::IdReused { what: "idempotency key", id: get_text(first, 6)?.to_owned() }),
        "busy" => Err(StoreError::Busy { waiting_for: get_text(first, 6)?.to_owned(), source: None }),
        "isolation" => Err(StoreError::Refused {
            reason: "an append needs the isolation level READ COMMITTED: at REPEATABLE READ or SERIALIZABLE the transaction \
                     cannot see what was appended since it began",
        }),
        _ => Err(unexpected("an unknown status")),
    }
}

/// Reads stream, first_version, last_version, first_position and recorded_at from a column on.
fn outcome(rows: &[PgRow], column: usize, repeated: bool) -> Result<Appended, StoreError> {
    let mut streams = Vec::with_capacity(rows.len());
    let mut recorded_at = OffsetDateTime::UNIX_EPOCH;
    for row in rows {
        let first_position = get_position(row, column + 3)?;
        let stream: StreamId = get_text(row, column)?.parse().map_err(|error: es_core::InvalidName| {
            StoreError::Corrupt { position: first_position, problem: error.to_string() }
        })?;
        let (first_version, last_version) = (get_version(row, column + 1)?, get_version(row, column + 2)?);
        streams.push(AppendedStream { stream, first_version, last_version, first_position });
        recorded_at = get(row, column + 4)?;
    }
    Ok(Appended::new(streams, recorded_at, repeated))
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Backend { source: format!("the function append gave {what}").into() }
}
