//! An outbox whose rows came from another server, by a dump or by replication: each message that waited is delivered, whatever the numbers
//! of that server's transactions, and so is each that is written afterwards.

use std::{collections::BTreeSet, process::Command, time::Duration};

use es_core::{Fence, LeaseStore, Leased, OutboxEntry, OutboxStore, StoreError, outbox_consumer};
use es_e2e::server::{blocking, durable_postgres};
use es_postgres::{PgOptions, PgStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use xtask::postgres::ThrowawayPostgres;

/// More transactions than a fresh server ever had.
const SOME: u32 = 1_000;
/// More than that server has then.
const MANY: u32 = 5_000;

async fn connection(server: &ThrowawayPostgres) -> PgConnection {
    PgConnection::connect(&server.url()).await.expect("the server accepts connections")
}

async fn execute(connection: &mut PgConnection, sql: impl Into<String>) {
    sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(connection).await.expect("the statement works");
}

async fn store(server: &ThrowawayPostgres) -> PgStore {
    PgOptions::new(server.url()).connect().await.expect("a store")
}

/// Uses up numbers of transactions.
async fn use_up_transactions(server: &ThrowawayPostgres, count: u32) {
    let mut connection = connection(server).await;
    execute(&mut connection, "SET synchronous_commit = off").await;
    let sql = format!("DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$");
    execute(&mut connection, sql).await;
}

fn enqueue(texts: &[String]) -> String {
    let call = |text: &String| format!("SELECT es.enqueue('orders', 'key', '{{}}', '{text}', NULL);");
    texts.iter().map(call).collect()
}

fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}

/// Writes messages, each in a transaction of its own.
async fn write(server: &ThrowawayPostgres, texts: &[String]) {
    let mut connection = connection(server).await;
    for text in texts {
        execute(&mut connection, enqueue(std::slice::from_ref(text))).await;
    }
}

async fn fence(store: &PgStore) -> Fence {
    let consumer = outbox_consumer().expect("a name");
    match store.claim_lease(&consumer, "relay", Duration::from_secs(3_600)).await.expect("an answer") {
        Leased::Yours(lease) => lease.fence,
        Leased::Taken(holder) => panic!("{holder:?}"),
    }
}

/// Delivers everything that waits, in its order.
async fn deliver(store: &PgStore, fence: Fence) -> Vec<String> {
    let mut delivered = Vec::new();
    loop {
        let entries = store.read_outbox(7).await.expect("messages");
        let Some(OutboxEntry { cursor, .. }) = entries.last() else { return delivered };
        store.confirm_outbox(fence, cursor).await.expect("a place");
        let text = |entry: &OutboxEntry| String::from_utf8_lossy(&entry.message.message.body).into_owned();
        delivered.extend(entries.iter().map(text));
    }
}

/// Dumps what the arguments name, and restores it into another server.
async fn restore(from: &ThrowawayPostgres, to: &ThrowawayPostgres, arguments: &'static [&'static str]) {
    let (dump, restore) = (from.install().program("pg_dump"), from.install().program("pg_restore"));
    let (from, to, file) = (from.url(), to.url(), to.folder().join("outbox.dump"));
    blocking(move || {
        let dumped = Command::new(dump).args(arguments).args(["-Fc", "-f"]).arg(&file).arg(from).status();
        assert!(dumped.expect("pg_dump runs").success());
        let restored = Command::new(restore).args(["--exit-on-error", "-d"]).arg(to).arg(&file).status();
        assert!(restored.expect("pg_restore runs").success());
    })
    .await;
}

/// A server with messages of which the first three are confirmed and the others wait.
async fn server_with_messages(is_old: bool) -> ThrowawayPostgres {
    let server = durable_postgres().await;
    let store = store(&server).await;
    write(&server, &texts("confirmed", 3)).await;
    assert_eq!(deliver(&store, fence(&store).await).await.len(), 3);
    if is_old {
        use_up_transactions(&server, MANY).await;
    }
    write(&server, &texts("old", 30)).await;
    server
}

fn assert_delivers_in_order(delivered: &[String], expected: &[String]) {
    let wanted: BTreeSet<&String> = expected.iter().collect();
    let found: Vec<&String> = delivered.iter().filter(|text| wanted.contains(text)).collect();
    assert_eq!(found, expected.iter().collect::<Vec<_>>(), "of {delivered:?}");
}

async fn each_message_is_delivered(is_source_old: bool) {
    let source = server_with_messages(is_source_old).await;
    let target = durable_postgres().await;
    // In each case it knows the transactions that were confirmed, and in one of them also those of the messages that wait.
    use_up_transactions(&target, if is_source_old { SOME } else { MANY }).await;
    restore(&source, &target, &["-n", "es"]).await;
    let store = store(&target).await;
    // Written there before anybody has read, by a transaction that has ended and by one that is open for long.
    write(&target, &texts("new", 5)).await;
    let mut open = connection(&target).await;
    execute(&mut open, format!("BEGIN; {}", enqueue(&texts("open", 2)))).await;
    // Whoever read on the other server does not confirm here, and nothing is cleared away.
    let last = server_places(&source).await;
    let fence = fence(&store).await;
    let confirmed = store.confirm_outbox(fence, &last).await;
    assert!(matches!(confirmed, Err(StoreError::Refused { .. })), "{confirmed:?}");
    store.tidy_outbox().await.expect("it is tidied");
    assert!(store.outbox_stats().await.expect("figures").waiting >= 35);
    let waiting: Vec<String> = texts("old", 30).into_iter().chain(texts("new", 5)).collect();
    assert_delivers_in_order(&deliver(&store, fence).await, &waiting);
    execute(&mut open, "COMMIT").await;
    assert_eq!(deliver(&store, fence).await, texts("open", 2));
    assert_eq!(store.outbox_stats().await.expect("figures").waiting, 0);
    // The numbers of this server pass those of the other.
    use_up_transactions(&target, MANY).await;
    write(&target, &texts("later", 5)).await;
    assert_eq!(deliver(&store, fence).await, texts("later", 5));
    assert_eq!(deliver(&store, fence).await, [""; 0]);
}

/// The place of the last message that a relay of the source reads.
async fn server_places(source: &ThrowawayPostgres) -> es_core::OutboxCursor {
    let entries = store(source).await.read_outbox(1_000).await.expect("messages");
    entries.last().expect("messages wait").cursor.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_that_is_restored_into_a_younger_server_loses_no_message() {
    each_message_is_delivered(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_that_is_restored_into_an_older_server_loses_no_message() {
    each_message_is_delivered(false).await;
}

/// As logical replication leaves them: the rows of the outbox, and neither its sequence nor how far the relay was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_replicated_without_their_sequence_are_delivered() {
    for is_source_old in [true, false] {
        let (source, target) = (server_with_messages(is_source_old).await, durable_postgres().await);
        if !is_source_old {
            use_up_transactions(&target, MANY).await;
        }
        let store = store(&target).await;
        restore(&source, &target, &["--data-only", "-t", "es.outbox_[0-7]"]).await;
        let fence = fence(&store).await;
        assert_delivers_in_order(&deliver(&store, fence).await, &texts("old", 30));
        write(&target, &texts("new", 5)).await;
        assert_eq!(deliver(&store, fence).await, texts("new", 5));
    }
}

/// A server that goes back to an earlier state does not use a place again under which a relay remembers another message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_is_not_used_again_after_a_restore() {
    let (source, target) = (server_with_messages(true).await, durable_postgres().await);
    restore(&source, &target, &["-n", "es"]).await;
    let mut places = BTreeSet::new();
    for server in [&source, &target] {
        let store = store(server).await;
        let fence = fence(&store).await;
        let entries = store.read_outbox(1_000).await.expect("messages");
        for entry in &entries {
            assert!(places.insert(entry.cursor.as_str().to_owned()), "{} is used twice", entry.cursor.as_str());
        }
        store.confirm_outbox(fence, &entries[entries.len() - 1].cursor).await.expect("a place");
    }
}
