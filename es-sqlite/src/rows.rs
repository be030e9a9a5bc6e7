//! Pages of events as the database gives them, turned into recorded events.

use std::{borrow::Cow, collections::HashMap};

use es_core::{
    EventType, Metadata, NewEvent, Payload, Position, RecordedEvent, StoreError, StreamId, Version,
    timestamp::from_unix_micros,
};
use serde::Deserialize;
use sqlx::{Row, sqlite::SqliteRow};
use uuid::Uuid;

use crate::error::{corrupt, store_error, unreadable};

/// One event without its texts; see `sql/read_stream.sql` for the columns.
#[derive(Deserialize)]
struct EnvelopeRow<'a>(
    i64,
    #[serde(borrow)] Cow<'a, str>,
    i64,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Cow<'a, str>,
    Option<i64>,
    i64,
    usize,
    usize,
);

/// Names that many events of a page share: each is checked and allocated once.
#[derive(Default)]
struct Names<'a> {
    streams: HashMap<Cow<'a, str>, StreamId>,
    types: HashMap<Cow<'a, str>, EventType>,
}

/// The events of a page, from its columns `envelopes`, `metadata` and `payloads`.
///
/// # Errors
/// [`StoreError::Corrupt`] for an event that breaks the rules.
pub(crate) fn events_of_page(row: &SqliteRow) -> Result<Vec<RecordedEvent>, StoreError> {
    let envelopes: &str = row.try_get("envelopes").map_err(store_error)?;
    let mut metadata = texts(row, "metadata")?;
    let mut payloads = texts(row, "payloads")?;
    let rows: Vec<EnvelopeRow<'_>> = serde_json::from_str(envelopes).map_err(unreadable)?;
    let mut names = Names::default();
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let position = row.0;
        let metadata = take(&mut metadata, row.7).ok_or_else(|| corrupt(position, "its metadata is not text"))?;
        let payload = take(&mut payloads, row.8).ok_or_else(|| corrupt(position, "its payload is not text"))?;
        events.push(to_event(row, &mut names, metadata, payload)?);
    }
    Ok(events)
}

fn to_event<'a>(
    row: EnvelopeRow<'a>,
    names: &mut Names<'a>,
    metadata: &str,
    payload: &str,
) -> Result<RecordedEvent, StoreError> {
    let EnvelopeRow(position, stream, version, id, event_type, occurred_at, recorded_at, ..) = row;
    let stream = match names.streams.get(&stream) {
        Some(known) => known.clone(),
        None => {
            let parsed: StreamId = stream.parse().map_err(|error| corrupt(position, error))?;
            names.streams.entry(stream).or_insert(parsed).clone()
        }
    };
    let event_type = match names.types.get(&event_type) {
        Some(known) => known.clone(),
        None => {
            let checked = EventType::new(&event_type).map_err(|error| corrupt(position, error))?;
            names.types.entry(event_type).or_insert(checked).clone()
        }
    };
    let id = Uuid::try_parse(&id).map_err(|error| corrupt(position, format_args!("its id: {error}")))?;
    let metadata = match metadata {
        "{}" => Metadata::new(),
        text => Metadata::from_json(text).map_err(|error| corrupt(position, format_args!("its metadata: {error}")))?,
    };
    let time = |micros, what| from_unix_micros(micros).ok_or_else(|| corrupt(position, what));
    let recorded_at = time(recorded_at, "its time of recording is out of range")?;
    let version = number(position, version, "its version is negative")?;
    let place = number(position, position, "its position is negative")?;
    let mut event = NewEvent::from_parts(id, event_type, Payload::trusted(payload)).with_metadata(metadata);
    if let Some(micros) = occurred_at {
        event = event.with_occurred_at(time(micros, "its time of occurrence is out of range")?);
    }
    Ok(event.recorded(stream, Version::new(version), Position::new(place), recorded_at))
}

fn number(position: i64, number: i64, problem: &'static str) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(position, problem))
}

/// A column of texts, one after the other; NULL where there are none.
fn texts<'a>(row: &'a SqliteRow, column: &str) -> Result<&'a str, StoreError> {
    let texts: Option<&str> = row.try_get(column).map_err(store_error)?;
    Ok(texts.unwrap_or_default())
}

/// Cuts the first `bytes` off; `None` if there are not so many, or if the cut goes through a character.
pub(crate) fn take<'a>(texts: &mut &'a str, bytes: usize) -> Option<&'a str> {
    let (text, rest) = texts.split_at_checked(bytes)?;
    *texts = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(stream: &'a str, version: i64, id: &'a str, event_type: &'a str, recorded_at: i64) -> EnvelopeRow<'a> {
        EnvelopeRow(7, stream.into(), version, id.into(), event_type.into(), None, recorded_at, 2, 2)
    }

    const ID: &str = "019aa5b3c5c47c51a3b35cf1e8a6a2f1";

    #[test]
    fn a_row_that_breaks_a_rule_is_corrupt_and_says_where() {
        let to_event = |row, metadata| to_event(row, &mut Names::default(), metadata, "{}");
        assert!(to_event(row("account/ann", 1, ID, "Opened", 0), "{}").is_ok());
        for (row, metadata) in [
            (row("account", 1, ID, "Opened", 0), "{}"),
            (row("account/ann", -1, ID, "Opened", 0), "{}"),
            (row("account/ann", 1, "x", "Opened", 0), "{}"),
            (row("account/ann", 1, ID, "", 0), "{}"),
            (row("account/ann", 1, ID, "Opened", i64::MAX), "{}"),
            (row("account/ann", 1, ID, "Opened", 0), "{"),
        ] {
            let error = to_event(row, metadata).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { position, .. } if position == Position::new(7)), "{error}");
        }
    }

    #[test]
    fn texts_are_cut_where_they_end_and_never_inside_a_character() {
        let mut texts = "aéb";
        assert_eq!(take(&mut texts, 1), Some("a"));
        assert_eq!(take(&mut texts, 1), None);
        assert_eq!(take(&mut texts, 2), Some("é"));
        assert_eq!(take(&mut texts, 2), None);
        assert_eq!(take(&mut texts, 1), Some("b"));
    }
}
