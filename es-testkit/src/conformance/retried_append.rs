//! Appends that are sent again (G3): recognised by their event ids, then by their idempotency key.

use es_core::{Append, EventStore, EventType, Metadata, NewEvent, Payload, StoreError, StreamAppend};
use time::macros::datetime;

use super::support::*;
use crate::harness::StoreHarness;

/// The same append again is the original outcome, whatever has happened since; its expectation is not asked again.
pub async fn the_same_append_again_gives_the_original_outcome<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("bob"), deposits(2)).await;
    let request = append_to(&stream("ann"), NoStream, deposits(3));
    let first = ok(send(&store, &request).await);
    assert_repeated(&first, &ok(send(&store, &request).await));
    append(&store, &stream("ann"), deposits(2)).await;
    append(&store, &stream("bob"), deposits(2)).await;
    assert_repeated(&first, &ok(send(&store, &request).await));
    assert_repeated(&first, &ok(send(&harness.reopened(&store).await, &request).await));
    assert_eq!(assert_whole(&store).await.len(), 9);
}

/// The same over several streams, with a guard that would fail by now.
pub async fn a_repeated_append_over_several_streams_gives_the_original_outcome<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let request = ok(Append::to(stream("b"), NoStream, deposits(2))
        .and(stream("guard"), NoStream, vec![])
        .and(stream("a"), NoStream, deposits(3))
        .build());
    let first = ok(send(&store, &request).await);
    append(&store, &stream("guard"), deposits(1)).await;
    append(&store, &stream("a"), deposits(1)).await;
    let again = ok(send(&store, &request).await);
    assert_repeated(&first, &again);
    assert_eq!(again.streams.len(), 2);
    assert_eq!(assert_whole(&store).await.len(), 7);
}

/// If only some of the ids are known, nothing is stored.
pub async fn an_append_with_some_known_ids_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let known = deposits(2);
    append(&store, &stream("ann"), known.clone()).await;
    let mixtures = [
        vec![known[0].clone(), known[1].clone(), deposited(3)],
        vec![deposited(3), known[0].clone(), known[1].clone()],
        vec![known[0].clone(), deposited(3), known[1].clone()],
        vec![deposited(3), known[1].clone()],
    ];
    for events in mixtures {
        assert_id_reused(send(&store, &append_to(&stream("ann"), Any, events)).await, "a mixture");
    }
    let elsewhere = Append::to(stream("ann"), Any, known).and(stream("bob"), Any, deposits(1)).build();
    assert_id_reused(send(&store, &ok(elsewhere)).await, "one more stream");
    assert_eq!(assert_whole(&store).await.len(), 2);
}

/// Ids that are known with other content, or in another place, are no repetition, and nothing is stored; also if the
/// expectation would fail as well.
pub async fn known_ids_with_other_content_or_place_are_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let time = datetime!(2024-01-02 03:04:05.000006 UTC);
    let id = uuid::Uuid::now_v7();
    let original = |json: &str| event("Deposited", json).with_id(id);
    let full = |event: NewEvent| {
        event.with_metadata(Metadata::new().with_actor("ann").with_extra("n", 1)).with_occurred_at(time)
    };
    let stored = full(original(r#"{"cents":1}"#));
    append(&store, &stream("ann"), vec![stored.clone()]).await;
    append(&store, &stream("ann"), deposits(1)).await;
    let other_type = NewEvent::new(ok(EventType::new("Withdrawn")), stored.payload().clone()).with_id(id);
    let changed = [
        ("another payload", full(original(r#"{"cents":2}"#))),
        ("other white space", full(original(r#"{"cents": 1}"#))),
        ("another type", full(other_type)),
        ("other metadata", stored.clone().with_metadata(Metadata::new().with_actor("bob").with_extra("n", 1))),
        ("less metadata", stored.clone().with_metadata(Metadata::new().with_actor("ann"))),
        ("another time", stored.clone().with_occurred_at(datetime!(2024-01-02 03:04:05.000007 UTC))),
        ("no time", original(r#"{"cents":1}"#).with_metadata(stored.metadata().clone())),
    ];
    for (what, event) in changed {
        for expected in [Any, exactly(0), exactly(2)] {
            let request = append_to(&stream("ann"), expected, vec![event.clone()]);
            assert_id_reused(send(&store, &request).await, what);
        }
    }
    for name in [stream("bob"), stream_in("customer", "ann"), ok(stream("ann").with_tenant("acme"))] {
        assert_id_reused(send(&store, &append_to(&name, Any, vec![stored.clone()])).await, "another stream");
    }
    let again = ok(send(&store, &append_to(&stream("ann"), NoStream, vec![stored])).await);
    assert!(again.repeated, "the very same event is still recognised");
    assert_eq!(assert_whole(&store).await.len(), 2);
}

/// Known ids in another order, or put together from several appends, are refused.
pub async fn known_ids_in_another_order_are_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (a, b) = (deposits(2), deposits(2));
    let first = ok(Append::to(stream("a"), Any, a.clone()).and(stream("b"), Any, b.clone()).build());
    ok(send(&store, &first).await);
    let reversed: Vec<NewEvent> = a.iter().rev().cloned().collect();
    let swapped_streams = Append::to(stream("b"), Any, b).and(stream("a"), Any, a.clone());
    assert_id_reused(send(&store, &ok(swapped_streams.build())).await, "streams in another order");
    assert_id_reused(send(&store, &append_to(&stream("a"), Any, reversed)).await, "events in another order");
    let later = deposits(1);
    append(&store, &stream("a"), later.clone()).await;
    let joined = [a, later].concat();
    assert_id_reused(send(&store, &append_to(&stream("a"), Any, joined)).await, "events of two appends");
    assert_eq!(assert_whole(&store).await.len(), 5);
}

/// A key stands for its request: the same content with other ids and metadata, on whatever version, is the first
/// outcome.
pub async fn the_same_key_and_content_give_the_original_outcome<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let first = ok(send(&store, &append_under("order-1", &stream("ann"), NoStream, deposits(3))).await);
    assert!(!first.repeated);
    append(&store, &stream("ann"), deposits(1)).await;
    for expected in [NoStream, exactly(3), Any] {
        let events = deposits(3).into_iter().map(|event| event.with_metadata(Metadata::new().with_actor("another")));
        let again = ok(send(&store, &append_under("order-1", &stream("ann"), expected, events.collect())).await);
        assert_repeated(&first, &again);
    }
    let identical = append_under("order-2", &stream("ann"), Any, deposits(1));
    let second = ok(send(&store, &identical).await);
    assert_repeated(&second, &ok(send(&store, &identical).await));
    // Maps that hash their keys write their fields in any order.
    let sold = |json| vec![NewEvent::new(ok(EventType::new("Sold")), Payload::trusted(json))];
    let third = ok(send(&store, &append_under("order-3", &stream("bob"), Any, sold(r#"{"a":1,"b":{"c":2}}"#))).await);
    let other_order = append_under("order-3", &stream("bob"), Any, sold(r#"{"b": {"c": 2}, "a": 1}"#));
    assert_repeated(&third, &ok(send(&store, &other_order).await));
    assert_eq!(assert_whole(&store).await.len(), 6);
}

/// A key that was used is refused for any other content, whichever part of it differs, and the error names the first
/// use.
pub async fn a_key_used_for_other_content_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("bob"), deposits(1)).await;
    let noon = datetime!(2026-06-30 12:00 UTC);
    let dated = |time| -> Vec<NewEvent> { deposits(2).into_iter().map(|event| event.with_occurred_at(time)).collect() };
    let request = |parts: Vec<(&str, Vec<NewEvent>)>| {
        let parts = parts.into_iter().map(|(id, events)| StreamAppend::new(stream(id), Any, events));
        let append = parts.fold(Append::builder(), |append, part| append.and_stream(part));
        ok(append.idempotency_key(key_of("order-1")).build())
    };
    let first = ok(send(&store, &request(vec![("ann", dated(noon)), ("guard", vec![])])).await);
    let others = [
        ("other payloads", request(vec![("ann", vec![deposited(2), deposited(1)]), ("guard", vec![])])),
        ("fewer events", request(vec![("ann", deposits(1)), ("guard", vec![])])),
        ("more events", request(vec![("ann", deposits(3)), ("guard", vec![])])),
        ("other types", request(vec![("ann", vec![opened("Ann"), opened("Ann")]), ("guard", vec![])])),
        ("no times", request(vec![("ann", deposits(2)), ("guard", vec![])])),
        ("another time", request(vec![("ann", dated(noon + time::Duration::microseconds(1))), ("guard", vec![])])),
        ("fewer streams", request(vec![("ann", dated(noon))])),
        ("more streams", request(vec![("ann", dated(noon)), ("guard", vec![]), ("eve", vec![])])),
        ("events of what was only guarded", request(vec![("ann", dated(noon)), ("guard", deposits(1))])),
        ("another order of streams", request(vec![("guard", vec![]), ("ann", dated(noon))])),
    ];
    for store in [&store, &harness.reopened(&store).await] {
        for (why, other) in &others {
            let refused = send(store, other).await;
            let text = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert_id_reused(refused, why);
            assert!(text.contains("position 2,") && text.contains(stream("ann").as_str()), "{why}: {text}");
        }
        let again = request(vec![("ann", dated(noon)), ("guard", vec![])]);
        assert_repeated(&first, &ok(send(store, &again).await));
    }
    assert_eq!(assert_whole(&store).await.len(), 3);
}

/// A key that was used for other streams is refused, and what came with it is not stored.
pub async fn a_key_used_for_another_stream_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    ok(send(&store, &append_under("order-1", &stream("ann"), Any, deposits(1))).await);
    for name in [stream("bob"), stream_in("customer", "ann"), ok(stream("ann").with_tenant("acme"))] {
        assert_id_reused(send(&store, &append_under("order-1", &name, Any, deposits(1))).await, name.as_str());
    }
    let both = Append::to(stream("a"), Any, deposits(1)).and(stream("b"), Any, deposits(1));
    ok(send(&store, &ok(both.idempotency_key(key_of("order-2")).build())).await);
    let part = append_under("order-2", &stream("a"), Any, deposits(1));
    assert_id_reused(send(&store, &part).await, "fewer streams than the first time");
    for key in ["Order-1", "order-1 ", "order-11", "' OR '1'='1", "%", "🦀"] {
        ok(send(&store, &append_under(key, &stream("bob"), Any, deposits(1))).await);
    }
    assert_eq!(assert_whole(&store).await.len(), 9);
}

/// The outcome of an append is found by its key, by any handle.
pub async fn an_append_is_found_by_its_key<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let key = key_of("it's \"the\" 1st order; é");
    assert_eq!(ok(store.find_append(&key).await), None);
    append(&store, &stream("bob"), deposits(2)).await;
    let request = Append::to(stream("b"), NoStream, deposits(2)).and(stream("guard"), NoStream, vec![]).and(
        stream("a"),
        NoStream,
        deposits(3),
    );
    let appended = ok(send(&store, &ok(request.idempotency_key(key.clone()).build())).await);
    append(&store, &stream("a"), deposits(2)).await;
    for store in [&store, &harness.reopened(&store).await] {
        assert_repeated(&appended, &some(ok(store.find_append(&key).await), "the append under its key"));
        assert_eq!(ok(store.find_append(&key_of("another")).await), None);
    }
}

/// An append that was refused leaves its key and its event ids free.
pub async fn the_key_and_ids_of_a_refused_append_are_free<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let events = deposits(2);
    let refused = append_under("order-1", &stream("ann"), Exists, events.clone());
    assert_conflict(send(&store, &refused).await, &stream("ann"), 0);
    assert_eq!(ok(store.find_append(&key_of("order-1")).await), None);
    let known = deposits(1);
    append(&store, &stream("bob"), known.clone()).await;
    let reused = append_under("order-1", &stream("ann"), Any, [known, deposits(1)].concat());
    assert_id_reused(send(&store, &reused).await, "a known id");
    let too_large = NewEvent::new(
        ok(EventType::new("Noted")),
        Payload::trusted(format!("\"{}\"", "x".repeat(es_core::limits::MAX_PAYLOAD_BYTES))),
    );
    let result = send(&store, &append_under("order-1", &stream("ann"), Any, vec![too_large])).await;
    assert!(matches!(result, Err(StoreError::LimitExceeded { .. })), "{result:?}");
    assert_eq!(ok(store.find_append(&key_of("order-1")).await), None);
    let accepted = ok(send(&store, &append_under("order-1", &stream("cid"), NoStream, events)).await);
    assert!(!accepted.repeated);
    assert_eq!(assert_whole(&store).await.len(), 3);
}

/// Of appends with the same key at the same time one is stored; all get its outcome.
pub async fn concurrent_appends_with_the_same_key_are_stored_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    for round in 0..4 {
        let outcomes = together(6, |number| {
            let store = if number % 2 == 0 { store.clone() } else { other.clone() };
            let request = append_under(&format!("order-{round}"), &stream("ann"), Any, deposits(2));
            async move { ok(send(&store, &request).await) }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|appended| !appended.repeated).count(), 1, "one append is the first");
        let mut outcomes = outcomes.into_iter().map(|appended| (appended.streams, appended.recorded_at));
        let first = outcomes.next();
        assert!(outcomes.all(|outcome| Some(outcome) == first), "all outcomes tell the same place");
    }
    assert_eq!(assert_whole(&store).await.len(), 4 * 2);
}

/// One append that is sent several times at once is stored once; all get its outcome.
pub async fn concurrent_sendings_of_the_same_append_are_stored_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    for round in 0..4 {
        let request = append_to(&stream("ann"), exactly(round * 2), deposits(2));
        let outcomes = together(6, |number| {
            let store = if number % 2 == 0 { store.clone() } else { other.clone() };
            let request = request.clone();
            async move { ok(send(&store, &request).await) }
        })
        .await;
        assert_eq!(outcomes.iter().filter(|appended| !appended.repeated).count(), 1, "one sending is the first");
        assert!(outcomes.iter().all(|appended| appended.streams == outcomes[0].streams));
    }
    assert_eq!(assert_whole(&store).await.len(), 4 * 2);
}
