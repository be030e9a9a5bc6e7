//! The documents of a view: one table each.

use es_core::{ConsumerName, Document, DocumentChange, DocumentQuery, Payload, StoreError};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::{error::unreadable, rows::take};

const GET: &str = include_str!("../sql/view_get.sql");
const LIST: &str = include_str!("../sql/view_list.sql");
const TOP: &str = include_str!("../sql/view_top.sql");
const PUT_AND_DELETE: &str = concat!(include_str!("../sql/view_put.sql"), include_str!("../sql/view_delete.sql"));
const PUT_DELETE_AND_COMMIT: &str = concat!(
    include_str!("../sql/view_put.sql"),
    include_str!("../sql/view_delete.sql"),
    include_str!("../sql/commit.sql")
);
const PREPARE: &str = include_str!("../sql/view_prepare.sql");
const CLEAR: &str = include_str!("../sql/view_clear.sql");
const EXISTS: &str = include_str!("../sql/view_exists.sql");

/// Documents that one statement reads; so even the largest come to less than what SQLite can hold in one value.
const DOCUMENTS_PER_STATEMENT: usize = 500;

/// The name of a view's table; for the live generation, of what stands for it. A [`ConsumerName`] has nothing but
/// lower-case letters, digits, `_` and `@`, so the name can hold no SQL, and is safe between quotes.
pub(crate) fn table(view: &ConsumerName) -> String {
    match view.generation() {
        Some(generation) => format!("es_view_{}@{generation}", view.base_text()),
        None => format!("es_view_{}", view.base_text()),
    }
}

/// A statement on a view's table.
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

/// The documents of some keys, those that exist.
pub(crate) async fn get(
    connection: &mut SqliteConnection,
    view: &ConsumerName,
    keys: &[String],
) -> Result<Vec<Document>, sqlx::Error> {
    let mut documents = Vec::with_capacity(keys.len());
    for keys in keys.chunks(DOCUMENTS_PER_STATEMENT) {
        let keys = to_json(keys)?;
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
    let rows = match query {
        DocumentQuery::ByKey { after, limit } => {
            let after = after.as_deref().unwrap_or_default();
            sqlx::query(on(view, LIST)).bind(after).bind(*limit as i64).fetch_all(connection).await
        }
        DocumentQuery::TopByField { field, limit } => {
            sqlx::query(on(view, TOP)).bind(field).bind(*limit as i64).fetch_all(connection).await
        }
        _ => {
            return Err(StoreError::Refused {
                reason: "this version of es-sqlite does not know this kind of document query; update it",
            });
        }
    };
    let document = |row: sqlx::sqlite::SqliteRow| {
        let body: &str = row.try_get("document")?;
        Ok(Document { key: row.try_get("key")?, body: Payload::trusted(body) })
    };
    rows.and_then(|rows| rows.into_iter().map(document).collect()).map_err(crate::error::store_error)
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
        Ok(Self {
            view: view.clone(),
            put: serde_json::to_string(&put).map_err(unreadable)?,
            delete: serde_json::to_string(&delete).map_err(unreadable)?,
        })
    }

    pub(crate) async fn write(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.run(connection, PUT_AND_DELETE).await
    }

    pub(crate) async fn write_and_commit(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.run(connection, PUT_DELETE_AND_COMMIT).await
    }

    async fn run(self, connection: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::query(on(&self.view, sql)).bind(self.put).bind(self.delete).execute(connection).await?;
        Ok(())
    }
}

fn to_json(keys: &[String]) -> Result<String, sqlx::Error> {
    serde_json::to_string(keys).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn not_read(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
