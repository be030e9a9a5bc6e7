//! Behind a PgBouncer in transaction mode. The conformance suite runs there too.

mod common;

use std::time::Duration;

use common::{Schema, append_to, connection, deposit, execute, number, pgbouncer_url};
use es_core::{ConsumerStoreExt, EventStore, ExpectedVersion, Position, StoreError, Version};
use es_postgres::PgOptions;
use es_testkit::bank::Balance;

fn options(schema: &Schema) -> PgOptions {
    schema.options_at(pgbouncer_url()).pgbouncer(true)
}

#[tokio::test]
async fn processes_that_start_at_once_migrate_once() {
    let schema = Schema::new();
    let starts: Vec<_> = (0..10).map(|_| tokio::spawn(options(&schema).connect())).collect();
    for start in starts {
        start.await.unwrap().unwrap().append(&deposit("ann")).await.unwrap();
    }
    let migrations = format!("SELECT count(*) FROM {}.es_migrations", schema.name);
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    assert_eq!(number(&mut connection().await, migrations).await, i64::try_from(files).unwrap());
}

#[tokio::test]
async fn units_of_work_and_inline_views_work() {
    let schema = Schema::new();
    let store = options(&schema).inline_view::<Balance>().connect().await.unwrap();
    let mut unit = store.begin().await.unwrap();
    execute(unit.connection(), format!("CREATE TABLE {}.invoices (id bigint)", schema.name)).await;
    unit.append(append_to("ann", ExpectedVersion::NoStream)).unwrap();
    unit.append(append_to("ann", ExpectedVersion::Exact(Version::new(1)))).unwrap();
    let outcomes = unit.commit().await.unwrap();
    assert_eq!(outcomes[1].last_position, Position::new(2));
    assert_eq!(store.view::<Balance>().get("ann").await.unwrap().map(|balance| balance.cents), Some(2));
}

#[tokio::test]
async fn a_lock_that_is_not_released_in_time_is_busy_and_leaves_nothing_behind() {
    let schema = Schema::new();
    let store = options(&schema).lock_timeout(Duration::from_millis(30)).connect().await.unwrap();
    let mut slow = connection().await;
    execute(&mut slow, "BEGIN").await;
    store.append_in(&mut slow, &deposit("ann")).await.unwrap();
    for _ in 0..5 {
        assert!(matches!(store.append(&deposit("bob")).await, Err(StoreError::Busy { .. })));
    }
    execute(&mut slow, "COMMIT").await;
    assert_eq!(store.append(&deposit("bob")).await.unwrap().last_position, Position::new(2));
}

#[tokio::test]
async fn a_store_behind_it_tells_those_who_listen_directly() {
    let schema = Schema::new();
    let store = options(&schema).connect().await.unwrap();
    let listening = schema.store().await;
    let mut wakeups = listening.wakeups();
    store.append(&deposit("ann")).await.unwrap();
    let hinted = async {
        while wakeups.latest() < Position::new(1) {
            wakeups.next().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), hinted).await.unwrap();
}

#[tokio::test]
async fn a_store_that_was_not_told_of_it_fails_with_the_remedy() {
    let schema = Schema::new();
    match schema.options_at(pgbouncer_url()).connect().await {
        Err(StoreError::Setup { remedy, .. }) => assert!(remedy.contains("pgbouncer(true)"), "{remedy}"),
        other => panic!("expected a Setup error, got {other:?}"),
    }
}
