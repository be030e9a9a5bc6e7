//! Converts pages of events from the database to recorded events.

use std::{borrow::Cow, collections::HashMap};

use es_core::{
    EventType, Metadata, NewEvent, Payload, Position, RecordedEvent, StoreError, StreamId, Version,
    timestamp::from_unix_micros,
};
use serde::Deserialize;
use sqlx::{Row, sqlite::SqliteRow};
use uuid::Uuid;

use crate::error::{corrupt, store_error, unreadable};

/// Converts a value to JSON, which is how several rows are passed to one statement.
pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(unreadable)
}

/// One event without its texts. See `sql/read_stream.sql` for the columns.
#[derive(Deserialize)]
struct EnvelopeRow<'a>(
    i64,
    #[serde(borrow)] Option<Cow<'a, str>>,
    i64,
    usize,
    #[serde(borrow)] Cow<'a, str>,
    Option<i64>,
    i64,
    usize,
    usize,
);

/// The texts of one event, in their stored form.
#[derive(Clone, Copy)]
struct Contents<'a> {
    id: &'a [u8],
    metadata: &'a str,
    payload: &'a str,
}

/// Values that many events of a page share. Each is checked and allocated once.
#[derive(Default)]
struct Names<'a> {
    streams: HashMap<Cow<'a, str>, StreamId>,
    types: HashMap<Cow<'a, str>, EventType>,
    /// The metadata of the previous event, because events of one command have the same.
    metadata: Option<(&'a str, Metadata)>,
}

/// Returns the ID of an event in a column, if there is one.
pub(crate) fn id_in(row: &SqliteRow, column: &str) -> Result<Option<Uuid>, StoreError> {
    let id: Option<&[u8]> = row.try_get(column).map_err(store_error)?;
    id.map(|id| Uuid::from_slice(id).map_err(|error| StoreError::Backend { source: error.into() })).transpose()
}

/// Returns the events of a page, from its columns `envelopes`, `ids`, `metadata`, and `payloads`. `stream` is the
/// stream of events that do not specify one.
///
/// # Errors
/// Returns [`StoreError::Corrupt`] for an event that violates the rules.
pub(crate) fn events_of_page(row: &SqliteRow, stream: Option<&StreamId>) -> Result<Vec<RecordedEvent>, StoreError> {
    let envelopes: &[u8] = row.try_get("envelopes").map_err(store_error)?;
    let ids: Option<&[u8]> = row.try_get("ids").map_err(store_error)?;
    let mut ids = ids.unwrap_or_default();
    let mut metadata = texts(row, "metadata")?;
    let mut payloads = texts(row, "payloads")?;
    let envelopes = std::str::from_utf8(envelopes).map_err(|_| damaged_envelope(envelopes))?;
    let rows: Vec<EnvelopeRow<'_>> = serde_json::from_str(envelopes).map_err(unreadable)?;
    let mut names = Names::default();
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let position = row.0;
        let id = ids.split_off(..row.3).ok_or_else(|| corrupt(position, "its id is not binary"))?;
        let metadata = text(&mut metadata, row.7).ok_or_else(|| corrupt(position, "its metadata is not text"))?;
        let payload = text(&mut payloads, row.8).ok_or_else(|| corrupt(position, "its payload is not text"))?;
        events.push(to_event(row, &mut names, stream, Contents { id, metadata, payload })?);
    }
    Ok(events)
}

fn to_event<'a>(
    row: EnvelopeRow<'a>,
    names: &mut Names<'a>,
    known_stream: Option<&StreamId>,
    contents: Contents<'a>,
) -> Result<RecordedEvent, StoreError> {
    let EnvelopeRow(position, stream, version, _, event_type, occurred_at, recorded_at, ..) = row;
    let stream = match (stream, known_stream) {
        (None, Some(known)) => known.clone(),
        (None, None) => return Err(corrupt(position, "it has no stream")),
        (Some(stream), _) => match names.streams.get(&stream) {
            Some(known) => known.clone(),
            None => {
                let parsed: StreamId = stream.parse().map_err(|error| corrupt(position, error))?;
                names.streams.entry(stream).or_insert(parsed).clone()
            }
        },
    };
    let event_type = match names.types.get(&event_type) {
        Some(known) => known.clone(),
        None => {
            let checked = EventType::new(&event_type).map_err(|error| corrupt(position, error))?;
            names.types.entry(event_type).or_insert(checked).clone()
        }
    };
    let id = Uuid::from_slice(contents.id).map_err(|error| corrupt(position, format_args!("its id: {error}")))?;
    let metadata = match (contents.metadata, &names.metadata) {
        ("{}", _) => Metadata::new(),
        (text, Some((before, parsed))) if text == *before => parsed.clone(),
        (text, _) => {
            let parsed = Metadata::from_json(text);
            let parsed = parsed.map_err(|error| corrupt(position, format_args!("its metadata: {error}")))?;
            names.metadata.insert((text, parsed)).1.clone()
        }
    };
    let time = |micros, what| from_unix_micros(micros).ok_or_else(|| corrupt(position, what));
    let recorded_at = time(recorded_at, "its time of recording is out of range")?;
    let version = number(position, version, "its version is negative")?;
    let place = number(position, position, "its position is negative")?;
    let mut event = NewEvent::from_parts(id, event_type, Payload::trusted(contents.payload)).with_metadata(metadata);
    if let Some(micros) = occurred_at {
        event = event.with_occurred_at(time(micros, "its time of occurrence is out of range")?);
    }
    Ok(event.recorded(stream, Version::new(version), Position::new(place), recorded_at))
}

fn number(position: i64, number: i64, problem: &'static str) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| corrupt(position, problem))
}

/// Returns a column of concatenated texts. The column is NULL if there are none.
fn texts<'a>(row: &'a SqliteRow, column: &str) -> Result<&'a [u8], StoreError> {
    let texts: Option<&[u8]> = row.try_get(column).map_err(store_error)?;
    Ok(texts.unwrap_or_default())
}

/// Splits off the first `bytes`. Returns `None` if there are not enough bytes, or if they are not UTF-8. Each text is
/// checked separately, so that a damaged event is reported with its position.
fn text<'a>(texts: &mut &'a [u8], bytes: usize) -> Option<&'a str> {
    std::str::from_utf8(texts.split_off(..bytes)?).ok()
}

/// Returns the error for the event whose name is not UTF-8.
fn damaged_envelope(envelopes: &[u8]) -> StoreError {
    let envelopes = String::from_utf8_lossy(envelopes);
    let rows: Vec<EnvelopeRow<'_>> = serde_json::from_str(&envelopes).unwrap_or_default();
    let is_damaged = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let damaged = rows.iter().find(|row| is_damaged(&row.4) || row.1.as_deref().is_some_and(is_damaged));
    corrupt(damaged.map_or(0, |row| row.0), "its stream or type is not UTF-8")
}

/// Splits off the first `bytes`. Returns `None` if there are not enough bytes, or if the end would be within a
/// character.
pub(crate) fn take<'a>(texts: &mut &'a str, bytes: usize) -> Option<&'a str> {
    let (text, rest) = texts.split_at_checked(bytes)?;
    *texts = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(stream: Option<&'a str>, version: i64, event_type: &'a str, recorded_at: i64) -> EnvelopeRow<'a> {
        EnvelopeRow(7, stream.map(Into::into), version, 16, event_type.into(), None, recorded_at, 2, 2)
    }

    const CONTENTS: Contents<'_> = Contents { id: &[7; 16], metadata: "{}", payload: "{}" };

    #[test]
    fn a_row_that_breaks_a_rule_is_corrupt_and_says_where() {
        let ann = Some("account/ann");
        let to_event = |row, contents| to_event(row, &mut Names::default(), None, contents);
        assert!(to_event(row(ann, 1, "Opened", 0), CONTENTS).is_ok());
        for (row, contents) in [
            (row(Some("account"), 1, "Opened", 0), CONTENTS),
            (row(None, 1, "Opened", 0), CONTENTS),
            (row(ann, -1, "Opened", 0), CONTENTS),
            (row(ann, 1, "Opened", 0), Contents { id: b"x", ..CONTENTS }),
            (row(ann, 1, "", 0), CONTENTS),
            (row(ann, 1, "Opened", i64::MAX), CONTENTS),
            (row(ann, 1, "Opened", 0), Contents { metadata: "{", ..CONTENTS }),
        ] {
            let error = to_event(row, contents).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { position, .. } if position == Position::new(7)), "{error}");
        }
    }

    #[test]
    fn metadata_that_is_repeated_is_read_once_and_kept_apart_from_others() {
        let mut names = Names::default();
        let texts = [r#"{"actor":"ann"}"#, r#"{"actor":"ann"}"#, r#"{"actor":"bob"}"#, "{}", r#"{"actor":"bob"}"#];
        let actors = texts.map(|metadata| {
            let contents = Contents { metadata, ..CONTENTS };
            let event = to_event(row(Some("account/ann"), 1, "Opened", 0), &mut names, None, contents).unwrap();
            event.metadata().actor().map(ToOwned::to_owned)
        });
        assert_eq!(actors.each_ref().map(Option::as_deref), [Some("ann"), Some("ann"), Some("bob"), None, Some("bob")]);
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
