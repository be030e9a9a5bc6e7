//! Reading the whole log.

use es_core::{EventFilter, EventPage, EventSelector, PageSize, Position, RecordedEvent, StoreError, limits};
use sqlx::{Row, SqliteConnection};

use crate::{
    error::{store_error, to_bound, unreadable},
    readers::Readers,
    rows::events_of_page,
};

const READ_ALL: &str = include_str!("../sql/read_all.sql");
const READ_FILTERED: &str = include_str!("../sql/read_filtered.sql");
const HEAD: &str = include_str!("../sql/head.sql");

/// How many positions a filtered read looks at first. Where events are frequent that fills a page, and no more is
/// sorted than is needed; where they are rare, the next looks are wider.
const FIRST_SCAN_POSITIONS: i64 = 512;
/// How much wider each look is than the one before.
const SCAN_GROWTH: i64 = 8;

pub(crate) async fn head(readers: &Readers) -> Result<Position, StoreError> {
    let mut reader = readers.get().await?;
    let head = read_head(reader.connection()?).await.map_err(store_error);
    reader.settle(head)
}

pub(crate) async fn read_head(connection: &mut SqliteConnection) -> Result<Position, sqlx::Error> {
    let head: i64 = sqlx::query_scalar(HEAD).fetch_one(connection).await?;
    Ok(Position::new(head.unsigned_abs()))
}

pub(crate) async fn read_all(
    readers: &Readers,
    after: Position,
    filter: &EventFilter,
    page: PageSize,
) -> Result<EventPage, StoreError> {
    let selectors = (!filter.is_all()).then(|| Selectors::of(filter)).transpose()?;
    let start = to_bound(after.get());
    let end = start.saturating_add(limits::MAX_SCAN_POSITIONS as i64);
    let mut scan = match selectors {
        None => end,
        Some(_) => start.saturating_add(FIRST_SCAN_POSITIONS.max(2 * page.get() as i64)).min(end),
    };
    let mut from = start;
    let (mut events, mut bytes_left) = (Vec::new(), limits::MAX_PAGE_BYTES as i64);
    let mut reader = readers.get().await?;
    loop {
        let bounds = Bounds { from, to: scan, limit: (page.get() - events.len()) as i64, bytes: bytes_left };
        let found = look(reader.connection()?, &bounds, selectors.as_ref()).await;
        let (head, is_cut, more) = found_in(&reader.settle(found.map_err(store_error))?)?;
        bytes_left -= more.iter().map(|event| event.payload().as_str().len() as i64).sum::<i64>();
        events.extend(more);
        let is_full = is_cut || events.len() >= page.get() || bytes_left <= 0;
        if is_full || scan >= head.min(end) {
            let scanned_to = match events.last() {
                // There may be more between the last one and the end of what was looked at.
                Some(last) if is_full => last.position(),
                _ => Position::new(scan.min(head).unsigned_abs()).max(after),
            };
            return Ok(EventPage::new(events, scanned_to, Position::new(head.unsigned_abs())));
        }
        (from, scan) = (scan, scan.saturating_add((scan - from).saturating_mul(SCAN_GROWTH)).min(end));
    }
}

/// Which part of the log one look takes in.
struct Bounds {
    from: i64,
    to: i64,
    limit: i64,
    bytes: i64,
}

async fn look(
    connection: &mut SqliteConnection,
    bounds: &Bounds,
    selectors: Option<&Selectors>,
) -> Result<sqlx::sqlite::SqliteRow, sqlx::Error> {
    let sql = if selectors.is_some() { READ_FILTERED } else { READ_ALL };
    let mut query = sqlx::query(sql).bind(bounds.from).bind(bounds.to).bind(bounds.limit).bind(bounds.bytes);
    if let Some(Selectors { types, categories, streams }) = selectors {
        query = query.bind(types).bind(categories).bind(streams);
    }
    query.fetch_one(connection).await
}

/// The head, whether the page ended because of its bytes, and the events that it took.
fn found_in(row: &sqlx::sqlite::SqliteRow) -> Result<(i64, bool, Vec<RecordedEvent>), StoreError> {
    let head: i64 = row.try_get("head").map_err(store_error)?;
    let is_cut: Option<bool> = row.try_get("is_cut").map_err(store_error)?;
    Ok((head, is_cut.unwrap_or_default(), events_of_page(row, None)?))
}

/// A few events from a position on, however large: what an earlier append stored.
pub(crate) async fn read_range(
    connection: &mut SqliteConnection,
    first: i64,
    count: usize,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let bounds =
        Bounds { from: first - 1, to: first.saturating_add(count as i64 - 1), limit: count as i64, bytes: i64::MAX };
    let row = look(connection, &bounds, None).await.map_err(store_error)?;
    events_of_page(&row, None)
}

/// The selectors of a filter, as JSON for the statement.
struct Selectors {
    types: String,
    categories: String,
    streams: String,
}

impl Selectors {
    fn of(filter: &EventFilter) -> Result<Self, StoreError> {
        let (mut types, mut categories, mut streams) = (Vec::new(), Vec::new(), Vec::new());
        for selector in filter.selectors() {
            match selector {
                EventSelector::Type { category, event_type } => types.push((category, event_type)),
                EventSelector::Category(category) => categories.push(category),
                EventSelector::Stream(stream) => streams.push(stream.as_str()),
                _ => {
                    return Err(StoreError::Refused {
                        reason: "the filter has a kind of selector that this version of es-sqlite does not know; update it",
                    });
                }
            }
        }
        Ok(Self { types: json(&types)?, categories: json(&categories)?, streams: json(&streams)? })
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(unreadable)
}
