//! Appends within the caller's transactions, and what readers and writers see of transactions that take their time.

mod common;

use std::{future::Future, task::Poll, time::Duration};

use common::{Schema, append_to, connection, deposit, deposited, execute, number, somebody_waits, stream};
use es_core::{
    Append, EventFilter, EventStore, ExpectedVersion, IdempotencyKey, PageSize, Position, StoreError, Version,
};
use es_postgres::{
    MAX_APPENDS_PER_UNIT_OF_WORK, PgConnection, PgStore,
    sqlx::{self, Connection},
};

async fn positions(store: &PgStore) -> Vec<u64> {
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    page.events.iter().map(|event| event.position().get()).collect()
}

/// A store and a table of the application's.
async fn with_invoices() -> (Schema, PgStore, PgConnection) {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut own = connection().await;
    execute(&mut own, format!("CREATE TABLE {}.invoices (id bigint PRIMARY KEY)", schema.name)).await;
    (schema, store, own)
}

fn insert_invoice(schema: &Schema) -> String {
    format!("INSERT INTO {}.invoices VALUES (1)", schema.name)
}

async fn invoices(schema: &Schema) -> i64 {
    number(&mut connection().await, format!("SELECT count(*) FROM {}.invoices", schema.name)).await
}

#[tokio::test]
async fn a_transaction_stores_its_own_writes_and_its_events_or_neither() {
    let (schema, store, mut own) = with_invoices().await;
    for (commit, expected) in [(false, 0), (true, 1)] {
        let mut transaction = own.begin().await.unwrap();
        execute(&mut transaction, insert_invoice(&schema)).await;
        let appended = store.append_in(&mut transaction, &deposit("ann")).await.unwrap();
        assert_eq!(appended.last_position, Position::new(1));
        if commit {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        assert_eq!(invoices(&schema).await, expected);
        assert_eq!(positions(&store).await.len() as i64, expected);
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_callers_transaction_usable() {
    let (schema, store, mut own) = with_invoices().await;
    let event = deposited(7);
    let first = Append::to(stream("ann"), ExpectedVersion::NoStream, vec![event.clone()]);
    store.append(&first.idempotency_key(IdempotencyKey::new("k").unwrap()).build().unwrap()).await.unwrap();

    let mut transaction = own.begin().await.unwrap();
    let conflict = store.append_in(&mut transaction, &append_to("ann", ExpectedVersion::NoStream)).await;
    assert!(matches!(conflict, Err(StoreError::Conflict { actual, .. }) if actual == Version::new(1)));
    let reused = Append::to(stream("bob"), ExpectedVersion::Any, vec![event]).build().unwrap();
    assert!(matches!(store.append_in(&mut transaction, &reused).await, Err(StoreError::IdReused { .. })));
    let other = Append::to(stream("bob"), ExpectedVersion::Any, vec![deposited(1)]);
    let other = other.idempotency_key(IdempotencyKey::new("k").unwrap()).build().unwrap();
    assert!(matches!(store.append_in(&mut transaction, &other).await, Err(StoreError::IdReused { .. })));

    execute(&mut transaction, insert_invoice(&schema)).await;
    store.append_in(&mut transaction, &deposit("ann")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((invoices(&schema).await, positions(&store).await), (1, vec![1, 2]));
}

#[tokio::test]
async fn several_appends_of_one_transaction_see_each_other() {
    let (_schema, store, mut own) = with_invoices().await;
    let mut transaction = own.begin().await.unwrap();
    let first = store.append_in(&mut transaction, &append_to("ann", ExpectedVersion::NoStream)).await.unwrap();
    let next = append_to("ann", ExpectedVersion::Exact(Version::new(1)));
    let second = store.append_in(&mut transaction, &next).await.unwrap();
    assert!(store.append_in(&mut transaction, &next).await.unwrap().repeated);
    transaction.commit().await.unwrap();
    assert_eq!((first.last_position, second.last_position), (Position::new(1), Position::new(2)));
    assert!(first.recorded_at <= second.recorded_at);
}

#[tokio::test]
async fn a_lent_connection_sees_one_state_and_cannot_write() {
    let (schema, store, mut own) = with_invoices().await;
    let count = format!("SELECT count(*) FROM {}.invoices", schema.name);
    let counted = async |reading: &mut PgConnection| -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(count.clone())).fetch_one(reading).await.unwrap()
    };
    let mut reading = store.read_connection().await.unwrap();
    assert_eq!(counted(&mut reading).await, 0);
    execute(&mut own, insert_invoice(&schema)).await;
    assert_eq!(counted(&mut reading).await, 0, "it sees the state of its first statement");
    let written = sqlx::query(sqlx::AssertSqlSafe(insert_invoice(&schema))).execute(&mut *reading).await;
    assert!(written.unwrap_err().to_string().contains("read-only"));
    drop(reading);
    assert_eq!(counted(&mut *store.read_connection().await.unwrap()).await, 1);
    store.append(&deposit("ann")).await.unwrap();
}

#[tokio::test]
async fn a_snapshot_older_than_the_lock_is_refused() {
    let (_schema, store, mut own) = with_invoices().await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        execute(&mut own, format!("BEGIN ISOLATION LEVEL {level}")).await;
        let refused = store.append_in(&mut own, &deposit("ann")).await;
        assert!(matches!(refused, Err(StoreError::Refused { reason }) if reason.contains("READ COMMITTED")), "{level}");
        // Nothing was raised: the transaction goes on.
        execute(&mut own, "SELECT 1; COMMIT").await;
    }
    assert_eq!(store.head().await.unwrap(), Position::ZERO);
}

#[tokio::test]
async fn the_callers_settings_are_as_before() {
    let (schema, store, mut own) = with_invoices().await;
    let mut other = connection().await;
    for value in ["off", "on"] {
        let mut transaction = own.begin().await.unwrap();
        execute(&mut transaction, format!("SET LOCAL synchronous_commit = {value}; SET LOCAL lock_timeout = 12345"))
            .await;
        let before = settings(&mut transaction).await;
        // Also if it had to wait for the lock.
        let mut slow = other.begin().await.unwrap();
        store.append_in(&mut slow, &deposit("slow")).await.unwrap();
        let release = async {
            somebody_waits(&schema).await;
            slow.rollback().await.unwrap();
        };
        let append = deposit("ann");
        let (appended, ()) = tokio::join!(store.append_in(&mut transaction, &append), release);
        appended.unwrap();
        assert_eq!(settings(&mut transaction).await, before);
        transaction.rollback().await.unwrap();
    }
}

/// What an append has reason to change.
async fn settings(connection: &mut PgConnection) -> Vec<String> {
    let mut settings = Vec::new();
    for name in ["synchronous_commit", "lock_timeout", "search_path", "plan_cache_mode"] {
        let query = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
        settings.push(query.fetch_one(&mut *connection).await.unwrap());
    }
    settings
}

#[tokio::test]
async fn an_append_of_the_stores_own_is_flushed_whatever_the_servers_default() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut own = connection().await;
    // What the function does in the transaction of the store's own append, seen from within.
    execute(&mut own, "BEGIN; SET LOCAL synchronous_commit = off").await;
    let call = format!(
        "SELECT head FROM {}.append(null, '{{1}}', '{{account/a}}', '{{account}}', '{{-2}}', '{{null}}', '{{0}}', '{{1}}', \
         ARRAY[gen_random_uuid()], '{{T}}', '{{{{}}}}', '{{{{}}}}', '{{null}}', 1000, 'flushed', null)",
        schema.name
    );
    // The two braces of an empty object have to be quoted within an array.
    let call = call.replace("'{{}}'", "ARRAY['{}']");
    assert_eq!(number(&mut own, call).await, 0);
    let setting: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut own).await.unwrap();
    assert_eq!(setting, "on");
    execute(&mut own, "COMMIT").await;
    assert_eq!(store.head().await.unwrap(), Position::new(1));
}

#[tokio::test]
async fn a_unit_of_work_stores_everything_or_nothing() {
    let (schema, store, _) = with_invoices().await;
    let mut unit = store.begin().await.unwrap();
    execute(unit.connection(), insert_invoice(&schema)).await;
    unit.append(append_to("ann", ExpectedVersion::NoStream)).unwrap();
    unit.append(append_to("ann", ExpectedVersion::NoStream)).unwrap();
    assert!(matches!(unit.commit().await, Err(StoreError::Conflict { .. })));
    assert_eq!((invoices(&schema).await, positions(&store).await), (0, vec![]));

    let mut unit = store.begin().await.unwrap();
    execute(unit.connection(), insert_invoice(&schema)).await;
    unit.append(append_to("ann", ExpectedVersion::NoStream)).unwrap();
    unit.append(append_to("ann", ExpectedVersion::Exact(Version::new(1)))).unwrap();
    let outcomes = unit.commit().await.unwrap();
    let places: Vec<_> = outcomes.iter().map(|appended| appended.last_position.get()).collect();
    assert_eq!((places, invoices(&schema).await), (vec![1, 2], 1));

    for rolled_back in [true, false] {
        let mut unit = store.begin().await.unwrap();
        unit.append(deposit("ann")).unwrap();
        if rolled_back { unit.rollback().await.unwrap() } else { drop(unit) }
    }
    assert_eq!(positions(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_unit_of_work_holds_up_nobody_before_its_commit() {
    let (schema, store, _) = with_invoices().await;
    let mut unit = store.begin().await.unwrap();
    unit.append(deposit("ann")).unwrap();
    execute(unit.connection(), insert_invoice(&schema)).await;
    store.append(&deposit("bob")).await.unwrap();
    let outcomes = unit.commit().await.unwrap();
    assert_eq!(outcomes[0].last_position, Position::new(2));
}

#[tokio::test]
async fn a_failure_that_the_caller_ignored_is_not_reported_as_a_success() {
    let (schema, store, _) = with_invoices().await;
    let mut unit = store.begin().await.unwrap();
    execute(unit.connection(), insert_invoice(&schema)).await;
    assert!(sqlx::raw_sql("SELECT 1 / 0").execute(unit.connection()).await.is_err());
    assert!(matches!(unit.commit().await, Err(StoreError::Refused { reason }) if reason.contains("ignored")));
    assert_eq!(invoices(&schema).await, 0);
}

#[tokio::test]
async fn a_unit_of_work_takes_a_bounded_number_of_appends() {
    let store = Schema::new();
    let store = store.store().await;
    let mut unit = store.begin().await.unwrap();
    for _ in 0..MAX_APPENDS_PER_UNIT_OF_WORK {
        unit.append(deposit("ann")).unwrap();
    }
    let one_more = unit.append(deposit("ann"));
    assert!(matches!(one_more, Err(StoreError::LimitExceeded { limit: 1_000, actual: 1_001, .. })));
}

#[tokio::test]
async fn a_late_commit_is_waited_for_and_never_skipped() {
    let (schema, store, mut own) = with_invoices().await;
    let mut late = own.begin().await.unwrap();
    store.append_in(&mut late, &deposit("late")).await.unwrap();
    let next = tokio::spawn({
        let store = store.clone();
        async move { store.append(&deposit("next")).await }
    });
    somebody_waits(&schema).await;
    // A reader that comes now sees neither, and does not move on.
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!((page.events.len(), page.scanned_to), (0, Position::ZERO));
    late.commit().await.unwrap();
    assert_eq!(next.await.unwrap().unwrap().last_position, Position::new(2));
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    let streams: Vec<_> = page.events.iter().map(|event| event.stream().id()).collect();
    assert_eq!((streams, page.scanned_to), (vec!["late", "next"], Position::new(2)));
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_no_gap() {
    let (schema, store, mut own) = with_invoices().await;
    store.append(&deposit("ann")).await.unwrap();
    let mut failed = own.begin().await.unwrap();
    let lost = store.append_in(&mut failed, &deposit("ann")).await.unwrap();
    let next = tokio::spawn({
        let store = store.clone();
        async move { store.append(&deposit("bob")).await }
    });
    somebody_waits(&schema).await;
    failed.rollback().await.unwrap();
    // The position that was never committed is given to the next one.
    assert_eq!(next.await.unwrap().unwrap().last_position, lost.last_position);
    assert_eq!(positions(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_lock_that_is_not_released_in_time_is_busy_and_names_its_holder() {
    let schema = Schema::new();
    let store = schema.options().lock_timeout(Duration::from_millis(30)).connect().await.unwrap();
    let mut own = connection().await;
    execute(&mut own, "SET application_name = 'the slow one'").await;
    let pid = number(&mut own, "SELECT pg_backend_pid()::bigint").await;
    let mut slow = own.begin().await.unwrap();
    store.append_in(&mut slow, &deposit("ann")).await.unwrap();

    match store.append(&deposit("bob")).await {
        Err(StoreError::Busy { waiting_for, .. }) => {
            assert!(waiting_for.contains(&pid.to_string()), "{waiting_for}");
            assert!(waiting_for.contains("the slow one"), "{waiting_for}");
        }
        other => panic!("expected Busy, got {other:?}"),
    }
    // In a transaction of the caller's it is a row as well, and the transaction goes on.
    let mut unit = store.begin().await.unwrap();
    assert!(matches!(store.append_in(unit.connection(), &deposit("bob")).await, Err(StoreError::Busy { .. })));
    execute(unit.connection(), "SELECT 1").await;
    slow.commit().await.unwrap();
    store.append_in(unit.connection(), &deposit("bob")).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(positions(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_deadlock_with_the_callers_own_locks_is_busy() {
    let (schema, store, mut own) = with_invoices().await;
    execute(&mut own, insert_invoice(&schema)).await;
    let update = format!("UPDATE {}.invoices SET id = id", schema.name);
    // One holds the ordering lock and wants the row, the other holds the row and wants the lock.
    let mut first = own.begin().await.unwrap();
    store.append_in(&mut first, &deposit("ann")).await.unwrap();
    let mut unit = store.begin().await.unwrap();
    execute(unit.connection(), update.clone()).await;
    unit.append(deposit("bob")).unwrap();
    let (own_update, commit) =
        tokio::join!(sqlx::raw_sql(sqlx::AssertSqlSafe(update)).execute(&mut *first), unit.commit());
    match (own_update, commit) {
        // Either of the two is given up.
        (Ok(_), Err(StoreError::Busy { .. })) => first.commit().await.unwrap(),
        (Err(error), Ok(_)) => {
            assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("40P01"));
            first.rollback().await.unwrap();
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(positions(&store).await, [1]);
}

#[tokio::test]
async fn positions_never_fall_below_the_floor() {
    let schema = Schema::new();
    let store = schema.store().await;
    for _ in 0..3 {
        store.append(&deposit("ann")).await.unwrap();
    }
    // Somebody archives everything, as it is meant to be done, past the triggers.
    let archive = format!(
        "BEGIN; UPDATE {0}.log_floor SET position = 3, recorded_at = '2999-01-01Z'; \
         SET LOCAL session_replication_role = replica; DELETE FROM {0}.events; COMMIT",
        schema.name
    );
    execute(&mut connection().await, archive).await;
    assert_eq!(store.head().await.unwrap(), Position::new(3));
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    assert_eq!(page.scanned_to, Position::new(3));
    let appended = store.append(&deposit("bob")).await.unwrap();
    assert_eq!((appended.last_position, appended.recorded_at.year()), (Position::new(4), 2999));
}

#[tokio::test]
async fn a_dropped_unit_of_work_or_begin_leaves_no_transaction_behind() {
    let schema = Schema::new();
    let store = schema.options().max_connections(1).connect().await.unwrap();
    for polls in 0..6 {
        // Dropped after a few polls: before, while and after BEGIN is on its way.
        let mut begin = Box::pin(store.begin());
        for _ in 0..polls {
            if std::future::poll_fn(|context| Poll::Ready(begin.as_mut().poll(context).is_ready())).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        // On the same and only connection: it would not be committed within somebody else's transaction.
        let appended = store.append(&deposit("ann")).await.unwrap();
        let head = number(&mut connection().await, format!("SELECT max(position) FROM {}.events", schema.name)).await;
        assert_eq!(appended.last_position.get(), head.unsigned_abs());
    }
}

#[tokio::test]
async fn the_server_notices_soon_that_a_client_is_gone() {
    let schema = Schema::new();
    let mut unit = schema.store().await.begin().await.unwrap();
    for (setting, expected) in [("idle", "15"), ("interval", "5"), ("count", "3")] {
        let show = format!("SELECT current_setting('tcp_keepalives_{setting}')");
        let set: String = sqlx::query_scalar(sqlx::AssertSqlSafe(show)).fetch_one(unit.connection()).await.unwrap();
        assert_eq!(set, expected, "{setting}");
    }
}
