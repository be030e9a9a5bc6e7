//! Reading one stream.

use es_core::{PageSize, StoreError, StreamId, StreamPage, Version, limits};
use sqlx::Row;

use crate::{
    error::{store_error, to_bound},
    readers::Readers,
    rows::events_of_page,
};

const READ_STREAM: &str = include_str!("../sql/read_stream.sql");

pub(crate) async fn read_stream(
    readers: &Readers,
    stream: &StreamId,
    after: Version,
    page: PageSize,
) -> Result<StreamPage, StoreError> {
    let mut reader = readers.get().await?;
    let row = sqlx::query(READ_STREAM)
        .bind(stream.as_str())
        .bind(to_bound(after.get()))
        .bind(page.get() as i64)
        .bind(limits::MAX_PAGE_BYTES as i64)
        .fetch_one(reader.connection()?)
        .await
        .map_err(store_error);
    let row = reader.settle(row)?;
    let last_version: Option<i64> = row.try_get("last_version").map_err(store_error)?;
    let events = events_of_page(&row)?;
    // A page without events has none left to read, as `after` is at the stream's end or beyond it.
    let is_last = events.last().is_none_or(|event| last_version == Some(to_bound(event.version().get())));
    Ok(StreamPage::new(events, is_last))
}
