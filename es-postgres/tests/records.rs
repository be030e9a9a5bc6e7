//! What commits and updates of records lock.

mod common;

use common::{Schema, connection, execute, number};
use es_core::{
    Payload,
    store::{RecordBatch, RecordKey, RecordStore},
};
use es_postgres::PgConnection;

/// The advisory locks that a connection holds.
async fn advisory_locks(connection: &mut PgConnection) -> i64 {
    number(connection, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()").await
}

/// Calls the function that commits, in the transaction of a connection.
async fn commit(connection: &mut PgConnection, schema: &Schema, arguments: &str) {
    let call = format!("SELECT {}.commit_records({arguments}, gen_random_uuid(), 1000)", schema.name);
    execute(connection, call).await;
}

#[tokio::test]
async fn only_keys_whose_records_may_be_missing_and_ranges_are_locked_as_names() {
    let schema = Schema::new();
    let store = schema.store().await;
    let key = |text: &str| RecordKey::parse(text).unwrap();
    let batch =
        ["a/b/c", "d"].into_iter().fold(RecordBatch::new(), |batch, text| batch.put(key(text), Payload::trusted("1")));
    store.commit(&batch).await.unwrap();
    let mut connection = connection().await;
    for (arguments, locks) in [
        ("'{a/b/c,d}', '{present,NULL}', '{put,touch}', '{2,NULL}'", 0),
        ("'{a/b/c}', '{NULL}', '{delete}', '{NULL}'", 0),
        // `/`, `a/`, `a/b/` and the key.
        ("'{a/b/new}', '{NULL}', '{put}', '{2}'", 4),
        ("'{a/b/none}', '{absent}', '{NULL}', '{NULL}'", 4),
        // `/` once.
        ("'{x,y}', '{NULL,NULL}', '{put,put}', '{2,2}'", 3),
    ] {
        execute(&mut connection, "BEGIN").await;
        commit(&mut connection, &schema, arguments).await;
        assert_eq!(advisory_locks(&mut connection).await, locks, "{arguments}");
        execute(&mut connection, "ROLLBACK").await;
    }
    for (ranges, locks) in [("'{}', '{\"\"}'", 1), ("'{}', '{a/b}'", 3), ("'{a/b}', '{a}'", 3)] {
        execute(&mut connection, "BEGIN").await;
        let call = format!("SELECT {}.lock_records({ranges}, '{{a}}', '{{b}}', 10, 1000)", schema.name);
        execute(&mut connection, call).await;
        assert_eq!(advisory_locks(&mut connection).await, locks, "{ranges}");
        execute(&mut connection, "ROLLBACK").await;
    }
    store.close().await;
}
