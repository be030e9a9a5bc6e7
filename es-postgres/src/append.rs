//! Appending: one call of the function `append` for one append or many, and what its row means.

use es_core::{
    Append, Appended, AppendedStream, Bookmark, ExpectedVersion, IdempotencyKey, Position, RecordedEvent,
    RequestDigest, StoreError, StreamId, Version,
};
use serde::Deserialize;
use sqlx::{Connection, PgConnection, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::store_error,
    handler_scope::refuse_in_handler,
    inline,
    rows::{from_bigint, get, get_position, get_text, get_version, to_bigint},
    store::Shared,
};

/// What can be refused without the database.
pub(crate) fn check(shared: &Shared, append: &Append) -> Result<(), StoreError> {
    refuse_in_handler(shared)?;
    append.check_payload_limit(shared.settings.max_payload_bytes)
}

/// What a call came to.
#[derive(Debug)]
pub(crate) struct Batch {
    /// One for each append, in order.
    pub(crate) outcomes: Vec<Result<Appended, StoreError>>,
    /// The places before the first and of the last new event; `None` if nothing was stored.
    pub(crate) stored: Option<(Bookmark, Bookmark)>,
    /// Whether some process may listen for them.
    pub(crate) is_heard: bool,
    /// Whether another process or transaction was appending.
    pub(crate) has_waited: bool,
}

impl Batch {
    /// The new events, in the order of their positions.
    pub(crate) fn recorded(&self, appends: &[&Append]) -> Vec<RecordedEvent> {
        let outcomes = appends.iter().zip(&self.outcomes);
        let stored = outcomes.filter_map(|(append, outcome)| Some((append, outcome.as_ref().ok()?)));
        stored
            .filter(|(_, appended)| !appended.repeated)
            .flat_map(|(append, appended)| append.recorded(appended))
            .collect()
    }

    /// Whether some caller will hear that its events are stored.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.outcomes.iter().any(Result::is_ok)
    }
}

/// How the transaction of a call is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It is durable when it has been committed, whatever the defaults of the database are.
    Flushed,
    /// It is durable after a later flush.
    Unflushed,
    /// As the caller, whose transaction it is, has chosen.
    AsItIs,
}

/// Appends in the caller's transaction.
pub(crate) async fn append_in(
    shared: &Shared,
    connection: &mut PgConnection,
    append: &Append,
    commit: Commit,
) -> Result<Appended, StoreError> {
    let mut outcomes = append_all_in(shared, connection, &[append], commit).await?;
    outcomes.pop().ok_or_else(|| unexpected("no outcome"))
}

/// Appends in the caller's transaction, by one call. No two of them may name the same stream, event id or key.
///
/// # Errors
/// That of the first append that is refused: others of the call may be stored, so the transaction must be rolled back unless there is
/// only one.
pub(crate) async fn append_all_in(
    shared: &Shared,
    connection: &mut PgConnection,
    appends: &[&Append],
    commit: Commit,
) -> Result<Vec<Appended>, StoreError> {
    let batch = call(shared, connection, appends, commit).await?;
    inline::apply(shared, connection, appends, &batch).await?;
    batch.outcomes.into_iter().collect()
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
    let request: &[u8] = get(&rows[0], 6)?;
    let request = RequestDigest::from_bytes(request).ok_or_else(|| unexpected("a digest of another length"))?;
    let earlier = outcome(&rows)?.with_request(Some(request));
    // Its caller may act on it.
    shared.wait_durable(earlier.last_position).await?;
    Ok(Some(earlier))
}

/// Decides about appends, in order, and stores those that are right. No two of them may name the same stream, event id
/// or key.
///
/// # Errors
/// An error of the whole call: nothing of it may be committed.
pub(crate) async fn call(
    shared: &Shared,
    connection: &mut PgConnection,
    appends: &[&Append],
    commit: Commit,
) -> Result<Batch, StoreError> {
    let arguments = Arguments::of(appends)?;
    let lock_timeout_ms = i32::try_from(shared.settings.lock_timeout.as_millis()).unwrap_or(i32::MAX);
    let query = shared
        .query(&shared.statements.append)
        .bind(arguments.keys)
        .bind(arguments.appends)
        .bind(arguments.streams)
        .bind(arguments.categories)
        .bind(arguments.expected)
        .bind(arguments.decided_after)
        .bind(arguments.offsets)
        .bind(arguments.parts)
        .bind(arguments.ids)
        .bind(arguments.types)
        .bind(arguments.payloads)
        .bind(arguments.metadata)
        .bind(arguments.occurred_at)
        // 0 would wait for ever.
        .bind(lock_timeout_ms.max(1))
        .bind(match commit {
            Commit::Flushed => Some("flushed"),
            Commit::Unflushed => Some("unflushed"),
            Commit::AsItIs => None,
        })
        .bind(arguments.requests);
    let row = query.fetch_one(&mut *connection).await.map_err(store_error)?;
    let answer = Answer::of(&row)?;
    let mut batch = Batch {
        outcomes: Vec::with_capacity(appends.len()),
        stored: None,
        is_heard: answer.is_heard,
        has_waited: answer.has_waited,
    };
    let mut refusals = answer.refusals.iter().peekable();
    let (mut head, mut part) = (answer.head, 0);
    let mut last_id = None;
    for (append, number) in appends.iter().zip(1_usize..) {
        let refusal = refusals.next_if(|refusal| refusal.append() == number);
        batch.outcomes.push(match refusal {
            None => {
                last_id = append.last_event_id();
                Ok(answer.stored(append, part, &mut head)?)
            }
            Some(&Refusal::Repeated { first, last, .. } | &Refusal::KeyReused { first, last, .. }) => {
                match (refusal, earlier(shared, connection, first, last).await) {
                    // Within a transaction everything fails with it; by itself, the call has been committed.
                    (_, Err(error)) if connection.is_in_transaction() => return Err(error),
                    (Some(Refusal::KeyReused { .. }), Ok(first)) => Err(key_reused(append, &first)),
                    (_, outcome) => outcome.map(|earlier| earlier.with_request(append.request())),
                }
            }
            Some(refusal) => Err(refusal.error(append, part)?),
        });
        part += append.streams().len();
    }
    let places = || (Bookmark::from_parts(answer.head, answer.head_id), Bookmark::from_parts(head, last_id));
    batch.stored = (head > answer.head).then(places);
    Ok(batch)
}

/// The arrays that the function takes.
#[derive(Default)]
struct Arguments<'a> {
    keys: Option<Vec<Option<&'a str>>>,
    appends: Vec<i32>,
    streams: Vec<&'a str>,
    categories: Vec<&'a str>,
    expected: Vec<i64>,
    decided_after: Vec<Option<Uuid>>,
    offsets: Vec<i32>,
    parts: Vec<i32>,
    ids: Vec<Uuid>,
    types: Vec<&'a str>,
    payloads: Vec<&'a str>,
    metadata: Vec<&'a str>,
    occurred_at: Vec<Option<OffsetDateTime>>,
    requests: Option<Vec<Option<Vec<u8>>>>,
}

impl<'a> Arguments<'a> {
    fn of(appends: &[&'a Append]) -> Result<Self, StoreError> {
        let mut arguments = Self::default();
        // Every count is limited to a few thousands.
        for (append, number) in appends.iter().zip(1_i32..) {
            for part in append.streams() {
                arguments.appends.push(number);
                arguments.streams.push(part.stream().as_str());
                arguments.categories.push(part.stream().category());
                arguments.expected.push(match part.expected() {
                    ExpectedVersion::Any => -2,
                    ExpectedVersion::Exists => -1,
                    ExpectedVersion::NoStream => 0,
                    // No stream gets as far as the largest number.
                    ExpectedVersion::Exact(version) => to_bigint(version.get()),
                });
                arguments.decided_after.push(part.expected_last_event());
                arguments.offsets.push(to_int(arguments.ids.len()));
                let index = to_int(arguments.streams.len());
                for event in part.events() {
                    arguments.parts.push(index);
                    arguments.ids.push(event.id());
                    arguments.types.push(event.event_type());
                    arguments.payloads.push(event.payload().as_str());
                    let metadata = event.metadata().json();
                    arguments.metadata.push(metadata.map_err(|error| StoreError::Backend { source: error.into() })?);
                    arguments.occurred_at.push(event.occurred_at());
                }
            }
        }
        let keys = || appends.iter().map(|append| append.idempotency_key().map(IdempotencyKey::as_str));
        if keys().any(|key| key.is_some()) {
            let request = |append: &&Append| append.request().map(|request| request.as_bytes().to_vec());
            arguments.keys = Some(keys().collect());
            arguments.requests = Some(appends.iter().map(request).collect());
        }
        Ok(arguments)
    }
}

fn to_int(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// What the function answers once it has decided.
struct Answer {
    head: Position,
    head_id: Option<Uuid>,
    recorded_at: OffsetDateTime,
    versions: Vec<i64>,
    /// In the order of the appends.
    refusals: Vec<Refusal>,
    is_heard: bool,
    has_waited: bool,
}

impl Answer {
    fn of(row: &PgRow) -> Result<Self, StoreError> {
        match get::<Option<&str>>(row, 0)? {
            None => {}
            Some("busy") => {
                return Err(StoreError::Busy { waiting_for: get_text(row, 1)?.to_owned(), source: None });
            }
            Some("isolation") => {
                return Err(StoreError::Refused {
                    reason: "an append needs the isolation level READ COMMITTED: at REPEATABLE READ or SERIALIZABLE the \
                             transaction cannot see what was appended since it began",
                });
            }
            Some(_) => return Err(unexpected("an unknown problem")),
        }
        let refusals = row.try_get::<Option<Json<Vec<Refusal>>>, _>(5).map_err(store_error)?;
        let mut refusals = refusals.map_or_else(Vec::new, |Json(refusals)| refusals);
        refusals.sort_by_key(Refusal::append);
        Ok(Self {
            head: get_position(row, 2)?,
            head_id: get(row, 8)?,
            recorded_at: get(row, 3)?,
            versions: get(row, 4)?,
            refusals,
            is_heard: get(row, 6)?,
            has_waited: get(row, 7)?,
        })
    }

    /// The outcome of an append that was stored, whose first stream is the one at `first_part` of the call.
    fn stored(&self, append: &Append, first_part: usize, head: &mut Position) -> Result<Appended, StoreError> {
        let mut streams = Vec::with_capacity(append.streams().len());
        for (index, part) in append.streams().iter().enumerate().filter(|(_, part)| !part.events().is_empty()) {
            let version = self.versions.get(first_part + index).ok_or_else(|| unexpected("too few versions"))?;
            let (before, count) = (Version::new(from_bigint(*version)), part.events().len() as u64);
            streams.push(AppendedStream {
                stream: part.stream().clone(),
                first_version: before.advanced_by(1),
                last_version: before.advanced_by(count),
                first_position: head.advanced_by(1),
            });
            *head = head.advanced_by(count);
        }
        let appended = Appended::new(streams, self.recorded_at, false);
        Ok(appended.with_request(append.request()).ending_with(append.last_event_id()))
    }
}

/// Why an append of a call stored nothing. Appends and parts count from 1, over the whole call.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Refusal {
    Repeated { append: usize, first: i64, last: i64 },
    IdReused { append: usize, id: Uuid },
    KeyReused { append: usize, first: i64, last: i64 },
    Conflict { append: usize, part: usize, actual: u64 },
}

impl Refusal {
    fn append(&self) -> usize {
        match *self {
            Self::Repeated { append, .. }
            | Self::IdReused { append, .. }
            | Self::KeyReused { append, .. }
            | Self::Conflict { append, .. } => append,
        }
    }

    fn error(&self, append: &Append, first_part: usize) -> Result<StoreError, StoreError> {
        Ok(match *self {
            Self::Repeated { .. } | Self::KeyReused { .. } => return Err(unexpected("an earlier append as an error")),
            Self::IdReused { id, .. } => StoreError::IdReused { what: "event id", id: id.to_string() },
            Self::Conflict { part, actual, .. } => {
                let index = part.checked_sub(first_part + 1);
                let part = index.and_then(|index| append.streams().get(index));
                let part = part.ok_or_else(|| unexpected("a conflict on another append's stream"))?;
                let (stream, expected) = (part.stream().clone(), part.expected());
                StoreError::Conflict { stream, expected, actual: Version::new(actual) }
            }
        })
    }
}

/// The outcome of an append that is stored at these positions.
async fn earlier(
    shared: &Shared,
    connection: &mut PgConnection,
    first: i64,
    last: i64,
) -> Result<Appended, StoreError> {
    let query = shared.query(&shared.statements.find_outcome).bind(first).bind(last);
    outcome(&query.fetch_all(connection).await.map_err(store_error)?)
}

/// Reads stream, first_version, last_version, first_position, recorded_at and the last event's id of an earlier append.
fn outcome(rows: &[PgRow]) -> Result<Appended, StoreError> {
    let mut streams = Vec::with_capacity(rows.len());
    let (mut recorded_at, mut last_event_id) = (OffsetDateTime::UNIX_EPOCH, None);
    for row in rows {
        let first_position = get_position(row, 3)?;
        let stream: StreamId = get_text(row, 0)?.parse().map_err(|error: es_core::InvalidName| {
            StoreError::Corrupt { position: first_position, problem: error.to_string() }
        })?;
        let (first_version, last_version) = (get_version(row, 1)?, get_version(row, 2)?);
        streams.push(AppendedStream { stream, first_version, last_version, first_position });
        (recorded_at, last_event_id) = (get(row, 4)?, get(row, 5)?);
    }
    Ok(Appended::new(streams, recorded_at, true).ending_with(last_event_id))
}

fn key_reused(append: &Append, first: &Appended) -> StoreError {
    match append.idempotency_key() {
        Some(key) => StoreError::key_reused(key, first),
        None => unexpected("a reused key of an append without one"),
    }
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Backend { source: format!("the function append gave {what}").into() }
}
