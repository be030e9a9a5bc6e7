//! Documents of views: what queries for them bind, and what their rows hold.

use es_core::{Document, FieldQuery, FieldValue, Payload, StoreError};
use sqlx::postgres::PgRow;

use crate::{
    error::{is_missing_table, read_error},
    read_stream::PgQuery,
    rows::{get_text, to_bigint},
};

/// Binds what the statements by a field take.
pub(crate) fn bind_field_query(statement: PgQuery, query: &FieldQuery) -> PgQuery {
    let number = |value: Option<&FieldValue>| match value {
        Some(FieldValue::Number(number)) => Some(number.clone()),
        _ => None,
    };
    let text = |value: Option<&FieldValue>| match value {
        Some(FieldValue::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let (first, last) = (query.first_value(), query.last_value());
    let after = query.after_value().map(|(value, _)| value);
    statement
        .bind(query.field().to_owned())
        .bind(number(first))
        .bind(number(last))
        .bind(text(first))
        .bind(text(last))
        .bind(number(after))
        .bind(text(after))
        .bind(query.after_value().map(|(_, key)| key.to_owned()))
        .bind(to_bigint(query.max_documents() as u64))
}

/// The documents in the rows of a query; none of a view that was never prepared.
pub(crate) fn documents_of(rows: Result<Vec<PgRow>, sqlx::Error>) -> Result<Vec<Document>, StoreError> {
    let rows = match rows {
        Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
        rows => rows.map_err(read_error)?,
    };
    rows.iter()
        .map(|row| Ok(Document { key: get_text(row, 0)?.to_owned(), body: Payload::trusted(get_text(row, 1)?) }))
        .collect()
}
