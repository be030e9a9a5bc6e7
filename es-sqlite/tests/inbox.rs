//! The inbox of this store: what it does beyond what every store does.

mod common;

use std::time::{Duration, Instant};

use common::{TempFolder, deposited, to};
use es_core::{
    BlobStore, ConsumerName, DeadLetterStore, EventStore, InboxKey, InboxStore, MessageUnit, Novelty, Position,
    StoreError, limits,
};
use es_sqlite::{
    SqliteOptions,
    sqlx::{self, Connection},
};
use uuid::Uuid;

fn keys<'a>(ids: &[&'a str]) -> Vec<InboxKey<'a>> {
    ids.iter().map(|id| InboxKey::new(id, 0)).collect()
}

fn shop() -> ConsumerName {
    ConsumerName::new("shop").unwrap()
}

#[tokio::test]
async fn a_handler_that_writes_past_its_unit_is_refused_and_does_not_hang() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let deposit = || to("ann", vec![deposited(1)]).build().unwrap();
    let mut unit = store.receive(&shop(), &keys(&["a"])).await.unwrap().unit;
    let handler = async {
        let answers = [
            store.append(&deposit()).await.map(|_| ()),
            store.begin().await.map(|_| ()),
            store.receive(&shop(), &keys(&["b"])).await.map(|_| ()),
            store.add_dead_letters(&[]).await,
            store.put_blob("a", b"a").await,
        ];
        for answer in answers {
            assert!(matches!(&answer, Err(StoreError::Refused { reason }) if reason.contains("unit")), "{answer:?}");
        }
        // This is what it is to do; reading is free.
        unit.append(deposit()).unwrap();
        assert_eq!(store.head().await.unwrap(), Position::ZERO);
    };
    store.in_handler(handler).await;
    unit.commit().await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position::new(1));
    store.append(&deposit()).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_too_long_for_the_writer_is_told() {
    let folder = TempFolder::new();
    let store = SqliteOptions::new(folder.file()).busy_timeout(Duration::from_millis(50)).open().await.unwrap();
    let unit = store.receive(&shop(), &keys(&["a"])).await.unwrap().unit;
    let busy = store.receive(&shop(), &keys(&["b"])).await.map(|_| ());
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
    unit.rollback().await.unwrap();
    assert_eq!(store.receive(&shop(), &keys(&["a", "b"])).await.unwrap().novelty, [Novelty::New; 2]);
}

#[tokio::test]
async fn a_nested_transaction_that_a_handler_left_open_is_undone() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    sqlx::query("CREATE TABLE seats (name TEXT)").execute(&mut folder.connection().await).await.unwrap();
    let mut unit = store.begin_unit().await.unwrap();
    unit.savepoint().await.unwrap();
    let mut nested = unit.connection().begin().await.unwrap();
    sqlx::query("INSERT INTO seats VALUES ('1A')").execute(&mut *nested).await.unwrap();
    std::mem::forget(nested);
    unit.rollback_to().await.unwrap();
    sqlx::query("INSERT INTO seats VALUES ('2B')").execute(unit.connection()).await.unwrap();
    unit.commit().await.unwrap();
    let seats: Vec<String> =
        sqlx::query_scalar("SELECT name FROM seats").fetch_all(&mut folder.connection().await).await.unwrap();
    assert_eq!(seats, ["2B"]);
}

#[tokio::test]
async fn what_is_remembered_is_counted_and_no_more_than_that() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    for _ in 0..2 {
        store.receive(&shop(), &keys(&["a", "b", "a"])).await.unwrap().unit.commit().await.unwrap();
    }
    let stats = store.inbox_stats().await.unwrap();
    assert_eq!((stats.remembered, stats.bytes), (2, 10));
    for _ in 0..=limits::INBOX_PARTITIONS {
        store.rotate_inbox(Duration::ZERO).await.unwrap();
    }
    assert_eq!(store.inbox_stats().await.unwrap().remembered, 0);
}

/// Figures for the page on the inbox; on a quiet machine: `cargo test --release -p es-sqlite --test inbox -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "it measures"]
async fn receiving_beside_the_bare_insert() {
    const IDS: usize = 4_096;
    let folder = TempFolder::new();
    let store = folder.store().await;
    let mut bare = folder.connection().await;
    let setup = "PRAGMA synchronous = FULL;
                 CREATE TABLE bare (consumer TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (consumer, id)) STRICT, WITHOUT ROWID";
    sqlx::raw_sql(setup).execute(&mut bare).await.unwrap();
    let insert = "INSERT INTO bare SELECT 'shop', value FROM json_each(?1) WHERE 1 ON CONFLICT DO NOTHING";
    for size in [1, 32, 256] {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        let batches = IDS.min(size * 200) / size;
        let divisor = u32::try_from(batches).unwrap();
        let new_ids = || -> Vec<String> { (0..size).map(|_| Uuid::now_v7().to_string()).collect() };
        for _ in 0..3 {
            let start = Instant::now();
            for _ in 0..batches {
                let ids = new_ids();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let received = store.receive(&shop(), &keys(&ids)).await.unwrap();
                assert!(received.novelty.iter().all(|it| it.is_new()));
                received.unit.commit().await.unwrap();
            }
            ours.push(start.elapsed() / divisor);
            let start = Instant::now();
            for _ in 0..batches {
                let ids = format!("[\"{}\"]", new_ids().join("\",\""));
                let mut transaction = bare.begin_with("BEGIN IMMEDIATE").await.unwrap();
                let done = sqlx::query(insert).bind(ids).execute(&mut *transaction).await.unwrap();
                assert_eq!(done.rows_affected(), size as u64);
                transaction.commit().await.unwrap();
            }
            floor.push(start.elapsed() / divisor);
        }
        let (ours, floor) = (ours.iter().min().unwrap(), floor.iter().min().unwrap());
        println!("{size:4} ids: {ours:?}, bare {floor:?}, {:.0} %", floor.as_secs_f64() / ours.as_secs_f64() * 100.0);
    }
}
