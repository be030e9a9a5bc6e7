//! Blobs: payloads that are too large for a broker.

use es_core::{BlobStore, StoreError, limits};
use time::OffsetDateTime;

use super::support::*;
use crate::harness::StoreHarness;

/// As many as a large message may have.
const SOME_MEGABYTES: usize = 9 * 1_024 * 1_024 + 1;

async fn put<S: BlobStore>(store: &S, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    patiently!(store.put_blob(name, bytes))
}

/// Bytes come back as they were, whatever they are; other handles find them.
pub async fn a_blob_is_kept_byte_for_byte<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    assert_eq!(ok(store.blob("none").await), None);
    let all: Vec<u8> = (0..=255).collect();
    ok(put(&store, "all", &all).await);
    ok(put(&store, "nothing", &[]).await);
    let other = harness.reopened(&store).await;
    assert_eq!(ok(other.blob("all").await), Some(all));
    assert_eq!(ok(other.blob("nothing").await), Some(Vec::new()));
    assert_eq!(ok(other.blob("ALL").await), None);
}

/// The same bytes may be put again, also by many at once; others may not.
pub async fn a_name_keeps_its_bytes<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let puts = together(4, |_| {
        let store = store.clone();
        async move { put(&store, "a.b-c_1", b"one").await }
    });
    puts.await.into_iter().for_each(ok);
    let refused = put(&store, "a.b-c_1", b"two").await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(ok(store.blob("a.b-c_1").await).as_deref(), Some(&b"one"[..]));
    for name in ["", "a/b", "../x", "é", "a b", "a\0"] {
        let refused = put(&store, name, b"one").await;
        assert!(matches!(refused, Err(StoreError::InvalidName(_))), "{name:?}: {refused:?}");
    }
}

/// Some megabytes are kept; the limits hold.
pub async fn large_blobs_are_kept_and_larger_ones_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let bytes: Vec<u8> = (0..SOME_MEGABYTES).map(|n| (n * 31 % 251) as u8).collect();
    let longest = "n".repeat(limits::MAX_BLOB_NAME_BYTES);
    ok(put(&store, &longest, &bytes).await);
    assert!(ok(store.blob(&longest).await) == Some(bytes), "some megabytes came back as others");
    let too_long = put(&store, &format!("{longest}n"), b"x").await;
    assert!(matches!(too_long, Err(StoreError::InvalidName(_))), "{too_long:?}");
    let too_large = limits::MAX_BLOB_BYTES + 1;
    assert_limit(put(&store, "large", &vec![0; too_large]).await, limits::MAX_BLOB_BYTES, too_large);
    assert_eq!(ok(store.blob("large").await), None);
}

/// What was put before a time is dropped; what was put again since stays.
pub async fn old_blobs_are_dropped<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let before = OffsetDateTime::now_utc();
    for name in ["a", "b", "c"] {
        ok(put(&store, name, name.as_bytes()).await);
    }
    assert_eq!(ok(patiently!(store.drop_blobs_before(before))), 0);
    let time = next_moment().await;
    ok(put(&store, "b", b"b").await);
    ok(put(&store, "d", b"d").await);
    assert_eq!(ok(patiently!(store.drop_blobs_before(time))), 2, "a and c");
    for (name, is_kept) in [("a", false), ("b", true), ("c", false), ("d", true)] {
        assert_eq!(ok(store.blob(name).await).is_some(), is_kept, "{name}");
    }
}

/// A time after all that was put, and before what will be.
async fn next_moment() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    while OffsetDateTime::now_utc() - now <= time::Duration::microseconds(5) {
        tokio::task::yield_now().await;
    }
    now + time::Duration::microseconds(2)
}
