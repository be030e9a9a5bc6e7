//! Every limit of a store is reached, and not passed (G10).

use es_core::{
    Append, EventFilter, EventStore, EventType, Metadata, PageSize, Payload, Position, RecordedEvent, StoreError,
    Version, limits,
};

use super::support::*;
use crate::harness::StoreHarness;

/// A payload of exactly the limit is stored; one byte more is refused, and so is everything that came with it.
pub async fn a_payload_at_the_limit_is_stored_and_one_byte_more_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let limit = limits::MAX_PAYLOAD_BYTES;
    let largest = event_of_bytes(limit);
    append(&store, &stream("ann"), vec![deposited(1), largest.clone()]).await;
    let over = Append::to(stream("bob"), Any, deposits(1)).and(stream("ann"), Any, vec![event_of_bytes(limit + 1)]);
    assert_limit(send(&store, &ok(over.build())).await, limit, limit + 1);
    let log = assert_whole(&store).await;
    assert_eq!(log.len(), 2);
    assert!(log[1].payload() == largest.payload(), "the largest payload came back changed");
}

/// As many events as an append may have go in by one call.
pub async fn the_largest_append_is_stored_at_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let appended = append(&store, &stream("ann"), deposits(limits::MAX_EVENTS_PER_APPEND)).await;
    assert_eq!(appended.last_position.get(), limits::MAX_EVENTS_PER_APPEND as u64);
    let page = ok(store.read_stream(&stream("ann"), Version::ZERO, page_of(limits::MAX_PAGE_EVENTS)).await);
    assert!(page.is_last);
    assert_eq!(page.events.len(), limits::MAX_PAGE_EVENTS);
    assert!(page.events.iter().zip(1..).all(|(event, cents)| {
        event.version().get() == cents && event.payload().as_str() == format!(r#"{{"cents":{cents}}}"#)
    }));
    let log = ok(store.read_all(Position::ZERO, &EventFilter::all(), page_of(limits::MAX_PAGE_EVENTS)).await);
    assert_eq!(log.events, page.events);
}

/// As many streams as an append may name go in by one call, and a conflict on the last one takes all back.
pub async fn an_append_over_the_most_streams_is_stored_at_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let count = limits::MAX_STREAMS_PER_APPEND;
    let request = |expected_of_last| {
        let parts = (0..count).map(|number| (number, if number + 1 == count { expected_of_last } else { NoStream }));
        ok(parts
            .fold(Append::builder(), |builder, (number, expected)| {
                builder.and(stream(&format!("s{number}")), expected, vec![deposited(number as i64)])
            })
            .build())
    };
    let last = stream(&format!("s{}", count - 1));
    assert_conflict(send(&store, &request(Exists)).await, &last, 0);
    assert_eq!(head_of(&store).await, 0);
    let appended = ok(send(&store, &request(NoStream)).await);
    assert_eq!((appended.streams.len(), appended.last_position.get()), (count, count as u64));
    let page = ok(store.read_stream(&last, Version::ZERO, page_of(1)).await);
    assert_eq!(page.events[0].payload().as_str(), format!(r#"{{"cents":{}}}"#, count - 1));
}

/// A filter of the most selectors works; one more is refused.
pub async fn a_filter_of_the_most_selectors_works_and_one_more_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("wanted"), deposits(1)).await;
    append(&store, &stream("other"), deposits(1)).await;
    let streams = |count: usize| {
        (1..count).fold(EventFilter::all().or_stream(stream("wanted")), |filter, n| {
            filter.or_stream(stream(&format!("nobody-{n}")))
        })
    };
    let types = (1..limits::MAX_FILTER_SELECTORS)
        .fold(EventFilter::all().or_category("nothing"), |filter, n| filter.or_type("account", format!("Type{n}")));
    let limit = limits::MAX_FILTER_SELECTORS;
    let page = ok(store.read_all(Position::ZERO, &streams(limit), page_of(10)).await);
    assert_eq!((page.events.len(), page.scanned_to.get()), (1, 2));
    let page = ok(store.read_all(Position::ZERO, &types, page_of(10)).await);
    assert_eq!((page.events.len(), page.scanned_to.get()), (0, 2));
    let result = store.read_all(Position::ZERO, &streams(limit + 1), page_of(10)).await;
    assert_limit(result, limit, limit + 1);
    let result = store.read_all(Position::ZERO, &EventFilter::all().or_type("a b", "x"), page_of(10)).await;
    assert!(matches!(result, Err(StoreError::InvalidName(_))), "{result:?}");
}

/// The longest names and the most metadata fit.
pub async fn the_longest_names_and_the_most_metadata_are_kept<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let long = |bytes: usize| "x".repeat(bytes);
    let name = stream_in(&long(limits::MAX_CATEGORY_BYTES), &"🦀".repeat(limits::MAX_ID_BYTES / 4));
    let name = ok(name.with_tenant(&long(limits::MAX_TENANT_BYTES)));
    let event_type = "é".repeat(limits::MAX_EVENT_TYPE_BYTES / 2);
    let text = "é".repeat(limits::MAX_METADATA_TEXT_BYTES / 2);
    let metadata = |filling: usize| Metadata::new().with_actor(&*text).with_extra(&*text, "y".repeat(filling));
    let rest = limits::MAX_METADATA_BYTES - ok(metadata(0).to_json()).len();
    let key = "🦀".repeat(limits::MAX_IDEMPOTENCY_KEY_BYTES / 4);
    let sent = event(&event_type, "{}").with_metadata(metadata(rest));
    let appended = ok(send(&store, &append_under(&key, &name, NoStream, vec![sent.clone()])).await);
    let stored = some(whole_stream(&store, &name).await.pop(), "the event");
    assert!(stored.is_same_as(&sent) && *stored.stream() == name);
    assert_repeated(&appended, &some(ok(store.find_append(&key_of(&key)).await), "the append by its key"));
    let filter = EventFilter::all().or_type(name.category(), event_type).or_stream(name);
    assert_eq!(log_after(&store, Position::ZERO, &filter, PageSize::default()).await.len(), 1);
}

/// However many events are asked for, a page ends after the event that brings it to the most bytes.
pub async fn a_page_ends_at_the_most_bytes<H: StoreHarness>(harness: &H) {
    const BYTES: usize = 900_000;
    let store = harness.fresh().await;
    let payload = event_of_bytes(BYTES).payload().clone();
    let event_type = ok(EventType::new("Noted"));
    for _ in 0..2 {
        let events = (0..20).map(|_| es_core::NewEvent::new(event_type.clone(), Payload::clone(&payload))).collect();
        append(&store, &stream("large"), events).await;
    }
    let check = |events: &[RecordedEvent], is_last: bool| {
        let bytes = events.len() * BYTES;
        assert!(bytes < limits::MAX_PAGE_BYTES + BYTES, "a page of {bytes} bytes");
        assert!(is_last || bytes >= limits::MAX_PAGE_BYTES, "a page of {bytes} bytes ends early");
        assert!(events.iter().all(|event| *event.payload() == payload), "a payload came back changed");
    };
    let (mut after, mut count) = (Version::ZERO, 0);
    loop {
        let page = ok(store.read_stream(&stream("large"), after, page_of(limits::MAX_PAGE_EVENTS)).await);
        check(&page.events, page.is_last);
        count += page.events.len();
        match page.events.last() {
            Some(last) if !page.is_last => after = last.version(),
            _ => break,
        }
    }
    assert_eq!(count, 40, "the stream, read page by page");
    for filter in [EventFilter::all(), EventFilter::all().or_type("account", "Noted")] {
        let (mut after, mut count) = (Position::ZERO, 0);
        while after < Position::new(40) {
            let page = ok(store.read_all(after, &filter, page_of(limits::MAX_PAGE_EVENTS)).await);
            check(&page.events, page.scanned_to == Position::new(40));
            assert!(page.scanned_to > after, "the reader stands still at {after}");
            (after, count) = (page.scanned_to, count + page.events.len());
        }
        assert_eq!(count, 40, "the log by {filter:?}, read page by page");
    }
}

/// A stream grows past 65 535 events; and a read for rare events looks at a bounded number of positions at a time, and
/// still finds them all. (One case, because it takes 100 000 events.)
pub async fn long_streams_count_on_and_a_read_for_rare_events_is_bounded<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let full = limits::MAX_EVENTS_PER_APPEND as u64;
    let event_type = ok(EventType::new("Ticked"));
    let payload = ok(Payload::from_json("{}"));
    let rounds = limits::MAX_SCAN_POSITIONS / full;
    for round in 0..rounds {
        let events = (0..full).map(|_| es_core::NewEvent::new(event_type.clone(), payload.clone())).collect();
        let request = append_to(&stream("clock"), exactly(round * full), events);
        ok(send(&store, &request).await);
    }
    append(&store, &stream("rare"), vec![event("Rare", "{}")]).await;

    let last = ok(store.read_stream(&stream("clock"), Version::new(rounds * full - 1), page_of(10)).await);
    assert_eq!(last.events.len(), 1);
    assert_eq!(last.events[0].version().get(), rounds * full);
    let sixteen_bits = ok(store.read_stream(&stream("clock"), Version::new(65_534), page_of(3)).await);
    assert!(sixteen_bits.events.iter().map(|event| event.version().get()).eq(65_535..=65_537));

    for filter in [EventFilter::all().or_type("account", "Rare"), EventFilter::all().or_stream(stream("rare"))] {
        let (mut after, mut found) = (Position::ZERO, 0);
        loop {
            let page = ok(store.read_all(after, &filter, page_of(10)).await);
            let scanned = page.scanned_to.distance_from(after);
            assert!(scanned <= limits::MAX_SCAN_POSITIONS, "one read looked at {scanned} positions");
            found += page.events.len();
            if page.scanned_to == after {
                break;
            }
            after = page.scanned_to;
        }
        assert_eq!((found, after.get()), (1, limits::MAX_SCAN_POSITIONS + 1), "{filter:?}");
    }
}
