//! Pages of the whole log.

use es_core::{EventFilter, EventPage, EventSelector, PageSize, Position, RecordedEvent, StoreError, limits};
use sqlx::{Postgres, postgres::PgArguments, query::Query};

use crate::{
    error::store_error,
    rows::{AFTER_EVENT, EventReader, from_bigint, get, get_position, to_bigint},
    store::Shared,
};

pub(crate) async fn read_all(
    shared: &Shared,
    after: Position,
    filter: &EventFilter,
    page: PageSize,
) -> Result<EventPage, StoreError> {
    filter.check()?;
    let from = to_bigint(after.get());
    let to = from.saturating_add(to_bigint(limits::MAX_SCAN_POSITIONS));
    let mut session = shared.session().await?;
    let bind_page = |query: Query<'static, Postgres, PgArguments>| {
        query.bind(from).bind(to).bind(to_bigint(page.get() as u64)).bind(to_bigint(limits::MAX_PAGE_BYTES as u64))
    };
    let shape = Shape::of(filter);
    let is_filtered_here = shape == Shape::All && !filter.is_all();
    let query = match shape {
        Shape::All => bind_page(shared.query(&shared.statements.read_all)),
        Shape::Category { category, types } => {
            bind_page(shared.query(&shared.statements.read_all_of_category)).bind(category).bind(types)
        }
        Shape::Many { whole, typed, types, streams } => bind_page(shared.query(&shared.statements.read_all_of_many))
            .bind(whole)
            .bind(typed)
            .bind(types)
            .bind(streams),
    };
    let rows = query.fetch_all(&mut *session).await.map_err(store_error)?;
    session.finish().await?;

    let missing = || StoreError::Backend { source: "a page without its head: the table log_floor has no row".into() };
    let (first, last) = rows.first().zip(rows.last()).ok_or_else(missing)?;
    let head = get_position(last, AFTER_EVENT + 1)?;
    let is_empty = get::<Option<i64>>(first, 0)?.is_none();
    let has_more = !is_empty && get::<bool>(last, AFTER_EVENT)?;
    let mut events: Vec<RecordedEvent> = Vec::new();
    if !is_empty {
        let mut reader = EventReader::default();
        events = rows.iter().map(|row| reader.read(row)).collect::<Result<_, _>>()?;
    }
    let scanned_to = match events.last() {
        Some(event) if has_more => event.position(),
        _ => head.min(Position::new(from_bigint(to))).max(after),
    };
    if is_filtered_here {
        events.retain(|event| filter.matches(event.stream(), event.event_type()));
    }
    Ok(EventPage::new(events, scanned_to, shared.durability.durable_to(head)))
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
