//! One order for all (G4), and readers that skip nothing (G5).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use es_core::{Append, EventFilter, EventStore, NewEvent, Position, StoreError};
use tokio::task::yield_now;

use super::support::*;
use crate::{harness::StoreHarness, history_checker::HistoryChecker, rng::SeededRng};

/// Writers on two handles: every position is used once, none is left out, and every writer was told the truth.
pub async fn positions_are_gapless_under_concurrent_writers<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let history = Arc::new(HistoryChecker::new());
    let mut last_positions = together(8, |number| {
        let (store, history) = (if number % 2 == 0 { store.clone() } else { other.clone() }, Arc::clone(&history));
        async move {
            let mut last = Position::ZERO;
            for round in 0..12 {
                let name = stream(&format!("s{}", (number + round) % 5));
                let request = append_to(&name, Any, deposits(1 + round % 3));
                let appended = ok(send(&store, &request).await);
                assert!(appended.first_position > last, "a writer's later append has an earlier position");
                last = appended.last_position;
                history.acknowledged(&request, &appended);
            }
            last
        }
    })
    .await;
    let log = assert_whole(&store).await;
    assert_eq!(log.len(), 8 * 12 * 2);
    last_positions.sort();
    assert_eq!(last_positions.last(), Some(&Position::new(log.len() as u64)));
    history.check(&log).assert_clean();
    assert_eq!(whole_log(&other).await, log);
}

/// Readers follow writers by their checkpoints, on both handles, with and without a filter: they miss nothing, get
/// nothing twice, and see nothing that is gone later. Some writers fail, some conflict, some write much at once.
pub async fn a_reader_that_follows_by_checkpoint_skips_nothing<H: StoreHarness>(harness: &H) {
    const WRITERS: usize = 6;
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    let (history, writing) = (Arc::new(HistoryChecker::new()), Arc::new(AtomicUsize::new(WRITERS)));
    let rng = Arc::new(SeededRng::from_env());
    together(WRITERS + 4, |number| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        let (history, writing, rng) = (Arc::clone(&history), Arc::clone(&writing), Arc::clone(&rng));
        async move {
            if number < WRITERS {
                for _ in 0..15 {
                    write_something(&store, &history, &rng).await;
                }
                writing.fetch_sub(1, Ordering::SeqCst);
                return;
            }
            let filter = match number % 4 {
                0 | 1 => EventFilter::all(),
                _ => EventFilter::all().or_type("account", "Opened").or_stream(stream("s1")),
            };
            follow(&store, &history, &writing, &format!("reader {number}"), filter, page_of(1 + number)).await;
        }
    })
    .await;
    history.check(&assert_whole(&store).await).assert_clean();
}

async fn write_something<S: EventStore>(store: &S, history: &HistoryChecker, rng: &SeededRng) {
    let events = |count: u64| -> Vec<NewEvent> {
        (0..count).map(|_| if rng.percent(30) { opened("Ann") } else { deposited(1) }).collect()
    };
    let name = || stream(&format!("s{}", rng.below(4)));
    let request = match rng.below(4) {
        0 => append_to(&name(), exactly(rng.below(20)), events(2)),
        1 => ok(Append::to(name(), Any, events(40)).and(stream("much"), Any, events(40)).build()),
        2 => ok(Append::to(stream("a"), Any, events(1)).and(stream("b"), Any, events(2)).build()),
        _ => append_to(&name(), Any, events(1)),
    };
    match send(store, &request).await {
        Ok(appended) => history.acknowledged(&request, &appended),
        Err(StoreError::Conflict { .. }) => history.refused(&request),
        Err(error) => panic!("{error:?}"),
    }
}

/// Reads until the writers are done and the head is reached.
async fn follow<S: EventStore>(
    store: &S,
    history: &HistoryChecker,
    writing: &AtomicUsize,
    reader: &str,
    filter: EventFilter,
    size: es_core::PageSize,
) {
    let mut after = Position::ZERO;
    loop {
        let was_written = writing.load(Ordering::SeqCst) == 0;
        let page = ok(store.read_all(after, &filter, size).await);
        history.read(reader, &filter, after, &page);
        if page.scanned_to == after && was_written {
            assert_eq!(after, ok(store.head().await), "{reader} stopped before the head");
            return;
        }
        after = page.scanned_to;
        yield_now().await;
    }
}

/// What is refused uses up no position and no version.
pub async fn conflicts_and_refusals_leave_no_gap<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let known = deposits(1);
    append(&store, &stream("ann"), known.clone()).await;
    for round in 1..=5 {
        let both = Append::to(stream("bob"), Any, deposits(2)).and(stream("ann"), NoStream, deposits(2));
        assert_conflict(send(&store, &ok(both.build())).await, &stream("ann"), round);
        let reused = append_to(&stream("bob"), Any, [known.clone(), deposits(3)].concat());
        assert_id_reused(send(&store, &reused).await, "a known id");
        let too_large = vec![deposited(1), event_of_bytes(es_core::limits::MAX_PAYLOAD_BYTES + 1)];
        assert!(send(&store, &append_to(&stream("bob"), Any, too_large)).await.is_err());
        let appended = append(&store, &stream("ann"), deposits(1)).await;
        assert_eq!(appended.last_position.get(), round + 1);
        assert_eq!(appended.streams[0].last_version.get(), round + 1);
    }
    assert_eq!(assert_whole(&store).await.len(), 6);
}

/// The head never goes back, and whoever has seen it finds every event up to it.
pub async fn everything_up_to_the_head_can_be_read<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let other = harness.reopened(&store).await;
    together(6, |number| {
        let store = if number % 2 == 0 { store.clone() } else { other.clone() };
        async move {
            let mut seen = 0;
            for _ in 0..15 {
                if number < 3 {
                    append(&store, &stream(&format!("s{number}")), deposits(3)).await;
                } else {
                    let head = head_of(&store).await;
                    assert!(head >= seen, "the head went back from {seen} to {head}");
                    let log = log_after(&store, Position::new(seen), &EventFilter::all(), page_of(10_000)).await;
                    let positions: Vec<u64> = log.iter().map(|event| event.position().get()).collect();
                    assert!(positions.iter().copied().eq(seen + 1..seen + 1 + log.len() as u64), "{positions:?}");
                    assert!(seen + log.len() as u64 >= head, "the head is {head}, the log ends before it");
                    seen = head;
                }
            }
        }
    })
    .await;
}
