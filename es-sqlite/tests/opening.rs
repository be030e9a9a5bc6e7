//! Opening a store: options, mistakes and their remedies, several at a time.

mod common;

use std::time::Duration;

use common::{TempFolder, append, deposited};
use es_core::{EventFilter, EventStore, PageSize, Position, StoreError};
use es_sqlite::{
    MAX_BUSY_TIMEOUT, MAX_READERS, SqliteOptions, SqliteStore, Synchronous,
    sqlx::{self, Row},
};

/// The problem and the remedy of a setup error.
fn setup(result: Result<SqliteStore, StoreError>) -> (String, String) {
    match result {
        Err(StoreError::Setup { problem, remedy, .. }) => (problem, remedy),
        other => panic!("expected a setup error, not {other:?}"),
    }
}

#[tokio::test]
async fn a_missing_folder_a_folder_and_a_missing_file_are_named_with_a_remedy() {
    let folder = TempFolder::new();
    let (problem, remedy) = setup(SqliteStore::open(folder.path().join("no/such/place.db")).await);
    assert!(problem.contains("does not exist") && remedy.contains("create it"), "{problem}; {remedy}");
    let (problem, remedy) = setup(SqliteStore::open(folder.path()).await);
    assert!(problem.contains("is a folder") && remedy.contains("file in it"), "{problem}; {remedy}");
    let (problem, _) = setup(SqliteOptions::new(folder.file()).create_if_missing(false).open().await);
    assert!(problem.contains("does not exist"), "{problem}");
    assert!(!folder.file().exists());
    for unusable in ["", "a\0b"] {
        let (problem, remedy) = setup(SqliteStore::open(unusable).await);
        assert!(problem.contains("not a path") && remedy.contains("UTF-8"), "{problem}; {remedy}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = TempFolder::new();
    let text = "This is a letter, not a database. ".repeat(100);
    std::fs::write(folder.file(), &text).unwrap();
    let (problem, remedy) = setup(SqliteStore::open(folder.file()).await);
    assert!(problem.contains("not a SQLite database") && remedy.contains("another file"), "{problem}; {remedy}");
    assert_eq!(std::fs::read_to_string(folder.file()).unwrap(), text);
}

#[tokio::test]
async fn short_and_unreadable_contents_are_no_database_either() {
    for content in [&b"hello"[..], b"\0", &[0xa5; 4096], &[0; 8192]] {
        let folder = TempFolder::new();
        std::fs::write(folder.file(), content).unwrap();
        let (problem, _) = setup(SqliteStore::open(folder.file()).await);
        assert!(problem.contains("not a SQLite database"), "{content:?}: {problem}");
        assert_eq!(std::fs::read(folder.file()).unwrap(), content);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_not_a_file_is_refused_at_once() {
    let folder = TempFolder::new();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in ["/dev/null", "/dev/zero", socket.to_str().unwrap()] {
        let (problem, remedy) = setup(SqliteStore::open(path).await);
        assert!(problem.contains("not a file") && remedy.contains("path of a file"), "{path}: {problem}; {remedy}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_refused_with_a_remedy() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    store.close().await.unwrap();
    let mut bytes = std::fs::read(folder.file()).unwrap();
    // The header stays, so it still looks like a database; the first page of the schema does not.
    bytes[100..4096].fill(0xff);
    std::fs::write(folder.file(), bytes).unwrap();
    let (problem, remedy) = setup(SqliteStore::open(folder.file()).await);
    assert!(problem.contains("damaged") && remedy.contains("backup"), "{problem}; {remedy}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let folder = TempFolder::new();
    folder.store().await.close().await.unwrap();
    let mut connection = folder.connection().await;
    let newer = "INSERT INTO es_migrations VALUES (999, 'from the future', 'x', 0)";
    sqlx::query(newer).execute(&mut connection).await.unwrap();
    let (problem, remedy) = setup(SqliteStore::open(folder.file()).await);
    assert!(problem.contains("version 999 (from the future)") && remedy.contains("update"), "{problem}; {remedy}");
}

#[tokio::test]
async fn a_database_made_by_other_statements_is_refused() {
    let folder = TempFolder::new();
    folder.store().await.close().await.unwrap();
    let mut connection = folder.connection().await;
    sqlx::query("UPDATE es_migrations SET checksum = '00'").execute(&mut connection).await.unwrap();
    let (problem, remedy) = setup(SqliteStore::open(folder.file()).await);
    assert!(problem.contains("checksum 00") && remedy.contains("released version"), "{problem}; {remedy}");
}

#[tokio::test]
async fn the_tables_of_an_application_and_its_own_migrations_stay_as_they_are() {
    let folder = TempFolder::new();
    let mut connection = folder.connection().await;
    for sql in [
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL)",
        "INSERT INTO _sqlx_migrations VALUES (1, 'ours')",
        "CREATE TABLE events (anything TEXT)",
    ] {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    let store = folder.store().await;
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    let ours =
        sqlx::query("SELECT version, description FROM _sqlx_migrations").fetch_all(&mut connection).await.unwrap();
    assert_eq!((ours.len(), ours[0].get::<&str, _>(1)), (1, "ours"));
    let foreign = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'es\\_%' ESCAPE '\\' AND name <> 'sqlite_sequence' ORDER BY 1";
    let names: Vec<String> = sqlx::query_scalar(foreign).fetch_all(&mut connection).await.unwrap();
    assert_eq!(names, ["_sqlx_migrations", "events"]);
}

#[tokio::test]
async fn an_empty_file_becomes_a_store_and_a_store_is_opened_again_with_everything_in_it() {
    let folder = TempFolder::new();
    std::fs::write(folder.file(), "").unwrap();
    let store = folder.store().await;
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    store.close().await.unwrap();
    let store = SqliteOptions::new(folder.file()).create_if_missing(false).open().await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position::new(1));
    assert!(store.path().is_absolute());
}

#[tokio::test]
async fn a_closed_store_refuses_and_leaves_no_log_behind() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    let other_handle = store.clone();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let refused = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Refused { reason }) if reason.contains("closed"));
    assert!(refused(append(&other_handle, "ann", vec![deposited(2)]).await.map(drop)));
    assert!(refused(other_handle.head().await.map(drop)));
    assert!(refused(other_handle.begin().await.map(drop)));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["test.db"]);
}

#[tokio::test]
async fn every_option_takes_effect_or_is_refused() {
    let folder = TempFolder::new();
    let options = || SqliteOptions::new(folder.file());
    assert!(matches!(options().readers(0).open().await, Err(StoreError::Refused { .. })));
    let over = options().readers(MAX_READERS + 1).open().await;
    assert!(matches!(over, Err(StoreError::LimitExceeded { limit: 64, actual: 65, .. })));
    let over = options().busy_timeout(MAX_BUSY_TIMEOUT + Duration::from_secs(1)).open().await;
    assert!(matches!(over, Err(StoreError::LimitExceeded { limit: 3_600, actual: 3_601, .. })));
    let over = options().max_payload_bytes(usize::MAX).open().await;
    assert!(matches!(over, Err(StoreError::LimitExceeded { .. })));

    let store =
        options().max_payload_bytes(20).readers(MAX_READERS).busy_timeout(MAX_BUSY_TIMEOUT).open().await.unwrap();
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    let too_large = append(&store, "ann", vec![deposited(1_000_000_000_000)]).await;
    assert!(matches!(too_large, Err(StoreError::LimitExceeded { limit: 20, .. })), "{too_large:?}");

    for (synchronous, number) in [(Synchronous::Full, 2), (Synchronous::Normal, 1)] {
        let store = options().synchronous(synchronous).open().await.unwrap();
        let mut work = store.begin().await.unwrap();
        let row = sqlx::query("PRAGMA synchronous").fetch_one(work.connection()).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), number);
    }
    let mode = sqlx::query("PRAGMA journal_mode").fetch_one(&mut folder.connection().await).await.unwrap();
    assert_eq!(mode.get::<&str, _>(0), "wal");
}

#[tokio::test]
async fn one_reader_serves_many_tasks() {
    let folder = TempFolder::new();
    let store = SqliteOptions::new(folder.file()).readers(1).open().await.unwrap();
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    let read = async || store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    let pages = futures_util::future::join_all((0..50).map(|_| read())).await;
    assert!(pages.iter().all(|page| page.events.len() == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_waits_for_who_writes_to_a_file_that_has_no_write_ahead_log_yet() {
    let folder = TempFolder::new();
    let mut other = folder.connection().await;
    sqlx::query("CREATE TABLE ours (x)").execute(&mut other).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let hasty = SqliteOptions::new(folder.file()).busy_timeout(Duration::from_millis(30)).open().await;
    assert!(matches!(hasty, Err(StoreError::Busy { .. })), "{hasty:?}");

    let patient = tokio::spawn(SqliteOptions::new(folder.file()).busy_timeout(Duration::from_secs(60)).open());
    tokio::time::sleep(Duration::from_millis(100)).await;
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    patient.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_stores_opened_at_once_on_a_new_file_make_it_once() {
    for _ in 0..10 {
        let folder = TempFolder::new();
        let opened = (0..8).map(|number| {
            let path = folder.file();
            tokio::spawn(async move {
                let store = SqliteStore::open(path).await?;
                append(&store, &format!("a{number}"), vec![deposited(number)]).await
            })
        });
        let mut positions: Vec<_> = futures_util::future::join_all(opened)
            .await
            .into_iter()
            .map(|result| result.unwrap().unwrap().first_position.get())
            .collect();
        positions.sort();
        assert_eq!(positions, (1..=8).collect::<Vec<_>>());
    }
}

/// The other processes of the next test: it runs this binary again, with the file in this variable.
const CHILD_FILE: &str = "ES_SQLITE_TEST_CHILD_FILE";

#[tokio::test]
async fn several_processes_open_and_append_at_once() {
    const EACH: u64 = 40;
    if let Some(path) = std::env::var_os(CHILD_FILE) {
        let store = SqliteOptions::new(path).busy_timeout(Duration::from_secs(60)).open().await.unwrap();
        for number in 0..EACH {
            append(&store, "shared", vec![deposited(number as i64)]).await.unwrap();
        }
        return;
    }
    let folder = TempFolder::new();
    let children: Vec<_> = (0..4)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "several_processes_open_and_append_at_once"])
                .env(CHILD_FILE, folder.file())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = folder.store().await;
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    let positions: Vec<_> = page.events.iter().map(|event| event.position().get()).collect();
    let versions: Vec<_> = page.events.iter().map(|event| event.version().get()).collect();
    assert_eq!(positions, (1..=4 * EACH).collect::<Vec<_>>());
    assert_eq!(versions, positions);
    assert!(page.events.is_sorted_by_key(|event| event.recorded_at()));
}
