//! Updates of records: a decision over whole ranges that nobody else changes meanwhile.

use std::{sync::mpsc, thread, time::Duration};

use es_core::{
    StoreError, limits,
    store::{Committed, Condition, DecideRecords, RecordBatch, RecordRange, RecordRead, RecordStore, ScanOrder},
};
use tokio::runtime::Handle;

use super::{
    records::{assert_changed, commit, get, key, number, number_of, put},
    support::*,
};
use crate::harness::StoreHarness;

/// For how long a decision waits for a commit that must wait for it: long enough for one that does not.
const MOMENT: Duration = Duration::from_millis(100);
/// For how long a decision waits for a commit that must not wait for it.
const LONGEST_COMMIT: Duration = Duration::from_secs(20);

async fn update<S: RecordStore>(
    store: &S,
    scope: &[RecordRange],
    decide: &mut DecideRecords<'_>,
) -> Result<Committed, StoreError> {
    patiently!(store.update(scope, decide))
}

fn under(text: &str) -> RecordRange {
    RecordRange::under(key(text))
}

/// Commits in a thread of its own, since a decision that waits for it occupies this one.
fn commit_beside<S: RecordStore + Clone + 'static>(
    runtime: &Handle,
    store: &S,
    batch: RecordBatch,
) -> mpsc::Receiver<Result<Committed, StoreError>> {
    let (answer, answered) = mpsc::channel();
    let (runtime, store) = (runtime.clone(), store.clone());
    thread::spawn(move || {
        // Nobody may be left to be told.
        let _ = answer.send(runtime.block_on(async { commit(&store, &batch).await }));
    });
    answered
}

/// An update reads the ranges of its scope and nothing else, changes what its decision says, there and elsewhere, and
/// checks its conditions.
pub async fn an_update_changes_what_it_has_read<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    put(&store, &[("a/1", 1), ("a/2", 2), ("a/2/x", 3), ("ab/1", 4), ("b", 5), ("c/1", 6)]).await;
    let scope = [under("a"), RecordRange::key(key("b")), RecordRange::key(key("a/1")), RecordRange::key(key("none"))];
    let mut decide = |read: &RecordRead| {
        let seen: Vec<(&str, usize)> = read.records.iter().map(|(key, it)| (key.as_str(), number_of(it))).collect();
        assert_eq!(seen, [("a/1", 1), ("a/2", 2), ("a/2/x", 3), ("b", 5)]);
        let seen = Condition::At(some(read.revision(&key("a/1")), "a record"));
        let batch = RecordBatch::new().require(key("a/1"), seen).require(key("d"), Condition::Absent);
        Ok(batch
            .put(key("a/1"), number(7))
            .delete(key("a/2"))
            .touch(key("b"))
            .put(key("a/3"), number(8))
            .put(key("d"), number(9)))
    };
    let revision = ok(update(&store, &scope, &mut decide).await).revision;
    let all = ok(store.scan(&RecordRange::all(), ScanOrder::Ascending, 100).await);
    let kept: Vec<(&str, usize, bool)> =
        all.records.iter().map(|(key, it)| (key.as_str(), number_of(it), it.revision == revision)).collect();
    let expected = [
        ("a/1", 7, true),
        ("a/2/x", 3, false),
        ("a/3", 8, true),
        ("ab/1", 4, false),
        ("b", 5, true),
        ("c/1", 6, false),
        ("d", 9, true),
    ];
    assert_eq!(kept, expected);
    let stale = RecordBatch::new().require(key("d"), Condition::Absent).put(key("a/1"), number(0));
    assert_changed(update(&store, &[under("a")], &mut |_| Ok(stale.clone())).await, "d");
    ok(update(&store, &[], &mut |read| Ok(RecordBatch::new().put(key("e"), number(read.records.len())))).await);
    assert_eq!(get(&store, &["a/1", "e"]).await.records.values().map(number_of).collect::<Vec<_>>(), [7, 0]);
    let started = update(&store, &[under("a").starting_at(key("a/3"))], &mut |_| Ok(RecordBatch::new())).await;
    assert!(matches!(started, Err(StoreError::Refused { .. })), "{started:?}");
}

/// While an update decides, another commit adds, changes or removes a record of its scope, if the record with the sum
/// is as before. So that commit comes before the update, which then counts it, or after it, and fails.
pub async fn nothing_in_the_scope_changes_before_the_commit<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let runtime = Handle::current();
    let changes: [fn(RecordBatch) -> RecordBatch; 4] = [
        |batch| batch.put(key("items/new"), number(10)),
        |batch| batch.put(key("items/a"), number(20)),
        |batch| batch.delete(key("items/b")),
        |batch| batch.put(key("items/a/b/c"), number(30)).put(key("elsewhere"), number(1)),
    ];
    for records in [&[][..], &[("items/a", 1), ("items/b", 2)][..]] {
        for (number_of_change, change) in changes.into_iter().enumerate() {
            let all = ok(store.scan(&under("items"), ScanOrder::Ascending, 100).await);
            let empty = all.records.into_keys().fold(RecordBatch::new(), RecordBatch::delete);
            ok(commit(&store, &empty).await);
            put(&store, records).await;
            let before = put(&store, &[("sum", 0)]).await;
            let disturbance = change(RecordBatch::new().require(key("sum"), Condition::At(before)));
            let mut beside = None;
            let mut decide = |read: &RecordRead| {
                if beside.is_none() {
                    let answered = commit_beside(&runtime, &other, disturbance.clone());
                    let at_once = answered.recv_timeout(MOMENT).ok();
                    beside = Some((answered, at_once));
                }
                Ok(RecordBatch::new().put(key("sum"), number(read.records.values().map(number_of).sum())))
            };
            ok(update(&store, &[under("items")], &mut decide).await);
            let (answered, at_once) = some(beside, "a decision");
            // On a runtime of one thread its commit may need this one to go on.
            let outcome = match at_once {
                Some(outcome) => outcome,
                None => ok(ok(tokio::task::spawn_blocking(move || answered.recv_timeout(LONGEST_COMMIT)).await)),
            };
            let is_done = outcome.is_ok();
            if !is_done {
                assert_changed(outcome, "sum");
            }
            let items = ok(store.scan(&under("items"), ScanOrder::Ascending, 100).await);
            let sum: usize = items.records.values().map(number_of).sum();
            let read = get(&store, &["sum"]).await;
            let told = number_of(some(read.get(&key("sum")), "the sum"));
            assert_eq!(told, sum, "change {number_of_change} of {records:?} was not seen, done: {is_done}");
        }
    }
}

/// Tasks at once take one of three places each, if there is one left by their count: never more than three are taken.
pub async fn updates_that_count_first_never_admit_too_many<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 8;
    const PLACES: usize = 3;
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    for round in 0..5 {
        let hall = format!("hall/{round}");
        let taken = together(TASKS, |task| {
            let (store, hall) = (stores[task % 2].clone(), hall.clone());
            async move {
                let place = key(&format!("{hall}/{task}"));
                let mut is_taken = false;
                let mut decide = |read: &RecordRead| {
                    is_taken = read.records.len() < PLACES;
                    let batch = RecordBatch::new();
                    Ok(if is_taken { batch.put(place.clone(), number(task)) } else { batch })
                };
                ok(update(&store, &[under(&hall)], &mut decide).await);
                is_taken
            }
        });
        let taken = taken.await.into_iter().filter(|is_taken| *is_taken).count();
        let kept = ok(store.scan(&under(&hall), ScanOrder::Ascending, 100).await).records.len();
        assert_eq!((taken, kept), (PLACES, PLACES), "in round {round}");
    }
}

/// A commit outside of the scope does not wait for an update that is still deciding: neither one that makes a record
/// beside the scope, nor one that changes a record there.
pub async fn commits_outside_of_the_scope_do_not_wait<H: StoreHarness>(harness: &H) {
    if !H::CONCURRENT_TRANSACTIONS {
        return;
    }
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let runtime = Handle::current();
    let revision = put(&store, &[("items/a", 1), ("item", 1), ("items", 1), ("itemsz/a", 1)]).await;
    let scope = [under("items")];
    let mut calls = 0;
    let mut decide = |read: &RecordRead| {
        calls += 1;
        let beside = [
            RecordBatch::new().put(key(&format!("item/{calls}")), number(1)),
            RecordBatch::new().require(key("item"), Condition::At(revision)).touch(key("itemsz/a")),
            RecordBatch::new()
                .require(key(&format!("none/{calls}")), Condition::Absent)
                .put(key("items"), number(calls)),
            RecordBatch::new().delete(key(&format!("item/{calls}"))),
        ];
        for batch in beside {
            let answered = commit_beside(&runtime, &other, batch.clone());
            match answered.recv_timeout(LONGEST_COMMIT) {
                Ok(outcome) => drop(ok(outcome)),
                Err(_) => panic!("a commit outside of the scope waits for the update: {batch:?}"),
            }
        }
        Ok(RecordBatch::new().put(key("items/count"), number(read.records.len())))
    };
    ok(update(&store, &scope, &mut decide).await);
    assert_eq!(calls, 1, "the update was decided again, though nothing in its scope had changed");
    assert_eq!(get(&store, &["items/count"]).await.records.values().map(number_of).sum::<usize>(), 1);
}

/// Updates whose scopes contain each other, and which write into each other's scopes, all come through, and so do
/// commits beside them.
pub async fn updates_in_opposite_directions_all_come_through<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 5;
    const EACH: usize = 2;
    let store = harness.fresh().await;
    put(&store, &[("a/count", 0), ("b/count", 0)]).await;
    let stores = [store.clone(), harness.reopened(&store).await];
    together(TASKS, |task| {
        let store = stores[task % 2].clone();
        async move {
            let (own, other) = if task % 2 == 0 { ("a", "b") } else { ("b", "a") };
            let scope = match task {
                0..3 => vec![under(own)],
                3 => vec![under("b"), under("a")],
                _ => vec![RecordRange::all()],
            };
            for round in 0..EACH {
                let count = key(&format!("{own}/count"));
                let mut decide = |read: &RecordRead| {
                    let seen = number_of(some(read.get(&count), "the count"));
                    let batch = RecordBatch::new().put(count.clone(), number(seen + 1));
                    Ok(batch.put(key(&format!("{other}/{task}/{round}")), number(1)))
                };
                ok(update(&store, &scope, &mut decide).await);
                put(&store, &[(&format!("{own}/beside/{task}"), round), (&format!("{other}/beside/{task}"), round)])
                    .await;
            }
        }
    })
    .await;
    let counts = get(&store, &["a/count", "b/count"]).await;
    assert_eq!(counts.records.values().map(number_of).sum::<usize>(), TASKS * EACH);
    let made = ok(store.scan(&RecordRange::all(), ScanOrder::Ascending, 1_000).await).records.len();
    assert_eq!(made, 2 + TASKS * EACH + 2 * TASKS);
}

/// The error of a decision is the error of its update. Nothing was changed, and the scope is free again.
pub async fn a_failed_decision_changes_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    put(&store, &[("a/1", 1)]).await;
    let before = get(&store, &["a/1"]).await.records;
    let failed = update(&store, &[under("a")], &mut |_| Err(StoreError::Refused { reason: "not this time" })).await;
    assert!(matches!(failed, Err(StoreError::Refused { reason: "not this time" })), "{failed:?}");
    let twice = RecordBatch::new().put(key("a/1"), number(2)).touch(key("a/1"));
    let refused = update(&store, &[under("a")], &mut |_| Ok(twice.clone())).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    assert_eq!(get(&store, &["a/1"]).await.records, before);
    put(&harness.reopened(&store).await, &[("a/1", 3), ("a/2", 3)]).await;
}

/// An update reads as many records as it may; one more is refused.
pub async fn an_update_over_the_most_records_works_and_one_more_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let limit = limits::MAX_RECORDS_PER_UPDATE;
    let keys: Vec<_> = (0..limit).map(|n| key(&format!("many/{n}"))).collect();
    for some in keys.chunks(limits::MAX_RECORDS_PER_BATCH) {
        let batch = some.iter().fold(RecordBatch::new(), |batch, key| batch.put(key.clone(), number(1)));
        ok(commit(&store, &batch).await);
    }
    let count = async || {
        update(&store, &[under("many")], &mut |read| {
            Ok(RecordBatch::new().put(key("count"), number(read.records.len())))
        })
        .await
    };
    ok(count().await);
    put(&store, &[("many/more", 1)]).await;
    assert_limit(count().await, limit, limit + 1);
    let read = get(&store, &["count"]).await;
    assert_eq!(number_of(some(read.get(&key("count")), "the count")), limit);
    let ranges = vec![under("none"); limits::MAX_RECORDS_PER_READ + 1];
    let refused = update(&store, &ranges, &mut |_| Ok(RecordBatch::new())).await;
    assert_limit(refused, limits::MAX_RECORDS_PER_READ, limits::MAX_RECORDS_PER_READ + 1);
}
