//! Reads one stream.

use es_core::{PageSize, StoreError, StreamId, StreamPage, Version, limits};
use futures_util::future::join;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::{store_error, to_bound},
    readers::Readers,
    rows::events_of_page,
};

const READ_STREAM: &str = include_str!("../sql/read_stream.sql");

/// Maximum number of events that one statement reads. A page is read in parts, so that one part is decoded while the
/// connection's thread reads the next.
const EVENTS_PER_STATEMENT: usize = 256;

/// The part of a stream that one statement reads.
#[derive(Clone, Copy)]
struct Part {
    after: i64,
    /// The number of events left in the page.
    events_left: usize,
    bytes_left: i64,
}

pub(crate) async fn read_stream(
    readers: &Readers,
    stream: &StreamId,
    after: Version,
    page: PageSize,
) -> Result<StreamPage, StoreError> {
    let mut part =
        Part { after: to_bound(after.get()), events_left: page.get(), bytes_left: limits::MAX_PAGE_BYTES as i64 };
    let mut reader = readers.get().await?;
    let row = read_part(reader.connection()?, stream, part).await;
    let mut row = reader.settle(row)?;
    let mut events = Vec::new();
    loop {
        let last_version: Option<i64> = row.try_get("last_version").map_err(store_error)?;
        let page_version: Option<i64> = row.try_get("page_version").map_err(store_error)?;
        let page_events: i64 = row.try_get("page_events").map_err(store_error)?;
        let payloads: Option<&str> = row.try_get("payloads").map_err(store_error)?;
        part.events_left = part.events_left.saturating_sub(usize::try_from(page_events).unwrap_or_default());
        part.bytes_left -= payloads.map_or(0, str::len) as i64;
        // A part without events is the last, because it begins at the end of the stream or after it.
        let is_last = page_version.is_none() || page_version == last_version;
        if is_last || part.events_left == 0 || part.bytes_left <= 0 {
            events.extend(events_of_page(&row, Some(stream))?);
            return Ok(StreamPage::new(events, is_last));
        }
        part.after = page_version.unwrap_or(part.after);
        // The next statement is sent before this part is decoded.
        let next = read_part(reader.connection()?, stream, part);
        let (next, decoded) = join(next, async { events_of_page(&row, Some(stream)) }).await;
        let next = reader.settle(next)?;
        events.extend(decoded?);
        row = next;
    }
}

async fn read_part(connection: &mut SqliteConnection, stream: &StreamId, part: Part) -> Result<SqliteRow, StoreError> {
    sqlx::query(READ_STREAM)
        .bind(stream.as_str())
        .bind(part.after)
        .bind(part.events_left.min(EVENTS_PER_STATEMENT) as i64)
        .bind(part.bytes_left)
        .fetch_one(connection)
        .await
        .map_err(store_error)
}
