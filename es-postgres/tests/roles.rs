//! What each role of the script may do with the store, and what it may not.

mod common;

use common::{Schema, append_to, connection, deposit, deposited, execute, number, stream, url};
use es_core::{
    Append, ConsumerName, ConsumerStore, ConsumerStoreExt, EventFilter, EventStore, ExpectedVersion, IdempotencyKey,
    OutboxMessage, PageSize, Payload, Position, RawMessage, Repository, StoreError, Version,
    store::{RecordBatch, RecordKey, RecordRange, RecordStore},
};
use es_postgres::{
    PgConnection, PgOptions, PgStore, roles_script,
    sqlx::{self, AssertSqlSafe, Connection, postgres::PgConnectOptions},
};
use es_testkit::bank::{Account, AccountCommand, Balance};

/// A schema whose script was run, and a role for each group that can log in.
struct Roles {
    schema: Schema,
    admin: PgConnection,
}

const GROUPS: [&str; 5] = ["reader", "writer", "projector", "operator", "admin"];

impl Roles {
    async fn new() -> Self {
        let schema = Schema::new();
        schema.store().await.close().await;
        let mut admin = connection().await;
        let script = roles_script(&schema.name).unwrap();
        execute(&mut admin, script.clone()).await;
        // Again, as after a migration.
        execute(&mut admin, script).await;
        for group in GROUPS {
            let name = &schema.name;
            execute(&mut admin, format!("CREATE ROLE {name}_l_{group} LOGIN IN ROLE {name}_{group}")).await;
        }
        Self { schema, admin }
    }

    fn options(&self, group: &str) -> PgConnectOptions {
        let options = url().parse::<PgConnectOptions>().unwrap();
        let options = options.username(&format!("{}_l_{group}", self.schema.name));
        // Read models belong to the group, so that all its members can work on them.
        match group {
            "projector" | "operator" => options.options([("role", format!("{}_projector", self.schema.name))]),
            _ => options,
        }
    }

    async fn store(&self, group: &str) -> PgStore {
        let options = PgOptions::from_connect_options(self.options(group));
        options.schema(&self.schema.name).max_connections(4).migrate(false).connect().await.unwrap()
    }

    /// The SQLSTATE with which a statement of a role fails, or nothing.
    async fn refused(&self, group: &str, sql: &str) -> Option<String> {
        let mut connection = PgConnection::connect_with(&self.options(group)).await.unwrap();
        let sql = sql.replace("{schema}", &self.schema.name);
        let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.err()?;
        Some(error.as_database_error().unwrap().code().unwrap().into_owned())
    }

    async fn end(mut self) {
        let name = &self.schema.name;
        execute(&mut self.admin, format!("DROP SCHEMA {name} CASCADE")).await;
        for group in GROUPS {
            let drop = format!("DROP ROLE {name}_l_{group}; DROP OWNED BY {name}_{group}; DROP ROLE {name}_{group}");
            execute(&mut self.admin, drop).await;
        }
    }
}

const PRIVILEGE: &str = "42501";
const KEPT: &str = "23001";

/// Statements that would change the log past the function `append`.
const CHANGES: [&str; 9] = [
    "INSERT INTO {schema}.events (position, version, recorded_at, event_id, payload_bytes, category, stream, type, \
     metadata, payload) VALUES (9223372036854775807, 1, 'infinity', gen_random_uuid(), 2, 'account', 'account/eve', 'E', \
     '{}', '{}')",
    "UPDATE {schema}.events SET recorded_at = 'infinity'",
    "DELETE FROM {schema}.events",
    "TRUNCATE {schema}.events",
    "INSERT INTO {schema}.appends (key, first_position, last_position) VALUES ('k', 1, 1)",
    "UPDATE {schema}.appends SET key = 'other'",
    "DELETE FROM {schema}.appends",
    "UPDATE {schema}.log_floor SET position = 9223372036854775807",
    "DELETE FROM {schema}.log_floor",
];

#[tokio::test]
async fn nobody_changes_the_log_past_the_function() {
    let roles = Roles::new().await;
    let store = roles.store("writer").await;
    let keyed = Append::to(stream("ann"), ExpectedVersion::Any, vec![deposited(1)]);
    let keyed = keyed.idempotency_key(IdempotencyKey::new("k1").unwrap()).build().unwrap();
    store.append(&keyed).await.unwrap();
    for change in CHANGES {
        for group in ["reader", "writer", "projector", "operator"] {
            assert_eq!(roles.refused(group, change).await.as_deref(), Some(PRIVILEGE), "{group}: {change}");
        }
        // The owner has every right on its tables, and so has a superuser.
        assert_eq!(roles.refused("admin", change).await.as_deref(), Some(KEPT), "the owner: {change}");
        let change = change.replace("{schema}", &roles.schema.name);
        let error = sqlx::raw_sql(AssertSqlSafe(change.clone())).execute(&mut connection().await).await.unwrap_err();
        let error = error.into_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some(KEPT), "a superuser: {change}");
        assert!(error.message().contains("only grows") || error.message().contains("never falls"), "{error}");
    }
    assert_eq!(store.append(&deposit("ann")).await.unwrap().last_position, Position::new(2));
    store.close().await;
    roles.end().await;
}

#[tokio::test]
async fn a_writer_appends_and_loads_and_does_no_more() {
    let roles = Roles::new().await;
    let store = roles.store("writer").await;
    let accounts = Repository::<Account>::new(&store);
    accounts.execute("ann", AccountCommand::Open { owner: "Ann".to_owned() }).idempotency_key("k").await.unwrap();
    assert_eq!(accounts.load("ann").await.unwrap().version, Version::new(1));
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!(page.events.len(), 1);

    // With its own writes, in a transaction of its own.
    let mut unit = store.begin().await.unwrap();
    unit.append(append_to("ann", ExpectedVersion::Exact(Version::new(1)))).unwrap();
    unit.enqueue(&OutboxMessage::new("orders", RawMessage::new("application/json", "{}"))).await.unwrap();
    assert_eq!(unit.commit().await.unwrap()[0].last_position, Position::new(2));
    let mut own = PgConnection::connect_with(&roles.options("writer")).await.unwrap();
    execute(&mut own, "BEGIN").await;
    store.append_in(&mut own, &deposit("bob")).await.unwrap();
    execute(&mut own, "COMMIT").await;
    assert_eq!(store.head().await.unwrap(), Position::new(3));
    store.close().await;

    let options = PgOptions::from_connect_options(roles.options("writer")).schema(&roles.schema.name);
    let pipelined = options.pipelined(true).migrate(false).connect().await.unwrap();
    pipelined.append(&deposit("ann")).await.unwrap();
    pipelined.close().await;

    for sql in [
        "INSERT INTO {schema}.checkpoints (consumer, position, updated_at) VALUES ('x', 0, now())",
        "SELECT {schema}.move_checkpoint('x', 0, 9, NULL, 0)",
        "SELECT * FROM {schema}.outbox",
        "SELECT {schema}.read_outbox(1, 1)",
        "SELECT body FROM {schema}.dead_letters",
        "CREATE TABLE {schema}.mine (x int)",
    ] {
        assert_eq!(roles.refused("writer", sql).await.as_deref(), Some(PRIVILEGE), "{sql}");
    }
    roles.end().await;
}

#[tokio::test]
async fn a_reader_reads_the_log_and_read_models_and_is_told_what_it_lacks() {
    let roles = Roles::new().await;
    let writer = roles.store("writer").await;
    writer.append(&deposit("ann")).await.unwrap();
    let projector = roles.store("projector").await;
    projector.prepare_view(&ConsumerName::new("balance").unwrap()).await.unwrap();
    let reader = roles.store("reader").await;
    let page = reader.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!(page.events.len(), 1);
    assert!(reader.view::<Balance>().get("ann").await.unwrap().is_none());
    match reader.append(&deposit("ann")).await {
        Err(StoreError::Setup { remedy, .. }) => {
            assert!(remedy.contains("_writer"), "{remedy}");
            for word in ["INSERT", "UPDATE", "DELETE", "TRUNCATE"] {
                assert!(!remedy.contains(word), "{remedy}");
            }
        }
        other => panic!("expected Setup, got {other:?}"),
    }
    for store in [writer, projector, reader] {
        store.close().await;
    }
    roles.end().await;
}

#[tokio::test]
async fn records_are_written_by_those_who_work_and_by_the_functions_alone() {
    let roles = Roles::new().await;
    let key = RecordKey::of(["a"]).unwrap();
    for group in ["writer", "projector", "operator"] {
        let store = roles.store(group).await;
        store.commit(&RecordBatch::new().put(key.clone(), Payload::trusted("1"))).await.unwrap();
        store.update(&[RecordRange::all()], &mut |_| Ok(RecordBatch::new().touch(key.clone()))).await.unwrap();
        assert_eq!(store.get(std::slice::from_ref(&key)).await.unwrap().records.len(), 1);
        store.close().await;
        for sql in ["UPDATE {schema}.records SET value = '2'", "DELETE FROM {schema}.records"] {
            assert_eq!(roles.refused(group, sql).await.as_deref(), Some(PRIVILEGE), "{group}: {sql}");
        }
    }
    let reader = roles.store("reader").await;
    assert_eq!(reader.get(std::slice::from_ref(&key)).await.unwrap().records.len(), 1);
    assert!(matches!(reader.commit(&RecordBatch::new().delete(key)).await, Err(StoreError::Setup { .. })));
    reader.close().await;
    roles.end().await;
}

#[tokio::test]
async fn every_table_is_granted_to_some_role_and_no_function_to_everybody() {
    let roles = Roles::new().await;
    let mut admin = connection().await;
    let schema = &roles.schema.name;
    let foreign = format!(
        "SELECT count(*) FROM pg_class c WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'p') \
         AND pg_get_userbyid(c.relowner) <> '{schema}_admin'"
    );
    assert_eq!(number(&mut admin, foreign).await, 0);
    let open: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT p.proname::text FROM pg_proc p CROSS JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a \
         WHERE p.pronamespace = '{schema}'::regnamespace AND a.grantee = 0"
    )))
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert!(open.is_empty(), "everybody may execute {open:?}: revoke it where they are created");
    let ungranted: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' \
         AND c.relname !~ '^(outbox|inbox)_' AND NOT has_table_privilege('{schema}_operator', c.oid, 'SELECT')"
    )))
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert!(ungranted.is_empty(), "sql/roles.sql says nothing of {ungranted:?}");
    let loose: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = '{schema}'::regnamespace AND p.prosecdef \
         AND NOT coalesce(p.proconfig, '{{}}') @> ARRAY['search_path=pg_catalog, pg_temp']"
    )))
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert!(loose.is_empty(), "{loose:?} run with their owner's rights by the caller's search_path");
    roles.end().await;
}

/// Arguments of `append` that do not fit together, or that would make a row that readers cannot read.
#[tokio::test]
async fn the_function_refuses_what_a_store_would_not_send() {
    let roles = Roles::new().await;
    let call = |changes: &[(&str, &str)]| {
        let mut arguments = vec![
            ("p_keys", "NULL"),
            ("p_appends", "'{1,1}'"),
            ("p_streams", "'{account/a,account/b}'"),
            ("p_categories", "'{account,account}'"),
            ("p_expected", "'{-2,-2}'"),
            ("p_decided_after", "'{NULL,NULL}'"),
            ("p_offsets", "'{0,2}'"),
            ("p_parts", "'{1,1,2}'"),
            ("p_ids", "ARRAY[gen_random_uuid(), gen_random_uuid(), gen_random_uuid()]"),
            ("p_types", "'{A,B,C}'"),
            ("p_payloads", "ARRAY['1', '2', '3']"),
            ("p_metadata", "ARRAY['{}', '{}', '{}']"),
            ("p_occurred_at", "'{NULL,NULL,NULL}'"),
            ("p_lock_timeout_ms", "1000"),
            ("p_commit", "NULL"),
            ("p_requests", "NULL"),
        ];
        for (name, value) in changes {
            arguments.iter_mut().find(|(other, _)| other == name).unwrap().1 = value;
        }
        let arguments: Vec<_> = arguments.iter().map(|(name, value)| format!("{name} => {value}")).collect();
        format!("SELECT * FROM {{schema}}.append({})", arguments.join(", "))
    };
    assert_eq!(roles.refused("writer", &call(&[])).await, None);
    let long = format!("'{{account/{},account/b}}'", "x".repeat(201));
    let wrong: [&[(&str, &str)]; 20] = [
        &[("p_offsets", "'{0,1}'")],
        &[("p_offsets", "'{0,3}'")],
        &[("p_offsets", "'{-5,2}'")],
        &[("p_offsets", "'{0}'")],
        &[("p_offsets", "'[0:1]={0,2}'")],
        &[("p_parts", "'{1,2,1}'")],
        &[("p_parts", "'{1,1,3}'")],
        &[("p_parts", "'{1,1}'")],
        &[("p_appends", "'{1}'")],
        &[("p_appends", "'{1,NULL}'")],
        &[("p_streams", "'[0:1]={account/a,account/b}'")],
        &[("p_streams", "'{account/a,account/a}'")],
        &[("p_streams", "'{account,account/b}'")],
        &[("p_streams", &long)],
        &[("p_categories", "'{account,other}'")],
        &[("p_types", "ARRAY['A', 'B', '']")],
        &[("p_types", "ARRAY['A', 'B', E'C\\n']")],
        &[("p_metadata", "ARRAY['{}', '{}', '[]']")],
        &[("p_payloads", "ARRAY['1', '2', 'x']")],
        &[("p_occurred_at", "'{NULL,NULL,infinity}'")],
    ];
    for changes in wrong {
        assert!(roles.refused("writer", &call(changes)).await.is_some(), "{changes:?}");
    }
    // The one append above, and after it the next positions and versions.
    let store = roles.store("writer").await;
    assert_eq!(store.head().await.unwrap(), Position::new(3));
    assert_eq!(roles.refused("writer", &call(&[("p_expected", "'{2,1}'")])).await, None);
    let versions = format!("SELECT max(version) FROM {}.events WHERE stream = 'account/a'", roles.schema.name);
    assert_eq!(number(&mut connection().await, versions).await, 4);
    store.close().await;
    roles.end().await;
}
