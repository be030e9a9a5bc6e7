//! The schema, and that every statement finds its rows by an index.

mod common;

use common::{TempFolder, account, append, deposited};
use es_core::{ConsumerName, ConsumerStore};
use es_sqlite::{
    SqliteConnection,
    sqlx::{self, AssertSqlSafe, Row},
};

/// The golden file is written anew when this is set: `ES_UPDATE_GOLDEN=1 cargo test -p es-sqlite --test schema`.
const BLESS: &str = "ES_UPDATE_GOLDEN";

async fn schema(connection: &mut SqliteConnection) -> String {
    let sql =
        "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'trigger', tbl_name, type DESC, name";
    let statements: Vec<String> = sqlx::query_scalar(sql).fetch_all(connection).await.unwrap();
    statements.iter().map(|statement| format!("{statement};\n")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_new_database_has_the_schema_of_the_golden_file() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    store.prepare_view(&ConsumerName::new("name").unwrap()).await.unwrap();
    let header =
        "-- The schema of a database of this version, with one view called \"name\". Checked by tests/schema.rs.\n\n";
    let actual = format!("{header}{}", schema(&mut folder.connection().await).await);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.sql");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&golden, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap().replace('\r', "");
    assert!(actual == expected, "the schema has changed; if that is meant, run the test with {BLESS}=1\n{actual}");
}

/// What SQLite will do for a statement: one line a step.
async fn plan(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let query = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
    let rows = query.fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

#[tokio::test]
async fn no_statement_scans_a_table_that_grows() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    store.prepare_view(&ConsumerName::new("name").unwrap()).await.unwrap();
    for round in 0..20 {
        append(&store, &format!("a{}", round % 3), (0..50).map(deposited).collect()).await.unwrap();
    }
    let mut connection = folder.connection().await;
    // With and without statistics: an application may have gathered some.
    for _ in 0..2 {
        for (name, sql) in [
            ("append_check", include_str!("../sql/append_check.sql")),
            ("append_events", include_str!("../sql/append_events.sql")),
            ("append_keys", include_str!("../sql/append_keys.sql")),
            ("find_append", include_str!("../sql/find_append.sql")),
            ("head", include_str!("../sql/head.sql")),
            ("read_stream", include_str!("../sql/read_stream.sql")),
            ("read_all", include_str!("../sql/read_all.sql")),
            ("read_filtered", include_str!("../sql/read_filtered.sql")),
            ("checkpoint", include_str!("../sql/checkpoint.sql")),
            ("start_checkpoint", include_str!("../sql/start_checkpoint.sql")),
            ("move_checkpoint", include_str!("../sql/move_checkpoint.sql")),
            ("partitions", include_str!("../sql/partitions.sql")),
            ("reset_checkpoint", include_str!("../sql/reset_checkpoint.sql")),
            ("snapshot_load", include_str!("../sql/snapshot_load.sql")),
            ("snapshot_save", include_str!("../sql/snapshot_save.sql")),
            ("view_get", include_str!("../sql/view_get.sql")),
            ("view_list", include_str!("../sql/view_list.sql")),
            ("view_put", include_str!("../sql/view_put.sql")),
            ("view_delete", include_str!("../sql/view_delete.sql")),
            ("parked_among", include_str!("../sql/parked_among.sql")),
            ("parked_open", include_str!("../sql/parked_open.sql")),
            ("parked_add", include_str!("../sql/parked_add.sql")),
            ("parked_remove", include_str!("../sql/parked_remove.sql")),
            ("parked_forget", include_str!("../sql/parked_forget.sql")),
            ("parked_queues", include_str!("../sql/parked_queues.sql")),
            ("parked_queue", include_str!("../sql/parked_queue.sql")),
            ("parked_events", include_str!("../sql/parked_events.sql")),
            ("parked_edit", include_str!("../sql/parked_edit.sql")),
            ("request_retry", include_str!("../sql/request_retry.sql")),
            ("retry_requests", include_str!("../sql/retry_requests.sql")),
            ("parked_failed", include_str!("../sql/parked_failed.sql")),
            ("parked_discard", include_str!("../sql/parked_discard.sql")),
            ("parking_record", include_str!("../sql/parking_record.sql")),
            ("parking_history", include_str!("../sql/parking_history.sql")),
            ("records", include_str!("../sql/records.sql")),
            ("record_revisions", include_str!("../sql/record_revisions.sql")),
            ("records_of_scope", include_str!("../sql/records_of_scope.sql")),
            ("scan_records", include_str!("../sql/scan_records.sql")),
            ("scan_records_down", include_str!("../sql/scan_records_down.sql")),
            ("put_records", include_str!("../sql/put_records.sql")),
            ("touch_records", include_str!("../sql/touch_records.sql")),
            ("delete_records", include_str!("../sql/delete_records.sql")),
        ] {
            let sql = sql.replace("es_view_name", "\"es_view_name@1\"");
            let steps = plan(&mut connection, &sql).await;
            // The tables that grow, by the names that the statements have for them.
            let grows =
                |table: &str| table.starts_with("es_") || ["e", "l", "a", "c", "d", "k", "p", "r"].contains(&table);
            let is_scan =
                |step: &&String| step.strip_prefix("SCAN ").is_some_and(|s| s.split(' ').next().is_some_and(grows));
            let scans: Vec<_> = steps.iter().filter(is_scan).collect();
            assert!(scans.is_empty(), "{name} scans: {scans:#?}\nof {steps:#?}");
        }
        sqlx::query("ANALYZE").execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn rare_types_and_streams_are_found_by_position() {
    let folder = TempFolder::new();
    drop(folder.store().await);
    let steps = plan(&mut folder.connection().await, include_str!("../sql/read_filtered.sql")).await.join("\n");
    for part in [
        "SEARCH e USING COVERING INDEX es_events_type (category=? AND type=? AND rowid>? AND rowid<?)",
        "SEARCH e USING COVERING INDEX es_events_stream (stream=? AND version>? AND version<?)",
        "SEARCH e USING COVERING INDEX es_events_type (category=? AND type>?)",
    ] {
        assert!(steps.contains(part), "{part}\nis not in\n{steps}");
    }
}

#[tokio::test]
async fn positions_and_times_are_not_used_again_after_the_tail_was_removed() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![deposited(1), deposited(2), deposited(3)]).await.unwrap();
    let mut connection = folder.connection().await;
    let later = "UPDATE es_events SET recorded_at = recorded_at + 60000000 WHERE position = 3";
    sqlx::query(later).execute(&mut connection).await.unwrap();
    sqlx::query("DELETE FROM es_events WHERE position > 1").execute(&mut connection).await.unwrap();
    assert_eq!(es_core::EventStore::head(&store).await.unwrap().get(), 1);

    let again = append(&store, "ann", vec![deposited(4)]).await.unwrap();
    assert_eq!(again.first_position.get(), 4);
    assert_eq!(again.stream(&account("ann")).unwrap().first_version.get(), 2);
    assert!(again.recorded_at > time::OffsetDateTime::now_utc() + time::Duration::seconds(30));

    sqlx::query("DELETE FROM es_events").execute(&mut connection).await.unwrap();
    assert_eq!(append(&store, "bob", vec![deposited(5)]).await.unwrap().first_position.get(), 5);
}

/// SQLite looks at a parameter that stands as a limit when it plans a statement, and so compiles the statement again
/// whenever another value is bound: that cost more than the reading itself.
#[test]
fn no_statement_has_a_bare_parameter_as_its_limit() {
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql")).unwrap() {
        let path = file.unwrap().path();
        let sql = std::fs::read_to_string(&path).unwrap();
        assert!(!sql.contains("LIMIT ?"), "{}: write LIMIT (SELECT ?)", path.display());
    }
}
