//! Calls that are dropped half way (G11), and many calls at once.

use std::sync::Arc;

use es_core::{
    Advance, Append, ConsumerStore, DocumentChange, EventFilter, EventStore, PageProjection, Payload, Position,
    ProjectionError, ProjectionStore, StoreError,
};
use tokio::task::yield_now;

use super::{
    checkpoints::{at, consumer, position_of},
    projections::{apply, expected_rows, ledger},
    support::*,
};
use crate::{harness::StoreHarness, history_checker::HistoryChecker, rng::SeededRng};

/// Polls a call for a random while and drops it; `None` if it was dropped before its end.
pub(super) async fn dropped_at_random<T>(rng: &SeededRng, call: impl Future<Output = T>) -> Option<T> {
    // Short and long waits alike: a store may need microseconds or many milliseconds.
    let longest = 1 << rng.below(14);
    dropped_after(rng.below(longest), call).await
}

/// Polls a call so often and drops it; `None` if it was dropped before its end.
pub(super) async fn dropped_after<T>(yields: u64, call: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = async { for _ in 0..yields { yield_now().await } } => None,
        result = call => Some(result),
    }
}

/// After a dropped append all of its events are there or none; sent again, it is stored once.
pub async fn a_dropped_append_happened_or_not_and_can_be_sent_again<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let rng = SeededRng::from_env();
    let mut dropped = 0;
    for round in 0..40_u64 {
        let request = ok(Append::to(stream("a"), exactly(round * 2), deposits(2))
            .and(stream("b"), exactly(round), deposits(1))
            .idempotency_key(key_of(&format!("order-{round}")))
            .build());
        if dropped_at_random(&rng, store.append(&request)).await.is_none() {
            dropped += 1;
        }
        let appended = ok(send(&store, &request).await);
        assert_eq!(appended.last_position.get(), (round + 1) * 3, "round {round}");
    }
    let log = assert_whole(&store).await;
    assert_eq!(log.len(), 40 * 3, "after {dropped} dropped appends");
}

/// Writers whose appends are dropped again and again do not disturb others, nor tear anything.
pub async fn dropped_appends_do_not_disturb_other_writers<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let rng = Arc::new(SeededRng::from_env());
    let history = Arc::new(HistoryChecker::new());
    together(6, |number| {
        let (store, rng, history) = (store.clone(), Arc::clone(&rng), Arc::clone(&history));
        async move {
            for _ in 0..15 {
                let both = Append::to(stream("a"), Any, deposits(2)).and(stream("b"), Any, deposits(1));
                let request = ok(both.build());
                if number < 3 {
                    history.acknowledged(&request, &ok(send(&store, &request).await));
                    continue;
                }
                match dropped_at_random(&rng, store.append(&request)).await {
                    Some(Ok(appended)) => history.acknowledged(&request, &appended),
                    _ => history.unacknowledged(&request),
                }
            }
        }
    })
    .await;
    // An append of one's own, through the same door: whatever was dropped in front of it is settled by now.
    append(&store, &stream("last"), deposits(1)).await;
    history.check(&whole_log(&store).await).assert_clean();
}

/// After a dropped page its rows and its checkpoint are there, or neither; applied again, each row is there once.
pub async fn a_dropped_page_was_applied_or_not<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let rng = SeededRng::from_env();
    let projector = ledger(harness, &store, "ledger").await;
    let mut from = Position::ZERO;
    for _ in 0..20 {
        append(&store, &stream("ann"), vec![opened("Ann"), deposited(1), deposited(2)]).await;
        let page = ok(store.read_all(from, projector.filter(), page_of(100)).await);
        dropped_at_random(
            &rng,
            store.apply_page(&projector, &Advance::new(projector.name(), from, page.scanned_to), &page.events),
        )
        .await;
        let name = PageProjection::name(&projector);
        let before = position_of(&store, name).await.unwrap_or(0);
        let rows = harness.ledger_rows(&store, "ledger").await;
        // The dropped call may end only now; if the checkpoint stands still, the rows in between belong to it.
        if position_of(&store, name).await.unwrap_or(0) == before {
            let mut expected = expected_rows(&store).await;
            expected.retain(|row| row.position <= before);
            assert_eq!(rows, expected, "the checkpoint is at {before}");
        }
        match apply(&store, &projector, from, &page).await {
            Ok(()) | Err(ProjectionError::Store(StoreError::CheckpointMoved { .. })) => {}
            Err(error) => panic!("{error:?}"),
        }
        from = page.scanned_to;
        assert_eq!(position_of(&store, PageProjection::name(&projector)).await, Some(from.get()));
    }
    assert_eq!(harness.ledger_rows(&store, "ledger").await, expected_rows(&store).await);
}

/// After a dropped save the documents and the checkpoint have moved, or neither.
pub async fn a_dropped_save_of_documents_happened_or_not<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let rng = SeededRng::from_env();
    let view = consumer("balances");
    ok(patiently!(store.prepare_view(&view)));
    let keys = ["a", "b"].map(str::to_owned);
    for round in 0..20 {
        let json = format!("{round}");
        let changes = keys.clone().map(|key| DocumentChange { key, body: Some(ok(Payload::from_json(json.as_str()))) });
        let (from, to) = (at(round), at(round + 1));
        dropped_at_random(&rng, store.save_documents(&Advance::new(&view, from, to), &changes)).await;
        let before = position_of(&store, &view).await.unwrap_or(0);
        let found = ok(store.documents(&view, &keys).await);
        // The dropped call may end only now; if the checkpoint stands still, the documents in between belong to it.
        if position_of(&store, &view).await.unwrap_or(0) == before {
            let saved = before.checked_sub(1).map(|last| last.to_string());
            assert_eq!(found.len(), if saved.is_some() { 2 } else { 0 }, "the checkpoint is at {before}");
            let is_old = |found: &es_core::Document| Some(found.body.as_str()) == saved.as_deref();
            assert!(found.iter().all(is_old), "the checkpoint is at {before}, the documents are {found:?}");
        }
        match patiently!(store.save_documents(&Advance::new(&view, from, to), &changes)) {
            Ok(()) | Err(StoreError::CheckpointMoved { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(position_of(&store, &view).await, Some(round + 1));
        let found = ok(store.documents(&view, &keys).await);
        assert!(found.len() == 2 && found.iter().all(|found| found.body.as_str() == json), "round {round}: {found:?}");
    }
}

/// More tasks than a store has connections write and read at once on one handle, and all come through.
pub async fn many_tasks_share_one_handle<H: StoreHarness>(harness: &H) {
    const TASKS: usize = 64;
    let store = harness.fresh().await;
    together(TASKS, |number| {
        let store = store.clone();
        async move {
            let name = stream(&format!("s{number}"));
            let first = ok(send(&store, &append_to(&name, NoStream, deposits(2))).await);
            let page = ok(store.read_all(Position::ZERO, &EventFilter::all(), page_of(10_000)).await);
            assert!(page.scanned_to >= first.last_position, "a task does not see its own append");
            ok(send(&store, &append_to(&name, exactly(2), deposits(1))).await);
            assert_eq!(whole_stream(&store, &name).await.len(), 3);
        }
    })
    .await;
    assert_eq!(assert_whole(&store).await.len(), TASKS * 3);
}
