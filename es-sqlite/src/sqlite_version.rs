//! The version of SQLite that this program is linked with, and its consequences.

use std::sync::OnceLock;

use es_core::StoreError;
use sqlx::SqliteConnection;

use crate::error::store_error;

/// The oldest SQLite that a store works with. Opening a store with an older version is refused.
pub const MIN_SQLITE_VERSION: &str = "3.46.0";

/// The first SQLite that has `jsonb_each`, which reads nested arrays about a third faster than `json_each`.
const FIRST_WITH_JSONB_EACH: [u32; 3] = [3, 51, 0];

const VERSION: &str = include_str!("../sql/sqlite_version.sql");

/// A process is linked with one SQLite, so all stores share this.
static LINKED: OnceLock<[u32; 3]> = OnceLock::new();

/// Checks the version of the linked SQLite, and remembers it.
///
/// # Errors
/// Returns [`StoreError::Setup`] for a version older than [`MIN_SQLITE_VERSION`].
pub(crate) async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let linked: String = sqlx::query_scalar(VERSION).fetch_one(connection).await.map_err(store_error)?;
    check_version(&linked)?;
    LINKED.get_or_init(|| parse(&linked));
    Ok(())
}

fn check_version(linked: &str) -> Result<(), StoreError> {
    if parse(linked) >= parse(MIN_SQLITE_VERSION) {
        return Ok(());
    }
    Err(StoreError::Setup {
        problem: format!("this program is linked with SQLite {linked}; es-sqlite needs {MIN_SQLITE_VERSION} or newer"),
        remedy:
            "update the crate libsqlite3-sys in this program's Cargo.lock, or the SQLite library that it links with"
                .to_owned(),
        source: None,
    })
}

/// Returns the statement for the linked SQLite: with `jsonb_each` if it exists, and otherwise with `json_each`, which
/// returns the same rows. Use it for statements that run after a store was opened.
pub(crate) fn fitted(sql: &'static str) -> &'static str {
    if LINKED.get().is_some_and(|linked| *linked >= FIRST_WITH_JSONB_EACH) { sql } else { portable(sql).leak() }
}

fn portable(sql: &str) -> String {
    sql.replace("jsonb_each", "json_each")
}

/// Returns major, minor, and patch, with 0 for a part that is missing or not a number.
fn parse(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Row, sqlite::SqliteConnectOptions};

    use super::*;

    #[test]
    fn an_older_sqlite_is_refused_with_both_versions() {
        for old in ["3.45.3", "3.9.2", "3.40.1", "2.8.17", ""] {
            let Err(StoreError::Setup { problem, remedy, .. }) = check_version(old) else {
                panic!("{old} was accepted")
            };
            assert!(problem.contains(&format!("SQLite {old};")) && problem.contains(MIN_SQLITE_VERSION), "{problem}");
            assert!(remedy.contains("libsqlite3-sys"), "{remedy}");
        }
        for new in ["3.46.0", "3.46.1", "3.51.3", "3.100.0", "4.0.0"] {
            assert!(check_version(new).is_ok(), "{new}");
        }
    }

    #[tokio::test]
    async fn the_portable_statement_gives_the_rows_of_the_fast_one() {
        let mut connection = SqliteConnectOptions::new().filename(":memory:").connect().await.unwrap();
        let json = r#"[[0,"a\"b","ü \u0001",null,1.5,"{\"x\":[1, 2]}"],[9007199254740993,"","x",-5,true,"[]"]]"#;
        let fast = "SELECT key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
                    typeof(value ->> 0) FROM jsonb_each(?1)";
        let mut rows = Vec::new();
        for sql in [fast.to_owned(), portable(fast)] {
            let found = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(json).fetch_all(&mut connection).await.unwrap();
            let texts = found.iter().map(|row| {
                (0..row.len()).map(|column| row.get_unchecked::<Option<String>, _>(column)).collect::<Vec<_>>()
            });
            rows.push(texts.collect::<Vec<_>>());
        }
        assert_eq!(rows[0].len(), 2);
        assert_eq!(rows[0], rows[1]);
        assert!(!portable(fast).contains("jsonb"));
    }
}
