//! No statement reads a whole table, also by a plan that was made when the table was empty.

mod common;

use std::time::Duration;

use common::{Schema, connection, deposit, deposited, number, stream};
use es_core::{
    Advance, Append, ConsumerName, ConsumerStore, DocumentChange, DocumentQuery, EventFilter, EventStore,
    ExpectedVersion, IdempotencyKey, PageSize, Payload, Position, Snapshot, SnapshotStore, Version,
    store::{Condition, RecordBatch, RecordKey, RecordRange, RecordStore, ScanOrder},
};
use es_postgres::{PgConnection, PgStore, sqlx::Connection};
use uuid::Uuid;

/// Reads of whole tables, and rows read by them, in a schema so far.
async fn whole_reads(admin: &mut PgConnection, schema: &Schema) -> Vec<(String, i64)> {
    let mut reads = Vec::new();
    for table in ["events", "appends", "checkpoints", "snapshots", "view_balance", "records"] {
        let sql = format!("SELECT pg_stat_get_numscans('{}.{table}'::regclass)", schema.name);
        reads.push((table.to_owned(), number(admin, sql).await));
    }
    reads
}

/// Everything that a store does again and again, once.
async fn work(store: &PgStore, round: u64) {
    let id = format!("s{}", round % 7);
    let key = IdempotencyKey::new(format!("key {round}")).unwrap();
    let several = Append::to(stream(&id), ExpectedVersion::Any, (0..20).map(deposited).collect())
        .and(stream(&format!("new{round}")), ExpectedVersion::NoStream, vec![deposited(1)])
        .idempotency_key(key.clone())
        .build()
        .unwrap();
    store.append(&several).await.unwrap();
    assert!(store.append(&several).await.unwrap().repeated);
    store.append(&deposit(&id)).await.unwrap();
    assert!(store.find_append(&key).await.unwrap().is_some());
    store.read_stream(&stream(&id), Version::new(3), PageSize::default()).await.unwrap();
    let after = Position::new(round * 10);
    let filters = [
        EventFilter::all(),
        EventFilter::all().or_category("account"),
        EventFilter::all().or_type("account", "Deposited").or_type("account", "Opened"),
        EventFilter::all().or_type("account", "Deposited").or_category("customer"),
        EventFilter::all().or_stream(stream("new1")),
    ];
    for filter in &filters {
        store.read_all(after, filter, PageSize::new(50).unwrap()).await.unwrap();
    }
    store.head().await.unwrap();

    let snapshot =
        Snapshot::new(stream(&id), "Account", Version::new(round), Uuid::nil(), String::new(), Payload::trusted("{}"));
    store.save_snapshot(&snapshot).await.unwrap();
    store.load_snapshot(&stream(&id), "Account").await.unwrap();

    let view = ConsumerName::new("balance").unwrap();
    let keys: Vec<String> = (0..20).map(|number| format!("{}", round * 10 + number)).collect();
    let body = Some(Payload::trusted(r#"{"cents":1}"#));
    let mut changes: Vec<_> = keys.iter().map(|key| DocumentChange { key: key.clone(), body: body.clone() }).collect();
    changes.push(DocumentChange { key: "gone".to_owned(), body: None });
    store.documents(&view, &keys).await.unwrap();
    store.save_documents(&Advance::new(&view, Position::new(round), Position::new(round + 1)), &changes).await.unwrap();
    let query = DocumentQuery::ByKey { after: Some(keys[0].clone()), limit: 10 };
    store.list_documents(&view, &query).await.unwrap();
    store.checkpoint(&view).await.unwrap();
    records(store, round).await;
}

async fn records(store: &PgStore, round: u64) {
    let key = |number: u64| RecordKey::of(["record".to_owned(), format!("{:06}", round * 10 + number)]).unwrap();
    let put = (0..20).fold(RecordBatch::new(), |batch, number| batch.put(key(number), Payload::trusted("1")));
    let revision = store.commit(&put).await.unwrap().revision;
    let batch = RecordBatch::new().require(key(0), Condition::At(revision)).require(key(1), Condition::Present);
    store.commit(&batch.put(key(0), Payload::trusted("2")).touch(key(2)).delete(key(3))).await.unwrap();
    store.get(&[key(0), key(1), key(99)]).await.unwrap();
    for order in [ScanOrder::Ascending, ScanOrder::Descending] {
        store.scan(&RecordRange::under(RecordKey::of(["record"]).unwrap()), order, 10).await.unwrap();
        store.scan(&RecordRange::all().starting_at(key(5)), order, 10).await.unwrap();
    }
    let scope = [RecordRange::key(key(0)), RecordRange::under(key(1))];
    store.update(&scope, &mut |_| Ok(RecordBatch::new().touch(key(1)))).await.unwrap();
}

#[tokio::test]
async fn nothing_that_is_done_again_and_again_reads_a_whole_table() {
    let schema = Schema::new();
    // One connection, so that every plan is made when the tables are empty and used ever after.
    let options = schema.options().max_connections(1).notify(false);
    // Making a table reads it as well; what a connection has counted is known when it ends.
    let maker = options.clone().connect().await.unwrap();
    maker.prepare_view(&ConsumerName::new("balance").unwrap()).await.unwrap();
    maker.close().await;
    let store = options.connect().await.unwrap();
    let mut admin = connection().await;
    let before = whole_reads(&mut admin, &schema).await;
    const ROUNDS: u64 = 60;
    for round in 0..ROUNDS {
        work(&store, round).await;
    }
    store.close().await;
    let told = format!("SELECT pg_stat_get_tuples_inserted('{}.events'::regclass)", schema.name);
    let expected = i64::try_from(ROUNDS).unwrap() * 22;
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while number(&mut admin, told.clone()).await < expected {
            admin.ping().await.unwrap();
        }
    });
    assert!(waited.await.is_ok(), "the server's statistics do not arrive");
    let tables_with_reads: Vec<_> = before.iter().zip(whole_reads(&mut admin, &schema).await).collect();
    for (before, after) in tables_with_reads {
        assert_eq!(*before, after, "the table was read as a whole");
    }
}
