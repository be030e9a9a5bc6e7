//! Appends that share a call: what one of them comes to does not matter to another.

mod common;

use std::time::{Duration, Instant};

use common::{Schema, append_to, connection, deposit, deposited, execute, number, somebody_waits, stream};
use es_core::{
    Append, Appended, EventStore, EventType, ExpectedVersion, IdempotencyKey, NewEvent, PageSize, Payload, Position,
    StoreError, Version,
};
use es_postgres::{MAX_WAITING_APPENDS, PgConnection, PgStore};

/// The key of the ordering lock of a schema, as the function `append` takes it.
fn lock(schema: &Schema) -> String {
    format!("pg_advisory_lock(1702064993, '{}'::regnamespace::oid::integer)", schema.name)
}

/// Holds the ordering lock, so that appends gather.
async fn hold(schema: &Schema) -> PgConnection {
    let mut holder = connection().await;
    execute(&mut holder, format!("SELECT {}", lock(schema))).await;
    holder
}

async fn release(holder: &mut PgConnection) {
    execute(holder, "SELECT pg_advisory_unlock_all()").await;
}

/// Sends the appends while the lock is held: the first one alone, the rest gathers behind it and shares one call.
async fn append_together(schema: &Schema, store: &PgStore, appends: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
    let mut holder = hold(schema).await;
    let send = |append: Append| {
        let store = store.clone();
        tokio::spawn(async move { store.append(&append).await })
    };
    let first = send(deposit("first"));
    somebody_waits(schema).await;
    let tasks: Vec<_> = appends.into_iter().map(send).collect();
    // On this runtime of one thread, each of them is in the queue after a turn.
    tokio::task::yield_now().await;
    release(&mut holder).await;
    first.await.unwrap().unwrap();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// How many transactions the events of a schema were stored in.
async fn commits(schema: &Schema) -> i64 {
    number(&mut connection().await, format!("SELECT count(DISTINCT xmin::text) FROM {}.events", schema.name)).await
}

fn with_key(id: &str, key: &str) -> Append {
    Append::to(stream(id), ExpectedVersion::Any, vec![deposited(1)])
        .idempotency_key(IdempotencyKey::new(key).unwrap())
        .build()
        .unwrap()
}

fn with_payload(id: &str, payload: &str) -> Append {
    let event = NewEvent::new(EventType::new("Deposited").unwrap(), Payload::trusted(payload));
    Append::to(stream(id), ExpectedVersion::Any, vec![event]).build().unwrap()
}

#[tokio::test]
async fn appends_that_wait_share_one_commit() {
    let schema = Schema::new();
    let store = schema.store().await;
    let outcomes = append_together(&schema, &store, (0..50).map(|n| deposit(&format!("s{n}"))).collect()).await;
    let positions: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().first_position.get()).collect();
    assert_eq!(positions, (2..=51).collect::<Vec<_>>());
    assert_eq!(commits(&schema).await, 2);
}

#[tokio::test]
async fn each_append_of_a_call_gets_the_outcome_of_its_own() {
    let schema = Schema::new();
    let store = schema.store().await;
    let stored = append_to("known", ExpectedVersion::NoStream);
    store.append(&stored).await.unwrap();
    store.append(&with_key("keyed", "k1")).await.unwrap();
    let (_, known_event) = stored.events().next().unwrap();
    let reused = Append::to(stream("other"), ExpectedVersion::Any, vec![known_event.clone()]).build().unwrap();
    let guarded = |expected| {
        Append::to(stream("keyed"), expected, vec![])
            .and(stream("two"), ExpectedVersion::Any, vec![deposited(1), deposited(2)])
            .build()
            .unwrap()
    };
    let outcomes = append_together(
        &schema,
        &store,
        vec![
            deposit("a"),
            stored,
            append_to("b", ExpectedVersion::Exists),
            guarded(ExpectedVersion::Exact(Version::new(1))),
            reused,
            with_key("keyed-too", "k1"),
            with_key("c", "k2"),
            deposit("d"),
        ],
    )
    .await;
    let text = |outcome: &Result<Appended, StoreError>| match outcome {
        Ok(appended) => format!("{}-{} {}", appended.first_position, appended.last_position, appended.repeated),
        Err(StoreError::Conflict { stream, actual, .. }) => format!("conflict {stream} {actual}"),
        Err(StoreError::IdReused { what, .. }) => (*what).to_owned(),
        Err(error) => format!("{error:?}"),
    };
    let texts: Vec<String> = outcomes.iter().map(text).collect();
    let expected = [
        "4-4 false",
        "1-1 true",
        "conflict account/b 0",
        "5-6 false",
        "event id",
        "idempotency key",
        "7-7 false",
        "8-8 false",
    ];
    assert_eq!(texts, expected);
    let again = store.find_append(&IdempotencyKey::new("k2").unwrap()).await.unwrap().unwrap();
    assert_eq!((again.first_position, again.last_position), (Position::new(7), Position::new(7)));
    let all = store.read_all(Position::ZERO, &es_core::EventFilter::all(), PageSize::default()).await.unwrap();
    let places: Vec<_> = all.events.iter().map(|e| (e.position().get(), e.stream().id(), e.version().get())).collect();
    let expected = [
        (1, "known", 1),
        (2, "keyed", 1),
        (3, "first", 1),
        (4, "a", 1),
        (5, "two", 1),
        (6, "two", 2),
        (7, "c", 1),
        (8, "d", 1),
    ];
    assert_eq!(places, expected);
}

#[tokio::test]
async fn a_payload_that_is_no_json_fails_alone() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut appends: Vec<Append> = (0..20).map(|n| deposit(&format!("s{n}"))).collect();
    appends.insert(7, with_payload("broken", "{"));
    appends.insert(13, with_payload("nul", "{\"a\":\"\u{0}\"}"));
    let outcomes = append_together(&schema, &store, appends).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Err(StoreError::Refused { .. }) => assert!([7, 13].contains(&n), "{n}"),
            Ok(_) => assert!(![7, 13].contains(&n), "{n}"),
            Err(error) => panic!("{n}: {error:?}"),
        }
    }
    assert_eq!(store.head().await.unwrap(), Position::new(21));
}

#[tokio::test]
async fn a_second_append_to_a_stream_goes_into_the_next_call_and_others_do_not_wait_for_it() {
    let schema = Schema::new();
    let store = schema.store().await;
    let appends = vec![deposit("a"), deposit("a"), deposit("b"), deposit("a"), deposit("c")];
    let outcomes = append_together(&schema, &store, appends).await;
    let places: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap())
        .map(|appended| (appended.first_position.get(), appended.streams[0].first_version.get()))
        .collect();
    assert_eq!(places, [(2, 1), (5, 2), (3, 1), (6, 3), (4, 1)]);
}

/// Holds the ordering lock while an append waits, for at least this long.
async fn make_wait(schema: &Schema, store: &PgStore, at_least: Duration) {
    let mut holder = hold(schema).await;
    let waits = {
        let store = store.clone();
        tokio::spawn(async move { store.append(&deposit("waits")).await })
    };
    somebody_waits(schema).await;
    let start = Instant::now();
    while start.elapsed() < at_least {
        number(&mut holder, "SELECT 1::bigint").await;
    }
    release(&mut holder).await;
    waits.await.unwrap().unwrap();
}

#[tokio::test]
async fn where_others_append_too_a_batch_gathers_before_it_waits_for_them() {
    let schema = Schema::new();
    let store = schema.store().await;
    let send = |id: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { store.append(&deposit(id)).await })
    };
    make_wait(&schema, &store, Duration::from_millis(20)).await;
    let first = send("first");
    // The writer has it by now.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let second = send("second");
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(commits(&schema).await, 2);
}

#[tokio::test]
async fn a_caller_that_gave_up_takes_nobody_along() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut holder = hold(&schema).await;
    let send = |id: &'static str| {
        let store = store.clone();
        tokio::spawn(async move { store.append(&deposit(id)).await })
    };
    let sent = send("sent");
    tokio::task::yield_now().await;
    let (dropped, stays) = (send("dropped"), send("stays"));
    tokio::task::yield_now().await;
    dropped.abort();
    sent.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    release(&mut holder).await;
    stays.await.unwrap().unwrap();
    let dropped = store.read_stream(&stream("dropped"), Version::ZERO, PageSize::default()).await.unwrap();
    assert!(dropped.events.is_empty());
}

#[tokio::test]
async fn closing_waits_for_the_appends_that_wait() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut holder = hold(&schema).await;
    let send = |id: String| {
        let store = store.clone();
        tokio::spawn(async move { store.append(&deposit(&id)).await })
    };
    let tasks: Vec<_> = (0..5).map(|n| send(format!("s{n}"))).collect();
    tokio::task::yield_now().await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    tokio::task::yield_now().await;
    assert!(matches!(store.append(&deposit("late")).await, Err(StoreError::Refused { .. })));
    release(&mut holder).await;
    closing.await.unwrap();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_waiting_appends_are_bounded_and_one_more_is_busy() {
    let schema = Schema::new();
    let mut lock_timeout = Duration::from_millis(400);
    // A busy machine may need longer to send them all than the first of them waits.
    while without_a_place(&schema, lock_timeout).await < 9 {
        lock_timeout *= 4;
        assert!(lock_timeout < Duration::from_secs(30), "the queue was never full");
    }
}

/// Sends more appends at once than the queue holds, while the log is locked, and counts those that find no place in it.
async fn without_a_place(schema: &Schema, lock_timeout: Duration) -> usize {
    let store = schema.options().lock_timeout(lock_timeout).connect().await.unwrap();
    let mut holder = hold(schema).await;
    let send = |n: usize| {
        let store = store.clone();
        tokio::spawn(async move { store.append(&deposit(&format!("s{n}"))).await })
    };
    // One at the server, a full queue, and a few that find no place.
    let tasks: Vec<_> = (0..2 * MAX_WAITING_APPENDS + 10).map(send).collect();
    let mut without_a_place = 0;
    for task in tasks {
        match task.await.unwrap() {
            Err(StoreError::Busy { waiting_for, .. }) if waiting_for.contains("a place") => without_a_place += 1,
            Err(StoreError::Busy { .. }) => {}
            other => panic!("expected Busy, got {other:?}"),
        }
    }
    release(&mut holder).await;
    store.append(&deposit("after")).await.unwrap();
    without_a_place
}

#[tokio::test]
async fn an_append_that_has_waited_too_long_is_busy_without_being_sent() {
    let schema = Schema::new();
    let store = schema.options().lock_timeout(Duration::from_millis(400)).connect().await.unwrap();
    let mut holder = hold(&schema).await;
    // One call each, since they are to one stream: the third has waited for the first two.
    let (first, second, third) = (deposit("ann"), deposit("ann"), deposit("ann"));
    let (_, _, outcome) = tokio::join!(store.append(&first), store.append(&second), store.append(&third));
    let before = "the appends of this process before it";
    assert!(
        matches!(&outcome, Err(StoreError::Busy { waiting_for, .. }) if waiting_for.contains(before)),
        "{outcome:?}"
    );
    release(&mut holder).await;
    assert_eq!(store.append(&third).await.unwrap().last_position.get(), 1);
}

#[tokio::test]
async fn an_append_for_which_no_connection_is_open_yet_is_stored_when_the_store_closes() {
    let schema = Schema::new();
    let store = schema.store().await;
    let append = deposit("ann");
    let (outcome, ()) = tokio::join!(store.append(&append), store.close());
    assert_eq!(outcome.unwrap().last_position.get(), 1);
}
