//! A database that goes back to an earlier state under a running process: from memory nothing of the former log takes effect, no
//! event of the new one is passed over, and the status says what happened.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use es_core::{
    Append, Bookmark, ConsumerStoreExt, DocumentAction, EventFilter, EventStore, ExpectedVersion, HandlerError,
    NewEvent, PageSize, Position, Reactor, Recorded, RecordedEvent, RunnerStore, StreamId, View,
};
use es_e2e::server::{Folder, blocking, durable_postgres, shared_postgres_url, unique_schema};
use es_postgres::PgOptions;
use es_projections::{ConsumerStatus, Runner, RunnerError, StartFrom, Subscription, SubscriptionError};
use es_sqlite::SqliteOptions;
use es_testkit::{bank::AccountEvent, broker_conformance::TcpProxy};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use uuid::Uuid;
use xtask::postgres::Shutdown;

/// Nothing takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(90);

/// Every event that was applied to a stream, in order.
#[derive(Default, Serialize, Deserialize)]
struct Applied {
    events: Vec<Uuid>,
}

impl View for Applied {
    const NAME: &'static str = "applied";
    type Event = AccountEvent;

    fn keys(event: &Recorded<AccountEvent>) -> Vec<String> {
        vec![event.stream().id().to_owned()]
    }

    fn apply(&mut self, event: &Recorded<AccountEvent>) -> DocumentAction {
        self.events.push(event.id());
        DocumentAction::Keep
    }
}

/// What a reactor reacted to, in order.
#[derive(Clone, Default)]
struct Reactions(Arc<Mutex<Vec<Bookmark>>>);

impl Reactions {
    fn take(&self) -> Vec<Bookmark> {
        std::mem::take(&mut *self.0.lock().expect("the lock"))
    }
}

impl Reactor for Reactions {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "reactions"
    }

    async fn react(&self, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.0.lock().expect("the lock").push(Bookmark::new(event.position(), event.id()));
        Ok(())
    }
}

async fn deposits<S: EventStore>(store: &S, count: usize) -> Bookmark {
    let mut last = Bookmark::START;
    for number in 0..count {
        let event = NewEvent::of(&AccountEvent::Deposited { cents: 1 }).expect("an event");
        let stream = StreamId::new("account", &format!("a{}", number % 3)).expect("a name");
        let append = Append::to(stream, ExpectedVersion::Any, vec![event]).build().expect("an append");
        // While the database is away, or a connection is found to be cut.
        last = loop {
            match store.append(&append).await {
                Ok(appended) => break appended.bookmark(),
                Err(error) if error.is_transient() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
    }
    last
}

async fn log_of<S: EventStore>(store: &S) -> Vec<RecordedEvent> {
    let (mut log, mut after) = (Vec::new(), Position::ZERO);
    loop {
        let page = store.read_all(after, &EventFilter::all(), PageSize::default()).await.expect("a page");
        if page.scanned_to == after {
            return log;
        }
        (after, log) = (page.scanned_to, [log, page.events].concat());
    }
}

/// Waits until something is so, polling as the caller of a status would.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "it never came to this: {what}");
}

async fn status_of(runner: &Runner) -> Vec<ConsumerStatus> {
    runner.status().await.unwrap_or_default()
}

/// Runs a view, a reactor and a subscription while the database goes back. `keep` keeps its state, `go_back` brings that back;
/// `elsewhere` opens a store as another process would, and `grows` how many events that appends before this process notices anything.
async fn goes_back<S, O>(
    store: S,
    elsewhere: impl AsyncFnOnce() -> O,
    keep: impl AsyncFnOnce(),
    go_back: impl AsyncFnOnce(),
    grows: usize,
) where
    S: RunnerStore + Clone + 'static,
    O: EventStore,
{
    let reactions = Reactions::default();
    let runner = Runner::builder(&store).view::<Applied>().reactor(reactions.clone()).build().expect("a runner");
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(std::future::pending()).await }
    });
    let caught_up = async |to: Bookmark| {
        until("all are at the end", async || {
            let all = status_of(&runner).await;
            !all.is_empty() && all.iter().all(|status| status.position >= to.position())
        })
        .await;
    };
    let shared = deposits(&store, 20).await;
    caught_up(shared).await;
    keep().await;
    let lost = deposits(&store, 10).await;
    caught_up(lost).await;
    let mut subscription = Subscription::builder(&store).subscribe().await.expect("it subscribes");
    for _ in 0..30 {
        subscription.next().await.expect("it goes on").expect("an event");
    }
    assert_eq!(subscription.bookmark(), lost);
    reactions.take();

    go_back().await;
    deposits(&elsewhere().await, grows).await;

    // The subscription ends before it gives out an event of another log.
    let ended = tokio::time::timeout(LONG, subscription.next()).await.expect("it notices").expect("an item");
    let error = ended.expect_err("an event of another log was given out");
    assert!(
        matches!(error, SubscriptionError::LogWentBack { .. } | SubscriptionError::PositionBeyondHead { .. }),
        "{error:?}"
    );
    assert_eq!(subscription.bookmark(), lost, "it still says what it has given out");
    let again = Subscription::builder(&store).start_from(StartFrom::AfterBookmark(lost)).subscribe().await;
    assert!(again.is_err(), "it would pass over what stands there now");
    Subscription::builder(&store)
        .start_from(StartFrom::AfterBookmark(shared))
        .subscribe()
        .await
        .expect("this one stands");

    // The consumers notice by themselves, and go on from their checkpoints.
    until("each consumer says that the log went back", async || {
        let all = status_of(&runner).await;
        !all.is_empty() && all.iter().all(|status| status.log_went_back.is_some())
    })
    .await;
    for status in status_of(&runner).await {
        assert_eq!(status.log_went_back.map(|noticed| noticed.reached), Some(lost.position()), "{status}");
        assert!(status.to_string().contains("the log went back"), "{status}");
    }
    let end = deposits(&store, 5).await;
    caught_up(end).await;
    runner.wait_for("applied", end, LONG).await.expect("the read model has come this far");
    let refused = runner.wait_for("applied", lost, LONG).await;
    assert!(matches!(refused, Err(RunnerError::WriteLost { place, .. }) if place == lost), "{refused:?}");

    // The view holds what is in the log, and nothing else; the reactor reacted to nothing but what is in it, and to all of it.
    let log = log_of(&store).await;
    assert_eq!(log.len(), 25 + grows);
    let mut expected: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    for event in &log {
        expected.entry(event.stream().id().to_owned()).or_default().push(event.id());
    }
    for (key, events) in expected {
        let found = store.view::<Applied>().get(&key).await.expect("it answers").expect("a document");
        assert_eq!(found.events, events, "{key}");
    }
    let reacted = reactions.take();
    let of_log: Vec<_> = log.iter().map(Bookmark::of).collect();
    assert!(reacted.iter().all(|reacted| of_log.contains(reacted)), "it reacted to what is not in the log");
    assert!(of_log[20..].iter().all(|event| reacted.contains(event)), "it missed an event of the log");
    running.abort();
}

/// How many events another process appends before this one notices: none, fewer than were lost, and more.
const GROWTHS: [usize; 3] = [0, 7, 30];

async fn sqlite(path: &std::path::Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("the file opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_is_put_back_to_an_earlier_copy() {
    for grows in GROWTHS {
        let folder = Folder::new();
        let (file, copy) = (folder.path("live.db"), folder.path("copy.db"));
        let store = SqliteOptions::new(&file).open().await.expect("a store");
        let elsewhere = async || SqliteOptions::new(&file).open().await.expect("a store");
        let keep = async || {
            let sql = format!("VACUUM INTO '{}'", copy.display());
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut sqlite(&file).await).await.expect("a copy");
        };
        // In place, as `.restore` does: the process goes on with the same file.
        let go_back = async || {
            let mut connection = sqlite(&file).await;
            let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
            let triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'";
            let tables = sqlx::query(tables).fetch_all(&mut connection).await.expect("tables");
            let triggers = sqlx::query(triggers).fetch_all(&mut connection).await.expect("triggers");
            let mut sql = format!("ATTACH '{}' AS copy; BEGIN IMMEDIATE;", copy.display());
            for trigger in &triggers {
                sql += &format!("DROP TRIGGER \"{}\";", trigger.get::<&str, _>(0));
            }
            for table in tables.iter().map(|table| table.get::<&str, _>(0)) {
                sql += &format!(
                    "DELETE FROM main.\"{table}\"; INSERT INTO main.\"{table}\" SELECT * FROM copy.\"{table}\";"
                );
            }
            for trigger in &triggers {
                sql += &format!("{};", trigger.get::<&str, _>(1));
            }
            sql += "COMMIT;";
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it is put back");
        };
        goes_back(store, elsewhere, keep, go_back, grows).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_postgresql_are_put_back_under_open_connections() {
    for grows in GROWTHS {
        let (url, schema) = (shared_postgres_url(), unique_schema());
        let store = PgOptions::new(&url).schema(&schema).connect().await.expect("a store");
        let elsewhere = async || PgOptions::new(&url).schema(&schema).connect().await.expect("a store");
        let tables = ["events", "log_floor", "checkpoints", "view_applied@1"];
        let execute = async |sql: String| {
            let mut connection = PgConnection::connect(&url).await.expect("the server accepts connections");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("it works");
        };
        let keep = async || {
            for table in tables {
                execute(format!("CREATE TABLE {schema}.\"kept_{table}\" AS TABLE {schema}.\"{table}\"")).await;
            }
        };
        let go_back = async || {
            // In one transaction, past all triggers.
            let mut sql = "SET session_replication_role = replica; BEGIN;".to_owned();
            for table in tables {
                sql += &format!(
                    "TRUNCATE {schema}.\"{table}\"; INSERT INTO {schema}.\"{table}\" TABLE {schema}.\"kept_{table}\";"
                );
            }
            execute(sql + "COMMIT;").await;
        };
        goes_back(store, elsewhere, keep, go_back, grows).await;
        execute(format!("DROP SCHEMA {schema} CASCADE")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_without_the_last_events_is_promoted() {
    for grows in [0, 30] {
        let primary = durable_postgres().await;
        let (primary, standby) = blocking(move || {
            let standby = primary.start_standby(&xtask::postgres::PostgresOptions::durable()).expect("a standby");
            (primary, standby)
        })
        .await;
        let network = TcpProxy::to(primary.port()).await.expect("a port");
        let url = primary.url().replace(&primary.port().to_string(), &network.port().to_string());
        let store = PgOptions::new(&url).acquire_timeout(Duration::from_secs(2)).connect().await.expect("a store");
        let elsewhere_url = standby.url();
        let elsewhere = async || PgOptions::new(&elsewhere_url).connect().await.expect("a store");
        let execute = async |url: &str, sql: &'static str| {
            let mut connection = PgConnection::connect(url).await.expect("the server accepts connections");
            sqlx::raw_sql(sql).execute(&mut connection).await.expect("it works");
        };
        let (primary_url, standby_port) = (primary.url(), standby.port());
        let keep = async || {
            // It has everything up to here, and gets nothing from here on.
            until("the standby has everything", async || {
                let mut primary = PgConnection::connect(&primary_url).await.expect("the server accepts connections");
                let sql = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()";
                sqlx::query(sql).fetch_one(&mut primary).await.expect("a count").get::<i64, _>(0) == 1
            })
            .await;
            execute(&elsewhere_url, "ALTER SYSTEM SET primary_conninfo = ''").await;
            execute(&elsewhere_url, "SELECT pg_reload_conf()").await;
            until("the standby gets nothing any more", async || {
                let mut standby = PgConnection::connect(&elsewhere_url).await.expect("it accepts connections");
                let sql = "SELECT count(*) FROM pg_stat_wal_receiver";
                sqlx::query(sql).fetch_one(&mut standby).await.expect("a count").get::<i64, _>(0) == 0
            })
            .await;
        };
        let go_back = async || {
            network.set_open(false);
            let mut primary = primary;
            blocking(move || primary.stop(Shutdown::Immediate).expect("the primary ends")).await;
            execute(&elsewhere_url, "SELECT pg_promote()").await;
            network.set_target(standby_port);
            network.set_open(true);
        };
        goes_back(store, elsewhere, keep, go_back, grows).await;
        drop(standby);
    }
}
