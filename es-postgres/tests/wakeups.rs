//! Hints, within the process and across processes.

mod common;

use std::time::{Duration, Instant};

use common::{Schema, connection, deposit, execute, number};
use es_core::{ConsumerName, ConsumerStore, EventFilter, EventStore, PageSize, Position, StoreError, Wakeups};
use es_postgres::sqlx::{self, AssertSqlSafe, postgres::PgListener};

/// Waits for a hint of at least this position.
async fn hinted(wakeups: &mut Wakeups, position: u64) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while wakeups.latest() < Position::new(position) {
            wakeups.next().await;
        }
    });
    assert!(waited.await.is_ok(), "no hint of position {position}, the latest is {}", wakeups.latest());
}

#[tokio::test]
async fn an_append_wakes_the_readers_of_another_process() {
    let schema = Schema::new();
    let (writer, reader) = (schema.store().await, schema.store().await);
    writer.append(&deposit("ann")).await.unwrap();
    let mut wakeups = reader.wakeups();
    // What was appended before it listened is found out at the start.
    hinted(&mut wakeups, 1).await;
    writer.append(&deposit("ann")).await.unwrap();
    hinted(&mut wakeups, 2).await;
}

#[tokio::test]
async fn a_commit_of_the_callers_is_announced_by_the_caller() {
    let schema = Schema::new();
    let (writer, reader) = (schema.store().await, schema.store().await);
    let mut wakeups = reader.wakeups();
    let mut own = connection().await;
    execute(&mut own, "BEGIN").await;
    let appended = writer.append_in(&mut own, &deposit("ann")).await.unwrap();
    execute(&mut own, "COMMIT").await;
    writer.announce(appended.last_position);
    hinted(&mut wakeups, 1).await;
}

#[tokio::test]
async fn a_listener_that_lost_its_connection_listens_again() {
    let schema = Schema::new();
    let (writer, reader) = (schema.store().await, schema.store().await);
    let mut wakeups = reader.wakeups();
    writer.append(&deposit("ann")).await.unwrap();
    hinted(&mut wakeups, 1).await;
    // Whoever listens on this channel is cut off.
    let mut admin = connection().await;
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = 'LISTEN \"es_head_{0}\"' OR \
         (pid <> pg_backend_pid() AND query LIKE '%\"{0}\".log_floor%')",
        schema.name
    );
    assert!(number(&mut admin, cut).await >= 1);
    writer.append(&deposit("ann")).await.unwrap();
    hinted(&mut wakeups, 2).await;
}

#[tokio::test]
async fn many_appends_are_told_by_few_notifications() {
    let schema = Schema::new();
    let writer = schema.store().await;
    let mut listener = PgListener::connect(&common::url()).await.unwrap();
    listener.listen(&format!("es_head_{}", schema.name)).await.unwrap();
    // As every listener does.
    let lock = format!("SELECT pg_advisory_lock_shared(1702064996, '{}'::regnamespace::oid::integer)", schema.name);
    sqlx::query(AssertSqlSafe(lock)).execute(&mut listener).await.unwrap();
    const APPENDS: u64 = 300;
    let started = Instant::now();
    for _ in 0..APPENDS {
        writer.append(&deposit("ann")).await.unwrap();
    }
    let mut told = Vec::new();
    while told.last() != Some(&APPENDS) {
        let notification = tokio::time::timeout(Duration::from_secs(20), listener.recv()).await.unwrap().unwrap();
        told.push(notification.payload().parse::<u64>().unwrap());
    }
    assert!(told.is_sorted(), "{told:?}");
    // One in 5 ms, and the first.
    let most = started.elapsed().as_millis() / 5 + 1;
    assert!(told.len() as u128 <= most, "{} notifications where {most} were expected", told.len());
}

#[tokio::test]
async fn appends_that_nobody_listens_for_are_not_told() {
    let schema = Schema::new();
    let writer = schema.store().await;
    // Not one of ours: it does not hold the lock of those who listen.
    let mut stranger = PgListener::connect(&common::url()).await.unwrap();
    stranger.listen(&format!("es_head_{}", schema.name)).await.unwrap();
    for _ in 0..10 {
        writer.append(&deposit("ann")).await.unwrap();
    }
    writer.announce(Position::new(10));
    assert_eq!(stranger.recv().await.unwrap().payload(), "10");
    // Ours is told of the next one.
    let hearing = schema.store().await;
    let mut wakeups = hearing.wakeups();
    hinted(&mut wakeups, 10).await;
    writer.append(&deposit("ann")).await.unwrap();
    hinted(&mut wakeups, 11).await;
    assert_eq!(stranger.recv().await.unwrap().payload(), "11");
}

#[tokio::test]
async fn whoever_listens_holds_up_nothing_else() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut wakeups = store.wakeups();
    store.append(&deposit("ann")).await.unwrap();
    hinted(&mut wakeups, 1).await;
    // It listens, or will in a moment.
    let listens = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted \
         AND objid = '{}'::regnamespace::oid",
        schema.name
    );
    let mut observer = connection().await;
    while number(&mut observer, listens.clone()).await == 0 {
        tokio::task::yield_now().await;
    }
    let view = ConsumerName::new("balance").unwrap();
    tokio::time::timeout(Duration::from_secs(10), store.prepare_view(&view)).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(10), schema.store()).await.unwrap();
}

#[tokio::test]
async fn a_store_that_neither_listens_nor_notifies_polls() {
    let schema = Schema::new();
    let quiet = schema.options().notify(false).connect().await.unwrap();
    let deaf = schema.options().listen(false).connect().await.unwrap();
    let hearing = schema.store().await;
    let (mut of_deaf, mut of_hearing) = (deaf.wakeups(), hearing.wakeups());
    quiet.append(&deposit("ann")).await.unwrap();
    // Told by the next one who tells.
    deaf.append(&deposit("ann")).await.unwrap();
    hinted(&mut of_hearing, 2).await;
    hearing.append(&deposit("ann")).await.unwrap();
    assert_eq!(hearing.head().await.unwrap(), Position::new(3));
    hinted(&mut of_deaf, 2).await;
    assert_eq!(of_deaf.latest(), Position::new(2));
}

#[tokio::test]
async fn whoever_follows_the_log_is_given_what_was_just_stored_without_asking_the_database() {
    let schema = Schema::new();
    let store = schema.store().await;
    store.append(&deposit("ann")).await.unwrap();
    let hints = store.wakeups();
    let appended = store.append(&deposit("ann")).await.unwrap();
    let mut own = connection().await;
    execute(&mut own, "BEGIN").await;
    execute(&mut own, format!("LOCK TABLE {}.events IN ACCESS EXCLUSIVE MODE", schema.name)).await;
    let (all, size) = (EventFilter::all(), PageSize::default());
    let reading = tokio::time::timeout(Duration::from_secs(10), store.read_all(Position::new(1), &all, size));
    let page = reading.await.expect("the database was asked").unwrap();
    assert_eq!((page.events.len(), page.scanned_to, page.durable_to), (1, Position::new(2), Position::new(2)));
    assert_eq!(page.events[0].recorded_at(), appended.recorded_at);
    execute(&mut own, "ROLLBACK").await;
    // What is kept costs the appends something, so nothing more is kept when nobody follows.
    drop(hints);
    store.append(&deposit("ann")).await.unwrap();
    let page = store.read_all(Position::new(1), &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!((page.events.len(), page.scanned_to), (1, Position::new(2)));
    store.close().await;
    let closed = store.read_all(Position::new(1), &EventFilter::all(), PageSize::default()).await;
    assert!(matches!(closed, Err(StoreError::Refused { .. } | StoreError::Unavailable { .. })), "{closed:?}");
}
