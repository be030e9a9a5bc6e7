//! Reading: filters against a plain reading, damaged rows, exact bytes, the bounds of a page.

mod common;

use common::{TempFolder, account, append, connect, event_of, opened, to};
use es_core::{
    Append, ConsumerName, ConsumerStore, DocumentQuery, EventFilter, EventStore, EventType, ExpectedVersion, NewEvent,
    PageSize, Payload, Position, Snapshot, SnapshotStore, StoreError, StreamId, Version, limits,
};
use es_sqlite::{SqliteStore, sqlx};
use es_testkit::SeededRng;

/// The positions that a filter gives, page by page.
async fn filtered(store: &SqliteStore, filter: &EventFilter, page: usize) -> Vec<u64> {
    let (mut after, mut positions) = (Position::ZERO, Vec::new());
    loop {
        let found = store.read_all(after, filter, PageSize::new(page).unwrap()).await.unwrap();
        assert!(found.events.len() <= page);
        assert!(found.events.iter().all(|event| event.position() > after && event.position() <= found.scanned_to));
        positions.extend(found.events.iter().map(|event| event.position().get()));
        if found.scanned_to == after {
            assert_eq!(found.scanned_to, store.head().await.unwrap());
            return positions;
        }
        after = found.scanned_to;
    }
}

#[tokio::test]
async fn every_filter_finds_what_a_plain_reading_finds_also_where_events_were_removed() {
    let rng = SeededRng::from_env();
    println!("seed {}", rng.seed());
    let folder = TempFolder::new();
    let store = folder.store().await;
    let stream = |number: u64| {
        let stream = StreamId::new(["account", "order", "x"][(number % 3) as usize], &number.to_string()).unwrap();
        if number.is_multiple_of(4) { stream.with_tenant("acme").unwrap() } else { stream }
    };
    let event_type = |number: u64| ["A", "B", "C", "D"][number as usize];
    // Enough for several looks: the first takes in some thousand positions.
    for _ in 0..60 {
        let mut builder = Append::builder();
        for number in 0..8 {
            let events = (0..rng.below(40)).map(|_| event_of(event_type(rng.below(4)), "{}")).collect();
            builder = builder.and(stream(number), ExpectedVersion::Any, events);
        }
        if let Ok(append) = builder.build() {
            store.append(&append).await.unwrap();
        }
    }
    let mut connection = connect(store.path()).await;
    sqlx::query("DELETE FROM es_events WHERE position % 7 = 3 OR position BETWEEN 100 AND 4500 AND stream LIKE '%/1'")
        .execute(&mut connection)
        .await
        .unwrap();
    let everything = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::new(10_000).unwrap()).await.unwrap();
    assert_eq!(everything.scanned_to, store.head().await.unwrap());
    for _ in 0..40 {
        let mut filter = EventFilter::all();
        for _ in 0..rng.below(5) {
            filter = match rng.below(3) {
                0 => filter.or_category(["account", "order", "x", "none"][rng.below(4) as usize]),
                1 => filter.or_type(["account", "order", "none"][rng.below(3) as usize], event_type(rng.below(4))),
                _ => filter.or_stream(stream(rng.below(12))),
            };
        }
        let expected = everything.events.iter().filter(|event| filter.matches(event.stream(), event.event_type()));
        let expected: Vec<_> = expected.map(|event| event.position().get()).collect();
        let page = 1 + rng.below(3_000) as usize;
        let found = filtered(&store, &filter, page).await;
        let differing = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        let is_same = found.len() == expected.len() && differing.is_none();
        assert!(is_same, "{filter:?}, page of {page}, found and expected from {differing:?} on, seed {}", rng.seed());
    }
}

#[tokio::test]
async fn a_row_that_breaks_the_rules_is_reported_with_its_position() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened(), opened(), opened()]).await.unwrap();
    let mut connection = connect(store.path()).await;
    for (damage, mend) in [
        ("stream = 'nonsense'", "stream = 'account/ann'"),
        ("version = -2", "version = 2"),
        ("event_id = x'00'", "event_id = x'000102030405060708090a0b0c0d0e0f'"),
        ("type = ''", "type = 'Opened'"),
        ("metadata = 'x'", "metadata = '{}'"),
        ("occurred_at = 9223372036854775807", "occurred_at = NULL"),
        ("recorded_at = 9223372036854775807", "recorded_at = 0"),
        // Texts that are not UTF-8.
        ("stream = CAST(x'6163636f756e742fff' AS TEXT)", "stream = 'account/ann'"),
        ("type = CAST(x'ff' AS TEXT)", "type = 'Opened'"),
        ("metadata = CAST(x'7b2261223a22ff227d' AS TEXT)", "metadata = '{}'"),
        ("payload = CAST(x'22ff22' AS TEXT)", "payload = '{}'"),
    ] {
        let update = |set: &str| sqlx::AssertSqlSafe(format!("UPDATE es_events SET {set} WHERE position = 2"));
        sqlx::query(update(damage)).execute(&mut connection).await.unwrap();
        let page = PageSize::default();
        let error = store.read_all(Position::ZERO, &EventFilter::all(), page).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { position, .. } if position == Position::new(2)),
            "{damage}: {error}"
        );
        // What follows is read, if the event that it follows can be identified.
        let is_read = store.read_all(Position::new(2), &EventFilter::all(), page).await.is_ok();
        assert_eq!(is_read, !damage.starts_with("event_id"), "{damage}");
        sqlx::query(update(mend)).execute(&mut connection).await.unwrap();
        assert!(store.read_all(Position::ZERO, &EventFilter::all(), page).await.is_ok(), "{mend}");
    }
}

#[tokio::test]
async fn a_stored_text_that_is_not_utf8_is_corrupt_wherever_it_is() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let view = ConsumerName::new("balance").unwrap();
    store.prepare_view(&view).await.unwrap();
    let stream = account("ann");
    let (id, state) = (uuid::Uuid::now_v7(), Payload::trusted("1"));
    let snapshot = Snapshot::new(stream.clone(), "Account", Version::new(1), id, "1:".to_owned(), state);
    store.save_snapshot(&snapshot).await.unwrap();
    let mut connection = connect(store.path()).await;
    let table: String =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE name LIKE '%balance@1' AND type = 'table'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    for damage in [
        format!("INSERT INTO \"{table}\" VALUES ('ann', CAST(x'22ff22' AS TEXT))"),
        "UPDATE es_snapshots SET state = CAST(x'22ff22' AS TEXT)".to_owned(),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(damage)).execute(&mut connection).await.unwrap();
    }
    let by_key = DocumentQuery::ByKey { after: None, limit: 1 };
    for error in [
        store.documents(&view, &["ann".to_owned()]).await.unwrap_err(),
        store.list_documents(&view, &by_key).await.unwrap_err(),
        store.load_snapshot(&stream, "Account").await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Corrupt { position: Position::ZERO, .. }), "{error:?}");
        assert!(error.to_string().starts_with("a stored row is damaged"), "{error}");
    }
}

#[tokio::test]
async fn texts_that_json_or_sql_could_mangle_come_back_byte_for_byte() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let payloads = [
        r#"{"nul":"\u0000","pair":"\ud83d\ude00","raw":"😀é","quote":"\"\\\/'--;"}"#,
        " { \"spaces\" :\t[ 1 , 2.50 , 1e400 , -0 , 12345678901234567890123 ] }\r\n",
        r#"{"a":1,"a":2}"#,
        "\"\u{1}\"",
        "null",
        "\u{2028}\"\u{fffe}\u{7f}\"",
        "",
    ];
    let events = payloads.map(|text| NewEvent::new(EventType::new("Odd 'type\"").unwrap(), Payload::trusted(text)));
    let stream = StreamId::new("account", "o'\"\\ {}[]%_;-- é").unwrap();
    let odd = Append::to(stream.clone(), ExpectedVersion::NoStream, events.to_vec()).build().unwrap();
    store.append(&odd).await.unwrap();
    assert!(store.append(&odd).await.unwrap().repeated);
    let page = store.read_stream(&stream, Version::ZERO, PageSize::default()).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.payload().as_str()).collect::<Vec<_>>(), payloads);
    assert!(page.events.iter().zip(&events).all(|(stored, event)| stored.is_same_as(event)));

    let nul = NewEvent::new(EventType::new("Nul").unwrap(), Payload::trusted("\"\0\""));
    let refused = append(&store, "ann", vec![nul]).await;
    assert!(matches!(refused, Err(StoreError::Refused { reason }) if reason.contains("NUL")), "{refused:?}");
}

#[tokio::test]
async fn a_page_stops_at_its_bytes_for_streams_filters_and_the_whole_log() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    let large = format!("\"{}\"", "x".repeat(limits::MAX_PAYLOAD_BYTES - 2));
    for _ in 0..2 {
        append(&store, "ann", (0..10).map(|_| event_of("Large", &large)).collect()).await.unwrap();
    }
    let page = PageSize::new(100).unwrap();
    let first = store.read_stream(&account("ann"), Version::ZERO, page).await.unwrap();
    assert_eq!((first.events.len(), first.is_last), (16, false));
    let rest = store.read_stream(&account("ann"), Version::new(16), page).await.unwrap();
    assert_eq!((rest.events.len(), rest.is_last), (4, true));
    for filter in [EventFilter::all(), EventFilter::all().or_type("account", "Large")] {
        let first = store.read_all(Position::ZERO, &filter, page).await.unwrap();
        assert_eq!((first.events.len(), first.scanned_to), (16, Position::new(16)));
        let rest = store.read_all(first.scanned_to, &filter, page).await.unwrap();
        assert_eq!((rest.events.len(), rest.scanned_to), (4, Position::new(20)));
    }
    // Sending a large append again compares all of it, whatever a page may hold.
    let whole = to("bob", (0..20).map(|_| event_of("Large", &large)).collect()).build().unwrap();
    store.append(&whole).await.unwrap();
    assert!(store.append(&whole).await.unwrap().repeated);
}

#[tokio::test]
async fn a_page_of_a_stream_that_is_read_in_parts_is_one_page() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", (0..700).map(|_| opened()).collect()).await.unwrap();
    let read = async |id: &str, after: u64, page: usize| {
        let page = PageSize::new(page).unwrap();
        let found = store.read_stream(&account(id), Version::new(after), page).await.unwrap();
        let versions: Vec<_> = found.events.iter().map(|event| event.version().get()).collect();
        assert_eq!(versions, (after + 1..=after + versions.len() as u64).collect::<Vec<_>>());
        (versions.len(), found.is_last)
    };
    assert_eq!(read("ann", 0, 600).await, (600, false));
    assert_eq!(read("ann", 600, 600).await, (100, true));
    assert_eq!(read("ann", 0, 700).await, (700, true));
    assert_eq!(read("ann", 0, 10_000).await, (700, true));
    // Its bytes are counted over all parts.
    let payload = format!("\"{}\"", "x".repeat(limits::MAX_PAGE_BYTES / 300 - 2));
    append(&store, "bob", (0..700).map(|_| event_of("Large", &payload)).collect()).await.unwrap();
    assert_eq!(read("bob", 0, 700).await, (301, false));
    assert_eq!(read("bob", 301, 700).await, (301, false));
    assert_eq!(read("bob", 602, 700).await, (98, true));
}

#[tokio::test]
async fn whoever_follows_the_log_is_given_what_was_just_stored_without_asking_the_database() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    let _hints = store.wakeups();
    append(&store, "ann", vec![opened()]).await.unwrap();
    let mut connection = connect(store.path()).await;
    sqlx::query("ALTER TABLE es_events RENAME TO gone").execute(&mut connection).await.unwrap();
    let page = PageSize::default();
    let recent = store.read_all(Position::new(1), &EventFilter::all(), page).await.unwrap();
    assert_eq!((recent.events.len(), recent.scanned_to), (1, Position::new(2)));
    assert!(store.read_all(Position::ZERO, &EventFilter::all(), page).await.is_err());
    sqlx::query("ALTER TABLE gone RENAME TO es_events").execute(&mut connection).await.unwrap();
    store.close().await.unwrap();
    assert!(store.read_all(Position::new(1), &EventFilter::all(), page).await.is_err());
}

#[tokio::test]
async fn a_lent_connection_reads_beside_the_writer_and_cannot_write() {
    let folder = TempFolder::new();
    let store = folder.store().await;
    append(&store, "ann", vec![opened()]).await.unwrap();
    let mut reading = store.read_connection().await.unwrap();
    let count = "SELECT count(*) FROM es_events";
    sqlx::raw_sql("BEGIN").execute(&mut *reading).await.unwrap();
    let counted: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
    append(&store, "bob", vec![opened()]).await.unwrap();
    let same: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
    assert_eq!((counted, same), (1, 1));
    let written = sqlx::raw_sql("DELETE FROM es_events").execute(&mut *reading).await;
    assert!(written.is_err(), "it could write");
    // What it was left in is nobody else's.
    drop(reading);
    let mut reading = store.read_connection().await.unwrap();
    let now: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
    assert_eq!(now, 2);
}
