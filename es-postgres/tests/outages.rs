//! Connections that are lost, used up, or left by dropped futures.

mod common;

use std::time::Duration;

use common::{Schema, connection, deposit, deposited, execute, number, stream, url};
use es_core::{Append, EventStore, ExpectedVersion, PageSize, Position, StoreError, Version};
use es_postgres::{PgOptions, PgStore, sqlx::postgres::PgConnectOptions};

/// A store whose connections can be told from all others.
async fn store_with_connections(schema: &Schema, connections: u32) -> PgStore {
    let options = url().parse::<PgConnectOptions>().unwrap().application_name(&schema.name);
    let options = PgOptions::from_connect_options(options).schema(&schema.name).notify(false);
    options.max_connections(connections).acquire_timeout(Duration::from_millis(300)).connect().await.unwrap()
}

fn of_store(schema: &Schema) -> String {
    format!("FROM pg_stat_activity WHERE application_name = '{}'", schema.name)
}

#[tokio::test]
async fn connections_that_were_cut_while_idle_are_replaced() {
    let schema = Schema::new();
    let store = store_with_connections(&schema, 1).await;
    store.append(&deposit("ann")).await.unwrap();
    let mut admin = connection().await;
    let cut = format!("SELECT count(pg_terminate_backend(pid)) {}", of_store(&schema));
    assert!(number(&mut admin, cut).await >= 1);
    let appended = store.append(&deposit("ann")).await.unwrap();
    assert_eq!(appended.last_position, Position::new(2));
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_busy() {
    let schema = Schema::new();
    let store = store_with_connections(&schema, 1).await;
    let unit = store.begin().await.unwrap();
    match store.head().await {
        Err(StoreError::Busy { waiting_for, .. }) => assert!(waiting_for.contains("1 connections"), "{waiting_for}"),
        other => panic!("expected Busy, got {other:?}"),
    }
    // Appends have a connection of their own.
    store.append(&deposit("ann")).await.unwrap();
    unit.rollback().await.unwrap();
    store.head().await.unwrap();
}

#[tokio::test]
async fn a_large_append_that_is_dropped_half_way_disturbs_nobody() {
    let schema = Schema::new();
    let store = store_with_connections(&schema, 1).await;
    let filler = "x".repeat(200_000);
    let payload = || es_core::Payload::trusted(format!("\"{filler}\""));
    let event = || es_core::NewEvent::new(es_core::EventType::new("Large").unwrap(), payload());
    let mut expected = 0;
    for polls in [1, 2, 4, 8, 16, 32] {
        // More than any buffer holds, so that some of it is sent and some is not.
        let events = (0..50).map(|_| event()).collect();
        let large = Append::to(stream("large"), ExpectedVersion::Any, events).build().unwrap();
        let mut append = store.append(&large);
        for _ in 0..polls {
            let is_ready =
                std::future::poll_fn(|context| std::task::Poll::Ready(append.as_mut().poll(context).is_ready()));
            if is_ready.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(append);
        // The only connection gives its next user this user's answer.
        let small = store.append(&deposit("small")).await.unwrap();
        expected += 1;
        assert_eq!(small.streams[0].last_version, Version::new(expected));
        let again = store.append(&large).await.unwrap();
        assert_eq!(again.streams[0].stream, stream("large"));
    }
    let page = store.read_stream(&stream("large"), Version::ZERO, PageSize::new(10_000).unwrap()).await.unwrap();
    let last = page.events.last().unwrap();
    assert_eq!(last.version().get(), page.events.len() as u64);
    let total = number(&mut connection().await, format!("SELECT max(version) FROM {}.events", schema.name)).await;
    assert_eq!(total, 300);
}

#[tokio::test]
async fn an_append_to_a_schema_that_was_dropped_says_so() {
    let schema = Schema::new();
    let store = store_with_connections(&schema, 1).await;
    execute(&mut connection().await, format!("DROP SCHEMA {} CASCADE", schema.name)).await;
    let one = Append::to(stream("ann"), ExpectedVersion::Any, vec![deposited(1)]).build().unwrap();
    assert!(matches!(store.append(&one).await, Err(StoreError::Setup { .. })));
}
