//! Errors of SQLite and sqlx, converted to the errors of this framework. The conversion uses result codes, never the
//! text of a message.

use std::{str::Utf8Error, sync::Arc};

use es_core::{Position, StoreError};

/// SQLite's primary result codes that this crate distinguishes (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const ERROR: i32 = 1;
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const PROTOCOL: i32 = 15;
    pub(super) const AUTH: i32 = 23;
    pub(super) const NOTADB: i32 = 26;
    /// Extended code: another connection has written since the transaction first read.
    pub(super) const BUSY_SNAPSHOT: i32 = BUSY | (2 << 8);
}

/// An error of the database. It can be returned to several callers, and does not expose the type of the driver.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub(crate) struct DatabaseError(Arc<sqlx::Error>);

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl DatabaseError {
    /// Returns SQLite's extended result code, if the error comes from SQLite.
    fn extended_code(&self) -> Option<i32> {
        self.0.as_database_error()?.code()?.parse().ok()
    }

    fn primary_code(&self) -> Option<i32> {
        self.extended_code().map(|code| code & 0xff)
    }

    /// Returns whether another connection held the lock for longer than the busy timeout.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.primary_code(), Some(code::BUSY | code::LOCKED | code::PROTOCOL))
    }

    /// Returns whether a transaction cannot write because another one has written since it first read.
    pub(crate) fn is_stale_snapshot(&self) -> bool {
        self.extended_code() == Some(code::BUSY_SNAPSHOT)
    }

    /// Returns whether the statement is invalid in the state of the connection: `BEGIN` inside a transaction, or
    /// `ROLLBACK` outside.
    pub(crate) fn is_misplaced(&self) -> bool {
        self.primary_code() == Some(code::ERROR)
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        let setup = |problem: &str, remedy: &str, error| Self::Setup {
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
            source: Some(Box::new(error)),
        };
        match error.primary_code() {
            Some(code::BUSY | code::LOCKED | code::PROTOCOL) => Self::Busy {
                waiting_for: "another connection holds the write lock of the database file".to_owned(),
                source: Some(Box::new(error)),
            },
            Some(code::READONLY | code::PERM | code::AUTH) => setup(
                "the database file or its folder cannot be written",
                "give this user write access to the file, to its folder, and to the files ending in -wal and -shm beside it",
                error,
            ),
            Some(code::CANTOPEN) => setup(
                "the database file cannot be opened",
                "check that the path names a file in a folder that exists, and that this user may read and write both",
                error,
            ),
            Some(code::NOTADB) => setup(
                "the file is not a SQLite database",
                "give the path of another file, or of one that does not exist yet",
                error,
            ),
            Some(code::CORRUPT) => setup(
                "the database file is damaged",
                "stop writing to it; restore a backup, or save what is left with sqlite3's .recover",
                error,
            ),
            Some(code::FULL) => {
                setup("the disk, or the database file, is full; nothing was stored", "make room, then try again", error)
            }
            Some(code::IOERR) => Self::Unavailable { source: Box::new(error) },
            Some(_) => Self::Backend { source: Box::new(error) },
            None if matches!(&*error.0, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_)) => {
                Self::Unavailable { source: Box::new(error) }
            }
            None => Self::Backend { source: Box::new(error) },
        }
    }
}

/// Converts an error of the driver to an error of the framework.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    if let sqlx::Error::ColumnDecode { source, .. } | sqlx::Error::Decode(source) = &error
        && source.is::<Utf8Error>()
    {
        // SQLite stores any bytes as text.
        return corrupt(0, format_args!("a text is not UTF-8: {source}"));
    }
    DatabaseError::from(error).into()
}

/// Returns the error for stored JSON of the store itself that cannot be read.
pub(crate) fn unreadable(source: serde_json::Error) -> StoreError {
    StoreError::Backend { source: Box::new(source) }
}

/// Returns the error for a stored event that violates the rules. A position of 0 stands for another row.
pub(crate) fn corrupt(position: i64, problem: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { position: Position::new(position.unsigned_abs()), problem: problem.to_string() }
}

/// Converts a number to the type that SQLite stores.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] for a number that does not fit into a signed integer.
pub(crate) fn to_stored(what: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::LimitExceeded { what, limit: i64::MAX as u64, actual: number })
}

/// Converts a bound to the largest value that the database can compare with. No stored value is above it.
pub(crate) fn to_bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no words that could be matched")]
    struct WithCode(i32);

    impl sqlx::error::DatabaseError for WithCode {
        fn message(&self) -> &str {
            ""
        }
        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.to_string().into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn of(code: i32) -> StoreError {
        store_error(sqlx::Error::Database(Box::new(WithCode(code))))
    }

    #[test]
    fn every_result_code_becomes_the_error_that_tells_the_caller_what_to_do() {
        for busy in [5, 6, 15, 5 | (1 << 8), 5 | (2 << 8), 6 | (1 << 8)] {
            assert!(matches!(of(busy), StoreError::Busy { .. }), "{busy}");
        }
        for setup in [3, 8, 8 | (6 << 8), 11, 11 | (1 << 8), 13, 14, 14 | (2 << 8), 23, 26] {
            let error = of(setup);
            assert!(matches!(&error, StoreError::Setup { remedy, .. } if !remedy.is_empty()), "{setup}: {error}");
            assert!(!error.is_transient());
        }
        for unknown in [10, 10 | (4 << 8)] {
            assert!(matches!(of(unknown), StoreError::Unavailable { .. }), "{unknown}");
        }
        assert!(matches!(store_error(sqlx::Error::WorkerCrashed), StoreError::Unavailable { .. }));
        for other in [1, 7, 18, 19, 19 | (8 << 8), 20] {
            assert!(matches!(of(other), StoreError::Backend { .. }), "{other}");
        }
    }

    #[test]
    fn numbers_over_the_database_s_range_neither_wrap_nor_panic() {
        assert_eq!(to_bound(u64::MAX), i64::MAX);
        assert!(matches!(to_stored("a position", u64::MAX), Err(StoreError::LimitExceeded { actual: u64::MAX, .. })));
        assert_eq!(to_stored("a position", 7).unwrap(), 7);
    }
}
