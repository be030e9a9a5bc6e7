//! A synchronous standby: an append that is acknowledged is flushed there too, in both modes of commits.

use std::time::Duration;

use es_core::{
    Append, EventFilter, EventStore, EventType, ExpectedVersion, NewEvent, PageSize, Payload, Position, StreamId,
};
use es_e2e::server::{blocking, durable_postgres, slow_background_writer};
use es_postgres::{PgOptions, PgStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use xtask::postgres::{Shutdown, ThrowawayPostgres};

fn deposit(id: &str) -> Append {
    let payload = Payload::from_json(r#"{"cents":1}"#).expect("JSON");
    let event = NewEvent::new(EventType::new("Deposited").expect("a name"), payload);
    let stream = StreamId::new("account", id).expect("a name");
    Append::to(stream, ExpectedVersion::Any, vec![event]).build().expect("a valid append")
}

async fn execute(server: &ThrowawayPostgres, sql: &'static str) {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server accepts connections");
    // Not within a transaction, where ALTER SYSTEM is not allowed.
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("the statement works");
}

/// The number that a query gives, where the server is one that only reads, too.
async fn number(server: &ThrowawayPostgres, sql: String) -> i64 {
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server accepts connections");
    sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect("the query works").get(0)
}

/// Whether a page shows the event at a position, and how far it says that the log is durable.
async fn seen(store: &PgStore, position: Position) -> (bool, Position) {
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.expect("a page");
    (page.events.iter().any(|event| event.position() == position), page.durable_to)
}

async fn standby_is_waited_for(pipelined: bool) {
    let mut primary = durable_postgres().await;
    let (returned, mut standby) = blocking(move || {
        let standby = primary.start_standby(&slow_background_writer()).expect("a standby");
        (primary, standby)
    })
    .await;
    primary = returned;
    let store = PgOptions::new(primary.url()).pipelined(pipelined).connect().await.expect("a store");
    execute(&primary, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    execute(&primary, "SELECT pg_reload_conf()").await;
    let sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    while number(&primary, sync.to_owned()).await == 0 {
        tokio::task::yield_now().await;
    }
    store.append(&deposit("before")).await.expect("an append with the standby there");

    standby = blocking(move || {
        standby.stop(Shutdown::Fast).expect("the standby stops");
        standby
    })
    .await;
    let append = {
        let store = store.clone();
        tokio::spawn(async move { store.append(&deposit("meanwhile")).await })
    };
    if pipelined {
        // Whoever reads sees the event, and is told that it is not safe yet; whoever asks for that waits.
        let mut page = seen(&store, Position::new(2)).await;
        while !page.0 {
            page = seen(&store, Position::new(2)).await;
        }
        assert_eq!(page.1, Position::new(1));
        let waiting = store.wait_durable(Position::new(2));
        let waited = tokio::time::timeout(Duration::from_millis(300), waiting).await;
        assert!(waited.is_err(), "the position is not on the standby");
    } else {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!seen(&store, Position::new(2)).await.0);
    }
    assert!(!append.is_finished(), "an append was acknowledged that the standby does not have");

    standby = blocking(move || {
        standby.restart().expect("the standby comes back");
        standby
    })
    .await;
    let appended = append.await.expect("no panic").expect("an append with the standby there again");
    store.wait_durable(appended.last_position).await.expect("the standby has it");
    assert_eq!(seen(&store, appended.last_position).await, (true, appended.last_position));

    // The primary is lost for good: what was acknowledged is on the standby.
    primary = blocking(move || {
        primary.kill().expect("the primary can be killed");
        primary
    })
    .await;
    let events = format!("SELECT count(*) FROM {}.events", store.schema());
    while number(&standby, "SELECT (pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn())::int::bigint".to_owned())
        .await
        == 0
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(number(&standby, events).await, 2);
    drop(primary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_waits_for_the_synchronous_standby() {
    standby_is_waited_for(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_waits_for_the_synchronous_standby_in_the_pipelined_mode() {
    standby_is_waited_for(true).await;
}
