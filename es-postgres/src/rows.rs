//! From rows to the framework's values, and numbers both ways.

use es_core::{EventType, Metadata, NewEvent, Payload, Position, RecordedEvent, StoreError, StreamId, Version};
use sqlx::{
    Row,
    postgres::{PgRow, PgValueRef},
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::store_error;

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
    value.as_str().map_err(|source| StoreError::Backend { source })
}

/// A position of a row.
pub(crate) fn get_position(row: &PgRow, column: usize) -> Result<Position, StoreError> {
    Ok(Position::new(from_bigint(get(row, column)?)))
}

/// A version of a row.
pub(crate) fn get_version(row: &PgRow, column: usize) -> Result<Version, StoreError> {
    Ok(Version::new(from_bigint(get(row, column)?)))
}

/// Builds events from the rows of a page. Their first columns are position, version, recorded_at, occurred_at, event_id,
/// stream, type, metadata, payload.
///
/// Streams and types repeat from row to row, and cloning one is cheaper than making it.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    stream: Option<StreamId>,
    event_types: Vec<EventType>,
}

/// The column after those of an event.
pub(crate) const AFTER_EVENT: usize = 9;

impl EventReader {
    /// Types that are remembered.
    const MAX_EVENT_TYPES: usize = 16;

    pub(crate) fn read(&mut self, row: &PgRow) -> Result<RecordedEvent, StoreError> {
        let position = get_position(row, 0)?;
        let corrupt = |problem: String| StoreError::Corrupt { position, problem };
        let version = get_version(row, 1)?;
        let recorded_at: OffsetDateTime = get(row, 2)?;
        let occurred_at: Option<OffsetDateTime> = get(row, 3)?;
        let id: Uuid = get(row, 4)?;
        let stream = self.stream(get_text(row, 5)?).map_err(|error| corrupt(error.to_string()))?;
        let event_type = self.event_type(get_text(row, 6)?).map_err(|error| corrupt(error.to_string()))?;
        let metadata = match get_text(row, 7)? {
            "{}" => Metadata::new(),
            json => Metadata::from_json(json).map_err(|error| corrupt(format!("its metadata: {error}")))?,
        };
        let payload = Payload::trusted(get_text(row, 8)?);
        let mut event = NewEvent::from_parts(id, event_type, payload).with_metadata(metadata);
        if let Some(time) = occurred_at {
            event = event.with_occurred_at(time);
        }
        Ok(event.recorded(stream, version, position, recorded_at))
    }

    fn stream(&mut self, text: &str) -> Result<StreamId, es_core::InvalidName> {
        match &self.stream {
            Some(stream) if stream.as_str() == text => Ok(stream.clone()),
            _ => {
                let stream: StreamId = text.parse()?;
                self.stream = Some(stream.clone());
                Ok(stream)
            }
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
