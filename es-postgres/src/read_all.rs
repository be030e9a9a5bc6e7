//! Pages of the whole log.

use es_core::{Bookmark, EventFilter, EventPage, EventSelector, PageSize, Position, StoreError, limits};

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::store_error,
    read_stream::{PageReading, PgQuery},
    rows::{End, EventRows, from_bigint, get, get_position, to_bigint},
    statements::{PageStatement, PageStatements},
    store::Shared,
};

pub(crate) async fn read_all(
    shared: &Shared,
    after: Position,
    filter: &EventFilter,
    page: PageSize,
) -> Result<EventPage, StoreError> {
    let to = Position::new(after.get().saturating_add(limits::MAX_SCAN_POSITIONS));
    let shape = Shape::of(filter);
    let mut session = shared.session().await?;
    let reading = PageReading {
        shared,
        statement: shape.statement(&shared.statements.pages),
        place: |event| event.position().get(),
        bind: |query: PgQuery| shape.bind(query.bind(to_bigint(to.get()))),
    };
    let (EventRows { mut events, before, .. }, end) = reading.read(&mut session, after.get(), page).await?;
    session.finish().await?;

    let last = events.last().map(Bookmark::of);
    let last_position = last.map_or(after, Bookmark::position);
    let mut log_end = None;
    let (scanned_to, seen, durable_to) = match end {
        End::Reached(Some(head)) => {
            let looked_to = Bookmark::from_parts(head.position.min(to), head.event_id);
            let scanned_to = looked_to.position().max(last_position);
            log_end = (head.position < after).then_some(head.position);
            let durable_to = shared.durability.durable_to(scanned_to, Some(head.is_pipelined));
            (scanned_to, if scanned_to == looked_to.position() { Some(looked_to) } else { last }, durable_to)
        }
        // A full page does not tell the mode.
        End::More | End::Large => (last_position, last, shared.durability.durable_to(last_position, None)),
        End::Reached(None) => {
            return Err(StoreError::Backend {
                source: "a page without its head: the table log_floor has no row".into(),
            });
        }
    };
    if shape == Shape::All && !filter.is_all() {
        events.retain(|event| filter.matches(event.stream(), event.event_type()));
    }
    let page = EventPage::new(events, scanned_to, durable_to).coming_after(Bookmark::from_parts(after, before));
    Ok(page.having_seen(seen).beyond(log_end))
}

/// Checks that the log holds what was seen at some places.
///
/// # Errors
/// [`StoreError::LogWentBack`] for the first one, by position, where it does not.
pub(crate) async fn check_places(
    shared: &Shared,
    connection: &mut PgConnection,
    places: impl Iterator<Item = Bookmark>,
) -> Result<(), StoreError> {
    let (positions, ids): (Vec<i64>, Vec<Option<Uuid>>) =
        places.map(|seen| (to_bigint(seen.position().get()), seen.event_id())).unzip();
    let query = shared.query(&shared.statements.find_misfit).bind(positions).bind(ids);
    match query.fetch_optional(connection).await.map_err(store_error)? {
        None => Ok(()),
        Some(row) => Err(StoreError::LogWentBack {
            position: get_position(&row, 0)?,
            expected: get(&row, 1)?,
            found: get(&row, 2)?,
            head: get::<Option<i64>>(&row, 3)?.map(|head| Position::new(from_bigint(head))),
        }),
    }
}

/// The statement that a filter needs, and what is bound to it.
#[derive(Debug, PartialEq)]
enum Shape<'a> {
    /// Everything; also for a filter with a kind of selector that came later than this code.
    All,
    /// Events of one category, of all types or of some.
    Category { category: &'a str, types: Option<Vec<&'a str>> },
    /// Anything else.
    Many {
        /// Categories of which every event passes.
        whole: Vec<&'a str>,
        /// Categories and types, in pairs.
        typed: Vec<&'a str>,
        types: Vec<&'a str>,
        streams: Vec<&'a str>,
    },
}

impl<'a> Shape<'a> {
    fn statement<'s>(&self, statements: &'s PageStatements) -> &'s PageStatement {
        match self {
            Self::All => &statements.of_all,
            Self::Category { .. } => &statements.of_category,
            Self::Many { .. } => &statements.of_many,
        }
    }

    fn bind(&self, query: PgQuery) -> PgQuery {
        match self {
            Self::All => query,
            Self::Category { category, types } => query.bind(category.to_string()).bind(owned(types.as_deref())),
            Self::Many { whole, typed, types, streams } => query
                .bind(owned(Some(whole)))
                .bind(owned(Some(typed)))
                .bind(owned(Some(types)))
                .bind(owned(Some(streams))),
        }
    }

    fn of(filter: &'a EventFilter) -> Self {
        if filter.is_all() {
            return Self::All;
        }
        let (mut whole, mut typed, mut types, mut streams) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for selector in filter.selectors() {
            match selector {
                EventSelector::Category(category) => whole.push(category.as_str()),
                EventSelector::Type { category, event_type } => {
                    typed.push(category.as_str());
                    types.push(event_type.as_str());
                }
                EventSelector::Stream(stream) => streams.push(stream.as_str()),
                _ => return Self::All,
            }
        }
        let mut categories = whole.iter().chain(&typed).copied();
        match categories.next() {
            Some(category) if streams.is_empty() && categories.all(|other| other == category) => {
                Self::Category { category, types: whole.is_empty().then_some(types) }
            }
            _ => Self::Many { whole, typed, types, streams },
        }
    }
}

/// Texts that a statement can keep.
fn owned(texts: Option<&[&str]>) -> Option<Vec<String>> {
    texts.map(|texts| texts.iter().map(|&text| text.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_one_category_are_read_by_its_index() {
        let filter = EventFilter::all().or_type("account", "Opened").or_type("account", "Closed");
        let shape = Shape::of(&filter);
        assert_eq!(shape, Shape::Category { category: "account", types: Some(vec!["Closed", "Opened"]) });
    }

    #[test]
    fn a_whole_category_swallows_its_types() {
        let filter = EventFilter::all().or_type("account", "Opened").or_category("account");
        assert_eq!(Shape::of(&filter), Shape::Category { category: "account", types: None });
    }

    #[test]
    fn several_categories_and_streams_are_looked_for_side_by_side() -> Result<(), es_core::InvalidName> {
        let filter = EventFilter::all()
            .or_type("account", "Opened")
            .or_category("customer")
            .or_stream(es_core::StreamId::new("account", "ann")?);
        let (whole, typed, types, streams) = (vec!["customer"], vec!["account"], vec!["Opened"], vec!["account/ann"]);
        assert_eq!(Shape::of(&filter), Shape::Many { whole, typed, types, streams });
        Ok(())
    }
}
