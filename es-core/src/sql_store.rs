//! SQL that is written once and runs on every store with an SQL database.

use time::OffsetDateTime;

use crate::{error::HandlerError, projection_store::ProjectionStore};

/// A store whose connections run SQL. A projection that is generic over the store has one `impl` for all of them:
///
/// ```
/// use std::marker::PhantomData;
///
/// use es_core::{DomainEvent, HandlerError, Projection, Recorded, SqlStore};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] enum AccountEvent { Deposited { cents: i64 } }
/// # impl DomainEvent for AccountEvent { const CATEGORY: &'static str = "account"; }
///
/// struct Turnover<S>(PhantomData<fn(S)>);
///
/// impl<S: SqlStore> Projection for Turnover<S> {
///     type Connection = S::Connection;
///     type Event = AccountEvent;
///
///     fn name(&self) -> &str {
///         "turnover"
///     }
///
///     async fn prepare(&self, connection: &mut S::Connection) -> Result<(), HandlerError> {
///         let create = "CREATE TABLE IF NOT EXISTS turnover (account TEXT PRIMARY KEY, cents BIGINT NOT NULL)";
///         S::execute(connection, create, &[]).await?;
///         Ok(())
///     }
///
///     async fn apply(
///         &self,
///         connection: &mut S::Connection,
///         event: &Recorded<AccountEvent>,
///     ) -> Result<(), HandlerError> {
///         let AccountEvent::Deposited { cents } = event.event;
///         let add = "INSERT INTO turnover VALUES ($1, $2)
///             ON CONFLICT (account) DO UPDATE SET cents = turnover.cents + excluded.cents";
///         S::execute(connection, add, &[event.stream().id().into(), cents.into()]).await?;
///         Ok(())
///     }
///
///     async fn clear(&self, connection: &mut S::Connection) -> Result<(), HandlerError> {
///         S::execute(connection, "DELETE FROM turnover", &[]).await?;
///         Ok(())
///     }
/// }
/// ```
///
/// Bind values as `$1`, `$2`, …, which both PostgreSQL and SQLite understand. Never put a value into the text of a
/// statement. Use only the SQL that both databases support: types such as `TEXT`, `BIGINT`, `BOOLEAN`,
/// `DOUBLE PRECISION`, and `INSERT … ON CONFLICT`. Where they differ, check [`DIALECT`](Self::DIALECT). For features of
/// one database, write a projection for that store with the database's own driver.
pub trait SqlStore: ProjectionStore + 'static {
    /// The SQL dialect of the store.
    const DIALECT: SqlDialect;

    /// Executes one statement. Returns the number of rows that it changed.
    ///
    /// # Errors
    /// Returns the database's own error.
    fn execute(
        connection: &mut Self::Connection,
        sql: &str,
        values: &[SqlValue],
    ) -> impl Future<Output = Result<u64, HandlerError>> + Send;

    /// Runs a query. Returns its rows, each with its columns in order.
    ///
    /// # Errors
    /// Returns the database's own error, or [`SqlTypeError`] for a column of a type that [`SqlValue`] does not have.
    fn fetch(
        connection: &mut Self::Connection,
        sql: &str,
        values: &[SqlValue],
    ) -> impl Future<Output = Result<Vec<SqlRow>, HandlerError>> + Send;
}

/// The SQL dialect of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlDialect {
    /// The dialect of PostgreSQL.
    PostgreSql,
    /// The dialect of SQLite.
    Sqlite,
}

/// A value that a statement binds or returns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SqlValue {
    /// No value.
    Null,
    /// A boolean. SQLite stores it as 0 or 1, and returns that number.
    Bool(bool),
    /// An integer of any width.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A row of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlRow(Vec<SqlValue>);

/// A column is missing, or has another type than requested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} is {found}, not {wanted}")]
pub struct SqlTypeError {
    /// The index of the column, starting at 0.
    pub column: usize,
    /// The type that was found.
    pub found: String,
    /// The type that was requested.
    pub wanted: &'static str,
}

impl SqlRow {
    /// Creates a row of these columns.
    pub fn new(columns: Vec<SqlValue>) -> Self {
        Self(columns)
    }

    /// Returns a column by its index, starting at 0. Request an `Option` if it may be null.
    ///
    /// # Errors
    /// Returns [`SqlTypeError`] if the column is missing or has another type.
    pub fn get<T: FromSql>(&self, column: usize) -> Result<T, SqlTypeError> {
        let value = self.0.get(column);
        value.and_then(T::from_sql).ok_or_else(|| SqlTypeError {
            column,
            found: value.map_or("missing", SqlValue::kind).to_owned(),
            wanted: std::any::type_name::<T>(),
        })
    }

    /// Returns all columns, in order.
    pub fn columns(&self) -> &[SqlValue] {
        &self.0
    }
}

impl SqlValue {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// A type that can be read from a [`SqlValue`].
pub trait FromSql: Sized {
    /// Converts the value. Returns `None` for a value of another type.
    fn from_sql(value: &SqlValue) -> Option<Self>;
}

macro_rules! sql_types {
    ($($type:ty: $from:ident => $to:expr, $back:pat => $value:expr;)*) => {$(
        impl From<$type> for SqlValue {
            fn from($from: $type) -> Self {
                $to
            }
        }
        impl FromSql for $type {
            fn from_sql(value: &SqlValue) -> Option<Self> {
                match value {
                    $back => $value,
                    _ => None,
                }
            }
        }
    )*};
}

sql_types! {
    i64: it => Self::Integer(it), SqlValue::Integer(it) => Some(*it);
    i32: it => Self::Integer(it.into()), SqlValue::Integer(it) => (*it).try_into().ok();
    u32: it => Self::Integer(it.into()), SqlValue::Integer(it) => (*it).try_into().ok();
    f64: it => Self::Float(it), SqlValue::Float(it) => Some(*it);
    String: it => Self::Text(it), SqlValue::Text(it) => Some(it.clone());
    Vec<u8>: it => Self::Bytes(it), SqlValue::Bytes(it) => Some(it.clone());
}

impl From<bool> for SqlValue {
    fn from(it: bool) -> Self {
        Self::Bool(it)
    }
}

impl FromSql for bool {
    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Bool(it) => Some(*it),
            SqlValue::Integer(it @ (0 | 1)) => Some(*it == 1),
            _ => None,
        }
    }
}

impl From<&str> for SqlValue {
    fn from(it: &str) -> Self {
        Self::Text(it.to_owned())
    }
}

impl<T: Into<SqlValue>> From<Option<T>> for SqlValue {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Null, Into::into)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value {
            SqlValue::Null => Some(None),
            value => T::from_sql(value).map(Some),
        }
    }
}

impl From<crate::Position> for SqlValue {
    /// A position beyond the range of a database, where there can be no event, becomes the largest number.
    fn from(it: crate::Position) -> Self {
        Self::Integer(it.get().try_into().unwrap_or(i64::MAX))
    }
}

impl From<OffsetDateTime> for SqlValue {
    /// Microseconds since 1970, which fit into a `BIGINT`.
    fn from(it: OffsetDateTime) -> Self {
        Self::Integer(crate::timestamp::unix_micros(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_what_they_were_and_as_nothing_else() {
        let row = SqlRow::new(vec![
            7_i64.into(),
            "text".into(),
            true.into(),
            1.5.into(),
            vec![1_u8].into(),
            None::<i64>.into(),
        ]);
        assert_eq!((row.get(0), row.get(1)), (Ok(7_i64), Ok("text".to_owned())));
        assert_eq!((row.get(2), row.get(3), row.get(4)), (Ok(true), Ok(1.5), Ok(vec![1_u8])));
        assert_eq!((row.get(5), row.get(0)), (Ok(None::<String>), Ok(Some(7_i64))));
        assert_eq!(SqlRow::new(vec![1_i64.into()]).get(0), Ok(true), "SQLite has no truth values");
        let wrong = row.get::<i64>(5).unwrap_err();
        assert_eq!((wrong.column, wrong.found.as_str()), (5, "null"));
        assert_eq!(row.get::<i64>(6).unwrap_err().found, "missing");
        assert!(row.get::<String>(0).is_err() && row.get::<bool>(0).is_err());
        assert!(SqlRow::new(vec![(1_i64 << 40).into()]).get::<i32>(0).is_err());
    }
}
