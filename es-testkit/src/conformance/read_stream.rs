//! Reading one stream.

use es_core::{EventStore, Version};

use super::support::*;
use crate::harness::StoreHarness;

/// A stream that does not exist is not an error.
pub async fn an_unknown_stream_is_an_empty_last_page<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(1)).await;
    for after in [0, 1, 1_000] {
        let page = ok(store.read_stream(&stream("nobody"), Version::new(after), page_of(10)).await);
        assert!(page.events.is_empty() && page.is_last);
    }
}

/// A page starts behind the version that it is given, so that the last version read is where to go on.
pub async fn after_is_exclusive_in_a_stream<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(5)).await;
    for after in 0..5 {
        let page = ok(store.read_stream(&stream("ann"), Version::new(after), page_of(2)).await);
        let versions: Vec<u64> = page.events.iter().map(|event| event.version().get()).collect();
        assert_eq!(versions, (after + 1..=5).take(2).collect::<Vec<_>>());
    }
}

/// Pages of any size give every event once, in order, and no event of another stream.
pub async fn pages_of_any_size_give_a_stream_once_and_in_order<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    for number in 1..=12 {
        append(&store, &stream("ann"), vec![deposited(number)]).await;
        append(&store, &stream("bob"), deposits(2)).await;
    }
    let expected: Vec<String> = (1..=12).map(|number| format!(r#"{{"cents":{number}}}"#)).collect();
    for size in [1, 2, 5, 11, 12, 13, 10_000] {
        let events = stream_pages(&store, &stream("ann"), page_of(size)).await;
        let payloads: Vec<&str> = events.iter().map(|event| event.payload().as_str()).collect();
        assert_eq!(payloads, expected, "in pages of {size}");
        assert!(events.iter().all(|event| *event.stream() == stream("ann")));
        assert!(events.iter().zip(1..).all(|(event, version)| event.version().get() == version));
    }
}

/// A page says whether the stream went on: a page that is just full and holds the end is the last one.
pub async fn a_page_that_is_just_full_and_holds_the_end_is_the_last<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(6)).await;
    for (after, size, count, is_last) in [
        (0, 6, 6, true),
        (0, 5, 5, false),
        (0, 7, 6, true),
        (3, 3, 3, true),
        (3, 2, 2, false),
        (5, 1, 1, true),
        (4, 1, 1, false),
        (6, 1, 0, true),
        (6, 100, 0, true),
        (7, 1, 0, true),
        (u64::from(u32::MAX) + 1, 1, 0, true),
    ] {
        let page = ok(store.read_stream(&stream("ann"), Version::new(after), page_of(size)).await);
        assert_eq!((page.events.len(), page.is_last), (count, is_last), "after {after}, {size} events a page");
    }
}
