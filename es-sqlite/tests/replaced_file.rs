//! A file that is replaced, renamed, removed or emptied while a store has it open.
#![cfg(unix)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{TempFolder, account, append, deposited};
use es_core::{
    Advance, ConsumerName, ConsumerStore, EventFilter, EventStore, LeaseStore, PageSize, Position, StoreError, Version,
};
use es_sqlite::{FILE_CHECK_INTERVAL, SqliteStore, sqlx};

/// The file and those beside it.
fn files(of: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = of.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

/// Puts another store, with the given number of events, in the place of a file.
async fn replace(folder: &TempFolder, events: i64) {
    let other = folder.path().join("other.db");
    let store = SqliteStore::open(&other).await.unwrap();
    for event in 0..events {
        append(&store, "other", vec![deposited(event)]).await.unwrap();
    }
    store.close().await.unwrap();
    for file in &files(&folder.file())[1..] {
        fs::remove_file(file).unwrap();
    }
    fs::rename(other, folder.file()).unwrap();
}

fn assert_names(error: &StoreError, what: &str) {
    let StoreError::Setup { problem, remedy, .. } = error else { panic!("{error:?} does not say {what}") };
    assert!(problem.contains(what) && remedy.contains("open the store again"), "{error}");
    assert!(!error.is_transient(), "trying again is of no use: {error}");
}

/// What each kind of call on a store says.
async fn say(store: &SqliteStore, what: &str) {
    let name = ConsumerName::new("one").unwrap();
    let advance = Advance::new(&name, Position::ZERO, Position::new(1));
    let everything = EventFilter::all();
    let ann = account("ann");
    assert_names(&append(store, "ann", vec![deposited(1)]).await.unwrap_err(), what);
    assert_names(&store.begin().await.map(drop).unwrap_err(), what);
    assert_names(&store.move_checkpoint(&advance).await.unwrap_err(), what);
    assert_names(&store.prepare_view(&name).await.unwrap_err(), what);
    assert_names(&store.save_documents(&advance, &[]).await.unwrap_err(), what);
    assert_names(&store.heartbeat("me", &[], Duration::from_secs(1)).await.unwrap_err(), what);
    assert_names(&store.head().await.unwrap_err(), what);
    assert_names(&store.checkpoints().await.unwrap_err(), what);
    assert_names(&store.read_stream(&ann, Version::ZERO, PageSize::default()).await.unwrap_err(), what);
    assert_names(&store.read_all(Position::ZERO, &everything, PageSize::default()).await.unwrap_err(), what);
}

/// Until reads look at the files again.
async fn until_checked() {
    tokio::time::sleep(2 * FILE_CHECK_INTERVAL).await;
}

#[tokio::test]
async fn a_file_that_was_replaced_is_neither_read_nor_written_any_more() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    // Kept in memory, as for a consumer that follows the end of the log.
    let _wakeups = store.wakeups();
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    replace(&folder, 5).await;
    until_checked().await;
    say(&store, "was replaced").await;

    // The other file is a store of its own, and stays whole when the old one is closed.
    let other = folder.store().await;
    assert_eq!(other.head().await.unwrap(), Position::new(5));
    append(&other, "other", vec![deposited(6)]).await.unwrap();
    store.close().await.unwrap();
    assert!(files(&folder.file())[1].exists(), "the write-ahead log of the other file was removed");
    append(&other, "other", vec![deposited(7)]).await.unwrap();
    assert_eq!(folder.store().await.head().await.unwrap(), Position::new(7));
}

#[tokio::test]
async fn a_unit_of_work_on_a_file_that_is_replaced_meanwhile_is_not_committed() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let mut work = store.begin().await.unwrap();
    sqlx::query("CREATE TABLE seats (name TEXT)").execute(work.connection()).await.unwrap();
    work.append(common::to("ann", vec![deposited(1)]).build().unwrap()).unwrap();
    replace(&folder, 1).await;
    assert_names(&work.commit().await.unwrap_err(), "was replaced");
}

#[tokio::test]
async fn a_file_that_was_renamed_or_removed_stops_the_store_and_one_that_comes_back_is_used_again() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let aside = folder.path().join("aside.db");
    fs::rename(folder.file(), &aside).unwrap();
    until_checked().await;
    say(&store, "was removed or renamed").await;
    fs::rename(&aside, folder.file()).unwrap();
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    fs::remove_file(folder.file()).unwrap();
    until_checked().await;
    say(&store, "was removed or renamed").await;
    assert!(!folder.file().exists(), "nothing makes the file again");
}

#[tokio::test]
async fn a_write_ahead_log_or_index_that_was_removed_or_replaced_stops_the_store() {
    for beside in [1, 2] {
        let folder = TempFolder::new();
        let store = folder.store().await;
        append(&store, "ann", vec![deposited(1)]).await.unwrap();
        let file = files(&folder.file())[beside].clone();
        fs::rename(&file, folder.path().join("aside")).unwrap();
        until_checked().await;
        say(&store, "was removed or renamed").await;
        fs::write(&file, "").unwrap();
        say(&store, "was replaced").await;
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_and_a_link_that_names_another_file_stop_the_store() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    fs::OpenOptions::new().write(true).open(folder.file()).unwrap().set_len(0).unwrap();
    until_checked().await;
    say(&store, "was emptied").await;

    let folder = TempFolder::new();
    let link = folder.path().join("current.db");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let store = SqliteStore::open(&link).await.unwrap();
    let next = folder.path().join("next.db");
    SqliteStore::open(&next).await.unwrap().close().await.unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(&next, &link).unwrap();
    until_checked().await;
    say(&store, "was replaced").await;
}
