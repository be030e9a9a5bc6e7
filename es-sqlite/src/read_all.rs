//! Reads the whole log.

use es_core::{Bookmark, EventFilter, EventPage, EventSelector, PageSize, Position, RecordedEvent, StoreError, limits};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    error::{store_error, to_bound},
    readers::Readers,
    rows::{events_of_page, id_in, to_json},
};

const READ_ALL: &str = include_str!("../sql/read_all.sql");
const READ_FILTERED: &str = include_str!("../sql/read_filtered.sql");
const FIND_MISFIT: &str = include_str!("../sql/find_misfit.sql");
const HEAD: &str = include_str!("../sql/head.sql");

/// Number of positions that a filtered read examines first. If matching events are frequent, this fills a page without
/// sorting more than necessary. If they are rare, the next scans are larger.
const FIRST_SCAN_POSITIONS: i64 = 512;
/// Factor by which each scan is larger than the one before.
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
    let (mut events, mut bytes_left) = (Vec::<RecordedEvent>::new(), limits::MAX_PAGE_BYTES as i64);
    let mut looked_to = None;
    let mut before_id = None;
    let mut reader = readers.get().await?;
    loop {
        let bounds = Bounds { from, to: scan, limit: (page.get() - events.len()) as i64, bytes: bytes_left };
        let found = look(reader.connection()?, &bounds, selectors.as_ref()).await;
        let Found { head, is_cut, before, end: end_id, events: more } =
            found_in(&reader.settle(found.map_err(store_error))?)?;
        match looked_to {
            None => before_id = before,
            // The log may go back between two scans.
            Some(seen) if before.is_some() => check_same(seen, before)?,
            Some(_) => {}
        }
        bytes_left -= more.iter().map(|event| event.payload().as_str().len() as i64).sum::<i64>();
        events.extend(more);
        let is_full = is_cut || events.len() >= page.get() || bytes_left <= 0;
        if is_full || scan >= head.min(end) {
            let (head, end_at) = (Position::new(head.unsigned_abs()), Position::new(scan.min(head).unsigned_abs()));
            let reached = match events.last() {
                // There may be more events between the last one and the end of the scan.
                Some(last) if is_full => Bookmark::of(last),
                _ if end_at < after => Bookmark::unverified(after),
                _ => Bookmark::from_parts(end_at, end_id),
            };
            let page =
                EventPage::new(events, reached.position(), head).coming_after(Bookmark::from_parts(after, before_id));
            return Ok(page.having_seen(Some(reached)).beyond((head < after).then_some(head)));
        }
        looked_to = Some(Bookmark::from_parts(Position::new(scan.unsigned_abs()), end_id));
        (from, scan) = (scan, scan.saturating_add((scan - from).saturating_mul(SCAN_GROWTH)).min(end));
    }
}

/// The part of the log that one scan covers.
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
) -> Result<SqliteRow, sqlx::Error> {
    let sql = if selectors.is_some() { READ_FILTERED } else { READ_ALL };
    let mut query = sqlx::query(sql).bind(bounds.from).bind(bounds.to).bind(bounds.limit).bind(bounds.bytes);
    if let Some(Selectors { types, categories, streams }) = selectors {
        query = query.bind(types).bind(categories).bind(streams);
    }
    query.fetch_one(connection).await
}

/// The result of one scan.
struct Found {
    head: i64,
    /// Whether the page ended because of its size in bytes.
    is_cut: bool,
    /// The ID of the event before the scanned part.
    before: Option<Uuid>,
    /// The ID of the last event of the scanned part, whether or not it matches.
    end: Option<Uuid>,
    events: Vec<RecordedEvent>,
}

fn found_in(row: &SqliteRow) -> Result<Found, StoreError> {
    let head: i64 = row.try_get("head").map_err(store_error)?;
    let is_cut: Option<bool> = row.try_get("is_cut").map_err(store_error)?;
    let (before, end) = (id_in(row, "before_id")?, id_in(row, "end_id")?);
    Ok(Found { head, is_cut: is_cut.unwrap_or_default(), before, end, events: events_of_page(row, None)? })
}

/// Checks that the event at a place is still the one that was seen there.
fn check_same(seen: Bookmark, found: Option<Uuid>) -> Result<(), StoreError> {
    let (position, expected) = (seen.position(), seen.event_id());
    match expected == found {
        true => Ok(()),
        false => Err(StoreError::LogWentBack { position, expected, found, head: None }),
    }
}

/// Checks that the log contains what was seen at several places.
///
/// # Errors
/// Returns [`StoreError::LogWentBack`] for the first place, by position, where it does not.
pub(crate) async fn check_places(
    connection: &mut SqliteConnection,
    places: impl Iterator<Item = Bookmark>,
) -> Result<(), StoreError> {
    let row_of = |seen: Bookmark| (to_bound(seen.position().get()), seen.event_id().map(|id| id.simple().to_string()));
    let rows = to_json(&places.map(row_of).collect::<Vec<_>>())?;
    let Some(row) = sqlx::query(FIND_MISFIT).bind(rows).fetch_optional(connection).await.map_err(store_error)? else {
        return Ok(());
    };
    let position: i64 = row.try_get("position").map_err(store_error)?;
    let expected: Option<&str> = row.try_get("expected").map_err(store_error)?;
    let head: Option<i64> = row.try_get("head").map_err(store_error)?;
    Err(StoreError::LogWentBack {
        position: Position::new(position.unsigned_abs()),
        expected: expected.and_then(|id| id.parse().ok()),
        found: id_in(&row, "found")?,
        head: head.map(|head| Position::new(head.unsigned_abs())),
    })
}

/// Reads a few events starting at a position, whatever their size: the events that an earlier append stored.
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
        Ok(Self { types: to_json(&types)?, categories: to_json(&categories)?, streams: to_json(&streams)? })
    }
}
