//! Writes that wait for each other share a commit, and each can fail alone.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{TempFolder, append, deposited};
use es_core::{
    Advance, ConsumerName, ConsumerStore, DocumentChange, EventFilter, EventStore, HandlerError, PageSize, Payload,
    Position, Projection, ProjectionError, ProjectionStore, Projector, Recorded, RecordedEvent, StoreError,
};
use es_sqlite::{
    SqliteConnection, SqliteOptions, SqliteStore, UnitOfWork,
    sqlx::{self, Connection},
};
use es_testkit::bank::AccountEvent;
use tokio::{sync::Notify, task::JoinHandle};

/// Counts the commits of a store from now on. Gives the writer, which is held until that is dropped.
async fn count_commits(store: &SqliteStore) -> (UnitOfWork, Arc<AtomicUsize>) {
    let commits = Arc::new(AtomicUsize::new(0));
    let mut work = store.begin().await.unwrap();
    let counted = Arc::clone(&commits);
    let hook = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        true
    };
    work.connection().lock_handle().await.unwrap().set_commit_hook(hook);
    (work, commits)
}

/// Lets every task that was just spawned come to wait for the writer.
async fn until_they_wait() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn consumer(number: usize) -> ConsumerName {
    ConsumerName::new(&format!("consumer_{number}")).unwrap()
}

fn advance(name: &ConsumerName, from: u64, to: u64) -> Advance {
    Advance::new(name, Position::new(from), Position::new(to))
}

fn moving(store: &SqliteStore, name: &ConsumerName, from: u64) -> JoinHandle<Result<(), StoreError>> {
    let (store, advance) = (store.clone(), advance(name, from, from + 1));
    tokio::spawn(async move { store.move_checkpoint(&advance).await })
}

async fn position(store: &SqliteStore, name: &ConsumerName) -> u64 {
    store.checkpoint(name).await.unwrap().map_or(0, |checkpoint| checkpoint.position.get())
}

#[tokio::test]
async fn writes_that_wait_share_commits_and_those_that_fail_fail_alone() {
    const WRITES: usize = 100;
    let folder = TempFolder::new();
    let store = folder.store().await;
    store.prepare_view(&ConsumerName::new("view").unwrap()).await.unwrap();
    let (work, commits) = count_commits(&store).await;
    // Every tenth believes its checkpoint to be where it is not.
    let from = |number: usize| if number.is_multiple_of(10) { 5 } else { 0 };
    let moves: Vec<_> = (0..WRITES).map(|number| moving(&store, &consumer(number), from(number))).collect();
    let saving = store.clone();
    let documents = tokio::spawn(async move {
        let change = DocumentChange { key: "k".to_owned(), body: Some(Payload::trusted("1")) };
        saving.save_documents(&advance(&ConsumerName::new("view").unwrap(), 0, 1), &[change]).await
    });
    let appending = store.clone();
    let appended = tokio::spawn(async move { append(&appending, "ann", vec![deposited(1)]).await });
    until_they_wait().await;
    drop(work);
    for (number, moved) in moves.into_iter().enumerate() {
        let moved = moved.await.unwrap();
        match from(number) {
            0 => moved.unwrap(),
            _ => assert!(matches!(moved, Err(StoreError::CheckpointMoved { .. })), "{number}: {moved:?}"),
        }
        assert_eq!(position(&store, &consumer(number)).await, u64::from(from(number) == 0), "{number}");
    }
    documents.await.unwrap().unwrap();
    assert_eq!(appended.await.unwrap().unwrap().last_position, Position::new(1));
    // How many fit into a commit is bounded by time, and so depends on the machine; one each it is on none.
    let commits = commits.load(Ordering::SeqCst);
    assert!((1..=WRITES / 2).contains(&commits), "{commits} commits");
}

#[tokio::test]
async fn what_is_refused_because_of_another_write_is_refused_once_that_is_stored() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let name = consumer(1);
    let work = store.begin().await.unwrap();
    let first = moving(&store, &name, 0);
    until_they_wait().await;
    let second = moving(&store, &name, 0);
    let third = moving(&store, &consumer(2), 0);
    until_they_wait().await;
    drop(work);
    let refused = second.await.unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::CheckpointMoved { .. }), "{refused}");
    // The third still waited, so the transaction was open when the second was refused.
    assert_eq!(position(&store, &name).await, 1, "the write that was in the way is not there");
    first.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_commit_that_nobody_else_waits_for_comes_at_once() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let (work, commits) = count_commits(&store).await;
    drop(work);
    for from in 0..3 {
        store.move_checkpoint(&advance(&consumer(1), from, from + 1)).await.unwrap();
        assert_eq!(commits.load(Ordering::SeqCst) as u64, from + 1);
    }
}

/// What a projection does with an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Insert,
    StopInNestedTransaction,
    RunRaw(&'static str),
}

struct Rows {
    name: &'static str,
    does: Does,
    entered: Arc<Notify>,
}

impl Projection for Rows {
    type Connection = SqliteConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.name
    }

    async fn prepare(&self, connection: &mut SqliteConnection) -> Result<(), HandlerError> {
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS parents (id INTEGER PRIMARY KEY);
             CREATE TABLE IF NOT EXISTS rows (
                 name TEXT NOT NULL,
                 parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED
             )",
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut SqliteConnection, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        sqlx::query("INSERT INTO rows (name) VALUES (?)").bind(self.name).execute(&mut *connection).await?;
        match self.does {
            Does::Insert => {}
            Does::StopInNestedTransaction => {
                let mut nested = connection.begin().await?;
                sqlx::query("INSERT INTO rows (name) VALUES ('nested')").execute(&mut *nested).await?;
                self.entered.notify_one();
                std::future::pending::<()>().await;
            }
            Does::RunRaw(sql) => {
                sqlx::raw_sql(sql).execute(connection).await?;
            }
        }
        Ok(())
    }

    async fn clear(&self, _: &mut SqliteConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

fn rows(name: &'static str, does: Does) -> (Arc<Projector<Rows>>, Arc<Notify>) {
    let entered = Arc::new(Notify::new());
    (Arc::new(Projector::new(Rows { name, does, entered: Arc::clone(&entered) }).unwrap()), entered)
}

/// A page of one event, to be applied by several projections.
async fn one_event(store: &SqliteStore) -> Vec<RecordedEvent> {
    append(store, "ann", vec![deposited(1)]).await.unwrap();
    store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap().events
}

fn applying(
    store: &SqliteStore,
    projector: &Arc<Projector<Rows>>,
    events: &[RecordedEvent],
) -> JoinHandle<Result<(), ProjectionError>> {
    let (store, projector, events) = (store.clone(), Arc::clone(projector), events.to_vec());
    tokio::spawn(async move {
        let advance = advance(es_core::PageProjection::name(&*projector), 0, 1);
        store.apply_page(&*projector, &advance, &events).await
    })
}

async fn stored_rows(folder: &TempFolder) -> Vec<String> {
    let mut connection = folder.connection().await;
    sqlx::query_scalar("SELECT name FROM rows ORDER BY name").fetch_all(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_page_that_is_dropped_inside_a_nested_transaction_takes_nobody_along() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let events = one_event(&store).await;
    let (first, _) = rows("first", Does::Insert);
    let (stopping, entered) = rows("stopping", Does::StopInNestedTransaction);
    let (last, _) = rows("last", Does::Insert);
    store.prepare_projection(&*first).await.unwrap();
    let work = store.begin().await.unwrap();
    let mut pages = Vec::new();
    for projector in [&first, &stopping, &last] {
        pages.push(applying(&store, projector, &events));
        until_they_wait().await;
    }
    drop(work);
    entered.notified().await;
    pages[1].abort();
    let outcomes = futures_util::future::join_all(pages).await;
    assert!(outcomes[1].as_ref().unwrap_err().is_cancelled());
    assert!(matches!((&outcomes[0], &outcomes[2]), (Ok(Ok(())), Ok(Ok(())))), "{outcomes:?}");
    assert_eq!(stored_rows(&folder).await, ["first", "last"]);
    assert_eq!(position(&store, &ConsumerName::new("stopping").unwrap()).await, 0);
}

#[tokio::test]
async fn a_shared_transaction_that_nobody_waits_for_any_more_frees_the_lock_for_other_processes_at_once() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let events = one_event(&store).await;
    let (first, _) = rows("first", Does::Insert);
    let (stopping, entered) = rows("stopping", Does::StopInNestedTransaction);
    store.prepare_projection(&*first).await.unwrap();
    let work = store.begin().await.unwrap();
    let one = applying(&store, &first, &events);
    until_they_wait().await;
    let other = applying(&store, &stopping, &events);
    until_they_wait().await;
    drop(work);
    entered.notified().await;
    // The first is done but for the commit, the other is in the middle.
    one.abort();
    assert!(one.await.unwrap_err().is_cancelled());
    other.abort();
    assert!(other.await.unwrap_err().is_cancelled());
    let mut connection = folder.connection().await;
    sqlx::query("INSERT INTO rows (name) VALUES ('of another process')").execute(&mut connection).await.unwrap();
    assert_eq!(stored_rows(&folder).await, ["of another process"]);
    store.apply_page(&*first, &advance(&ConsumerName::new("first").unwrap(), 0, 1), &events).await.unwrap();
    assert_eq!(stored_rows(&folder).await, ["first", "of another process"]);
}

#[tokio::test]
async fn a_handler_that_ends_the_stores_transaction_fails_and_nobody_is_told_that_what_is_lost_is_stored() {
    for sql in ["ROLLBACK", "COMMIT", "ROLLBACK; BEGIN", "COMMIT; BEGIN"] {
        let folder = TempFolder::new();
        let store = folder.store().await;
        let events = one_event(&store).await;
        let (first, _) = rows("first", Does::Insert);
        let (ending, _) = rows("ending", Does::RunRaw(sql));
        let (last, _) = rows("last", Does::Insert);
        store.prepare_projection(&*first).await.unwrap();
        let work = store.begin().await.unwrap();
        let mut pages = Vec::new();
        for projector in [&first, &ending, &last] {
            pages.push(applying(&store, projector, &events));
            until_they_wait().await;
        }
        drop(work);
        let outcomes = futures_util::future::join_all(pages).await;
        let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap()).collect();
        assert!(outcomes[1].is_err(), "{sql}: {outcomes:?}");
        for (name, outcome) in [("first", &outcomes[0]), ("last", &outcomes[2])] {
            if outcome.is_ok() {
                assert_eq!(position(&store, &ConsumerName::new(name).unwrap()).await, 1, "{sql}: {name}");
                assert!(stored_rows(&folder).await.iter().any(|row| row == name), "{sql}: {name}");
            }
        }
        // The store goes on.
        append(&store, "ann", vec![deposited(2)]).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_committed_fails_the_others_once_and_is_alone_from_then_on() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let events = one_event(&store).await;
    let names = ["a", "b", "c", "d", "e"];
    let good: Vec<_> = names.into_iter().map(|name| rows(name, Does::Insert).0).collect();
    let (bad, _) = rows("bad", Does::RunRaw("INSERT INTO rows VALUES ('bad', 77)"));
    store.prepare_projection(&*bad).await.unwrap();
    let mut failures = Vec::new();
    for round in 0..3 {
        let work = store.begin().await.unwrap();
        let mut pages = vec![applying(&store, &bad, &events)];
        for projector in &good {
            if position(&store, es_core::PageProjection::name(&**projector)).await == 0 {
                pages.push(applying(&store, projector, &events));
            }
        }
        let appending = store.clone();
        let appended = tokio::spawn(async move { append(&appending, "ann", vec![deposited(round)]).await });
        until_they_wait().await;
        drop(work);
        appended.await.unwrap().unwrap();
        let mut outcomes = Vec::new();
        for page in pages {
            outcomes.push(page.await.unwrap());
        }
        let failed = outcomes.split_off(1).into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert!(outcomes[0].is_err(), "round {round}");
        let is_transient =
            |error: &ProjectionError| matches!(error, ProjectionError::Store(error) if error.is_transient());
        assert!(failed.iter().all(is_transient), "round {round}: {failed:?}");
        failures.push(failed.len());
    }
    assert_eq!(failures[1..], [0, 0], "{failures:?}");
    assert_eq!(stored_rows(&folder).await, names);
}

#[tokio::test]
async fn a_page_that_keeps_the_writer_from_others_for_too_long_is_given_back_to_be_made_smaller() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    let events = one_event(&store).await;
    assert_eq!(events.len(), 2);
    let (stopping, entered) = rows("stopping", Does::StopInNestedTransaction);
    store.prepare_projection(&*stopping).await.unwrap();
    let page = applying(&store, &stopping, &events);
    entered.notified().await;
    // It waits for less than the busy timeout, and then has the writer.
    append(&store, "ann", vec![deposited(1)]).await.unwrap();
    let error = page.await.unwrap().unwrap_err();
    let ProjectionError::Handler { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("a page of 2 events"), "{source}");
    assert_eq!(stored_rows(&folder).await, [""; 0]);
}

#[tokio::test]
async fn the_holder_of_the_writer_is_named_if_it_takes_too_long() {
    let folder = TempFolder::new();
    let store = SqliteOptions::new(folder.file()).busy_timeout(Duration::from_millis(50)).open().await.unwrap();
    let events = one_event(&store).await;
    let (stopping, entered) = rows("stopping", Does::StopInNestedTransaction);
    store.prepare_projection(&*stopping).await.unwrap();
    let holders = [("a page of stopping", true), ("a unit of work", false)];
    for (name, is_page) in holders {
        let (page, work) = match is_page {
            true => (Some(applying(&store, &stopping, &events)), None),
            false => (None, Some(store.begin().await.unwrap())),
        };
        if is_page {
            entered.notified().await;
        }
        let error = append(&store, "ann", vec![deposited(1)]).await.unwrap_err();
        assert!(matches!(&error, StoreError::Busy { waiting_for, .. } if waiting_for.contains(name)), "{error}");
        if let Some(page) = page {
            page.abort();
        }
        drop(work);
    }
}
