//! From rows to the framework's values, and numbers both ways.

use es_core::{
    EventType, Metadata, NewEvent, Payload, Position, RecordedEvent, StoreError, StreamId, Version,
    timestamp::from_unix_micros,
};
use futures_util::{Stream, TryStreamExt};
use sqlx::{
    Row, ValueRef,
    postgres::{PgRow, PgValueRef},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{read_error, store_error};

/// The number as the database holds it; one that it cannot hold becomes the largest that it can.
pub(crate) fn to_bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number of a column that is never negative.
pub(crate) fn from_bigint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A value of a row.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(store_error)
}

/// A text of a row, of whatever type the column is: `json` is its text.
pub(crate) fn get_text(row: &PgRow, column: usize) -> Result<&str, StoreError> {
    let value: PgValueRef<'_> = row.try_get_raw(column).map_err(store_error)?;
    value.as_str().map_err(|source| store_error(sqlx::Error::Decode(source)))
}

/// A position of a row.
pub(crate) fn get_position(row: &PgRow, column: usize) -> Result<Position, StoreError> {
    Ok(Position::new(from_bigint(get(row, column)?)))
}

/// A version of a row.
pub(crate) fn get_version(row: &PgRow, column: usize) -> Result<Version, StoreError> {
    Ok(Version::new(from_bigint(get(row, column)?)))
}

/// The events of a page, as they come. Their columns are position, version, recorded_at, occurred_at, event_id, stream,
/// type, metadata, payload, in the binary format.
///
/// What repeats from row to row is made once: cloning it is cheaper.
#[derive(Debug, Default)]
pub(crate) struct EventRows {
    pub(crate) events: Vec<RecordedEvent>,
    /// Bytes of their payloads.
    pub(crate) payload_bytes: usize,
    /// The id of the event before the page, if the statement tells it.
    pub(crate) before: Option<Uuid>,
    event_types: Vec<EventType>,
    recorded_at: Option<(i64, OffsetDateTime)>,
    /// That of the last event, as text.
    metadata: String,
}

/// How the rows of a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// There are no further events. The statement may tell of the head.
    Reached(Option<Head>),
    /// There is a further event, which the page has no room for.
    More,
    /// The next event's payload was left out.
    Large,
}

/// The end of the log, as one statement saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: Position,
    /// Of the event at this position, or where the page has stopped to look if that is before it.
    pub(crate) event_id: Option<Uuid>,
    /// Whether appends may be seen before they are flushed.
    pub(crate) is_pipelined: bool,
}

impl EventRows {
    /// Types that are remembered.
    const MAX_EVENT_TYPES: usize = 16;

    /// Adds rows, up to so many events and so many bytes of payload in all.
    pub(crate) async fn add(
        &mut self,
        mut rows: impl Stream<Item = Result<PgRow, sqlx::Error>> + Unpin,
        (max_events, max_bytes): (usize, usize),
    ) -> Result<End, StoreError> {
        let mut end = End::Reached(None);
        while let Some(row) = rows.try_next().await.map_err(|error| self.read_error(error))? {
            // The rows that are left are read but not kept, so that the connection is ready for the next statement.
            if end != End::Reached(None) {
                continue;
            }
            if optional_bytes(&row, 1)?.is_none() {
                let event_id: Option<Uuid> = get(&row, 4)?;
                if optional_bytes(&row, 6)?.is_some() {
                    // A second statement begins within the page.
                    self.before = self.before.or(event_id.filter(|_| self.events.is_empty()));
                    continue;
                }
                let is_pipelined = optional_bytes(&row, 5)?.is_some();
                end = End::Reached(Some(Head { position: get_position(&row, 0)?, event_id, is_pipelined }));
            } else if self.events.len() >= max_events || self.payload_bytes >= max_bytes {
                end = End::More;
            } else if !self.add_row(&row)? {
                end = End::Large;
            }
        }
        Ok(end)
    }

    /// An error while rows come: a damaged one is after those that have come.
    fn read_error(&self, error: sqlx::Error) -> StoreError {
        match (read_error(error), self.events.last()) {
            (StoreError::Corrupt { position, problem }, Some(last)) => {
                StoreError::Corrupt { position, problem: format!("{problem} (after position {})", last.position()) }
            }
            (error, _) => error,
        }
    }

    /// Adds the event of a row, unless its payload was left out.
    pub(crate) fn add_row(&mut self, row: &PgRow) -> Result<bool, StoreError> {
        let Some(payload) = optional_bytes(row, 8)? else { return Ok(false) };
        let position = Position::new(from_bigint(bigint(row, 0)?));
        let corrupt = |problem: String| StoreError::Corrupt { position, problem };
        let version = Version::new(from_bigint(bigint(row, 1)?));
        let recorded_at = self.recorded_at(bigint(row, 2)?).ok_or_else(|| corrupt("its recorded_at".to_owned()))?;
        let occurred_at: Option<OffsetDateTime> = match optional_bytes(row, 3)? {
            None => None,
            Some(_) => get(row, 3)?,
        };
        let id = Uuid::from_bytes(array(row, 4)?);
        let text = |column| {
            get_text(row, column).map_err(|error| match error {
                StoreError::Corrupt { problem, .. } => corrupt(problem),
                error => error,
            })
        };
        let stream = self.stream(text(5)?).map_err(|error| corrupt(error.to_string()))?;
        let event_type = self.event_type(text(6)?).map_err(|error| corrupt(error.to_string()))?;
        let metadata = self.metadata(text(7)?).map_err(|problem| corrupt(format!("its metadata: {problem}")))?;
        let payload = std::str::from_utf8(payload).map_err(|error| corrupt(error.to_string()))?;
        let mut event = NewEvent::from_parts(id, event_type, Payload::trusted(payload)).with_metadata(metadata);
        if let Some(time) = occurred_at {
            event = event.with_occurred_at(time);
        }
        self.payload_bytes += payload.len();
        self.events.push(event.recorded(stream, version, position, recorded_at));
        Ok(true)
    }

    /// Events of one append share their time.
    fn recorded_at(&mut self, micros_since_2000: i64) -> Option<OffsetDateTime> {
        /// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970-01-01.
        const EPOCH_MICROS: i64 = 946_684_800_000_000;
        match self.recorded_at {
            Some((known, time)) if known == micros_since_2000 => Some(time),
            _ => {
                let time = from_unix_micros(micros_since_2000.checked_add(EPOCH_MICROS)?)?;
                self.recorded_at = Some((micros_since_2000, time));
                Some(time)
            }
        }
    }

    /// Events of one command share their metadata.
    fn metadata(&mut self, json: &str) -> Result<Metadata, String> {
        if json == "{}" {
            return Ok(Metadata::new());
        }
        if let Some(last) = self.events.last().filter(|_| self.metadata == json) {
            return Ok(last.metadata().clone());
        }
        self.metadata.clear();
        self.metadata.push_str(json);
        Metadata::from_json(json).map_err(|error| error.to_string())
    }

    fn stream(&self, text: &str) -> Result<StreamId, es_core::InvalidName> {
        match self.events.last() {
            Some(last) if last.stream().as_str() == text => Ok(last.stream().clone()),
            _ => text.parse(),
        }
    }

    fn event_type(&mut self, text: &str) -> Result<EventType, es_core::InvalidName> {
        if let Some(known) = self.event_types.iter().find(|known| known.as_str() == text) {
            return Ok(known.clone());
        }
        let event_type = EventType::new(text)?;
        if self.event_types.len() < Self::MAX_EVENT_TYPES {
            self.event_types.push(event_type.clone());
        }
        Ok(event_type)
    }
}

/// The bytes of a column, or none if it is null.
fn optional_bytes(row: &PgRow, column: usize) -> Result<Option<&[u8]>, StoreError> {
    let value = row.try_get_raw(column).map_err(store_error)?;
    match value.is_null() {
        true => Ok(None),
        false => value.as_bytes().map(Some).map_err(|source| StoreError::Backend { source }),
    }
}

/// A column of so many bytes.
fn array<const N: usize>(row: &PgRow, column: usize) -> Result<[u8; N], StoreError> {
    let value = row.try_get_raw(column).map_err(store_error)?;
    let bytes = value.as_bytes().map_err(|source| StoreError::Backend { source })?;
    bytes.try_into().map_err(|_| StoreError::Backend { source: "a column is not of the size of its type".into() })
}

/// A `bigint`, or a time in microseconds.
fn bigint(row: &PgRow, column: usize) -> Result<i64, StoreError> {
    array(row, column).map(i64::from_be_bytes)
}
