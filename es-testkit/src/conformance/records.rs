//! Records: reads, and commits under conditions.

use std::collections::BTreeSet;

use es_core::{
    Payload, StoreError, limits,
    store::{
        Committed, Condition, Record, RecordBatch, RecordKey, RecordRange, RecordRead, RecordStore, Revision, ScanOrder,
    },
};

use super::{concurrency::dropped_at_random, support::*};
use crate::{harness::StoreHarness, rng::SeededRng};

/// The key of this text form.
pub(super) fn key(text: &str) -> RecordKey {
    ok(RecordKey::parse(text))
}

/// A number as the value of a record.
pub(super) fn number(number: usize) -> Payload {
    ok(Payload::from_json(number.to_string()))
}

/// The number that a record holds.
pub(super) fn number_of(record: &Record) -> usize {
    ok(record.value.as_str().parse())
}

/// Commits, again and again while the store is busy.
pub(super) async fn commit<S: RecordStore>(store: &S, batch: &RecordBatch) -> Result<Committed, StoreError> {
    patiently!(store.commit(batch))
}

/// Puts records, which must succeed.
pub(super) async fn put<S: RecordStore>(store: &S, records: &[(&str, usize)]) -> Revision {
    let put = |batch: RecordBatch, (text, value): &(&str, usize)| batch.put(key(text), number(*value));
    ok(commit(store, &records.iter().fold(RecordBatch::new(), put)).await).revision
}

pub(super) async fn get<S: RecordStore>(store: &S, keys: &[&str]) -> RecordRead {
    let keys: Vec<RecordKey> = keys.iter().map(|text| key(text)).collect();
    ok(patiently!(store.get(&keys)))
}

/// The commit failed because of this record.
#[track_caller]
pub(super) fn assert_changed(result: Result<Committed, StoreError>, on: &str) {
    match result {
        Err(StoreError::RecordChanged { key: changed }) if changed == key(on) => {}
        other => panic!("expected RecordChanged of {on}, got {other:?}"),
    }
}

/// Every record of the store, with its text.
async fn everything<S: RecordStore>(store: &S) -> Vec<(RecordKey, Record)> {
    let read = ok(store.scan(&RecordRange::all(), ScanOrder::Ascending, limits::MAX_RECORDS_PER_READ).await);
    assert_eq!(read.next, None, "there are more records than one scan returns");
    read.records.into_iter().collect()
}

/// What is put is read back, also by another handle, with the revision of its commit; what is deleted is gone.
pub async fn a_record_is_put_read_and_deleted_by_its_key<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    assert!(get(&store, &["a/b", "c"]).await.records.is_empty());
    let (odd, json) = (ok(RecordKey::of(["é 🦀/'", "%\n\0"])), r#" {"n" : 1.0e2, "text": "é 🦀 \u00e9 '"} "#);
    let value = ok(Payload::from_json(json));
    let batch = RecordBatch::new().put(odd.clone(), value.clone()).put(key("a/b"), number(1));
    let first = ok(commit(&store, &batch).await);
    let second = put(&store, &[("a/b", 2)]).await;
    for handle in [&store, &harness.reopened(&store).await] {
        let keys = [odd.clone(), key("a/b"), key("a"), key("A/B")];
        let read = ok(handle.get(&keys).await);
        assert_eq!(read.get(&odd), Some(&Record::new(value.clone(), first.revision)));
        assert_eq!(read.get(&key("a/b")), Some(&Record::new(number(2), second)));
        assert_eq!((read.records.len(), read.next), (2, None));
    }
    ok(commit(&store, &RecordBatch::new().delete(odd.clone()).delete(key("never"))).await);
    assert_eq!(get(&store, &["a/b"]).await.revision(&key("a/b")), Some(second));
    assert!(ok(store.get(&[odd]).await).records.is_empty());
    ok(commit(&store, &RecordBatch::new()).await);
}

/// A committer changes two records together, again and again. Nobody who reads both sees them differ, by get or by
/// scan.
pub async fn several_keys_come_from_one_snapshot<H: StoreHarness>(harness: &H) {
    const ROUNDS: usize = 50;
    let store = harness.fresh().await;
    put(&store, &[("a/left", 0), ("z/right", 0)]).await;
    let stores = [store.clone(), harness.reopened(&store).await];
    together(4, |task| {
        let store = stores[task % 2].clone();
        async move {
            for round in 1..=ROUNDS {
                if task == 0 {
                    put(&store, &[("a/left", round), ("z/right", round)]).await;
                    continue;
                }
                let both = get(&store, &["a/left", "z/right"]).await;
                let all = ok(patiently!(store.scan(&RecordRange::all(), ScanOrder::Descending, 10)));
                for read in [both, all] {
                    let seen: Vec<&Record> = read.records.values().collect();
                    assert_eq!(seen.len(), 2);
                    assert_eq!(seen[0], seen[1], "one half of a commit was seen");
                }
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
}

/// If one condition fails, or a record to be touched is missing, nothing of a batch is kept; and the lowest such key is
/// named.
pub async fn a_batch_is_committed_as_a_whole_or_not_at_all<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    put(&store, &[("a", 1), ("b", 1), ("c", 1)]).await;
    let before = everything(&store).await;
    let changes = || RecordBatch::new().put(key("a"), number(2)).delete(key("b")).put(key("new"), number(2));
    let stale = Condition::At(Revision::generate());
    for (batch, failed) in [
        (changes().require(key("c"), stale), "c"),
        (changes().require(key("z"), Condition::Present), "z"),
        (changes().require(key("z"), Condition::Present).require(key("c"), Condition::Absent), "c"),
        (changes().touch(key("y")).require(key("z"), Condition::Present), "y"),
        (changes().require(key("new"), Condition::Present), "new"),
        (changes().require(key("a"), Condition::Absent), "a"),
        (changes().require(key("b"), stale), "b"),
    ] {
        assert_changed(commit(&store, &batch).await, failed);
        assert_eq!(everything(&store).await, before, "a refused batch changed something");
    }
    let twice = changes().touch(key("a"));
    let refused = store.commit(&twice).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    let committed = ok(commit(&store, &changes().touch(key("c")).require(key("b"), Condition::Present)).await);
    let after = get(&harness.reopened(&store).await, &["a", "b", "c", "new"]).await;
    let expected = [("a", 2), ("c", 1), ("new", 2)];
    let expected = expected.map(|(text, value)| (key(text), Record::new(number(value), committed.revision)));
    assert_eq!(after.records.into_iter().collect::<Vec<_>>(), expected);
}

/// Each condition is met by the right states of a record alone, together with each change of that record and without
/// one.
pub async fn each_condition_meets_each_state_of_a_record<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let changes: [fn(RecordBatch) -> RecordBatch; 4] = [
        |batch| batch.put(key("other"), number(1)),
        |batch| batch.put(key("it"), number(7)),
        |batch| batch.delete(key("it")),
        |batch| batch.put(key("other"), number(2)).put(key("it"), number(8)),
    ];
    for exists in [false, true] {
        for change in changes {
            for condition in ["at its revision", "at another", "absent", "present"] {
                ok(commit(&store, &RecordBatch::new().delete(key("it"))).await);
                let revision = match exists {
                    true => put(&store, &[("it", 1)]).await,
                    false => Revision::generate(),
                };
                let (condition, holds) = match condition {
                    "at its revision" => (Condition::At(revision), exists),
                    "at another" => (Condition::At(Revision::generate()), false),
                    "absent" => (Condition::Absent, !exists),
                    _ => (Condition::Present, exists),
                };
                let result = commit(&store, &change(RecordBatch::new().require(key("it"), condition))).await;
                match holds {
                    true => drop(ok(result)),
                    false => assert_changed(result, "it"),
                }
                let kept = get(&store, &["it"]).await.revision(&key("it"));
                assert!(holds || kept == Some(revision).filter(|_| exists), "a refused commit changed the record");
            }
        }
    }
}

/// A touched record has the revision of the commit that touched it, and the value that it had.
pub async fn a_touched_record_keeps_its_value<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let first = put(&store, &[("a", 1), ("b", 1)]).await;
    let touched = ok(commit(&store, &RecordBatch::new().touch(key("a"))).await).revision;
    let read = get(&store, &["a", "b"]).await;
    assert_eq!(read.get(&key("a")), Some(&Record::new(number(1), touched)));
    assert_eq!(read.revision(&key("b")), Some(first));
    assert_ne!(first, touched);
    let stale = RecordBatch::new().require(key("a"), Condition::At(first)).touch(key("b"));
    assert_changed(commit(&store, &stale).await, "a");
    assert_changed(commit(&store, &RecordBatch::new().touch(key("c"))).await, "c");
}

/// Of commits at once that require the same revision of a record and change it, one wins; and of those that require it
/// to be absent, too.
pub async fn of_many_commits_at_one_revision_one_wins<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 8;
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let mut condition = Condition::Absent;
    for round in 0..10 {
        let results = together(TASKS, |task| {
            let store = stores[task % 2].clone();
            let batch = RecordBatch::new().require(key("a/one"), condition);
            let batch = match (task % 4, condition) {
                (2, Condition::At(_)) => batch.touch(key("a/one")),
                _ => batch.put(key("a/one"), number(round)),
            };
            async move { commit(&store, &batch).await }
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "in round {round}: {won:?}");
        lost.into_iter().for_each(|lost| assert_changed(lost, "a/one"));
        let won = won.into_iter().map(ok).map(|committed| committed.revision).next();
        assert_eq!(get(&store, &["a/one"]).await.revision(&key("a/one")), won);
        condition = Condition::At(some(won, "a winner"));
    }
}

/// Tasks count up one record, each from what it has read and on condition that nobody else has written since: no count
/// is lost.
pub async fn what_a_revision_protects_is_what_was_read<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 4;
    const EACH: usize = 5;
    let store = harness.fresh().await;
    put(&store, &[("count", 0)]).await;
    let stores = [store.clone(), harness.reopened(&store).await];
    together(TASKS, |task| {
        let store = stores[task % 2].clone();
        async move {
            let mut done = 0;
            while done < EACH {
                let read = get(&store, &["count"]).await;
                let seen = some(read.get(&key("count")), "the count");
                let next = RecordBatch::new().require(key("count"), Condition::At(seen.revision));
                match commit(&store, &next.put(key("count"), number(number_of(seen) + 1))).await {
                    Ok(_) => done += 1,
                    Err(StoreError::RecordChanged { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    })
    .await;
    let read = get(&store, &["count"]).await;
    assert_eq!(number_of(some(read.get(&key("count")), "the count")), TASKS * EACH);
}

/// Two commits each require that the other's record is not there, and put their own: at most one wins. The same where
/// each requires that the other's record is as it was.
pub async fn of_two_commits_that_exclude_each_other_one_wins<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    for round in 0..30 {
        let names = [format!("left/{round}"), format!("right/{round}")];
        let both = async |conditions: [Condition; 2]| {
            let results = together(2, |task| {
                let (own, other) = (key(&names[task]), key(&names[1 - task]));
                let batch = RecordBatch::new().require(other, conditions[1 - task]).put(own, number(round));
                let store = stores[task].clone();
                async move { commit(&store, &batch).await }
            });
            let results = results.await;
            let won = results.iter().filter(|result| result.is_ok()).count();
            assert!(won <= 1, "in round {round} both won");
            results
                .into_iter()
                .zip(names.iter().rev())
                .filter(|(result, _)| result.is_err())
                .for_each(|(result, other)| assert_changed(result, other));
            won
        };
        assert_eq!(both([Condition::Absent; 2]).await, 1, "one of them comes first");
        let revision = put(&store, &[(&names[0], 0), (&names[1], 0)]).await;
        assert_eq!(both([Condition::At(revision); 2]).await, 1, "one of them comes first");
    }
}

/// Scans of any limit return each key of a range once, in the order of its bytes, upwards and downwards.
pub async fn scans_return_every_key_once_and_in_order<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let texts = [
        "a", "a b", "a!", "a%2F", "a%2Fb", "a-b", "a.b", "a/B", "a/b", "a/b/c", "a/b/d/e", "a/b0", "a/bc", "a/é", "a0",
        "ab", "a~", "b/a", "é/ü", "🦀/x",
    ];
    let mut all: Vec<RecordKey> = texts.iter().map(|text| key(text)).collect();
    let batch =
        |keys: &[RecordKey]| keys.iter().fold(RecordBatch::new(), |batch, key| batch.put(key.clone(), number(1)));
    ok(commit(&store, &batch(&all)).await);
    all.sort_unstable_by(|one, other| one.as_str().as_bytes().cmp(other.as_str().as_bytes()));
    let mut ranges = vec![RecordRange::all(), RecordRange::under(key("none"))];
    for text in ["a", "a/b", "a%2F", "é", "b"] {
        ranges.extend([RecordRange::under(key(text)), RecordRange::key(key(text))]);
    }
    for range in ranges {
        let expected: Vec<&RecordKey> = all.iter().filter(|key| range.contains(key)).collect();
        for limit in [1, 2, 3, expected.len().max(1), limits::MAX_RECORDS_PER_READ] {
            for order in [ScanOrder::Ascending, ScanOrder::Descending] {
                let (mut found, mut rest) = (Vec::new(), Some(range.clone()));
                while let Some(part) = rest {
                    let read = ok(store.scan(&part, order, limit).await);
                    assert!(read.records.len() <= limit, "{} records for {limit}", read.records.len());
                    assert!(read.next.is_none() || read.records.len() == limit, "a page that ends early");
                    match order {
                        ScanOrder::Ascending => found.extend(read.records.into_keys()),
                        ScanOrder::Descending => found.extend(read.records.into_keys().rev()),
                    }
                    rest = read.next.map(|next| range.clone().starting_at(next));
                }
                if order == ScanOrder::Descending {
                    found.reverse();
                }
                assert!(found.iter().eq(expected.iter().copied()), "{range:?} by {limit}, {order:?}: {found:?}");
            }
        }
    }
    let zero = store.scan(&RecordRange::all(), ScanOrder::Ascending, 0).await;
    assert!(matches!(zero, Err(StoreError::Refused { .. })), "{zero:?}");
}

/// Whatever becomes of a record, no two commits leave it at the same revision, also where they write what was there
/// before.
pub async fn a_revision_is_never_used_again<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let mut seen = BTreeSet::new();
    for round in 0..12 {
        let store = &stores[round % 2];
        let committed = match round % 4 {
            0 | 1 => ok(commit(store, &RecordBatch::new().put(key("a"), number(1))).await),
            2 => ok(commit(store, &RecordBatch::new().touch(key("a"))).await),
            _ => {
                ok(commit(store, &RecordBatch::new().delete(key("a"))).await);
                ok(commit(store, &RecordBatch::new().put(key("a"), number(1))).await)
            }
        };
        let kept = some(get(store, &["a"]).await.revision(&key("a")), "the record");
        assert_eq!(kept, committed.revision);
        assert!(seen.insert(kept.as_uuid()), "the revision of round {round} was used before");
    }
}

/// After a dropped commit all of its changes are there, or none.
pub async fn a_dropped_commit_happened_or_not<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let rng = SeededRng::from_env();
    let mut before = put(&store, &[("a", 0), ("b", 0)]).await;
    for round in 1..=40 {
        let batch = RecordBatch::new().require(key("a"), Condition::At(before));
        let batch = batch.put(key("a"), number(round)).put(key("b"), number(round));
        let dropped = match round % 2 {
            0 => dropped_at_random(&rng, store.commit(&batch)).await,
            _ => {
                let mut decide = |_: &RecordRead| Ok(batch.clone());
                dropped_at_random(&rng, store.update(&[RecordRange::key(key("b"))], &mut decide)).await
            }
        };
        let read = get(&store, &["a", "b"]).await;
        assert_eq!(read.get(&key("a")), read.get(&key("b")), "half of a commit was stored, {dropped:?}");
        if let Some(Ok(committed)) = dropped {
            assert_eq!(read.revision(&key("a")), Some(committed.revision));
        }
        // The dropped call may end only now; then this one fails, and there is nothing in between.
        match commit(&store, &batch).await {
            Ok(committed) => before = committed.revision,
            Err(StoreError::RecordChanged { .. }) => {
                before = some(get(&store, &["a"]).await.revision(&key("a")), "the record");
            }
            Err(error) => panic!("{error:?}"),
        }
        let read = get(&store, &["a", "b"]).await;
        let values: Vec<usize> = read.records.values().map(number_of).collect();
        assert_eq!(values, [round, round]);
    }
}

/// Of two answers, the one that was asked for later tells a time that is not earlier, whichever handle and call it came
/// from.
pub async fn the_clock_of_the_store_does_not_run_backwards<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let mut latest = ok(store.get(&[]).await).now;
    for round in 0..40 {
        let store = &stores[round % 2];
        let scope = [RecordRange::under(key("a"))];
        let mut read_by_update = latest;
        let now = match round % 4 {
            0 => get(store, &["a/b"]).await.now,
            1 => ok(commit(store, &RecordBatch::new().put(key("a/b"), number(round))).await).now,
            2 => ok(store.scan(&RecordRange::all(), ScanOrder::Ascending, 1).await).now,
            _ => {
                let mut decide = |read: &RecordRead| {
                    read_by_update = read.now;
                    Ok(RecordBatch::new().put(key("a/b"), number(round)))
                };
                ok(patiently!(store.update(&scope, &mut decide))).now
            }
        };
        assert!(latest <= read_by_update && read_by_update <= now, "{now} was told after {latest}");
        latest = now;
    }
}

/// Records, keys, batches and reads of the largest size work; larger ones are refused, and change nothing.
pub async fn the_largest_records_and_batches_are_kept_and_larger_ones_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let of_bytes = |bytes: usize| Payload::trusted(format!("\"{}\"", "x".repeat(bytes - 2)));
    let longest = ok(RecordKey::of(["é".repeat(limits::MAX_RECORD_KEY_BYTES / 2 - 1), "z".to_owned()]));
    let limit = limits::MAX_RECORD_BYTES;
    ok(commit(&store, &RecordBatch::new().put(longest.clone(), of_bytes(limit))).await);
    let over = RecordBatch::new().put(longest.clone(), of_bytes(limit + 1)).put(key("a"), number(1));
    assert_limit(store.commit(&over).await, limit, limit + 1);
    let kept = ok(store.get(std::slice::from_ref(&longest)).await);
    assert!(kept.get(&longest).is_some_and(|kept| kept.value == of_bytes(limit)), "the largest record changed");
    assert!(get(&store, &["a"]).await.records.is_empty());

    let keys: Vec<RecordKey> = (0..=limits::MAX_RECORDS_PER_BATCH).map(|n| key(&format!("many/{n}"))).collect();
    let batch =
        |keys: &[RecordKey]| keys.iter().fold(RecordBatch::new(), |batch, key| batch.put(key.clone(), number(1)));
    let limit = limits::MAX_RECORDS_PER_BATCH;
    assert_limit(store.commit(&batch(&keys)).await, limit, limit + 1);
    let conditional = batch(&keys[..limit]).require(keys[0].clone(), Condition::Absent);
    assert_limit(store.commit(&conditional).await, limit, limit + 1);
    assert!(get(&store, &["many/0"]).await.records.is_empty());
    let revision = ok(commit(&store, &batch(&keys[..limit])).await).revision;

    let limit = limits::MAX_RECORDS_PER_READ;
    let read = ok(store.get(&keys[..limit]).await);
    assert!(read.records.len() == limit && read.records.values().all(|record| record.revision == revision));
    assert_limit(store.get(&keys).await, limit, limit + 1);
    let many = RecordRange::under(key("many"));
    let scanned = ok(store.scan(&many, ScanOrder::Ascending, limit).await);
    assert_eq!((scanned.records.len(), scanned.next), (limit, None));
    assert_limit(store.scan(&many, ScanOrder::Ascending, limit + 1).await, limit, limit + 1);
    let none = keys[..limit].iter().fold(RecordBatch::new(), |batch, key| batch.delete(key.clone()));
    ok(commit(&store, &none).await);
    assert!(ok(store.scan(&many, ScanOrder::Ascending, 1).await).records.is_empty());
}
