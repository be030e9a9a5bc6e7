//! Optimistic concurrency (G2): when an expectation holds, and what a conflict says.

use es_core::{Append, EventStore, ExpectedVersion, StoreError, StreamAppend};
use uuid::Uuid;

use super::support::*;
use crate::harness::StoreHarness;

/// Each expectation against streams with 0, 1 and 3 events.
pub async fn every_expectation_meets_every_state_of_a_stream<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let expectations = [Any, NoStream, Exists, exactly(0), exactly(1), exactly(2), exactly(3), exactly(4)];
    for actual in [0_u64, 1, 3] {
        for (number, expected) in expectations.into_iter().enumerate() {
            let name = stream(&format!("{actual}-{number}"));
            if actual > 0 {
                append(&store, &name, deposits(actual as usize)).await;
            }
            let result = send(&store, &append_to(&name, expected, vec![opened("Ann")])).await;
            let accepts = expected.accepts(es_core::Version::new(actual));
            if accepts {
                let appended = ok(result);
                assert_eq!(appended.streams[0].first_version.get(), actual + 1, "{expected} at version {actual}");
            } else {
                match result {
                    Err(StoreError::Conflict { stream, expected: told, actual: at }) => {
                        assert_eq!((stream, told, at.get()), (name.clone(), expected, actual));
                    }
                    other => panic!("{expected} at version {actual}: expected a conflict, got {other:?}"),
                }
            }
            assert_eq!(version_of(&store, &name).await, actual + u64::from(accepts), "{expected} at {actual}");
        }
    }
    assert_whole(&store).await;
}

/// A conflict is a conflict at any version, and names the actual one: also where versions have several digits.
pub async fn a_conflict_names_the_actual_version_beyond_nine<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    for version in [9_u64, 10, 12, 120] {
        let name = stream(&version.to_string());
        append(&store, &name, deposits(version as usize)).await;
        for expected in [NoStream, exactly(version - 1), exactly(version + 1), exactly(1)] {
            assert_conflict(send(&store, &append_to(&name, expected, deposits(1))).await, &name, version);
        }
        ok(send(&store, &append_to(&name, exactly(version), deposits(1))).await);
    }
}

/// Of appends that expect a new stream at the same time one wins; the others learn the actual version.
pub async fn concurrent_appends_to_a_new_stream_have_one_winner<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    for round in 0..5 {
        let name = stream(&format!("new-{round}"));
        one_wins(&store, &other, &name, NoStream, 2).await;
    }
    assert_whole(&store).await;
}

/// Of appends that expect the same version at the same time one wins; the others learn the actual version.
pub async fn concurrent_appends_at_the_same_version_have_one_winner<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let name = stream("ann");
    append(&store, &name, deposits(9)).await;
    for round in 0..5 {
        let version = 9 + 2 * round;
        one_wins(&store, &other, &name, exactly(version), version + 2).await;
    }
    assert_whole(&store).await;
}

/// Eight tasks on two handles append two events each; one of them gets through.
async fn one_wins<S>(store: &S, other: &S, name: &es_core::StreamId, expected: ExpectedVersion, after: u64)
where
    S: EventStore + Clone + 'static,
{
    let results = together(8, |number| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        let request = append_to(name, expected, deposits(2));
        async move { send(&store, &request).await }
    })
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "{} appends to {name} won with {expected}", won.len());
    for result in won {
        assert_eq!(ok(result).streams[0].last_version.get(), after);
    }
    for result in lost {
        assert_conflict(result, name, after);
    }
    assert_eq!(version_of(store, name).await, after);
}

/// A decision rests on the last event that was seen, not on its number alone: another event at that version conflicts.
pub async fn another_last_event_at_the_right_version_conflicts<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = stream("ann");
    append(&store, &name, deposits(2)).await;
    let ids: Vec<Uuid> = whole_stream(&store, &name).await.iter().map(|event| event.id()).collect();
    let after = |expected, id| {
        ok(Append::builder()
            .and_stream(StreamAppend::new(name.clone(), expected, deposits(1)).decided_after(Some(id)))
            .build())
    };
    for (expected, id) in [(exactly(2), ids[0]), (exactly(2), Uuid::now_v7()), (Any, ids[0]), (Exists, ids[0])] {
        assert_conflict(send(&store, &after(expected, id)).await, &name, 2);
    }
    assert_conflict(send(&store, &after(exactly(1), ids[1])).await, &name, 2);
    let on_nothing = StreamAppend::new(stream("new"), NoStream, deposits(1)).decided_after(Some(ids[0]));
    let on_nothing = ok(Append::builder().and_stream(on_nothing).build());
    assert_conflict(send(&store, &on_nothing).await, &stream("new"), 0);
    ok(send(&store, &after(exactly(2), ids[1])).await);
    let last = some(whole_stream(&store, &name).await.pop(), "a last event").id();
    ok(send(&store, &after(Any, last)).await);
    assert_eq!(assert_whole(&store).await.len(), 4);
}
