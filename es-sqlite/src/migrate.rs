//! Opens the file, and updates its schema.

use std::{fs::File, io::Read, path::Path, time::Instant};

use es_core::{StoreError, timestamp::unix_micros};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use time::OffsetDateTime;

use crate::{
    config::SqliteOptions,
    error::{DatabaseError, store_error},
    opened_file::OpenedFile,
    sqlite_version,
    writer::BEGIN_WRITE,
};

const PREPARE: &str = include_str!("../sql/migrations_prepare.sql");
const LIST: &str = include_str!("../sql/migrations_list.sql");
const ADD: &str = include_str!("../sql/migrations_add.sql");
const USE_WAL: &str = include_str!("../sql/use_wal.sql");

/// The pause between attempts at operations that SQLite's own busy timeout does not cover.
const RETRY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(10);

/// The first bytes of every SQLite database (<https://www.sqlite.org/fileformat.html>).
const FILE_HEADER: &[u8] = b"SQLite format 3\0";

/// One step of the schema. After its release, it never changes; later steps follow it.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "events", sql: include_str!("../migrations/0001_events.sql") },
    Migration { version: 2, name: "control", sql: include_str!("../migrations/0002_control.sql") },
    Migration { version: 3, name: "parking", sql: include_str!("../migrations/0003_parking.sql") },
    Migration { version: 4, name: "inbox", sql: include_str!("../migrations/0004_inbox.sql") },
    Migration { version: 5, name: "dead_letters", sql: include_str!("../migrations/0005_dead_letters.sql") },
    Migration { version: 6, name: "blobs", sql: include_str!("../migrations/0006_blobs.sql") },
    Migration { version: 7, name: "outbox", sql: include_str!("../migrations/0007_outbox.sql") },
    Migration { version: 8, name: "records", sql: include_str!("../migrations/0008_records.sql") },
];

/// Opens the file for writing, with the schema of this version. Also returns the identity of the file.
pub(crate) async fn open_database(options: &SqliteOptions) -> Result<(OpenedFile, SqliteConnection), StoreError> {
    check_path(options)?;
    // The path is absolute, so that SQLite never interprets it as a URI, and so that a later change of the working
    // directory does not matter.
    let path = std::path::absolute(&options.path).map_err(|error| bad_path(&options.path, Some(error)))?;
    let connection = connect(&path, options).await.map_err(|error| match error {
        // Nothing was sent yet, so the outcome is not unknown.
        StoreError::Unavailable { source } => {
            let problem = format!("{} cannot be read or written as a database", path.display());
            setup(problem, "check the path, the disk, and the rights of this user", Some(source))
        }
        error => error,
    })?;
    let file = path.canonicalize().map_err(|error| bad_path(&path, Some(error)))?;
    let mut anchor = options.writing(&file).connect().await.map_err(store_error)?;
    // The connection does not hold any files open before its first statement.
    use_wal(&mut anchor, options).await?;
    Ok((OpenedFile::new(path, file.into(), anchor), connection))
}

async fn connect(path: &Path, options: &SqliteOptions) -> Result<SqliteConnection, StoreError> {
    let mut connection = options.writing(path).connect().await.map_err(store_error)?;
    sqlite_version::check(&mut connection).await?;
    use_wal(&mut connection, options).await?;
    migrate(&mut connection).await?;
    Ok(connection)
}

fn setup(problem: String, remedy: &str, source: Option<es_core::BoxError>) -> StoreError {
    StoreError::Setup { problem, remedy: remedy.to_owned(), source }
}

fn bad_path(path: &Path, error: Option<std::io::Error>) -> StoreError {
    let problem = format!("{} is not a path that can be used", path.display());
    setup(problem, "give the path of a file, as UTF-8", error.map(Into::into))
}

/// Detects common mistakes before SQLite does, which would only report that it cannot open the file.
fn check_path(options: &SqliteOptions) -> Result<(), StoreError> {
    let path = &options.path;
    if path.as_os_str().is_empty() || path.to_str().is_none() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(bad_path(path, None));
    }
    if path.is_dir() {
        let problem = format!("{} is a folder", path.display());
        return Err(setup(problem, "give the path of a file in it", None));
    }
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let problem = format!("{} is a device, a pipe or a socket, not a file", path.display());
        return Err(setup(problem, "give the path of a file, or of one that does not exist yet", None));
    }
    if has_other_content(path) {
        let problem = format!("{} is not a SQLite database", path.display());
        return Err(setup(problem, "give the path of another file, or of one that does not exist yet", None));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        let problem = format!("the folder {} does not exist", folder.display());
        return Err(setup(problem, "create it; the store creates its file, but no folder", None));
    }
    if !options.create_if_missing && !path.exists() {
        let problem = format!("the file {} does not exist", path.display());
        return Err(setup(problem, "check the path, or allow the file to be created", None));
    }
    Ok(())
}

/// Returns whether a file contains something that does not begin like a database. SQLite would treat some such files as
/// empty, and overwrite them. If the file cannot be read, SQLite reports the reason.
fn has_other_content(path: &Path) -> bool {
    let mut start = Vec::with_capacity(FILE_HEADER.len());
    let read = File::open(path).and_then(|file| file.take(FILE_HEADER.len() as u64).read_to_end(&mut start));
    read.is_ok_and(|bytes| bytes > 0) && start != FILE_HEADER
}

/// Switches the file to the write-ahead log, which happens once. SQLite's busy timeout does not cover this switch.
async fn use_wal(connection: &mut SqliteConnection, options: &SqliteOptions) -> Result<(), StoreError> {
    let start = Instant::now();
    loop {
        let mode = sqlx::query_scalar::<_, String>(USE_WAL).fetch_one(&mut *connection).await;
        match mode.map_err(DatabaseError::from) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(setup(
                    format!("the file cannot use a write-ahead log (its journal mode stays {mode:?})"),
                    "put it on a disk of this machine: the log does not work over a network or in memory",
                    None,
                ));
            }
            Err(error) if error.is_busy() && start.elapsed() < options.busy_timeout => {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Applies missing migrations in one transaction that holds the write lock, so that only one of several processes
/// applies them.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with(BEGIN_WRITE).await.map_err(store_error)?;
    sqlx::query(PREPARE).execute(&mut *transaction).await.map_err(store_error)?;
    let rows = sqlx::query(LIST).fetch_all(&mut *transaction).await.map_err(store_error)?;
    let mut applied = 0;
    for row in rows {
        let version: i64 = row.try_get("version").map_err(store_error)?;
        let name: String = row.try_get("name").map_err(store_error)?;
        let checksum: String = row.try_get("checksum").map_err(store_error)?;
        check_applied(version, &name, &checksum)?;
        applied = version;
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > applied) {
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(store_error)?;
        sqlx::query(ADD)
            .bind(migration.version)
            .bind(migration.name)
            .bind(checksum_of(migration.sql))
            .bind(unix_micros(OffsetDateTime::now_utc()))
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        tracing::info!(version = migration.version, name = migration.name, "the database was migrated");
    }
    transaction.commit().await.map_err(store_error)
}

/// Checks a migration that was applied to the database against the one that this version knows.
fn check_applied(version: i64, name: &str, checksum: &str) -> Result<(), StoreError> {
    let Some(known) = MIGRATIONS.iter().find(|migration| migration.version == version) else {
        let newest = MIGRATIONS.last().map_or(0, |migration| migration.version);
        return Err(setup(
            format!("the database has schema version {version} ({name}), this program knows versions up to {newest}"),
            "update es-sqlite in this program to the version that last wrote the database, or a newer one",
            None,
        ));
    };
    let expected = checksum_of(known.sql);
    if checksum != expected {
        return Err(setup(
            format!(
                "schema version {version} ({name}) of the database was made by other statements (checksum {checksum}) than \
                 this program has (checksum {expected})"
            ),
            "use a released version of es-sqlite; migrations are never changed after their release",
            None,
        ));
    }
    Ok(())
}

/// Returns a checksum of a text (FNV-1a, 64 bits) that does not depend on the line endings of a checkout.
fn checksum_of(sql: &str) -> String {
    let bytes = sql.bytes().filter(|&byte| byte != b'\r');
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_from_one_without_gaps() {
        assert!(MIGRATIONS.iter().map(|migration| migration.version).eq(1..=MIGRATIONS.len() as i64));
    }

    #[test]
    fn a_checksum_tells_texts_apart_but_not_line_ends() {
        assert_eq!(checksum_of(""), "cbf29ce484222325");
        assert_eq!(checksum_of("a"), "af63dc4c8601ec8c");
        assert_eq!(checksum_of("a\r\nb"), checksum_of("a\nb"));
        assert_ne!(checksum_of("ab"), checksum_of("ba"));
    }
}
