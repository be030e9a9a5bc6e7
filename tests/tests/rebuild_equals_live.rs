//! Read models of every kind over a random history are rebuilt while events come in and readers read: each is the same as the live
//! one and as a fold of the whole log, and no reader sees an empty or a mixed one.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use es_core::{
    ConsumerStoreExt, Decoder, DomainEvent, EventFilter, EventStoreExt, Position, ProjectionStore, RecordedEvent,
    RunnerStore, View,
};
use es_e2e::{
    read_models::{
        ALL, Bookings, GROUP, Groups, PgTurnover, SqliteTurnover, TURNOVERS, Turnover, count_of, random_append, rows_of,
    },
    server::{Folder, shared_postgres_url, unique_schema},
};
use es_postgres::PgOptions;
use es_projections::{ConsumerOptions, RebuildOptions, Rebuilt, Runner, UnknownEventTypes, Verification};
use es_sqlite::SqliteStore;
use es_testkit::{
    SeededRng,
    bank::{AccountEvent, Balance},
};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

/// Appends before the first rebuild.
const HISTORY: u64 = 300;
/// Fewer events than can be applied event by event, twice.
const BETWEEN_APPENDS: Duration = Duration::from_millis(10);
const BETWEEN_READS: Duration = Duration::from_millis(2);
/// How often each read model is rebuilt beside the live one.
const ROUNDS: usize = 2;
const VIEWS: [&str; 3] = [Balance::NAME, Groups::NAME, Bookings::NAME];

/// What is asked of the tables of projections, by somebody who knows nothing of generations.
trait Sql {
    async fn counts(&mut self, sql: &str) -> (i64, i64);
    async fn rows(&mut self, sql: &str) -> Vec<String>;
}

macro_rules! sql_of {
    ($connection:ty) => {
        impl Sql for $connection {
            async fn counts(&mut self, sql: &str) -> (i64, i64) {
                sqlx::query_as(AssertSqlSafe(sql)).fetch_one(self).await.expect("the tables can be read")
            }

            async fn rows(&mut self, sql: &str) -> Vec<String> {
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(self).await.expect("the tables can be read")
            }
        }
    };
}

sql_of!(PgConnection);
sql_of!(SqliteConnection);

/// The log holds events of older types, which only some of the read models know.
fn lenient() -> ConsumerOptions {
    ConsumerOptions::default().unknown_event_types(UnknownEventTypes::PassOver)
}

/// Rebuilds everything while events come in and readers read; then compares with folds of the log.
async fn rebuild_everything<S, Q>(store: &S, runner: &Runner, schema: &str, mut connections: [Q; 3])
where
    S: RunnerStore + ProjectionStore + Clone + 'static,
    Q: Sql,
{
    let (random, is_over) = (SeededRng::from_env(), AtomicBool::new(false));
    for _ in 0..HISTORY {
        store.append(&random_append(&random)).await.expect("an append");
    }
    runner.catch_up().await.expect("it catches up");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let live = {
        let runner = runner.clone();
        tokio::spawn(async move { runner.run(async { drop(stopped.await) }).await })
    };
    let writing = async {
        while !is_over.load(Ordering::SeqCst) {
            store.append(&random_append(&random)).await.expect("an append");
            tokio::time::sleep(BETWEEN_APPENDS).await;
        }
    };
    let [first, second, third] = &mut connections;
    let reads = AtomicU64::new(0);
    let reading_tables = async |connection: &mut Q, name: &str| {
        let (sql, mut latest) = (count_of(name, schema), 1);
        while !is_over.load(Ordering::SeqCst) {
            let (amounts, accounts) = connection.counts(&sql).await;
            assert_eq!(amounts, accounts, "{name} is of two generations");
            assert!(amounts >= latest, "{name} went back from {latest} events to {amounts}");
            latest = amounts;
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(BETWEEN_READS).await;
        }
    };
    let reading_a_view = async {
        let mut latest = 1;
        while !is_over.load(Ordering::SeqCst) {
            let all: BTreeMap<_, _> =
                store.view::<Groups>().list(None, 1_000).await.expect("documents").into_iter().collect();
            let total = all.get(ALL).map_or(0, |all| all.events);
            let groups: u64 = all.iter().filter(|(key, _)| key.starts_with(GROUP)).map(|(_, group)| group.events).sum();
            assert_eq!(groups, total, "the view is of two generations");
            assert!(total >= latest, "the view went back from {latest} events to {total}");
            latest = total;
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(BETWEEN_READS).await;
        }
    };
    let rebuilding = async {
        for _ in 0..ROUNDS {
            for consumer in VIEWS.iter().chain(&TURNOVERS) {
                let before = reads.load(Ordering::SeqCst);
                let options = RebuildOptions::by("the test").verify(Verification::MustMatch);
                let rebuilt = runner.rebuild_beside(consumer, options, |_| {}).await;
                let Ok(Rebuilt::Live { comparison: Some(comparison), .. }) = rebuilt else {
                    panic!("{consumer}: {rebuilt:?}")
                };
                assert!(comparison.live.rows > 5, "{consumer}: {comparison}");
                // Readers have been given it before the old one goes.
                while reads.load(Ordering::SeqCst) < before + 20 {
                    tokio::time::sleep(BETWEEN_READS).await;
                }
                runner.drop_retired(consumer).await.expect("the old one can be dropped");
            }
        }
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(
        rebuilding,
        writing,
        reading_tables(first, TURNOVERS[0]),
        reading_tables(second, TURNOVERS[1]),
        reading_a_view
    );
    // In place, readers would see an incomplete one.
    for consumer in VIEWS.iter().chain(&TURNOVERS) {
        let compared = runner.rebuild_in_place(consumer, Verification::MustMatch, |_| {}).await;
        let comparison = compared.expect("it is the same").expect("it was compared");
        assert!(comparison.is_same() && comparison.live.rows > 5, "{consumer}: {comparison}");
    }
    drop(stop);
    live.await.expect("the runner does not panic").expect("the runner stops");
    runner.catch_up().await.expect("it catches up");
    compare_with_folds(store, schema, third).await;
}

/// Compares what readers are given with the log, folded here and now.
async fn compare_with_folds<S: RunnerStore, Q: Sql>(store: &S, schema: &str, connection: &mut Q) {
    let log: Vec<RecordedEvent> =
        store.all_events(Position::ZERO, &EventFilter::all()).try_collect().await.expect("the log can be read");
    println!("{} events", log.len());
    compare_view::<Balance, _, _>(store, &log, "Balance").await;
    compare_view::<Groups, _, _>(store, &log, "Groups").await;
    compare_view::<Bookings, _, _>(store, &log, "Bookings").await;
    let mut accounts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for event in decoded::<AccountEvent>(&log) {
        let (cents, events) = accounts.entry(event.stream().id().to_owned()).or_default();
        *events += 1;
        *cents += match event.event {
            AccountEvent::Deposited { cents } => cents,
            AccountEvent::Withdrawn { cents } => -cents,
            _ => 0,
        };
    }
    let expected: BTreeMap<_, _> =
        accounts.into_iter().map(|(key, (cents, events))| (format!("{key} {cents} {events}"), ())).collect();
    for name in TURNOVERS {
        let rows = connection.rows(&rows_of(name, schema, "accounts")).await;
        assert_eq!(rows.into_iter().map(|row| (row, ())).collect::<BTreeMap<_, _>>(), expected, "{name}");
    }
}

/// The events of an enum in a log.
fn decoded<E: DomainEvent>(log: &[RecordedEvent]) -> Vec<es_core::Recorded<E>> {
    let decoder = Decoder::new().with(|event: E| event);
    let wanted = log.iter().filter(|event| decoder.knows(event)).cloned().collect();
    decoder.decode_page(wanted).expect("every event can be read")
}

async fn compare_view<V, E, S>(store: &S, log: &[RecordedEvent], name: &str)
where
    V: View<Event = E> + PartialEq + std::fmt::Debug,
    E: DomainEvent,
    S: RunnerStore,
{
    let mut expected: BTreeMap<String, V> = BTreeMap::new();
    for event in decoded::<E>(log) {
        for key in V::keys(&event) {
            if expected.entry(key.clone()).or_default().apply(&event) == es_core::DocumentAction::Delete {
                expected.remove(&key);
            }
        }
    }
    let found: BTreeMap<_, _> = store.view::<V>().list(None, 1_000).await.expect("documents").into_iter().collect();
    assert_eq!(found, expected, "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_model_rebuilt_on_postgresql_is_the_live_one_and_readers_see_one_or_the_other() {
    let (url, schema) = (shared_postgres_url(), unique_schema());
    let store = PgOptions::new(&url).schema(&schema).max_connections(8).connect().await.expect("the store opens");
    let prefix = format!("{schema}.");
    let [by_event, by_page] = TURNOVERS.map(|name| PgTurnover(Turnover::new(name, &prefix)));
    let runner =
        Runner::builder(&store).view_with::<Balance>(lenient()).view_with::<Groups>(lenient()).view::<Bookings>();
    let runner = runner
        .projection_with(by_event, lenient())
        .projection_with(by_page, lenient())
        .build()
        .expect("a valid runner");
    let connect = async || PgConnection::connect(&url).await.expect("the server accepts connections");
    let connections = [connect().await, connect().await, connect().await];
    rebuild_everything(&store, &runner, &prefix, connections).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_model_rebuilt_on_sqlite_is_the_live_one_and_readers_see_one_or_the_other() {
    let folder = Folder::new();
    let file = folder.path("store.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let [by_event, by_page] = TURNOVERS.map(|name| SqliteTurnover(Turnover::new(name, "")));
    let runner =
        Runner::builder(&store).view_with::<Balance>(lenient()).view_with::<Groups>(lenient()).view::<Bookings>();
    let runner = runner
        .projection_with(by_event, lenient())
        .projection_with(by_page, lenient())
        .build()
        .expect("a valid runner");
    let url = format!("sqlite:{}", file.display());
    let connect = async || SqliteConnection::connect(&url).await.expect("the file opens");
    let connections = [connect().await, connect().await, connect().await];
    rebuild_everything(&store, &runner, "", connections).await;
}
