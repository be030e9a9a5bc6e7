//! Dead letters.

use async_trait::async_trait;
use es_core::{
    ConsumerName, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadLetterTotals, DeadReason,
    NewDeadLetter, NewOperation, OperationKind, OperatorRequest, ParkFailure, RawMessage, StoreError,
    check_dead_letter_count, check_dead_letters,
    timestamp::{from_unix_micros, unix_micros},
};
use sqlx::{
    Row, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use time::OffsetDateTime;

use crate::{
    control::note,
    error::{store_error, to_bound, unreadable},
    projections::now,
    rows::to_json,
    store::SqliteStore,
    writer::{begin, commit},
};

const ADD: &str = include_str!("../sql/dead_letter_add.sql");
const LIST: &str = include_str!("../sql/dead_letters.sql");
const COUNT: &str = include_str!("../sql/dead_letters_count.sql");
const REQUEST_RETRIES: &str = include_str!("../sql/request_dead_letter_retries.sql");
const DISCARD: &str = include_str!("../sql/dead_letters_discard.sql");
const KEEP: &str = include_str!("../sql/dead_letter_keep.sql");
const EDIT: &str = include_str!("../sql/dead_letter_edit.sql");
const EDITS: &str = include_str!("../sql/dead_letter_edits.sql");
const TOTALS: &str = include_str!("../sql/dead_letter_totals.sql");
const RESOLVE: &str = include_str!("../sql/dead_letter_resolve.sql");
const FAIL: &str = include_str!("../sql/dead_letter_fail.sql");

fn unknown() -> StoreError {
    StoreError::Backend { source: "a dead letter that this version does not know".into() }
}

fn to_message(row: &SqliteRow) -> Result<RawMessage, StoreError> {
    let headers = serde_json::from_str(row.try_get("headers").map_err(store_error)?).map_err(unreadable)?;
    Ok(RawMessage { headers, body: row.try_get("body").map_err(store_error)? })
}

fn to_time(micros: i64) -> Result<OffsetDateTime, StoreError> {
    from_unix_micros(micros).ok_or_else(unknown)
}

fn to_dead_letter(row: &SqliteRow) -> Result<DeadLetter, StoreError> {
    let text = |column| row.try_get::<&str, _>(column).map_err(store_error);
    let number = |column| row.try_get::<i64, _>(column).map_err(store_error);
    let consumer = ConsumerName::parse(text("consumer")?)?;
    let reason = DeadReason::parse(text("reason")?).ok_or_else(unknown)?;
    let message = to_message(row)?;
    let mut letter = NewDeadLetter::new(consumer, text("message_id")?, text("topic")?, reason, text("error")?, message);
    letter.message_type = row.try_get("message_type").map_err(store_error)?;
    letter.key = row.try_get("key").map_err(store_error)?;
    letter.attempts = u32::try_from(number("attempts")?).unwrap_or(u32::MAX);
    let id = DeadLetterId::new(number("id")?.unsigned_abs());
    Ok(DeadLetter::new(id, to_time(number("since")?)?, number("is_retry_requested")? != 0, letter))
}

/// Stores a dead letter in a transaction of the caller.
pub(crate) async fn add(connection: &mut SqliteConnection, letter: &NewDeadLetter) -> Result<(), StoreError> {
    let query =
        sqlx::query(ADD).bind(letter.consumer.as_str()).bind(letter.identity()).bind(letter.message_id.as_str());
    let query = query.bind(letter.message_type.as_deref()).bind(letter.topic.as_str()).bind(letter.key.as_deref());
    let query = query.bind(letter.reason.as_str()).bind(letter.error.as_str()).bind(i64::from(letter.attempts));
    let query = query.bind(now()).bind(to_json(&letter.message.headers)?).bind(letter.message.body.as_slice());
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Removes a dead letter in a transaction of the caller.
pub(crate) async fn resolve(connection: &mut SqliteConnection, letter: &DeadLetter) -> Result<bool, StoreError> {
    Ok(unedited(RESOLVE, letter)?.execute(connection).await.map_err(store_error)?.rows_affected() > 0)
}

/// Returns a statement whose first binds are the dead letter, and the message that it must still have.
fn unedited<'a>(
    statement: &'static str,
    DeadLetter { id, letter, .. }: &'a DeadLetter,
) -> Result<Query<'a, Sqlite, SqliteArguments>, StoreError> {
    let query = sqlx::query(statement).bind(to_bound(id.get()));
    Ok(query.bind(to_json(&letter.message.headers)?).bind(letter.message.body.clone()))
}

/// Returns a statement whose first binds are the conditions of a query.
fn matching(statement: &'static str, query: &DeadLetterQuery) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query(statement)
        .bind(query.consumer.as_ref().map(|consumer| consumer.as_str().to_owned()))
        .bind(query.id.map(|id| to_bound(id.get())))
        .bind(query.message_type.clone())
        .bind(query.key.clone())
        .bind(query.reason.map(DeadReason::as_str))
        .bind(query.before.map(unix_micros))
        .bind(query.is_retry_requested)
}

impl SqliteStore {
    /// Changes all matching dead letters, and records the operation for each consumer. Returns the number of changed
    /// dead letters.
    async fn change_dead_letters(
        &self,
        statement: &'static str,
        query: &DeadLetterQuery,
        kind: OperationKind,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        let (query, request) = (query.clone(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let rows = matching(COUNT, &query).fetch_all(&mut *connection).await.map_err(store_error)?;
                let changed = matching(statement, &query).execute(&mut *connection).await.map_err(store_error)?;
                for row in rows {
                    let consumer = ConsumerName::parse(row.try_get("consumer").map_err(store_error)?)?;
                    let count = row.try_get::<i64, _>("count").map_err(store_error)?.unsigned_abs();
                    let operation = NewOperation::on_dead_letters(kind.clone(), consumer, query.id, count, &request);
                    note(connection, &operation, now()).await?;
                }
                commit(connection).await?;
                Ok(changed.rows_affected())
            })
        })
        .await
    }
}

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        check_dead_letters(letters)?;
        let letters = letters.to_vec();
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                for letter in &letters {
                    add(connection, letter).await?;
                }
                commit(connection).await
            })
        })
        .await
    }

    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        check_dead_letter_count(limit)?;
        let query = matching(LIST, query).bind(after.map_or(0, |after| to_bound(after.get()))).bind(limit as i64);
        self.rows(query).await?.iter().map(to_dead_letter).collect()
    }

    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        let rows = self.rows(sqlx::query(TOTALS)).await?;
        let total = |row: &SqliteRow| {
            let number = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs).map_err(store_error);
            let consumer = ConsumerName::parse(row.try_get("consumer").map_err(store_error)?)?;
            let oldest: Option<i64> = row.try_get("oldest").map_err(store_error)?;
            let oldest = oldest.map(to_time).transpose()?;
            Ok(DeadLetterTotals::new(consumer, number("depth")?, oldest, number("ever")?))
        };
        rows.iter().map(total).collect()
    }

    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        self.change_dead_letters(REQUEST_RETRIES, query, OperationKind::DEAD_LETTER_RETRY, request).await
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        request.check_reason()?;
        message.check()?;
        let (message, request) = (message.clone(), request.clone());
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let connection = begin(writer).await?;
                let keep = sqlx::query(KEEP).bind(to_bound(id.get())).bind(now());
                let keep = keep.bind(request.author()).bind(request.reason());
                keep.execute(&mut *connection).await.map_err(store_error)?;
                let edit = sqlx::query(EDIT).bind(to_bound(id.get())).bind(to_json(&message.headers)?);
                let edit = edit.bind(message.body.as_slice());
                let edited = edit.fetch_optional(&mut *connection).await.map_err(store_error)?;
                if let Some(row) = &edited {
                    let consumer = ConsumerName::parse(row.try_get("consumer").map_err(store_error)?)?;
                    let kind = OperationKind::DEAD_LETTER_EDIT;
                    let operation = NewOperation::on_dead_letters(kind, consumer, Some(id), 1, &request);
                    note(connection, &operation, now()).await?;
                }
                commit(connection).await?;
                Ok(edited.is_some())
            })
        })
        .await
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        self.rows(sqlx::query(EDITS).bind(to_bound(id.get()))).await?.iter().map(to_message).collect()
    }

    async fn discard_dead_letters(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        request.check_reason()?;
        self.change_dead_letters(DISCARD, query, OperationKind::DEAD_LETTER_DISCARD, request).await
    }

    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError> {
        let published = published.clone();
        self.write_in_task(move |writer| Box::pin(async move { resolve(writer.connection()?, &published).await })).await
    }

    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError> {
        let (tried, error) = (tried.clone(), ParkFailure::new(error, 1).error);
        self.write_in_task(move |writer| {
            Box::pin(async move {
                let query = unedited(FAIL, &tried)?.bind(reason.as_str()).bind(error);
                let changed = query.execute(writer.connection()?).await.map_err(store_error)?;
                Ok(changed.rows_affected() > 0)
            })
        })
        .await
    }
}
