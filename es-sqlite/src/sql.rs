//! Statements that are written for both SQLite and PostgreSQL.

use es_core::{HandlerError, SqlDialect, SqlRow, SqlStore, SqlTypeError, SqlValue};
use sqlx::{
    AssertSqlSafe, Row, Sqlite, SqliteConnection, TypeInfo, ValueRef,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::store::SqliteStore;

impl SqlStore for SqliteStore {
    const DIALECT: SqlDialect = SqlDialect::Sqlite;

    async fn execute(connection: &mut SqliteConnection, sql: &str, values: &[SqlValue]) -> Result<u64, HandlerError> {
        Ok(query(sql, values).execute(connection).await?.rows_affected())
    }

    async fn fetch(
        connection: &mut SqliteConnection,
        sql: &str,
        values: &[SqlValue],
    ) -> Result<Vec<SqlRow>, HandlerError> {
        let rows = query(sql, values).fetch_all(connection).await?;
        rows.iter().map(to_row).collect()
    }
}

fn query(sql: &str, values: &[SqlValue]) -> Query<'static, Sqlite, SqliteArguments> {
    // The caller is responsible for the statement, as with the driver.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            SqlValue::Bool(it) => query.bind(*it),
            SqlValue::Integer(it) => query.bind(*it),
            SqlValue::Float(it) => query.bind(*it),
            SqlValue::Text(it) => query.bind(it.clone()),
            SqlValue::Bytes(it) => query.bind(it.clone()),
            _ => query.bind(None::<i64>),
        };
    }
    query
}

fn to_row(row: &SqliteRow) -> Result<SqlRow, HandlerError> {
    let column = |index: usize| {
        let value = row.try_get_raw(index)?;
        let kind = value.type_info().into_owned();
        Ok(match kind.name() {
            _ if value.is_null() => SqlValue::Null,
            "INTEGER" => SqlValue::Integer(row.try_get_unchecked(index)?),
            "BOOLEAN" => SqlValue::Bool(row.try_get_unchecked(index)?),
            "REAL" => SqlValue::Float(row.try_get_unchecked(index)?),
            "TEXT" => SqlValue::Text(row.try_get_unchecked(index)?),
            "BLOB" => SqlValue::Bytes(row.try_get_unchecked(index)?),
            other => {
                let wanted = "a type that every database has";
                return Err(SqlTypeError { column: index, found: other.to_owned(), wanted }.into());
            }
        })
    };
    Ok(SqlRow::new((0..row.len()).map(column).collect::<Result<_, HandlerError>>()?))
}
