//! From the database's errors to the framework's: by SQLSTATE, never by the text of a message.
//!
//! | SQLSTATE | becomes |
//! |---|---|
//! | 28P01, 28000, 3D000, 3F000, 42P01, 42883, 42501, 25006 | `Setup`: somebody has to change the set-up |
//! | 55P03, 40P01, 40001, 57014, 53300 | `Busy`: nothing was stored, try again |
//! | 08…, 57P01 to 57P05, 25P03 | `Unavailable`: the connection is gone, the outcome unknown |
//! | 22… | `Refused`: a value that the database cannot hold |
//! | (a text that is not UTF-8) | `Corrupt` |
//! | 25P02 | `Refused`: the failure of an earlier statement was ignored |
//! | anything else | `Backend` |

use std::{str::Utf8Error, time::Duration};

use es_core::{BoxError, HandlerError, Position, ProjectionError, StoreError};
use sqlx::PgPool;

use crate::tls::explain;

/// What an error of a statement means to the caller.
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default().into_owned();
            of_sqlstate(&code, error)
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable { source: error.into() }
        }
        // The database keeps texts that are not UTF-8, if its encoding is SQL_ASCII.
        sqlx::Error::ColumnDecode { source, .. } | sqlx::Error::Decode(source) if source.is::<Utf8Error>() => {
            not_a_text(&**source)
        }
        sqlx::Error::PoolClosed => StoreError::Refused { reason: "the store was closed; connect again" },
        _ => StoreError::Backend { source: error.into() },
    }
}

/// A stored text is not UTF-8.
pub(crate) fn not_a_text(error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt { position: Position::ZERO, problem: format!("a text is not UTF-8: {error}") }
}

/// A stored row that is not an event breaks the rules.
pub(crate) fn corrupt(problem: String) -> StoreError {
    StoreError::Corrupt { position: Position::ZERO, problem }
}

/// Whether the server has given up a call to end a deadlock. Its transaction has changed nothing.
pub(crate) fn is_deadlock(error: &StoreError) -> bool {
    let StoreError::Busy { source: Some(source), .. } = error else { return false };
    let database = source.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
    database.and_then(|error| error.code()).as_deref() == Some("40P01")
}

/// What an error of a statement that only reads means. There, a text that cannot be given in UTF-8 is a stored one.
pub(crate) fn read_error(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default();
    if matches!(&*code, "22021" | "22P05") { not_a_text(&error) } else { store_error(error) }
}

fn of_sqlstate(code: &str, error: sqlx::Error) -> StoreError {
    let setup = |problem: &str, remedy: &str, source: BoxError| StoreError::Setup {
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
        source: Some(source),
    };
    let busy = |waiting_for: &str, source: BoxError| StoreError::Busy {
        waiting_for: waiting_for.to_owned(),
        source: Some(source),
    };
    let source: BoxError = error.into();
    match code {
        "28P01" | "28000" => setup(
            "the server does not accept this user, or its password",
            "correct user and password in the URL, or the server's pg_hba.conf",
            source,
        ),
        "3D000" => setup("the database does not exist", "create it (createdb), or correct its name in the URL", source),
        "3F000" | "42P01" | "42883" => setup(
            "the schema or something in it is missing",
            "connect once with PgOptions::migrate(true), as a role that may create it",
            source,
        ),
        "42501" => setup(
            "the role lacks a privilege",
            "grant it the group role for what it does (<schema>_reader, _writer, _projector, _operator or _admin; \
             es_postgres::roles_script writes them), or connect as the owner of the schema",
            source,
        ),
        "25006" => setup(
            "the server takes no writes: it is a standby, or set to read-only",
            "connect to the primary (in a URL with several hosts, too)",
            source,
        ),
        "55P03" => busy("a lock that was not released in time", source),
        "40P01" | "40001" => busy("a lock in a deadlock, in which this call was given up", source),
        "57014" => busy("the statement, which was cancelled (statement_timeout, or by an administrator)", source),
        "53300" => busy("a connection; the server has no more of them", source),
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" => StoreError::Unavailable { source },
        "25P02" => StoreError::Refused {
            reason: "an earlier statement of the transaction failed, and that was ignored; nothing was stored",
        },
        _ if code.starts_with("08") => StoreError::Unavailable { source },
        "22P02" | "22032" => StoreError::Refused { reason: "a payload or document is not JSON" },
        "22021" | "22P05" => StoreError::Refused { reason: "a text holds a character that the database cannot hold" },
        "22007" | "22008" => StoreError::Refused { reason: "a time is beyond what the database can hold" },
        _ => StoreError::Backend { source },
    }
}

/// What it means that no connection could be had for a call: nothing was sent, so nothing was stored.
pub(crate) fn acquire_error(pool: &PgPool, waited: Duration, error: sqlx::Error) -> StoreError {
    match error {
        // Some connections are open, but others use them all.
        sqlx::Error::PoolTimedOut if pool.size() > 0 => StoreError::Busy {
            waiting_for: format!("one of the pool's {} connections, for {} ms", pool.size(), waited.as_millis()),
            source: Some(error.into()),
        },
        // Not even one could be opened: the server does not answer.
        sqlx::Error::PoolTimedOut => StoreError::Unavailable { source: error.into() },
        error => store_error(error),
    }
}

/// What it means that a store could not be opened.
pub(crate) fn connect_error(error: sqlx::Error, server: &str) -> StoreError {
    if let Some((problem, remedy)) = explain(&error, server) {
        return StoreError::Setup { problem, remedy: remedy.to_owned(), source: Some(error.into()) };
    }
    match error {
        sqlx::Error::Io(_) => StoreError::Setup {
            problem: format!("the server {server} cannot be reached"),
            remedy: "start it, or correct host and port in the URL".to_owned(),
            source: Some(error.into()),
        },
        sqlx::Error::Database(ref database) if database.code().as_deref() == Some("08P01") => StoreError::Setup {
            problem: format!("{server} does not take a start-up parameter"),
            remedy: "if it is PgBouncer, connect with PgOptions::pgbouncer(true)".to_owned(),
            source: Some(error.into()),
        },
        sqlx::Error::Database(ref database) if database.code().as_deref() == Some("28000") => StoreError::Setup {
            problem: format!("the server {server} does not let this user in: {}", database.message()),
            remedy:
                "correct the user in the URL, or the server's pg_hba.conf; where it asks for encryption, connect with \
                     sslmode=verify-full, and where it asks for a certificate, give sslcert and sslkey"
                    .to_owned(),
            source: Some(error.into()),
        },
        error => store_error(error),
    }
}

/// The same for a projection.
pub(crate) fn projection_error(error: sqlx::Error) -> ProjectionError {
    ProjectionError::Store(store_error(error))
}

/// The error of a handler that writes with this store's connection. If the server was the reason (it went away, a deadlock, no
/// room), the event is not to blame, and the runner waits as it does for the store itself.
pub(crate) fn of_handler(error: ProjectionError) -> ProjectionError {
    match error {
        ProjectionError::Handler { consumer, position, source } if is_of_the_server(&*source) => {
            let error = HandlerError::transient(source);
            let error = match position {
                Some(position) => error.or_at(position),
                None => error,
            };
            ProjectionError::handler(&consumer, error)
        }
        error => error,
    }
}

/// Whether a statement failed for a reason that passes. A cancelled one does not count: it may always be too slow.
fn is_of_the_server(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed) => return true,
            Some(sqlx::Error::Database(database)) => {
                let code = database.code().unwrap_or_default();
                return matches!(&*code, "55P03" | "40P01" | "40001" | "25P03")
                    || ["08", "53", "57P"].iter().any(|class| code.starts_with(class));
            }
            _ => cause = error.source(),
        }
    }
    false
}

/// Whether the error says that a table is missing.
pub(crate) fn is_missing_table(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("42P01")
}
