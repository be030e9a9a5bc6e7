//! The rule of an append, for one append or a batch, inside a transaction that holds the write lock.

use std::{collections::HashMap, sync::LazyLock};

use es_core::{
    Append, Appended, AppendedStream, IdempotencyKey, Position, RecordedEvent, RequestDigest, StoreError, StreamId,
    Version,
    timestamp::{from_unix_micros, unix_micros},
};
use serde::Deserialize;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    error::{corrupt, store_error, unreadable},
    inline::{self, Inline},
    projections::now,
    read_all::read_range,
    readers::Readers,
    rows::{id_in, to_json},
    sqlite_version::fitted,
    store::Shared,
};

const CHECK: &str = include_str!("../sql/append_check.sql");
const BEGIN_AND_CHECK: &str = concat!(include_str!("../sql/begin_write.sql"), include_str!("../sql/append_check.sql"));
static STORE: LazyLock<&str> =
    LazyLock::new(|| fitted(concat!(include_str!("../sql/append_events.sql"), include_str!("../sql/append_keys.sql"))));
static STORE_AND_COMMIT: LazyLock<&str> = LazyLock::new(|| {
    fitted(concat!(
        include_str!("../sql/append_events.sql"),
        include_str!("../sql/append_keys.sql"),
        include_str!("../sql/commit.sql")
    ))
});
const FIND_APPEND: &str = include_str!("../sql/find_append.sql");

/// An append, with everything that can be prepared before it has the lock.
pub(crate) struct Prepared {
    append: Append,
    /// One JSON array for each event, without its `[` and its version. See `sql/append_events.sql`.
    rows: Vec<String>,
}

impl Prepared {
    /// Checks and encodes an append.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] for a payload over the store's limit, and [`StoreError::Refused`] for a
    /// payload that is not JSON.
    pub(crate) fn new(append: &Append, max_payload_bytes: usize) -> Result<Self, StoreError> {
        append.check_payload_limit(max_payload_bytes)?;
        let mut rows = Vec::with_capacity(append.event_count());
        for (stream, event) in append.events() {
            if event.payload().as_str().contains('\0') {
                return Err(StoreError::Refused { reason: "a payload holds the character NUL, so it is not JSON" });
            }
            let metadata = event.metadata().to_json().map_err(unreadable)?;
            let row = (
                stream.as_str(),
                stream.category(),
                event.id().simple(),
                event.event_type(),
                event.occurred_at().map(unix_micros),
                metadata,
                event.payload().as_str(),
            );
            let mut row = to_json(&row)?;
            row.replace_range(..1, ",");
            rows.push(row);
        }
        Ok(Self { append: append.clone(), rows })
    }

    pub(crate) fn append(&self) -> &Append {
        &self.append
    }

    /// Returns the events for `sql/append_alone.sql`.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.bytes() + 4 * self.rows.len() + 2);
        for row in &self.rows {
            json.push_str(if json.is_empty() { "[[0" } else { ",[0" });
            json.push_str(row);
        }
        json.push(']');
        json
    }

    /// Returns the number of bytes that it adds to a batch.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().map(String::len).sum()
    }
}

/// The result of a batch. The transaction is in the state that the caller requested.
pub(crate) struct Batch {
    /// The outcomes of the appends, in order.
    pub(crate) outcomes: Vec<Result<Appended, StoreError>>,
    /// The position of the last event, if any was stored.
    pub(crate) head: Option<Position>,
    /// The ID of the event before the first one that was stored, if there is one.
    pub(crate) before_id: Option<Uuid>,
}

/// The owner of the transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// The first statement of the batch begins the transaction, and the last one commits it if events are stored. If no
    /// events are stored, or after an error, the caller ends it. Only for a store without inline projections.
    Own,
    /// The caller owns the transaction, which holds the write lock.
    Callers,
}

/// Decides on appends, in order, and stores the accepted ones. No two of them may name the same stream, event ID, or
/// key.
///
/// # Errors
/// Returns an error of the whole batch. In this case no part of it may be committed.
pub(crate) async fn append_batch(
    shared: &Shared,
    connection: &mut SqliteConnection,
    appends: &[&Prepared],
    within: Within,
) -> Result<Batch, StoreError> {
    let found = Found::load(connection, appends, &shared.inline, within).await?;
    let mut outcomes = Vec::with_capacity(appends.len());
    let mut stored = Stored::after(&found);
    for prepared in appends {
        outcomes.push(match found.decide(connection, &prepared.append).await {
            Ok(Decision::Repeated(earlier)) => Ok(earlier),
            Ok(Decision::Accepted(versions)) => stored.add(prepared, &versions),
            Err(error) if is_of_one_append(&error) => Err(error),
            Err(error) => return Err(error),
        });
    }
    let head = (stored.count > 0).then(|| Position::new((found.head + stored.count).unsigned_abs()));
    if head.is_some() {
        stored.write(connection, &found, if within == Within::Own { *STORE_AND_COMMIT } else { *STORE }).await?;
        if within == Within::Callers && !shared.inline.is_empty() {
            let events = recorded(appends, &outcomes);
            inline::apply(shared, connection, &found.checkpoints, &events).await?;
        }
    }
    Ok(Batch { outcomes, head, before_id: found.head_id })
}

/// Returns whether an error concerns one append only, and not the database.
fn is_of_one_append(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict { .. } | StoreError::IdReused { .. } | StoreError::Corrupt { .. })
}

/// Returns the new events of a batch, in the order of their positions.
pub(crate) fn recorded(appends: &[&Prepared], outcomes: &[Result<Appended, StoreError>]) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    for (prepared, outcome) in appends.iter().zip(outcomes) {
        if let Ok(appended) = outcome
            && !appended.repeated
        {
            events.extend(prepared.append.recorded(appended));
        }
    }
    events
}

/// Returns the outcome of the append with a key.
pub(crate) async fn find_append(readers: &Readers, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
    let mut reader = readers.get().await?;
    let row = sqlx::query(FIND_APPEND).bind(key.as_str()).fetch_optional(reader.connection()?).await;
    let Some(row) = reader.settle(row.map_err(store_error))? else { return Ok(None) };
    let request = row.try_get("request").map_err(store_error)?;
    let streams = row.try_get("streams").map_err(store_error)?;
    let recorded_at = row.try_get("recorded_at").map_err(store_error)?;
    let last_event_id = id_in(&row, "last_event_id")?;
    KeyRow { request, streams, recorded_at, last_event_id }.outcome().map(Some)
}

/// The stored data of a key.
struct KeyRow {
    /// The digest of the request that the key is bound to, in hex.
    request: String,
    streams: String,
    recorded_at: i64,
    last_event_id: Option<Uuid>,
}

/// One stream of a stored outcome.
#[derive(serde::Serialize, Deserialize)]
struct OutcomeRow(String, u64, u64, u64);

impl KeyRow {
    fn outcome(&self) -> Result<Appended, StoreError> {
        let rows: Vec<OutcomeRow> = serde_json::from_str(&self.streams).map_err(unreadable)?;
        let mut streams = Vec::with_capacity(rows.len());
        for OutcomeRow(stream, first_version, last_version, first_position) in rows {
            streams.push(AppendedStream {
                stream: stream.parse().map_err(|error| corrupt(first_position as i64, error))?,
                first_version: Version::new(first_version),
                last_version: Version::new(last_version),
                first_position: Position::new(first_position),
            });
        }
        let at = from_unix_micros(self.recorded_at);
        let at = at.ok_or_else(|| corrupt(0, "the time of an append is out of range"))?;
        let request = RequestDigest::from_hex(&self.request);
        let request = request.ok_or_else(|| corrupt(0, "the digest of a request has another length"))?;
        Ok(Appended::new(streams, at, true).with_request(Some(request)).ending_with(self.last_event_id))
    }
}

/// Everything that decides on a batch, read under the write lock.
struct Found {
    head: i64,
    head_id: Option<Uuid>,
    recorded_at: i64,
    ids: HashMap<Uuid, i64>,
    keys: HashMap<String, KeyRow>,
    /// The version and last event of each stream that exists.
    streams: HashMap<StreamId, (Version, Uuid)>,
    /// The checkpoints of the inline projections, in their order.
    checkpoints: Vec<i64>,
}

enum Decision {
    /// The append was stored before.
    Repeated(Appended),
    /// The append is stored after these versions of its streams.
    Accepted(Vec<Version>),
}

impl Found {
    async fn load(
        connection: &mut SqliteConnection,
        appends: &[&Prepared],
        inline: &[Inline],
        within: Within,
    ) -> Result<Self, StoreError> {
        let appends = || appends.iter().map(|prepared| &prepared.append);
        let ids: Vec<_> = appends().flat_map(Append::events).map(|(_, event)| event.id().simple()).collect();
        let keys: Vec<_> = appends().filter_map(Append::idempotency_key).map(IdempotencyKey::as_str).collect();
        let streams: Vec<_> = appends().flat_map(Append::streams).map(|part| part.stream()).collect();
        let stream_texts: Vec<_> = streams.iter().map(|stream| stream.as_str()).collect();
        let consumers: Vec<_> = inline.iter().map(|inline| inline.name().as_str()).collect();
        let row = sqlx::query(if within == Within::Own { BEGIN_AND_CHECK } else { CHECK })
            .bind(to_json(&ids)?)
            .bind(to_json(&keys)?)
            .bind(to_json(&stream_texts)?)
            .bind(to_json(&consumers)?)
            .bind(now())
            .fetch_one(connection)
            .await
            .map_err(store_error)?;
        Self::read(&row, &streams, inline.len())
    }

    fn read(row: &SqliteRow, streams: &[&StreamId], inline_count: usize) -> Result<Self, StoreError> {
        let ids: Vec<(Uuid, i64)> = json_column(row, "ids")?;
        let keys: Vec<(String, String, String, i64, Option<Uuid>)> = json_column(row, "keys")?;
        let of_key = |(key, request, streams, recorded_at, last_event_id)| {
            (key, KeyRow { request, streams, recorded_at, last_event_id })
        };
        let stream_rows: Vec<(usize, u64, Uuid)> = json_column(row, "streams")?;
        let checkpoint_rows: Vec<(usize, i64)> = json_column(row, "checkpoints")?;
        let mut checkpoints = vec![0; inline_count];
        for (index, position) in checkpoint_rows {
            if let Some(checkpoint) = checkpoints.get_mut(index) {
                *checkpoint = position;
            }
        }
        let of_stream = |(index, version, id): (usize, u64, Uuid)| {
            streams.get(index).map(|&stream| (stream.clone(), (Version::new(version), id)))
        };
        Ok(Self {
            head: row.try_get("head").map_err(store_error)?,
            head_id: id_in(row, "head_id")?,
            recorded_at: row.try_get("recorded_at").map_err(store_error)?,
            ids: ids.into_iter().collect(),
            keys: keys.into_iter().map(of_key).collect(),
            streams: stream_rows.into_iter().filter_map(of_stream).collect(),
            checkpoints,
        })
    }

    /// Applies the rule of an append: IDs first, then the key, then the versions.
    async fn decide(&self, connection: &mut SqliteConnection, append: &Append) -> Result<Decision, StoreError> {
        let first_known = append.events().find_map(|(_, event)| self.ids.get(&event.id()).map(|&at| (event.id(), at)));
        if let Some((id, at)) = first_known {
            return match self.find_repeat(connection, append, at).await? {
                Some(earlier) => Ok(Decision::Repeated(earlier)),
                None => Err(StoreError::IdReused { what: "event id", id: id.to_string() }),
            };
        }
        if let Some(key) = append.idempotency_key()
            && let Some(row) = self.keys.get(key.as_str())
        {
            let earlier = row.outcome()?;
            return match earlier.request == append.request() {
                true => Ok(Decision::Repeated(earlier)),
                false => Err(StoreError::key_reused(key, &earlier)),
            };
        }
        let mut versions = Vec::with_capacity(append.streams().len());
        for part in append.streams() {
            let last = self.streams.get(part.stream());
            let actual = last.map_or(Version::ZERO, |(version, _)| *version);
            if !part.expected().check(part.expected_last_event(), actual, last.map(|(_, id)| *id)) {
                return Err(StoreError::Conflict { stream: part.stream().clone(), expected: part.expected(), actual });
            }
            versions.push(actual);
        }
        Ok(Decision::Accepted(versions))
    }

    /// Returns the earlier outcome, if every event already exists: with equal content, in order, and without another
    /// event in between.
    async fn find_repeat(
        &self,
        connection: &mut SqliteConnection,
        append: &Append,
        first: i64,
    ) -> Result<Option<Appended>, StoreError> {
        let in_place = append.events().zip(first..).all(|((_, event), at)| self.ids.get(&event.id()) == Some(&at));
        if !in_place {
            return Ok(None);
        }
        let stored = read_range(connection, first, append.event_count()).await?;
        let is_same = stored.len() == append.event_count()
            && append
                .events()
                .zip(&stored)
                .all(|((stream, event), old)| old.stream() == stream && old.is_same_as(event));
        if !is_same {
            return Ok(None);
        }
        let mut rest = stored.as_slice();
        let mut streams = Vec::with_capacity(append.streams().len());
        for part in append.streams() {
            let (own, others) = rest.split_at(part.events().len());
            if let (Some(from), Some(to)) = (own.first(), own.last()) {
                streams.push(AppendedStream {
                    stream: part.stream().clone(),
                    first_version: from.version(),
                    last_version: to.version(),
                    first_position: from.position(),
                });
            }
            rest = others;
        }
        let repeated = |event: &RecordedEvent| Appended::new(streams, event.recorded_at(), true);
        let repeated = stored.first().map(repeated);
        Ok(repeated.map(|repeated| repeated.with_request(append.request()).ending_with(append.last_event_id())))
    }
}

/// The rows that a batch writes.
struct Stored {
    first_position: i64,
    count: i64,
    recorded_at: OffsetDateTime,
    events: String,
    /// The key, the digest in hex, and the outcome of each append that has a key.
    keys: Vec<(String, String, String)>,
}

impl Stored {
    fn after(found: &Found) -> Self {
        // If the stored time is out of range, it cannot be exceeded either. Reading the events with that time reports
        // them as damaged.
        let latest = from_unix_micros(found.recorded_at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let recorded_at = es_core::timestamp::to_stored_precision(OffsetDateTime::now_utc()).max(latest);
        Self { first_position: found.head + 1, count: 0, recorded_at, events: String::from("["), keys: Vec::new() }
    }

    fn add(&mut self, prepared: &Prepared, versions: &[Version]) -> Result<Appended, StoreError> {
        let mut streams = Vec::with_capacity(versions.len());
        let mut rows = prepared.rows.iter();
        for (part, &before) in prepared.append.streams().iter().zip(versions) {
            if part.events().is_empty() {
                continue;
            }
            streams.push(AppendedStream {
                stream: part.stream().clone(),
                first_version: before.next(),
                last_version: before.advanced_by(part.events().len() as u64),
                first_position: Position::new((self.first_position + self.count).unsigned_abs()),
            });
            for (version, row) in (before.get() + 1..).zip(rows.by_ref().take(part.events().len())) {
                let start = if self.count == 0 { "[" } else { ",[" };
                self.events.push_str(start);
                self.events.push_str(&version.to_string());
                self.events.push_str(row);
                self.count += 1;
            }
        }
        let request = prepared.append.request();
        if let (Some(key), Some(request)) = (prepared.append.idempotency_key(), request) {
            let outcome = |part: &AppendedStream| {
                let (first, last) = (part.first_version.get(), part.last_version.get());
                OutcomeRow(part.stream.to_string(), first, last, part.first_position.get())
            };
            let outcomes: Vec<_> = streams.iter().map(outcome).collect();
            self.keys.push((key.as_str().to_owned(), request.to_hex(), to_json(&outcomes)?));
        }
        let appended = Appended::new(streams, self.recorded_at, false);
        Ok(appended.with_request(request).ending_with(prepared.append.last_event_id()))
    }

    async fn write(
        mut self,
        connection: &mut SqliteConnection,
        found: &Found,
        sql: &'static str,
    ) -> Result<(), StoreError> {
        self.events.push(']');
        sqlx::query(sql)
            .bind(self.events)
            .bind(found.head)
            .bind(unix_micros(self.recorded_at))
            .bind(to_json(&self.keys)?)
            .execute(connection)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

fn json_column<T: serde::de::DeserializeOwned>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    let text: &str = row.try_get(column).map_err(store_error)?;
    serde_json::from_str(text).map_err(unreadable)
}
