//! The outbox on PostgreSQL: what a read costs, and what the conformance suite cannot ask for.

mod common;

use std::time::{Duration, Instant};

use common::{Schema, connection, execute, number};
use es_core::{
    Enqueue, Fence, LeaseStore, Leased, OutboxEntry, OutboxMessage, OutboxStore, RawMessage, outbox_consumer,
};
use es_postgres::{
    PgConnection, PgStore,
    sqlx::{self, AssertSqlSafe, Connection},
};

async fn fence(store: &PgStore) -> Fence {
    let consumer = outbox_consumer().unwrap();
    match store.claim_lease(&consumer, "relay", Duration::from_secs(3_600)).await.unwrap() {
        Leased::Yours(lease) => lease.fence,
        Leased::Taken(holder) => panic!("{holder:?}"),
    }
}

/// Messages of 200 bytes, written by the server alone.
async fn put(connection: &mut PgConnection, schema: &Schema, count: u64) {
    let body = "repeat(md5(n::text), 6)::bytea";
    let sql = format!(
        "SELECT count({}.enqueue('orders', 'key ' || n % 100, '{{\"content-type\":\"text/plain\"}}', {body}, NULL)) \
         FROM generate_series(1, {count}) AS n",
        schema.name
    );
    execute(connection, sql).await;
}

/// Gives everything, and confirms it; how many.
async fn drain(store: &PgStore, fence: Fence) -> usize {
    let mut given = 0;
    loop {
        let entries = store.read_outbox(1_000).await.unwrap();
        let Some(last) = entries.last() else { return given };
        store.confirm_outbox(fence, &last.cursor).await.unwrap();
        given += entries.len();
    }
}

fn texts(entries: &[OutboxEntry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.message.message.body).into_owned()).collect()
}

fn message(text: &str) -> OutboxMessage {
    OutboxMessage::new("orders", RawMessage::new("text/plain", text))
}

/// Pages of the database that a read looks at.
async fn pages_of_a_read(admin: &mut PgConnection, schema: &Schema) -> i64 {
    let sql = format!(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT * FROM {}.read_outbox(1000, 1000000)",
        schema.name
    );
    let plan: String = sqlx::query_scalar(AssertSqlSafe(format!("{sql} ")))
        .fetch_one(admin)
        .await
        .map(|plan: sqlx::types::JsonValue| plan.to_string())
        .unwrap();
    // Of the topmost node, which comes first: it counts those below it.
    let of = |name: &str| -> i64 {
        let rest = plan.split(&format!("\"{name}\":")).nth(1).unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    of("Shared Hit Blocks") + of("Shared Read Blocks")
}

#[tokio::test]
async fn a_read_costs_the_same_however_long_a_transaction_is_held_open() {
    let schema = Schema::new();
    let store = schema.store().await;
    let fence = fence(&store).await;
    let (mut writer, mut holder) = (connection().await, connection().await);
    execute(&mut holder, "BEGIN").await;
    put(&mut holder, &schema, 1).await;
    let mut costs = Vec::new();
    for _ in 0..40 {
        for _ in 0..5 {
            put(&mut writer, &schema, 200).await;
        }
        costs.push(pages_of_a_read(&mut writer, &schema).await);
        assert_eq!(drain(&store, fence).await, 1_000);
        store.tidy_outbox().await.unwrap();
    }
    execute(&mut holder, "COMMIT").await;
    assert_eq!(drain(&store, fence).await, 1);
    let (first, last) = (costs[2..8].iter().min().unwrap(), costs[34..].iter().min().unwrap());
    println!("pages of a read under a held transaction: {costs:?}");
    assert!(*last <= 2 * first, "a read of 1000 messages looks at {last} pages after 40000, at {first} before");
}

#[tokio::test]
async fn transactions_of_any_isolation_level_may_write_messages() {
    let schema = Schema::new();
    let store = schema.store().await;
    let fence = fence(&store).await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut caller = connection().await;
        execute(&mut caller, format!("BEGIN ISOLATION LEVEL {level}; SELECT 1")).await;
        store.enqueue(&mut caller, &message("a")).await.unwrap();
        execute(&mut caller, "SAVEPOINT s").await;
        store.enqueue(&mut caller, &message("taken back")).await.unwrap();
        execute(&mut caller, "ROLLBACK TO s").await;
        store.enqueue(&mut caller, &message("b")).await.unwrap();
        assert_eq!(drain(&store, fence).await, 0);
        execute(&mut caller, "COMMIT").await;
        assert_eq!(texts(&store.read_outbox(10).await.unwrap()), ["a", "b"]);
        assert_eq!(drain(&store, fence).await, 2);
    }
}

#[tokio::test]
async fn nothing_is_lost_in_a_dump_that_is_restored_where_transactions_have_lower_numbers() {
    let schema = Schema::new();
    let store = schema.store().await;
    let fence = fence(&store).await;
    let mut admin = connection().await;
    put(&mut admin, &schema, 3).await;
    let far = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000000)";
    let sql = format!(
        "UPDATE {0}.outbox SET xid = {far}::text::xid8;
         UPDATE {0}.outbox_progress SET tick = ({far} || ':' || {far} || ':')::pg_snapshot",
        schema.name
    );
    execute(&mut admin, sql).await;
    put(&mut admin, &schema, 2).await;
    // The first read sees to it.
    let given = drain(&store, fence).await + drain(&store, fence).await;
    assert_eq!(given, 5);
    put(&mut admin, &schema, 2).await;
    assert_eq!(drain(&store, fence).await, 2);
}

#[tokio::test]
async fn tidying_waits_for_nobody_and_nobody_for_it() {
    let schema = Schema::new();
    let store = schema.store().await;
    let fence = fence(&store).await;
    let mut admin = connection().await;
    // A dump holds locks of every table.
    let mut dump = connection().await;
    execute(&mut dump, format!("BEGIN; LOCK TABLE {}.outbox IN ACCESS SHARE MODE", schema.name)).await;
    let slot = format!("SELECT slot::bigint FROM {}.outbox_current", schema.name);
    for _ in 0..40 {
        put(&mut admin, &schema, 1_000).await;
        drain(&store, fence).await;
        tokio::time::timeout(Duration::from_secs(10), store.tidy_outbox()).await.unwrap().unwrap();
    }
    assert!(number(&mut admin, slot).await > 0, "writers went on in the same partition");
    let full = store.outbox_stats().await.unwrap().bytes;
    execute(&mut dump, "COMMIT").await;
    store.tidy_outbox().await.unwrap();
    let bytes = store.outbox_stats().await.unwrap().bytes;
    assert!(bytes < full / 2, "{bytes} bytes of {full} after the dump");
}

/// Not a check: prints figures for the documents. `cargo test --release -p es-postgres --test outbox -- --ignored --nocapture`
#[tokio::test]
#[ignore = "measures"]
async fn figures_of_200_000_messages_beside_a_held_transaction() {
    for is_held in [false, true] {
        let schema = Schema::new();
        let store = schema.store().await;
        let fence = fence(&store).await;
        let mut holder = connection().await;
        if is_held {
            execute(&mut holder, "BEGIN").await;
            put(&mut holder, &schema, 1).await;
        }
        let (began, mut given, mut most_bytes, mut last_tidy) = (Instant::now(), 0, 0, 0);
        let name = schema.name.clone();
        let writing = tokio::spawn(async move {
            let schema = std::mem::ManuallyDrop::new(Schema { name });
            let mut writer = PgConnection::connect(&common::url()).await.unwrap();
            for _ in 0..2_000 {
                put(&mut writer, &schema, 100).await;
            }
        });
        let mut reads = Vec::new();
        while given < 200_000 {
            let start = Instant::now();
            let entries = store.read_outbox(1_000).await.unwrap();
            let read = start.elapsed();
            let Some(last) = entries.last() else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            store.confirm_outbox(fence, &last.cursor).await.unwrap();
            given += entries.len();
            reads.push((read, entries.len()));
            if given - last_tidy > 5_000 {
                last_tidy = given;
                store.tidy_outbox().await.unwrap();
                most_bytes = most_bytes.max(store.outbox_stats().await.unwrap().bytes);
            }
        }
        writing.await.unwrap();
        let took = began.elapsed();
        let quantile = |part: &[(Duration, usize)], of: usize| {
            let mut times: Vec<_> = part.iter().map(|(time, _)| *time).collect();
            times.sort();
            times[(times.len() - 1) * of / 100]
        };
        let tenth = reads.len() / 10;
        let (first, last) = (&reads[..tenth], &reads[reads.len() - tenth..]);
        println!("held: {is_held}; {given} in {took:?} by {} reads; most bytes {most_bytes}", reads.len());
        for (part, name) in [(first, "first"), (last, "last")] {
            let messages: usize = part.iter().map(|(_, count)| count).sum();
            println!(
                "  {name} tenth: p50 {:?} p99 {:?}, {} messages a read",
                quantile(part, 50),
                quantile(part, 99),
                messages / part.len()
            );
        }
        execute(&mut holder, "COMMIT").await;
        println!("  left for the end: {}", drain(&store, fence).await);
    }
}

/// Not a check, as the one before: delayed messages are moved row by row, so it is they that a held transaction makes dear.
#[tokio::test]
#[ignore = "measures"]
async fn figures_of_50_000_delayed_messages_beside_a_held_transaction() {
    for is_held in [false, true] {
        let schema = Schema::new();
        let store = schema.store().await;
        let fence = fence(&store).await;
        let (mut holder, mut writer) = (connection().await, connection().await);
        // All of them in a minute, from one second on.
        let sql = format!(
            "SELECT count({}.enqueue('orders', 'key ' || n % 100, '{{\"content-type\":\"text/plain\"}}', \
             repeat(md5(n::text), 6)::bytea, now() + interval '1 second' + n * interval '1.2 milliseconds')) \
             FROM generate_series(1, 50000) AS n",
            schema.name
        );
        execute(&mut writer, sql).await;
        if is_held {
            execute(&mut holder, "BEGIN").await;
            put(&mut holder, &schema, 1).await;
        }
        let (mut given, mut reads, mut late, mut most_bytes, mut turn) = (0, Vec::new(), Vec::new(), 0, 0);
        while given < 50_000 {
            let start = Instant::now();
            let entries = store.read_outbox(1_000).await.unwrap();
            reads.push(start.elapsed());
            let now = time::OffsetDateTime::now_utc();
            late.extend(entries.iter().filter_map(|entry| Some(now - entry.message.available_at?)));
            match entries.last() {
                Some(last) => store.confirm_outbox(fence, &last.cursor).await.unwrap(),
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            given += entries.len();
            turn += 1;
            if turn % 50 == 0 {
                store.tidy_outbox().await.unwrap();
                most_bytes = most_bytes.max(store.outbox_stats().await.unwrap().bytes);
            }
        }
        let quantile = |times: &[Duration], of: usize| {
            let mut times = times.to_vec();
            times.sort();
            times[(times.len() - 1) * of / 100]
        };
        late.sort();
        let tenth = reads.len() / 10;
        let (first, last) = (&reads[..tenth], &reads[reads.len() - tenth..]);
        println!(
            "held: {is_held}; {} reads; first tenth p50 {:?} p99 {:?}, last tenth p50 {:?} p99 {:?}; late p50 {} p99 {}; most bytes {}",
            reads.len(),
            quantile(first, 50),
            quantile(first, 99),
            quantile(last, 50),
            quantile(last, 99),
            late[late.len() / 2],
            late[late.len() * 99 / 100],
            most_bytes.max(store.outbox_stats().await.unwrap().bytes),
        );
        let mut idle = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            assert!(store.read_outbox(1_000).await.unwrap().is_empty());
            idle.push(start.elapsed());
        }
        println!("  a read that finds nothing then: p50 {:?} p99 {:?}", quantile(&idle, 50), quantile(&idle, 99));
        execute(&mut holder, "COMMIT").await;
    }
}
