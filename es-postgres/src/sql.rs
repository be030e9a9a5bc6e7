//! Statements that are written for PostgreSQL and SQLite alike.

use es_core::{HandlerError, SqlDialect, SqlRow, SqlStore, SqlTypeError, SqlValue};
use sqlx::{
    AssertSqlSafe, Encode, PgConnection, Postgres, Row, Type, TypeInfo, ValueRef,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo},
    query::Query,
};

use crate::store::PgStore;

impl SqlStore for PgStore {
    const DIALECT: SqlDialect = SqlDialect::PostgreSql;

    async fn execute(connection: &mut PgConnection, sql: &str, values: &[SqlValue]) -> Result<u64, HandlerError> {
        Ok(query(sql, values).execute(connection).await?.rows_affected())
    }

    async fn fetch(connection: &mut PgConnection, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, HandlerError> {
        let rows = query(sql, values).fetch_all(connection).await?;
        rows.iter().map(to_row).collect()
    }
}

/// No value, of whatever type the statement needs there.
struct Null;

impl Type<Postgres> for Null {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for Null {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn query(sql: &str, values: &[SqlValue]) -> Query<'static, Postgres, PgArguments> {
    // The caller's own statement, as with the driver.
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    for value in values {
        query = match value {
            SqlValue::Bool(it) => query.bind(*it),
            SqlValue::Integer(it) => query.bind(*it),
            SqlValue::Float(it) => query.bind(*it),
            SqlValue::Text(it) => query.bind(it.clone()),
            SqlValue::Bytes(it) => query.bind(it.clone()),
            _ => query.bind(Null),
        };
    }
    query
}

fn to_row(row: &PgRow) -> Result<SqlRow, HandlerError> {
    let column = |index: usize| {
        let value = row.try_get_raw(index)?;
        let kind = value.type_info().into_owned();
        Ok(match kind.name() {
            _ if value.is_null() => SqlValue::Null,
            "BOOL" => SqlValue::Bool(row.try_get(index)?),
            "INT2" => SqlValue::Integer(row.try_get::<i16, _>(index)?.into()),
            "INT4" => SqlValue::Integer(row.try_get::<i32, _>(index)?.into()),
            "INT8" => SqlValue::Integer(row.try_get(index)?),
            "FLOAT4" => SqlValue::Float(row.try_get::<f32, _>(index)?.into()),
            "FLOAT8" => SqlValue::Float(row.try_get(index)?),
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" => SqlValue::Text(row.try_get(index)?),
            "BYTEA" => SqlValue::Bytes(row.try_get(index)?),
            other => {
                let wanted = "a type that every database has: cast it in the query";
                return Err(SqlTypeError { column: index, found: other.to_owned(), wanted }.into());
            }
        })
    };
    Ok(SqlRow::new((0..row.len()).map(column).collect::<Result<_, HandlerError>>()?))
}
