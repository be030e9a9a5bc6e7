//! What an append says, and what is read back afterwards.

use es_core::{EventStore, EventStoreExt, Metadata, NewEvent, Position, Version};
use futures_util::TryStreamExt;
use serde_json::json;
use time::{OffsetDateTime, UtcOffset, macros::datetime};

use super::support::*;
use crate::harness::StoreHarness;

/// The outcome counts versions in the stream and positions in the log, both from 1.
pub async fn an_append_gives_versions_and_positions_from_one_without_gaps<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    assert_eq!(head_of(&store).await, 0, "the head of an empty store");
    let first = append(&store, &stream("ann"), deposits(2)).await;
    let second = append(&store, &stream("bob"), deposits(1)).await;
    let third = append(&store, &stream("ann"), deposits(3)).await;
    let places: Vec<_> = [&first, &second, &third]
        .map(|appended| {
            assert!(!appended.repeated);
            assert_eq!(appended.streams.len(), 1);
            let part = &appended.streams[0];
            assert_eq!(part.first_position, appended.first_position);
            let (from, to) = (appended.first_position.get(), appended.last_position.get());
            (part.stream.id().to_owned(), part.first_version.get(), part.last_version.get(), from, to)
        })
        .into();
    let expected = [("ann", 1, 2, 1, 2), ("bob", 1, 1, 3, 3), ("ann", 3, 5, 4, 6)];
    assert_eq!(places, expected.map(|(id, a, b, c, d)| (id.to_owned(), a, b, c, d)));
    assert_eq!(head_of(&store).await, 6);
    assert_whole(&store).await;
}

/// The stream and the log give back what was appended, and the outcome tells every place.
pub async fn what_was_appended_is_read_back_as_it_was_given<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let request = ok(es_core::Append::to(stream("ann"), NoStream, vec![opened("Ann"), deposited(5)])
        .and(stream_in("customer", "ann"), NoStream, vec![event("Moved", r#"{"to":"Prague"}"#)])
        .build());
    let appended = ok(send(&store, &request).await);
    let expected = request.recorded(&appended);
    assert_eq!(whole_log(&store).await, expected);
    assert_eq!(whole_stream(&store, &stream("ann")).await, expected[..2]);
    assert_eq!(whole_stream(&store, &stream_in("customer", "ann")).await, expected[2..]);
}

/// Payloads are text to a store: white space, number forms, escapes and repeated names stay as they are.
pub async fn payloads_keep_their_exact_bytes<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let payloads = [
        "{}",
        " { \"a\" :\t1 ,\n\"b\":[ 1,2 , 3 ] }\n",
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{"n":[1.0,1.0e2,1E+2,100,-0,-0.0,0.1000,12345678901234567890123,1e-7]}"#,
        r#"{"text":"é ü 漢字 🦀 \u00e9 \ud83e\udd80 \/ \" \\ \b\f\n\r\t"}"#,
        r#"{"quotes":"it's; -- $1 %s ? :a @b"}"#,
        "null",
        "true",
        "17",
        r#""a text""#,
        "[]",
        r#"{"":{"":[{},[],null]}}"#,
    ];
    append(&store, &stream("ann"), payloads.map(|json| event("Noted", json)).into()).await;
    for events in [whole_stream(&store, &stream("ann")).await, whole_log(&harness.reopened(&store).await).await] {
        let stored: Vec<&str> = events.iter().map(|event| event.payload().as_str()).collect();
        assert_eq!(stored, payloads);
    }
}

/// Metadata comes back as it was; times come back in UTC, cut to microseconds; an event without a time of its own
/// occurred when it was recorded.
pub async fn metadata_and_times_round_trip_to_the_microsecond<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let metadata = Metadata::new()
        .with_actor("teller 'seven'; é")
        .with_correlation("c-1")
        .with_causation("c-2")
        .with_source("till \"3\"\\")
        .with_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .with_extra("nested", json!({"list": [1, 2.5, null, true, {"é": "🦀"}], "big": 9_007_199_254_740_993_u64}))
        .with_extra("text", "a\nb");
    let prague = UtcOffset::from_hms(2, 0, 0).unwrap_or(UtcOffset::UTC);
    let times: [OffsetDateTime; 5] = [
        datetime!(2024-02-29 23:59:59.123456789 UTC),
        datetime!(1969-12-31 23:59:59.999999999 UTC),
        datetime!(1901-01-01 00:00:00 UTC),
        datetime!(2999-12-31 23:59:59.000001 UTC),
        datetime!(2024-06-01 12:00 UTC).to_offset(prague),
    ];
    let mut events: Vec<NewEvent> = times.iter().map(|&time| deposited(1).with_occurred_at(time)).collect();
    events.push(deposited(2).with_metadata(metadata.clone()));
    append(&store, &stream("ann"), events.clone()).await;
    let stored = whole_stream(&harness.reopened(&store).await, &stream("ann")).await;
    for (stored, (sent, time)) in stored.iter().zip(events.iter().zip(times)) {
        assert!(stored.is_same_as(sent), "{stored:?} is not {sent:?}");
        let cut = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000));
        assert_eq!(Ok(es_core::timestamp::unix_micros(stored.occurred_at())), cut);
        assert_eq!(stored.occurred_at().offset(), UtcOffset::UTC);
    }
    assert_eq!(*stored[5].metadata(), metadata);
    assert!(stored[5].is_same_as(&events[5]));
    assert_eq!(stored[5].occurred_at(), stored[5].recorded_at());
}

/// All events of one append have the time that the outcome tells; no event has an earlier one than those before it.
pub async fn the_recorded_time_is_shared_by_an_append_and_never_decreases<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let mut appended = Vec::new();
    for number in 0..10 {
        appended.push(append(&store, &stream(&format!("s{number}")), deposits(3)).await);
    }
    let log = whole_log(&store).await;
    for (events, appended) in log.chunks(3).zip(&appended) {
        assert!(events.iter().all(|event| event.recorded_at() == appended.recorded_at));
        assert_eq!(appended.recorded_at.nanosecond() % 1_000, 0, "a recorded time is finer than a microsecond");
    }
    assert!(log.is_sorted_by_key(|event| event.recorded_at()));
}

/// Ids that look like SQL, wildcards or paths name streams and nothing else; ids that look alike are told apart.
pub async fn odd_stream_ids_are_names_and_nothing_else<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let ids = [
        "'; DROP TABLE events; --",
        "' OR '1'='1",
        "\" OR \"\"=\"",
        "%",
        "_",
        "a%",
        "ab",
        "aB",
        "ab ",
        " ab",
        "a\\b",
        "a\\\\b",
        "a/b",
        "a@b/c",
        "$1",
        "?1",
        ":id",
        "{}",
        "é",
        "e\u{301}",
        "🦀",
        "null",
        "0",
        "00",
        "-- ",
        "/* x",
    ];
    let longest = "é".repeat(es_core::limits::MAX_ID_BYTES / 2);
    let ids: Vec<&str> = ids.into_iter().chain([longest.as_str()]).collect();
    for (index, id) in ids.iter().enumerate() {
        let request = append_to(&stream(id), NoStream, vec![deposited(index as i64)]);
        ok(send(&store, &request).await);
    }
    for (index, id) in ids.iter().enumerate() {
        let events = whole_stream(&store, &stream(id)).await;
        assert_eq!(events.len(), 1, "the stream {id:?}");
        assert_eq!(*events[0].stream(), stream(id));
        assert_eq!(events[0].payload().as_str(), format!(r#"{{"cents":{index}}}"#));
        assert_conflict(send(&store, &append_to(&stream(id), NoStream, deposits(1))).await, &stream(id), 1);
    }
    assert_eq!(assert_whole(&store).await.len(), ids.len());
}

/// Tenant, category and id together name a stream; odd event types are kept as they are.
pub async fn streams_of_other_tenants_and_categories_are_other_streams<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let plain = stream("ann");
    let streams = [
        plain.clone(),
        ok(plain.with_tenant("acme")),
        ok(plain.with_tenant("ACME")),
        ok(plain.with_tenant("account")),
        stream_in("Account", "ann"),
        stream_in("account.x", "ann"),
        ok(stream_in("acme", "ann").with_tenant("account")),
        stream("acme@account/ann"),
    ];
    let types = ["a b", "it's", "\"x\"", "%", "é🦀", "Opened", "opened", "; DROP TABLE events"];
    for (name, event_type) in streams.iter().zip(types) {
        ok(send(&store, &append_to(name, NoStream, vec![event(event_type, "{}")])).await);
    }
    for (name, event_type) in streams.iter().zip(types) {
        let events = whole_stream(&store, name).await;
        assert_eq!(events.len(), 1, "the stream {name}");
        let read = &events[0];
        assert_eq!((read.stream().tenant(), read.stream().category()), (name.tenant(), name.category()));
        assert_eq!(read.event_type(), event_type);
        assert_eq!(read.version(), Version::new(1));
    }
}

/// What one handle has written, another one reads and goes on from.
pub async fn another_handle_sees_every_append<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let first = append(&store, &stream("ann"), deposits(2)).await;
    assert_eq!(ok(other.head().await), first.last_position);
    let second = ok(send(&other, &append_to(&stream("ann"), exactly(2), deposits(1))).await);
    assert_eq!(second.first_position, Position::new(3));
    assert_eq!(version_of(&store, &stream("ann")).await, 3);
    assert_conflict(send(&store, &append_to(&stream("ann"), exactly(2), deposits(1))).await, &stream("ann"), 3);
    let late = harness.reopened(&store).await;
    assert_eq!(whole_log(&late).await, whole_log(&store).await);
}

/// An append wakes the readers that wait on the same handle, with its position.
pub async fn an_append_wakes_the_readers_of_its_handle<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (mut early, mut second) = (store.wakeups(), store.wakeups());
    for round in 1..=3 {
        let appended = append(&store, &stream("ann"), deposits(2)).await;
        for wakeups in [&mut early, &mut second] {
            while wakeups.next().await < appended.last_position {}
        }
        assert_eq!(appended.last_position.get(), 2 * round);
    }
}

/// What is read page by page as a stream of events is everything, in order.
pub async fn events_can_be_read_as_streams<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(1_200)).await;
    append(&store, &stream("bob"), deposits(3)).await;
    let of_ann: Vec<_> = ok(store.stream_events(&stream("ann"), Version::new(10)).try_collect().await);
    assert_eq!(of_ann, whole_stream(&store, &stream("ann")).await[10..]);
    let filter = es_core::EventFilter::all();
    let all: Vec<_> = ok(store.all_events(Position::new(5), &filter).try_collect().await);
    assert_eq!(all, whole_log(&store).await[5..]);
    let nothing: Vec<_> = ok(store.stream_events(&stream("nobody"), Version::ZERO).try_collect().await);
    assert!(nothing.is_empty());
}
