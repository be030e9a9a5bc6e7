//! Two processes make room for a view at once.

mod common;

use common::{Schema, connection, execute, somebody_waits};
use es_core::{ConsumerName, ConsumerStore};

#[tokio::test]
async fn what_readers_of_a_view_use_can_be_made_by_two_processes_at_once() {
    let schema = Schema::new();
    let store = schema.store().await;
    let view = ConsumerName::new("balance").unwrap();
    store.prepare_view(&view).await.unwrap();
    let (mut own, name) = (connection().await, &schema.name);
    // As of a process that ended between the two.
    execute(&mut own, format!("DROP VIEW {name}.\"view_balance\"")).await;
    // Another process is about to make it anew.
    let lock = format!("SELECT pg_advisory_xact_lock(1702064994, '{name}'::regnamespace::oid::integer)");
    execute(&mut own, format!("BEGIN; {lock}")).await;
    let show = format!("CREATE VIEW {name}.\"view_balance\" AS SELECT key, document FROM {name}.\"view_balance@1\"");
    execute(&mut own, show).await;
    let preparing = tokio::spawn(async move { store.prepare_view(&view).await });
    somebody_waits(&schema).await;
    execute(&mut own, "COMMIT").await;
    preparing.await.unwrap().unwrap();
}
