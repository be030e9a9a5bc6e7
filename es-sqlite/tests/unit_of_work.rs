//! Appends in one transaction with the application's own writes.

mod common;

use std::time::Duration;

use common::{TempFolder, account, append, deposited, opened, to};
use es_core::{Append, EventStore, ExpectedVersion, Position, StoreError};
use es_sqlite::{
    SqliteConnection, SqliteOptions, SqliteStore,
    sqlx::{self, Connection},
};

async fn with_seats(folder: &TempFolder) -> SqliteStore {
    let store = folder.store().await;
    sqlx::query("CREATE TABLE seats (name TEXT PRIMARY KEY)").execute(&mut folder.connection().await).await.unwrap();
    store
}

async fn take_seat(connection: &mut SqliteConnection, name: &str) {
    sqlx::query("INSERT INTO seats VALUES (?)").bind(name).execute(connection).await.unwrap();
}

async fn seats(folder: &TempFolder) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM seats").fetch_one(&mut folder.connection().await).await.unwrap()
}

fn new_account(id: &str) -> Append {
    Append::to(account(id), ExpectedVersion::NoStream, vec![opened()]).build().unwrap()
}

#[tokio::test]
async fn a_unit_of_work_stores_rows_and_events_together() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    let mut wakeups = store.wakeups();
    let mut work = store.begin().await.unwrap();
    take_seat(work.connection(), "12A").await;
    work.append(new_account("ann")).unwrap();
    work.append(to("ann", vec![deposited(1), deposited(2)]).build().unwrap()).unwrap();
    assert_eq!((seats(&folder).await, store.head().await.unwrap()), (0, Position::ZERO));

    let appended = work.commit().await.unwrap();
    assert_eq!(appended.iter().map(|one| one.last_position.get()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((seats(&folder).await, store.head().await.unwrap()), (1, Position::new(3)));
    assert_eq!(wakeups.next().await, Position::new(3));
}

#[tokio::test]
async fn a_unit_of_work_that_is_refused_or_dropped_stores_nothing_and_frees_the_writer() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    append(&store, "bob", vec![opened()]).await.unwrap();

    let mut work = store.begin().await.unwrap();
    take_seat(work.connection(), "12A").await;
    work.append(new_account("ann")).unwrap();
    work.append(new_account("bob")).unwrap();
    let refused = work.commit().await;
    assert!(matches!(&refused, Err(StoreError::Conflict { stream, .. }) if *stream == account("bob")), "{refused:?}");

    let mut work = store.begin().await.unwrap();
    take_seat(work.connection(), "12B").await;
    work.append(new_account("ann")).unwrap();
    // A nested transaction that is left open goes the same way.
    std::mem::forget(work.connection().begin().await.unwrap());
    drop(work);

    assert_eq!((seats(&folder).await, store.head().await.unwrap()), (0, Position::new(1)));
    append(&store, "ann", vec![opened()]).await.unwrap();
    let other = SqliteOptions::new(folder.file()).busy_timeout(Duration::from_millis(200)).open().await.unwrap();
    append(&other, "ann", vec![deposited(1)]).await.unwrap();
}

#[tokio::test]
async fn an_empty_unit_of_work_stores_the_callers_rows_alone() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    let mut work = store.begin().await.unwrap();
    let mut nested = work.connection().begin().await.unwrap();
    take_seat(&mut nested, "12A").await;
    nested.commit().await.unwrap();
    assert_eq!(work.commit().await.unwrap(), []);
    assert_eq!(seats(&folder).await, 1);
}

#[tokio::test]
async fn a_repeated_append_in_a_unit_of_work_gives_the_first_outcome() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    let first = to("ann", vec![deposited(1)]).build().unwrap();
    let done = store.append(&first).await.unwrap();
    let mut work = store.begin().await.unwrap();
    take_seat(work.connection(), "12A").await;
    work.append(first).unwrap();
    let again = work.commit().await.unwrap();
    assert!(again[0].repeated && again[0].last_position == done.last_position);
    assert_eq!((seats(&folder).await, store.head().await.unwrap()), (1, Position::new(1)));
}

#[tokio::test]
async fn append_in_a_callers_transaction_is_stored_when_the_caller_commits() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    let mut connection = folder.connection().await;
    for commits in [false, true] {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        take_seat(&mut transaction, "12A").await;
        let appended = store.append_in(&mut transaction, &new_account("ann")).await.unwrap();
        assert_eq!(appended.first_position, Position::new(1));
        let refused = store.append_in(&mut transaction, &new_account("ann")).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(store.head().await.unwrap(), Position::ZERO);
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let expected = i64::from(commits);
        assert_eq!((seats(&folder).await, store.head().await.unwrap().get() as i64), (expected, expected));
    }
}

#[tokio::test]
async fn append_in_a_plain_begin_works_as_long_as_nobody_wrote_since_its_first_read() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    let mut connection = folder.connection().await;
    sqlx::query("BEGIN").execute(&mut connection).await.unwrap();
    store.append_in(&mut connection, &new_account("ann")).await.unwrap();
    sqlx::query("COMMIT").execute(&mut connection).await.unwrap();

    sqlx::query("BEGIN").execute(&mut connection).await.unwrap();
    sqlx::query("SELECT count(*) FROM seats").fetch_one(&mut connection).await.unwrap();
    append(&store, "bob", vec![opened()]).await.unwrap();
    let stale = store.append_in(&mut connection, &new_account("cid")).await;
    assert!(matches!(stale, Err(StoreError::Refused { reason }) if reason.contains("BEGIN IMMEDIATE")), "{stale:?}");
    sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn append_in_outside_a_transaction_is_refused() {
    let folder = TempFolder::new();
    let store = with_seats(&folder).await;
    let mut connection = folder.connection().await;
    for _ in 0..2 {
        let refused = store.append_in(&mut connection, &new_account("ann")).await;
        assert!(
            matches!(refused, Err(StoreError::Refused { reason }) if reason.contains("outside a transaction")),
            "{refused:?}"
        );
    }
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
    take_seat(&mut connection, "12A").await;
    assert_eq!(seats(&folder).await, 1);
}

#[tokio::test]
async fn who_waits_too_long_for_a_unit_of_work_is_told_so_and_nothing_is_stored() {
    let folder = TempFolder::new();
    let store = SqliteOptions::new(folder.file()).busy_timeout(Duration::from_millis(100)).open().await.unwrap();
    let work = store.begin().await.unwrap();
    let append_ann = new_account("ann");
    let (first, second, unit) =
        tokio::join!(store.append(&append_ann), append(&store, "bob", vec![opened()]), store.begin());
    for result in [first.map(drop), second.map(drop), unit.map(drop)] {
        assert!(
            matches!(&result, Err(StoreError::Busy { waiting_for, .. }) if waiting_for.contains("unit of work")),
            "{result:?}"
        );
    }
    drop(work);
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
    let done = store.append(&append_ann).await.unwrap();
    assert_eq!((done.first_position, done.repeated), (Position::new(1), false));
}
