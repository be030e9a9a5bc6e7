//! The documents of views, with one table per view.

use std::sync::LazyLock;

use es_core::{ConsumerName, Document, DocumentChange, DocumentQuery, DocumentSelection, Payload, StoreError};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Row, SqliteConnection, sqlite::SqliteRow};

use crate::{
    error::store_error,
    rows::{take, to_json},
    sqlite_version::fitted,
};

const GET: &str = include_str!("../sql/view_get.sql");
const LIST: &str = include_str!("../sql/view_list.sql");
const EACH: &str = include_str!("../sql/view_each.sql");
static PUT_AND_DELETE: LazyLock<&str> =
    LazyLock::new(|| fitted(concat!(include_str!("../sql/view_put.sql"), include_str!("../sql/view_delete.sql"))));
const PREPARE: &str = include_str!("../sql/view_prepare.sql");
const CLEAR: &str = include_str!("../sql/view_clear.sql");
const EXISTS: &str = include_str!("../sql/view_exists.sql");

/// Number of documents that one statement reads. Even the largest documents then stay below the maximum size of a value
/// in SQLite.
const DOCUMENTS_PER_STATEMENT: usize = 500;

/// Returns the name of a view's table. For the live generation, it is the name of the database view on the live table.
/// A [`ConsumerName`] only contains lower-case letters, digits, `_`, and `@`, so the name cannot contain SQL and is
/// safe in quotes.
pub(crate) fn table(view: &ConsumerName) -> String {
    match view.generation() {
        Some(generation) => format!("es_view_{}@{generation}", view.base_text()),
        None => format!("es_view_{}", view.base_text()),
    }
}

/// Returns a statement on a view's table.
pub(crate) fn on(view: &ConsumerName, sql: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(sql.replace("es_view_name", &format!("\"{}\"", table(view))))
}

pub(crate) async fn exists(connection: &mut SqliteConnection, view: &ConsumerName) -> Result<bool, sqlx::Error> {
    Ok(sqlx::query(EXISTS).bind(table(view)).fetch_optional(connection).await?.is_some())
}

pub(crate) async fn prepare(connection: &mut SqliteConnection, view: &ConsumerName) -> Result<(), sqlx::Error> {
    sqlx::query(on(view, PREPARE)).execute(connection).await?;
    Ok(())
}

pub(crate) async fn clear(connection: &mut SqliteConnection, view: &ConsumerName) -> Result<(), sqlx::Error> {
    sqlx::query(on(view, CLEAR)).execute(connection).await?;
    Ok(())
}

/// Returns the documents with these keys that exist.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    view: &ConsumerName,
    keys: &[String],
) -> Result<Vec<Document>, sqlx::Error> {
    let mut documents = Vec::with_capacity(keys.len());
    for keys in keys.chunks(DOCUMENTS_PER_STATEMENT) {
        let keys = to_json(&keys).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let row = sqlx::query(on(view, GET)).bind(keys).fetch_one(&mut *connection).await?;
        let found: Vec<(String, usize)> = serde_json::from_str(row.try_get("keys")?).map_err(not_read)?;
        let texts: Option<&str> = row.try_get("documents")?;
        let mut texts = texts.unwrap_or_default();
        for (key, bytes) in found {
            let body = take(&mut texts, bytes).ok_or_else(|| sqlx::Error::Decode("a document is not text".into()))?;
            documents.push(Document { key, body: Payload::trusted(body) });
        }
    }
    Ok(documents)
}

pub(crate) async fn list(
    connection: &mut SqliteConnection,
    view: &ConsumerName,
    query: &DocumentQuery,
) -> Result<Vec<Document>, StoreError> {
    match query {
        DocumentQuery::ByKey { after, limit } => {
            let after = after.as_deref().unwrap_or_default();
            let rows = sqlx::query(on(view, LIST)).bind(after).bind(*limit as i64).fetch_all(connection).await;
            rows.and_then(|rows| rows.iter().map(document).collect()).map_err(store_error)
        }
        DocumentQuery::TopByField { .. } | DocumentQuery::ByField(_) => {
            // SQLite reads an integer above 2^63 as a float, and could not distinguish it from adjacent integers.
            let mut selection = DocumentSelection::new(query);
            let mut rows = sqlx::query(on(view, EACH)).fetch(connection);
            while let Some(row) = rows.try_next().await.map_err(store_error)? {
                let Document { key, body } = document(&row).map_err(store_error)?;
                selection.offer(&key, &body);
            }
            Ok(selection.finish())
        }
        _ => Err(StoreError::Refused {
            reason: "this version of es-sqlite does not know this kind of document query; update it",
        }),
    }
}

fn document(row: &SqliteRow) -> Result<Document, sqlx::Error> {
    let body: &str = row.try_get("document")?;
    Ok(Document { key: row.try_get("key")?, body: Payload::trusted(body) })
}

/// Changes to documents, encoded for the statements that write them.
pub(crate) struct Changes {
    view: ConsumerName,
    put: String,
    delete: String,
}

impl Changes {
    pub(crate) fn new(view: &ConsumerName, changes: &[DocumentChange]) -> Result<Self, StoreError> {
        // The last change to a key counts.
        let latest: std::collections::BTreeMap<&str, Option<&str>> =
            changes.iter().map(|change| (change.key.as_str(), change.body.as_ref().map(Payload::as_str))).collect();
        let put: Vec<_> = latest.iter().filter_map(|(key, body)| body.map(|body| (key, body))).collect();
        let delete: Vec<_> = latest.iter().filter(|(_, body)| body.is_none()).map(|(key, _)| key).collect();
        Ok(Self { view: view.clone(), put: to_json(&put)?, delete: to_json(&delete)? })
    }

    pub(crate) async fn write(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query(on(&self.view, &PUT_AND_DELETE)).bind(self.put).bind(self.delete).execute(connection).await?;
        Ok(())
    }
}

fn not_read(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
