//! Snapshots: the newest state of each stream.

use es_core::{Payload, Snapshot, SnapshotStore, StoreError, StreamId, Version, limits};
use uuid::Uuid;

use super::support::*;
use crate::harness::StoreHarness;

fn snapshot(name: &StreamId, version: u64, fingerprint: &str, json: &str) -> Snapshot {
    let state = ok(Payload::from_json(json));
    Snapshot::new(name.clone(), AGGREGATE, Version::new(version), Uuid::now_v7(), fingerprint.to_owned(), state)
}

/// A snapshot is loaded as it was saved, byte for byte, also by another handle; a stream without one has none.
pub async fn a_snapshot_is_loaded_as_it_was_saved<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let names = [stream("ann"), ok(stream("ann").with_tenant("acme")), stream("'; DROP TABLE snapshots; --")];
    for name in &names {
        assert_eq!(ok(store.load_snapshot(name, AGGREGATE).await), None);
    }
    let json = r#" {"n" : 1.0e2, "text": "é 🦀 \u00e9 '"} "#;
    for (name, version) in names.iter().zip(1..) {
        let saved = snapshot(name, version, "1:owner,cents; é '", json);
        ok(patiently!(store.save_snapshot(&saved)));
        assert_eq!(ok(store.load_snapshot(name, AGGREGATE).await), Some(saved.clone()));
        assert_eq!(ok(harness.reopened(&store).await.load_snapshot(name, AGGREGATE).await), Some(saved));
    }
    assert_eq!(some(ok(store.load_snapshot(&names[0], AGGREGATE).await), "the first").version, Version::new(1));
}

/// A newer one takes the place of an older one; an older or equal one that comes late is dropped.
pub async fn the_newest_snapshot_wins<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = stream("ann");
    let save = async |snapshot: &Snapshot| ok(patiently!(store.save_snapshot(snapshot)));
    let [five, nine, ten, twelve, late] =
        [5, 9, 10, 12, 12].map(|version| snapshot(&name, version, "1:a", &format!("{version}")));
    for (saved, kept) in
        [(&nine, &nine), (&ten, &ten), (&nine, &ten), (&five, &ten), (&twelve, &twelve), (&late, &twelve)]
    {
        save(saved).await;
        assert_eq!(ok(store.load_snapshot(&name, AGGREGATE).await).as_ref(), Some(kept));
    }
    let stores = [store.clone(), harness.reopened(&store).await];
    together(8, |number| {
        let (store, name) = (stores[number % 2].clone(), name.clone());
        async move {
            let saved = snapshot(&name, 13 + number as u64, "1:a", "{}");
            ok(patiently!(store.save_snapshot(&saved)));
        }
    })
    .await;
    assert_eq!(some(ok(store.load_snapshot(&name, AGGREGATE).await), "a snapshot").version, Version::new(20));
}

/// A snapshot of another form of the state takes the place of the kept one, whatever its version.
pub async fn a_snapshot_with_another_fingerprint_replaces_the_kept_one<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = stream("ann");
    for (version, fingerprint) in [(10, "1:a"), (4, "2:a"), (4, "1:a,b"), (12, "1:a")] {
        let saved = snapshot(&name, version, fingerprint, "{}");
        ok(patiently!(store.save_snapshot(&saved)));
        assert_eq!(ok(store.load_snapshot(&name, AGGREGATE).await), Some(saved));
    }
}

/// Several aggregates can be built from one stream. None takes the place of another's snapshot.
pub async fn each_aggregate_of_a_stream_has_a_snapshot_of_its_own<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = stream("ann");
    let of = |aggregate: &str, version| {
        let state = ok(Payload::from_json(ok(serde_json::to_string(aggregate))));
        Snapshot::new(name.clone(), aggregate, Version::new(version), Uuid::now_v7(), "1:same".to_owned(), state)
    };
    let longest = "é".repeat(limits::MAX_AGGREGATE_NAME_BYTES / 2);
    let all = ["a::Balance", "a::balance", "b::Balance<'_, \"x\">", longest.as_str()];
    for (aggregate, version) in all.into_iter().zip(1..) {
        assert_eq!(ok(store.load_snapshot(&name, aggregate).await), None);
        ok(patiently!(store.save_snapshot(&of(aggregate, version))));
    }
    for (aggregate, version) in all.into_iter().zip(1..) {
        let kept = some(ok(harness.reopened(&store).await.load_snapshot(&name, aggregate).await), "the snapshot");
        assert_eq!((kept.aggregate.as_str(), kept.version), (aggregate, Version::new(version)));
        assert_eq!(kept.state.as_str(), ok(serde_json::to_string(aggregate)));
    }
}

/// A snapshot of the largest size is kept; a larger one is refused, and the kept one stays.
pub async fn a_snapshot_at_the_limit_is_kept_and_a_larger_one_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let limit = limits::MAX_SNAPSHOT_BYTES;
    let of_bytes = |version, bytes: usize| {
        let state = Payload::trusted(format!("\"{}\"", "x".repeat(bytes - 2)));
        Snapshot::new(stream("ann"), AGGREGATE, Version::new(version), Uuid::now_v7(), "1:".to_owned(), state)
    };
    let largest = of_bytes(1, limit);
    ok(patiently!(store.save_snapshot(&largest)));
    let refused: Result<(), StoreError> = store.save_snapshot(&of_bytes(2, limit + 1)).await;
    assert_limit(refused, limit, limit + 1);
    let kept = some(ok(store.load_snapshot(&stream("ann"), AGGREGATE).await), "the kept snapshot");
    assert!(kept == largest, "the largest snapshot came back changed");
}
