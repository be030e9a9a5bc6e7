//! How pages of events are read: what they hold, and what the server does for them.

mod common;

use std::time::Duration;

use common::{Schema, connection, deposited, number, stream};
use es_core::{
    Append, EventFilter, EventStore, EventType, ExpectedVersion, NewEvent, PageSize, Payload, Position, StoreError,
    StreamId, Version, limits,
};
use es_postgres::{PgConnection, PgStore, sqlx::Connection};

async fn append(store: &PgStore, stream: StreamId, events: Vec<NewEvent>) {
    let append = Append::to(stream, ExpectedVersion::Any, events).build().unwrap();
    store.append(&append).await.unwrap();
}

fn large(bytes: usize) -> NewEvent {
    let payload = Payload::trusted(format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes)));
    NewEvent::new(EventType::new("Noted").unwrap(), payload)
}

#[tokio::test]
async fn a_large_event_among_small_ones_does_not_end_a_page() {
    let schema = Schema::new();
    let store = schema.store().await;
    let page = PageSize::new(20).unwrap();
    // Over a twentieth of what a page may hold.
    let bytes = limits::MAX_PAGE_BYTES / 20 + 1;
    for at in [0, 7, 19] {
        let mut events: Vec<_> = (0..22).map(deposited).collect();
        events[at] = large(bytes);
        let stream = stream(&format!("large at {at}"));
        let after = store.head().await.unwrap();
        append(&store, stream.clone(), events).await;

        let read = store.read_stream(&stream, Version::ZERO, page).await.unwrap();
        assert_eq!((read.events.len(), read.is_last), (20, false));
        let versions: Vec<u64> = read.events.iter().map(|event| event.version().get()).collect();
        assert_eq!(versions, (1..=20).collect::<Vec<u64>>());
        assert!(read.events[at].payload().as_str().len() > bytes);
        let rest = store.read_stream(&stream, Version::new(20), page).await.unwrap();
        assert_eq!((rest.events.len(), rest.is_last), (2, true));

        for filter in [EventFilter::all(), EventFilter::all().or_category("account")] {
            let read = store.read_all(after, &filter, page).await.unwrap();
            assert_eq!((read.events.len(), read.scanned_to.get()), (20, after.get() + 20));
            let rest = store.read_all(read.scanned_to, &filter, page).await.unwrap();
            assert_eq!((rest.events.len(), rest.scanned_to.get()), (2, after.get() + 22));
        }
    }
}

#[tokio::test]
async fn tails_that_are_read_together_are_those_that_are_read_alone() {
    let schema = Schema::new();
    let store = schema.store().await;
    let short = stream("short");
    append(&store, short.clone(), (0..3).map(deposited).collect()).await;
    let long = stream("long");
    append(&store, long.clone(), (0..200).map(deposited).collect()).await;
    let begins_large = stream("begins large");
    append(&store, begins_large.clone(), vec![large(100_000), deposited(1)]).await;
    let becomes_large = stream("becomes large");
    append(&store, becomes_large.clone(), vec![deposited(1), large(100_000), deposited(2)]).await;

    let wanted =
        [(&short, 0), (&short, 2), (&short, 3), (&long, 0), (&long, 150), (&begins_large, 0), (&becomes_large, 0)];
    let unknown = stream("unknown");
    let wanted = wanted.into_iter().chain([(&unknown, 0), (&unknown, 7)]);
    // Often enough that some share a call, and more than may wait.
    let reads = wanted.cycle().take(500).map(|(stream, after)| {
        let store = &store;
        async move {
            let after = Version::new(after);
            let tail = store.read_tail(stream, after).await.unwrap();
            let page = store.read_stream(stream, after, PageSize::default()).await.unwrap();
            assert_eq!(tail.events, page.events[..tail.events.len()], "{stream} after {after}");
            assert_eq!(tail.is_last, tail.events.len() == page.events.len(), "{stream} after {after}");
            assert!(!tail.events.is_empty() || page.events.is_empty(), "{stream} after {after}");
        }
    });
    futures_util::future::join_all(reads).await;

    store.close().await;
    assert!(matches!(store.read_tail(&short, Version::ZERO).await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn a_tail_is_read_after_its_connection_was_lost() {
    let schema = Schema::new();
    let store = schema.store().await;
    let stream = stream("short");
    append(&store, stream.clone(), vec![deposited(1)]).await;
    let read = async || store.read_tail(&stream, Version::ZERO).await.map(|page| page.events.len());
    assert_eq!(read().await.unwrap(), 1);
    let cut = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%LATERAL%\"{}\"%'",
        store.schema()
    );
    assert_eq!(number(&mut connection().await, &cut).await, 1);
    assert_eq!(read().await.unwrap(), 1);
}

#[tokio::test]
async fn a_page_of_a_category_does_not_look_at_the_events_before_it() {
    const EVENTS: u64 = 10_000;
    let schema = Schema::new();
    let options = schema.options().max_connections(1).notify(false);
    let writer = options.clone().connect().await.unwrap();
    append(&writer, stream("ann"), (0..10_000).map(deposited).collect()).await;
    writer.close().await;
    // What a connection has counted is known when it ends.
    let mut admin = connection().await;
    let told = format!("SELECT pg_stat_get_tuples_inserted('{}.events'::regclass)", schema.name);
    wait_for(&mut admin, told, 10_000).await;
    let index = format!("'{}.events_category_position_idx'::regclass", schema.name);
    let blocks = format!("SELECT pg_stat_get_blocks_fetched({index})");
    let before = number(&mut admin, blocks.clone()).await;

    let reader = options.connect().await.unwrap();
    let after = Position::new(EVENTS - 10);
    for filter in [EventFilter::all().or_category("account"), EventFilter::all().or_type("account", "Deposited")] {
        let page = reader.read_all(after, &filter, PageSize::default()).await.unwrap();
        assert_eq!(page.events.len(), 10);
    }
    reader.close().await;
    wait_for(&mut admin, format!("SELECT pg_stat_get_tuples_returned({index})"), 20).await;
    let looked_at = number(&mut admin, blocks).await - before;
    assert!(looked_at < 20, "looked at {looked_at} blocks of the index for 20 events");
}

/// Waits until the server's statistics say so.
async fn wait_for(admin: &mut PgConnection, sql: String, least: i64) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while number(admin, sql.clone()).await < least {
            admin.ping().await.unwrap();
        }
    });
    assert!(waited.await.is_ok(), "the server's statistics do not arrive");
}
