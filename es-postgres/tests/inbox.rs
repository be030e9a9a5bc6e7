//! The inbox of this store: what it does beyond what every store does.

mod common;

use std::time::{Duration, Instant};

use common::{Schema, connection, deposit, execute, number, url};
use es_core::{ConsumerName, EventStore, InboxKey, InboxStore, Novelty, Position, StoreError};
use es_postgres::{
    PgStore,
    sqlx::{self, AssertSqlSafe},
};
use uuid::Uuid;

fn keys<'a>(ids: &[&'a str]) -> Vec<InboxKey<'a>> {
    ids.iter().map(|id| InboxKey::new(id, 0)).collect()
}

fn shop() -> ConsumerName {
    ConsumerName::new("shop").unwrap()
}

#[tokio::test]
async fn a_handler_that_writes_past_its_unit_is_refused() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut unit = store.receive(&shop(), &keys(&["a"])).await.unwrap().unit;
    let handler = async {
        let answers = [
            store.append(&deposit("ann")).await.map(|_| ()),
            store.begin().await.map(|_| ()),
            store.receive(&shop(), &keys(&["b"])).await.map(|_| ()),
            store.append_in(unit.connection(), &deposit("ann")).await.map(|_| ()),
        ];
        for answer in answers {
            assert!(matches!(&answer, Err(StoreError::Refused { reason }) if reason.contains("unit")), "{answer:?}");
        }
        // This is what it is to do.
        unit.append(deposit("ann")).unwrap();
    };
    store.in_handler(handler).await;
    unit.commit().await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position::new(1));
    store.append(&deposit("ann")).await.unwrap();
}

#[tokio::test]
async fn a_unit_is_flushed_by_its_commit_whatever_the_server_would_do() {
    let schema = Schema::new();
    let separator = if url().contains('?') { '&' } else { '?' };
    let lazy = format!("{}{separator}options=-c%20synchronous_commit%3Doff", url());
    let store = schema.options_at(lazy).connect().await.unwrap();
    async fn setting(unit: &mut es_postgres::UnitOfWork) -> String {
        sqlx::query_scalar("SHOW synchronous_commit").fetch_one(unit.connection()).await.unwrap()
    }
    let mut unit = store.begin().await.unwrap();
    assert_eq!(setting(&mut unit).await, "off", "the test has no effect");
    drop(unit);
    assert_eq!(setting(&mut store.receive(&shop(), &keys(&["a"])).await.unwrap().unit).await, "on");
    assert_eq!(setting(&mut store.begin_unit().await.unwrap()).await, "on");
}

#[tokio::test]
async fn whoever_waits_too_long_for_a_message_or_for_the_units_is_told() {
    let schema = Schema::new();
    let store = schema.options().lock_timeout(Duration::from_millis(50)).connect().await.unwrap();
    let open = store.receive(&shop(), &keys(&["a", "b"])).await.unwrap().unit;
    let busy = store.receive(&shop(), &keys(&["b", "c"])).await.map(|_| ());
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
    // The rest of a unit waits as long as its session says, not as long as the store.
    let mut other = store.receive(&shop(), &keys(&["c"])).await.unwrap().unit;
    let timeout: String = sqlx::query_scalar("SHOW lock_timeout").fetch_one(other.connection()).await.unwrap();
    assert_eq!(timeout, "0");
    let busy = store.rotate_inbox(Duration::ZERO).await;
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
    open.commit().await.unwrap();
    other.commit().await.unwrap();
    store.rotate_inbox(Duration::ZERO).await.unwrap();
    assert_eq!(store.receive(&shop(), &keys(&["a", "b", "c"])).await.unwrap().novelty, [Novelty::New; 3]);
}

#[tokio::test]
async fn ids_are_looked_up_by_index_in_every_partition() {
    const ROWS: i64 = 20_000;
    let schema = Schema::new();
    let store = schema.options().max_connections(1).connect().await.unwrap();
    // The plans are made while nothing is there, and used ever after.
    let receive = async |from: i64| {
        let ids: Vec<String> = (from..from + 50).map(|id| format!("id {id}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let received = store.receive(&shop(), &keys(&ids)).await.unwrap();
        received.unit.commit().await.unwrap();
        received.novelty
    };
    for round in 0..8 {
        receive(-100 * (round + 1)).await;
    }
    let mut admin = connection().await;
    for partition in 1..4 {
        let (name, first) = (&schema.name, i64::from(partition) * ROWS);
        let fill = format!(
            "INSERT INTO {name}.inbox_{partition} SELECT 'shop', 'id ' || n, 0 FROM generate_series({first}, {first} + {ROWS} - 1) n;
             UPDATE {name}.inbox_ring SET opened_at = clock_timestamp(), closed_at = clock_timestamp() WHERE partition = {partition}"
        );
        execute(&mut admin, fill).await;
    }
    let start = Instant::now();
    for round in 1..=20 {
        assert_eq!(receive(round * 60).await, [Novelty::New; 50]);
        assert_eq!(receive(ROWS * (1 + round % 3) + round * 60).await, [Novelty::Known; 50]);
    }
    println!("{:?} a batch of 50", start.elapsed() / 40);
    store.close().await;
    let scans = async |admin: &mut _, partition: i64| {
        number(admin, format!("SELECT pg_stat_get_numscans('{}.inbox_{partition}'::regclass)", schema.name)).await
    };
    let lookups = format!("SELECT pg_stat_get_numscans('{}.inbox_3_pkey'::regclass)", schema.name);
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        while number(&mut admin, lookups.clone()).await < 1_000 {}
    });
    assert!(told.await.is_ok(), "the server's statistics do not arrive");
    for partition in 0..4 {
        // Making the index reads the table as well.
        assert!(scans(&mut admin, partition).await <= 1, "partition {partition} was read as a whole");
    }
}

/// Figures for the page on the inbox; on a quiet machine: `cargo test --release -p es-postgres --test inbox -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "it measures"]
async fn receiving_beside_the_bare_insert() {
    const IDS: usize = 4_096;
    let schema = Schema::new();
    let store = schema.options().connect().await.unwrap();
    let mut bare = connection().await;
    execute(&mut bare, format!("CREATE TABLE {}.bare (LIKE {0}.inbox_0 INCLUDING ALL)", schema.name)).await;
    let insert = format!("INSERT INTO {}.bare SELECT 'shop', unnest($1::text[]) ON CONFLICT DO NOTHING", schema.name);
    for size in [1, 32, 256] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            ours.push(ours_of(&store, size, IDS.min(size * 200)).await);
            let start = Instant::now();
            let batches = IDS.min(size * 200) / size;
            for _ in 0..batches {
                let ids: Vec<String> = (0..size).map(|_| Uuid::now_v7().to_string()).collect();
                let mut transaction = sqlx::Connection::begin(&mut bare).await.unwrap();
                let query = sqlx::query(AssertSqlSafe(insert.clone())).bind(ids);
                assert_eq!(query.execute(&mut *transaction).await.unwrap().rows_affected(), size as u64);
                transaction.commit().await.unwrap();
            }
            floor.push(start.elapsed() / u32::try_from(batches).unwrap());
        }
        let (ours, floor) = (ours.iter().min().unwrap(), floor.iter().min().unwrap());
        println!("{size:4} ids: {ours:?}, bare {floor:?}, {:.0} %", floor.as_secs_f64() / ours.as_secs_f64() * 100.0);
    }
}

/// How long a unit takes that notes so many ids.
async fn ours_of(store: &PgStore, size: usize, ids: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..ids / size {
        let ids: Vec<String> = (0..size).map(|_| Uuid::now_v7().to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let received = store.receive(&shop(), &keys(&ids)).await.unwrap();
        assert!(received.novelty.iter().all(|it| it.is_new()));
        received.unit.commit().await.unwrap();
    }
    start.elapsed() / u32::try_from(ids / size).unwrap()
}
