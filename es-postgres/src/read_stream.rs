//! Pages of one stream.

use es_core::{PageSize, StoreError, StreamId, StreamPage, Version, limits};

use crate::{
    error::store_error,
    rows::{AFTER_EVENT, EventReader, get, to_bigint},
    store::Shared,
};

pub(crate) async fn read_stream(
    shared: &Shared,
    stream: &StreamId,
    after: Version,
    page: PageSize,
) -> Result<StreamPage, StoreError> {
    let mut session = shared.session().await?;
    let rows = shared
        .query(&shared.statements.read_stream)
        .bind(stream.as_str())
        .bind(to_bigint(after.get()))
        .bind(to_bigint(page.get() as u64))
        .bind(to_bigint(limits::MAX_PAGE_BYTES as u64))
        .fetch_all(&mut *session)
        .await
        .map_err(store_error)?;
    session.finish().await?;
    let has_more = rows.last().map_or(Ok(false), |row| get(row, AFTER_EVENT))?;
    let mut reader = EventReader::default();
    let events = rows.iter().map(|row| reader.read(row)).collect::<Result<_, _>>()?;
    Ok(StreamPage::new(events, !has_more))
}
