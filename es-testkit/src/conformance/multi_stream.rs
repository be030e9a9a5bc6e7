//! Appends over several streams (G1): all or nothing, and guards.

use es_core::{Append, EventStore, StreamAppend};
use uuid::Uuid;

use super::support::*;
use crate::harness::StoreHarness;

/// The events of one append lie side by side, stream by stream, in the order given.
pub async fn streams_get_consecutive_positions_in_the_order_given<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("b"), deposits(2)).await;
    let request = ok(Append::to(stream("c"), NoStream, deposits(2))
        .and(stream("a"), NoStream, deposits(1))
        .and(stream("b"), exactly(2), deposits(3))
        .build());
    let appended = ok(send(&store, &request).await);
    let places: Vec<_> = appended.streams.iter().map(|part| (part.stream.id(), part.first_position.get())).collect();
    assert_eq!(places, [("c", 3), ("a", 5), ("b", 6)]);
    assert_eq!((appended.first_position.get(), appended.last_position.get()), (3, 8));
    let places: Vec<_> = appended.streams.iter().map(|p| (p.first_version.get(), p.last_version.get())).collect();
    assert_eq!(places, [(1, 2), (1, 1), (3, 5)]);
    assert_eq!(assert_whole(&store).await[2..], request.recorded(&appended));
}

/// Whichever of the streams is not as expected: none of them gets an event, and that stream is named.
pub async fn when_one_streams_expectation_fails_nothing_is_stored<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let names = ["a", "b", "c"].map(stream);
    append(&store, &names[1], deposits(1)).await;
    for failing in 0..3 {
        let request = (0..3).fold(Append::builder(), |builder, number| {
            let expected = if number == failing { exactly(7) } else { Any };
            builder.and(names[number].clone(), expected, deposits(2))
        });
        let actual = u64::from(failing == 1);
        assert_conflict(send(&store, &ok(request.build())).await, &names[failing], actual);
        assert_eq!(assert_whole(&store).await.len(), 1, "stream {failing} failed, and yet something was stored");
    }
    let both = Append::to(names[2].clone(), Exists, deposits(1)).and(names[1].clone(), NoStream, deposits(1));
    assert_conflict(send(&store, &ok(both.build())).await, &names[2], 0);
    assert_eq!(assert_whole(&store).await.len(), 1);
}

/// A stream without events is a guard: its expectation must hold; it gets nothing and is not in the outcome.
pub async fn a_guard_is_checked_and_writes_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("limits"), deposits(2)).await;
    let last = some(whole_stream(&store, &stream("limits")).await.pop(), "a last event").id();
    let guarded =
        |guard: StreamAppend| ok(Append::builder().and_stream(guard).and(stream("ann"), Any, deposits(1)).build());
    let guard = |id: &str, expected| StreamAppend::new(stream(id), expected, Vec::new());

    let holding = [
        guard("limits", exactly(2)),
        guard("limits", Exists).decided_after(Some(last)),
        guard("nobody", NoStream),
        guard("nobody", Any),
    ];
    for (count, guard) in (1..).zip(holding) {
        let appended = ok(send(&store, &guarded(guard)).await);
        let listed: Vec<_> = appended.streams.iter().map(|part| part.stream.id()).collect();
        assert_eq!(listed, ["ann"], "a guard is not listed");
        assert_eq!((appended.first_position, appended.last_position.get()), (appended.last_position, 2 + count));
    }
    assert_eq!(version_of(&store, &stream("limits")).await, 2);
    assert_eq!(version_of(&store, &stream("nobody")).await, 0);

    let failing = [
        (guard("limits", exactly(1)), "limits", 2),
        (guard("limits", NoStream), "limits", 2),
        (guard("nobody", Exists), "nobody", 0),
        (guard("limits", exactly(2)).decided_after(Some(Uuid::now_v7())), "limits", 2),
    ];
    for (guard, id, actual) in failing {
        assert_conflict(send(&store, &guarded(guard)).await, &stream(id), actual);
    }
    let behind = ok(Append::to(stream("ann"), Any, deposits(1)).and(stream("nobody"), Exists, vec![]).build());
    assert_conflict(send(&store, &behind).await, &stream("nobody"), 0);
    assert_eq!(assert_whole(&store).await.len(), 6);
}

/// Writers that name the same streams in opposite orders do not stop one another.
pub async fn appends_over_the_same_streams_in_opposite_orders_all_come_through<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    together(6, |number| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            for _ in 0..5 {
                let order = if number % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
                let [first, second] = order.map(stream);
                let request = Append::to(first, Any, deposits(1)).and(second, Any, deposits(2)).build();
                ok(send(&store, &ok(request)).await);
            }
        }
    })
    .await;
    assert_eq!(assert_whole(&store).await.len(), 6 * 5 * 3);
    assert_eq!(version_of(&store, &stream("a")).await, 3 * 5 * (1 + 2));
}

/// Two streams that always change together are never seen apart by a reader that reads whole pages.
pub async fn a_reader_never_sees_half_an_append<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let results = together(4, |number| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            for _ in 0..20 {
                if number < 2 {
                    let request = Append::to(stream("a"), Any, deposits(1)).and(stream("b"), Any, deposits(1)).build();
                    ok(send(&store, &ok(request)).await);
                } else {
                    let head = head_of(&store).await;
                    assert_eq!(head % 2, 0, "the head is inside an append");
                    let page = ok(store.read_all(es_core::Position::ZERO, &Default::default(), page_of(1_000)).await);
                    assert_eq!(page.events.len() % 2, 0, "a page ends inside an append");
                    assert!(page.scanned_to.get() >= head, "a page ends before the head that was seen first");
                }
            }
        }
    })
    .await;
    assert_eq!(results.len(), 4);
    assert_eq!(assert_whole(&store).await.len(), 2 * 20 * 2);
}
