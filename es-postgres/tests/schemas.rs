//! Opening a store: schemas, migrations, and what is said when it cannot be opened.

mod common;

use std::{sync::Arc, time::Duration};

use common::{Schema, connection, deposit, execute, number, stream, url};
use es_core::{EventFilter, EventStore, PageSize, Position, StoreError, Version};
use es_postgres::{
    PgConnection, PgOptions, PgStore,
    sqlx::{self, AssertSqlSafe, Connection, postgres::PgConnectOptions},
};

/// Problem and remedy of a store that could not be opened.
async fn setup_error(options: PgOptions) -> (String, String) {
    match options.connect().await {
        Err(StoreError::Setup { problem, remedy, .. }) => (problem, remedy),
        other => panic!("expected a Setup error, got {other:?}"),
    }
}

#[tokio::test]
async fn two_stores_in_two_schemas_of_one_database_do_not_meet() {
    let (first, second) = (Schema::new(), Schema::new());
    let (one, other) = (first.store().await, second.store().await);
    one.append(&deposit("ann")).await.unwrap();
    one.append(&deposit("ann")).await.unwrap();
    let appended = other.append(&deposit("ann")).await.unwrap();
    assert_eq!(appended.last_position, Position::new(1));
    assert_eq!(one.head().await.unwrap(), Position::new(2));
    let page = other.read_stream(&stream("ann"), Version::ZERO, PageSize::default()).await.unwrap();
    assert_eq!(page.events.len(), 1);

    // Not even by the lock: a writer in one schema does not hold up the other.
    let mut unfinished = connection().await;
    execute(&mut unfinished, "BEGIN").await;
    one.append_in(&mut unfinished, &deposit("ann")).await.unwrap();
    other.append(&deposit("ann")).await.unwrap();
}

#[tokio::test]
async fn a_schema_name_that_is_a_keyword_works_and_one_that_cannot_be_is_refused() {
    let options = PgOptions::new(url()).schema("select").max_connections(2);
    let store = options.connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    store.close().await;
    execute(&mut connection().await, "DROP SCHEMA \"select\" CASCADE").await;

    let (problem, _) = setup_error(PgOptions::new(url()).schema("it's")).await;
    assert!(problem.contains("it's"), "{problem}");
}

#[tokio::test]
async fn processes_that_start_at_once_migrate_once() {
    let schema = Schema::new();
    let starts: Vec<_> = (0..10).map(|_| tokio::spawn(schema.options().max_connections(1).connect())).collect();
    for start in starts {
        start.await.unwrap().unwrap().append(&deposit("ann")).await.unwrap();
    }
    let migrations =
        number(&mut connection().await, format!("SELECT count(*) FROM {}.es_migrations", schema.name)).await;
    assert_eq!(migrations, 10);
}

#[tokio::test]
async fn a_store_that_may_not_migrate_says_so_and_opens_once_somebody_did() {
    let schema = Schema::new();
    let (problem, remedy) = setup_error(schema.options().migrate(false)).await;
    assert!(problem.contains(&schema.name) && remedy.contains("migrate(true)"), "{problem}; {remedy}");
    let _ = schema.store().await;
    schema.options().migrate(false).connect().await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_newer_version_or_with_changed_migrations_is_refused() {
    let schema = Schema::new();
    let _ = schema.store().await;
    let mut admin = connection().await;
    let table = format!("{}.es_migrations", schema.name);

    execute(&mut admin, format!("INSERT INTO {table} (version, name, checksum) VALUES (1000, 'later', 'x')")).await;
    let (problem, remedy) = setup_error(schema.options()).await;
    assert!(problem.contains("version 1000") && remedy.contains("newer"), "{problem}; {remedy}");

    execute(&mut admin, format!("DELETE FROM {table} WHERE version = 1000")).await;
    execute(&mut admin, format!("UPDATE {table} SET checksum = 'x' WHERE version = 2")).await;
    let (problem, _) = setup_error(schema.options()).await;
    assert!(problem.contains("migration 2 (append)"), "{problem}");
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_behind() {
    let schema = Schema::new();
    let mut admin = connection().await;
    // In the way of the third migration.
    execute(&mut admin, format!("CREATE SCHEMA {0}; CREATE TABLE {0}.snapshots (x int)", schema.name)).await;
    assert!(matches!(schema.options().connect().await, Err(StoreError::Backend { .. })));
    let tables = format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{}'", schema.name);
    assert_eq!(number(&mut admin, tables).await, 1);
    execute(&mut admin, format!("DROP TABLE {}.snapshots", schema.name)).await;
    schema.store().await.append(&deposit("ann")).await.unwrap();
}

#[tokio::test]
async fn an_applications_own_sqlx_migrations_are_left_alone() {
    let schema = Schema::new();
    let mut admin = connection().await;
    let table = format!("{}._sqlx_migrations", schema.name);
    execute(&mut admin, format!("CREATE SCHEMA {}; CREATE TABLE {table} (version bigint)", schema.name)).await;
    execute(&mut admin, format!("INSERT INTO {table} VALUES (20260101000000)")).await;
    schema.store().await.append(&deposit("ann")).await.unwrap();
    assert_eq!(number(&mut admin, format!("SELECT sum(version)::bigint FROM {table}")).await, 20_260_101_000_000);
}

#[tokio::test]
async fn the_schema_is_the_one_in_schema_sql() {
    let schema = Schema::new();
    let _ = schema.store().await;
    let lines: Vec<String> = sqlx::query_scalar(include_str!("dump_schema.sql"))
        .bind(&schema.name)
        .fetch_all(&mut connection().await)
        .await
        .unwrap();
    let dump = format!(
        "-- What the migrations make, as the catalogs say it. Written by a test: ES_UPDATE_GOLDEN=1 cargo xtask test.\n\n{}\n",
        lines.join("\n")
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");
    if std::env::var_os("ES_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &dump).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    assert!(
        golden == dump,
        "schema.sql differs; run the test with ES_UPDATE_GOLDEN=1 and look at what changed:\n{dump}"
    );
}

#[tokio::test]
async fn an_unreachable_server_is_named_at_once() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = PgOptions::new(format!("postgres://postgres@127.0.0.1:{port}/postgres"));
    let connected = tokio::time::timeout(Duration::from_secs(5), setup_error(options)).await;
    let (problem, remedy) = connected.unwrap();
    assert!(problem.contains(&port.to_string()) && remedy.contains("port"), "{problem}; {remedy}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_in_time() {
    // It takes connections and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://postgres@{}/postgres", listener.local_addr().unwrap());
    let (problem, _) = setup_error(PgOptions::new(url).acquire_timeout(Duration::from_millis(50))).await;
    assert!(problem.contains("50 ms"), "{problem}");
}

#[tokio::test]
async fn an_unreadable_url_and_a_missing_database_are_told_apart() {
    for url in ["localhost/shop", "localhost:5432/shop", "shop", "", "mysql://localhost/shop"] {
        let (problem, remedy) = setup_error(PgOptions::new(url)).await;
        assert!(problem.contains("URL") && remedy.contains("postgres://user"), "{url}: {problem}; {remedy}");
    }
    let options = url().parse::<PgConnectOptions>().unwrap().database("no_such_database");
    let (problem, remedy) = setup_error(PgOptions::from_connect_options(options)).await;
    assert!(problem.contains("does not exist") && remedy.contains("createdb"), "{problem}; {remedy}");
    let options = url().parse::<PgConnectOptions>().unwrap().username("no_such_role");
    let (problem, _) = setup_error(PgOptions::from_connect_options(options)).await;
    assert!(problem.contains("user"), "{problem}");
}

/// A role without any privilege, and a way to connect as it.
async fn low_role(admin: &mut PgConnection, name: &str) -> PgConnectOptions {
    execute(admin, format!("CREATE ROLE {name} LOGIN PASSWORD 'low'")).await;
    url().parse::<PgConnectOptions>().unwrap().username(name).password("low")
}

#[tokio::test]
async fn a_role_that_lacks_a_privilege_is_told_which_to_ask_for() {
    let schema = Schema::new();
    let mut admin = connection().await;
    let role = schema.name.replace("t_", "r_");
    let low = low_role(&mut admin, &role).await;
    let options = || PgOptions::from_connect_options(low.clone()).schema(&schema.name).max_connections(2);

    // It may not create the schema.
    let (problem, _) = setup_error(options()).await;
    assert!(problem.contains("privilege"), "{problem}");

    // Somebody else did; it may not use it.
    let owner = schema.store().await;
    let (problem, remedy) = setup_error(options()).await;
    assert!(problem.contains("privilege") && remedy.contains("_reader"), "{problem}; {remedy}");

    // It may read the tables and call the function; neither the privilege to create anything nor to own anything is needed.
    let grants = format!(
        "GRANT USAGE ON SCHEMA {0} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {role}; \
         GRANT EXECUTE ON FUNCTION {0}.append TO {role}",
        schema.name
    );
    execute(&mut admin, grants).await;
    let store = options().connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    owner.append(&deposit("ann")).await.unwrap();
    assert_eq!(store.head().await.unwrap(), Position::new(2));
    store.close().await;

    // A privilege that is lost later is an error of the same kind.
    let store = options().connect().await.unwrap();
    execute(&mut admin, format!("REVOKE EXECUTE ON FUNCTION {}.append FROM {role}", schema.name)).await;
    let error = store.append(&deposit("ann")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Setup { remedy, .. } if remedy.contains("_writer")), "{error:?}");
    store.close().await;
    execute(&mut admin, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// What has been committed when its flush fails is not said to be refused.
#[tokio::test]
async fn an_append_whose_flush_fails_has_an_unknown_outcome() {
    let schema = Schema::new();
    let owner = schema.store().await;
    let mut admin = connection().await;
    let role = schema.name.replace("t_", "f_");
    let low = low_role(&mut admin, &role).await;
    let grants = format!(
        "GRANT USAGE ON SCHEMA {0} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {role}; \
         GRANT EXECUTE ON FUNCTION {0}.append, {0}.use_pipelined TO {role}",
        schema.name
    );
    execute(&mut admin, grants).await;
    let options = PgOptions::from_connect_options(low).schema(&schema.name).max_connections(2);
    let store = options.pipelined(true).migrate(false).connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    // PostgreSQL 17 gave the function one parameter more.
    let emit: String = sqlx::query_scalar(
        "SELECT oid::regprocedure::text FROM pg_proc
         WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    execute(&mut admin, format!("REVOKE EXECUTE ON FUNCTION {emit} FROM PUBLIC")).await;
    let outcome = store.append(&deposit("ann")).await;
    execute(&mut admin, format!("GRANT EXECUTE ON FUNCTION {emit} TO PUBLIC")).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    assert_eq!(owner.head().await.unwrap(), Position::new(2));
    store.close().await;
    execute(&mut admin, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_database_with_another_default_isolation_level_can_be_used() {
    let schema = Schema::new();
    let options =
        url().parse::<PgConnectOptions>().unwrap().options([("default_transaction_isolation", "serializable")]);
    let options = PgOptions::from_connect_options(options).schema(&schema.name).max_connections(2);
    let store = options.connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_refuses_and_leaves_no_connection() {
    let schema = Schema::new();
    let options = url().parse::<PgConnectOptions>().unwrap().application_name(&schema.name);
    let store = PgOptions::from_connect_options(options).schema(&schema.name).connect().await.unwrap();
    let mut wakeups = store.wakeups();
    let listening = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", schema.name);
    let mut admin = connection().await;
    store.append(&deposit("ann")).await.unwrap();
    wakeups.next().await;
    wait_until(&mut admin, &listening, |connections| connections >= 2).await;
    store.close().await;
    assert!(matches!(store.append(&deposit("ann")).await, Err(StoreError::Refused { .. })));
    assert!(matches!(store.begin().await, Err(StoreError::Refused { .. })));
    wait_until(&mut admin, &listening, |connections| connections == 0).await;
}

#[tokio::test]
async fn a_dropped_store_leaves_no_connection() {
    let schema = Schema::new();
    let options = url().parse::<PgConnectOptions>().unwrap().application_name(&schema.name);
    let store: PgStore = PgOptions::from_connect_options(options).schema(&schema.name).connect().await.unwrap();
    let reader = Arc::new(store.clone());
    let _wakeups = reader.wakeups();
    store.append(&deposit("ann")).await.unwrap();
    let page = reader.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!(page.scanned_to, Position::new(1));
    drop((store, reader));
    let connections = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", schema.name);
    wait_until(&mut connection().await, &connections, |connections| connections == 0).await;
}

/// Asks until the number is right; a test that waits for ever is ended by the assertion.
async fn wait_until(admin: &mut PgConnection, sql: &str, is_right: impl Fn(i64) -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let found: i64 = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut *admin).await.unwrap();
            if is_right(found) {
                return;
            }
            admin.ping().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_ok(), "it never became right: {sql}");
}
