//! Dead letters.

use std::collections::BTreeMap;

use async_trait::async_trait;
use es_core::{
    ConsumerName, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadLetterTotals, DeadReason,
    NewDeadLetter, NewOperation, OperationKind, OperatorRequest, ParkFailure, RawMessage, StoreError,
    check_dead_letter_count, check_dead_letters,
};
use sqlx::{
    PgConnection, Postgres, SqlStr,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use crate::{
    control::note,
    error::store_error,
    rows::{from_bigint, get, get_text, to_bigint},
    store::{PgStore, Shared},
};

fn headers_of(message: &RawMessage) -> Result<String, StoreError> {
    serde_json::to_string(&message.headers).map_err(|source| StoreError::Backend { source: source.into() })
}

/// The message in two columns, from one on.
fn to_message(row: &PgRow, column: usize) -> Result<RawMessage, StoreError> {
    let unreadable = |source: serde_json::Error| StoreError::Backend { source: source.into() };
    let headers = serde_json::from_str(get_text(row, column)?).map_err(unreadable)?;
    Ok(RawMessage { headers, body: get(row, column + 1)? })
}

fn to_dead_letter(row: &PgRow) -> Result<DeadLetter, StoreError> {
    let unreadable = || StoreError::Backend { source: "a dead letter that this version does not know".into() };
    let consumer = ConsumerName::parse(get_text(row, 3)?)?;
    let reason = DeadReason::parse(get_text(row, 8)?).ok_or_else(unreadable)?;
    let (message_id, topic): (String, String) = (get(row, 4)?, get(row, 6)?);
    let mut letter = NewDeadLetter::new(consumer, message_id, topic, reason, get_text(row, 9)?, to_message(row, 11)?);
    (letter.message_type, letter.key) = (get(row, 5)?, get(row, 7)?);
    letter.attempts = u32::try_from(get::<i64>(row, 10)?).unwrap_or(u32::MAX);
    Ok(DeadLetter::new(DeadLetterId::new(from_bigint(get(row, 0)?)), get(row, 1)?, get(row, 2)?, letter))
}

/// Puts messages aside, in the caller's transaction.
pub(crate) async fn add(
    shared: &Shared,
    connection: &mut PgConnection,
    letters: &[NewDeadLetter],
) -> Result<(), StoreError> {
    // Of several that are the same the last has the latest failure.
    let mut places = BTreeMap::new();
    for (place, letter) in letters.iter().enumerate() {
        places.insert((letter.consumer.as_str(), letter.identity()), place);
    }
    let mut places: Vec<(usize, String)> = places.into_iter().map(|((_, identity), place)| (place, identity)).collect();
    places.sort_unstable();
    let (places, identities): (Vec<usize>, Vec<String>) = places.into_iter().unzip();
    let letters: Vec<&NewDeadLetter> = places.into_iter().map(|place| &letters[place]).collect();
    fn column<T>(letters: &[&NewDeadLetter], of: impl Fn(&NewDeadLetter) -> T) -> Vec<T> {
        letters.iter().map(|letter| of(letter)).collect()
    }
    let headers: Vec<String> = letters.iter().map(|letter| headers_of(&letter.message)).collect::<Result<_, _>>()?;
    let query = shared
        .query(&shared.statements.add_dead_letters)
        .bind(column(&letters, |letter| letter.consumer.as_str().to_owned()))
        .bind(identities)
        .bind(column(&letters, |letter| letter.message_id.clone()))
        .bind(column(&letters, |letter| letter.message_type.clone()))
        .bind(column(&letters, |letter| letter.topic.clone()))
        .bind(column(&letters, |letter| letter.key.clone()))
        .bind(column(&letters, |letter| letter.reason.as_str()))
        .bind(column(&letters, |letter| letter.error.clone()))
        .bind(column(&letters, |letter| i64::from(letter.attempts)))
        .bind(headers)
        .bind(column(&letters, |letter| letter.message.body.clone()));
    query.execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Takes a dead letter away, in the caller's transaction.
pub(crate) async fn resolve(
    shared: &Shared,
    connection: &mut PgConnection,
    letter: &DeadLetter,
) -> Result<bool, StoreError> {
    let query = unedited(shared, &shared.statements.resolve_dead_letter, letter)?;
    Ok(query.execute(connection).await.map_err(store_error)?.rows_affected() > 0)
}

/// A statement with the dead letter, and the message that it must have still, as its first binds.
fn unedited(
    shared: &Shared,
    statement: &SqlStr,
    DeadLetter { id, letter, .. }: &DeadLetter,
) -> Result<Query<'static, Postgres, PgArguments>, StoreError> {
    let query = shared.query(statement).bind(to_bigint(id.get()));
    Ok(query.bind(headers_of(&letter.message)?).bind(letter.message.body.clone()))
}

/// A statement with what a query asks for as its first binds.
fn matching(shared: &Shared, statement: &SqlStr, query: &DeadLetterQuery) -> Query<'static, Postgres, PgArguments> {
    shared
        .query(statement)
        .bind(query.consumer.as_ref().map(|consumer| consumer.as_str().to_owned()))
        .bind(query.id.map(|id| to_bigint(id.get())))
        .bind(query.message_type.clone())
        .bind(query.key.clone())
        .bind(query.reason.map(DeadReason::as_str))
        .bind(query.before)
        .bind(query.is_retry_requested)
}

impl PgStore {
    /// Changes all dead letters that match, and notes that for each consumer. Gives how many.
    async fn change_dead_letters(
        &self,
        statement: &SqlStr,
        query: &DeadLetterQuery,
        kind: OperationKind,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        let changed = matching(shared, statement, query);
        let mut total = 0;
        for row in changed.fetch_all(&mut *transaction).await.map_err(store_error)? {
            let (consumer, count) = (ConsumerName::parse(get_text(&row, 0)?)?, from_bigint(get(&row, 1)?));
            let operation = NewOperation::on_dead_letters(kind.clone(), consumer, query.id, count, request);
            note(shared, &mut transaction, &operation).await?;
            total += count;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(total)
    }
}

#[async_trait]
impl DeadLetterStore for PgStore {
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        check_dead_letters(letters)?;
        let mut session = self.shared.session().await?;
        add(&self.shared, &mut session, letters).await?;
        session.finish().await
    }

    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        check_dead_letter_count(limit)?;
        let after = after.map_or(0, |after| to_bigint(after.get()));
        let query = || {
            let query = matching(&self.shared, &self.shared.statements.dead_letters, query);
            query.bind(after).bind(to_bigint(limit as u64))
        };
        self.rows(query).await?.iter().map(to_dead_letter).collect()
    }

    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.dead_letter_totals)).await?;
        let total = |row: &PgRow| {
            let consumer = ConsumerName::parse(get_text(row, 0)?)?;
            let (depth, ever) = (from_bigint(get(row, 1)?), from_bigint(get(row, 3)?));
            Ok(DeadLetterTotals::new(consumer, depth, get(row, 2)?, ever))
        };
        rows.iter().map(total).collect()
    }

    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        let statement = &self.shared.statements.request_dead_letter_retries;
        self.change_dead_letters(statement, query, OperationKind::DEAD_LETTER_RETRY, request).await
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        request.check_reason()?;
        message.check()?;
        let shared = &self.shared;
        let mut transaction = shared.transaction().await?;
        let query = shared.query(&shared.statements.edit_dead_letter).bind(to_bigint(id.get()));
        let query = query.bind(headers_of(message)?).bind(message.body.clone());
        let query = query.bind(request.author().to_owned()).bind(request.reason().map(str::to_owned));
        let Some(row) = query.fetch_optional(&mut *transaction).await.map_err(store_error)? else { return Ok(false) };
        let consumer = ConsumerName::parse(get_text(&row, 0)?)?;
        let kind = OperationKind::DEAD_LETTER_EDIT;
        let operation = NewOperation::on_dead_letters(kind, consumer, Some(id), 1, request);
        note(shared, &mut transaction, &operation).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(true)
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        let query = || self.shared.query(&self.shared.statements.dead_letter_edits).bind(to_bigint(id.get()));
        self.rows(query).await?.iter().map(|row| to_message(row, 0)).collect()
    }

    async fn discard_dead_letters(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        request.check_reason()?;
        let statement = &self.shared.statements.discard_dead_letters;
        self.change_dead_letters(statement, query, OperationKind::DEAD_LETTER_DISCARD, request).await
    }

    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError> {
        let mut session = self.shared.session().await?;
        let was_there = resolve(&self.shared, &mut session, published).await?;
        session.finish().await?;
        Ok(was_there)
    }

    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError> {
        let shared = &self.shared;
        let query = unedited(shared, &shared.statements.fail_dead_letter, tried)?;
        let query = query.bind(reason.as_str()).bind(ParkFailure::new(error, 1).error);
        let mut session = shared.session().await?;
        let was_there = query.execute(&mut *session).await.map_err(store_error)?.rows_affected() > 0;
        session.finish().await?;
        Ok(was_there)
    }
}
