//! Projections that write with the store's connection: each event takes effect exactly once (G7), and a rebuild gives
//! the same rows (G8).

use std::sync::atomic::{AtomicUsize, Ordering};

use es_core::{
    Advance, ConsumerStore, EventPage, EventStore, HandlerError, InvalidName, PageProjection, PageSize, Position,
    Projection, ProjectionError, ProjectionStore, Projector, Recorded, StoreError, TableNames,
};

use super::{checkpoints::position_of, support::*};
use crate::{
    bank::AccountEvent,
    harness::{LedgerRow, StoreHarness},
};

/// A ledger that fails: after it has written the n-th event that it gets, or when it is cleared.
struct Faulty<P> {
    ledger: P,
    fails_after: Option<usize>,
    seen: AtomicUsize,
}

impl<P> Faulty<P> {
    fn after(events: usize, ledger: P) -> Self {
        Self { ledger, fails_after: Some(events), seen: AtomicUsize::new(0) }
    }

    fn on_clear(ledger: P) -> Self {
        Self { ledger, fails_after: None, seen: AtomicUsize::new(0) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("broken on purpose")]
struct OnPurpose;

impl<P: Projection<Event = AccountEvent>> Projection for Faulty<P> {
    type Connection = P::Connection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.ledger.name()
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        let ledger = self.ledger.in_generation(names)?;
        Ok(ledger.map(|ledger| Self { ledger, fails_after: self.fails_after, seen: AtomicUsize::new(0) }))
    }

    async fn prepare(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.ledger.prepare(connection).await
    }

    async fn apply(&self, connection: &mut P::Connection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.ledger.apply(connection, event).await?;
        let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if self.fails_after == Some(seen) { Err(OnPurpose.into()) } else { Ok(()) }
    }

    async fn clear(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.ledger.clear(connection).await?;
        Err(OnPurpose.into())
    }
}

/// A projector of the harness's ledger, prepared.
pub(super) async fn ledger<H: StoreHarness>(harness: &H, store: &H::Store, name: &str) -> Projector<H::Ledger> {
    let projector = ok(Projector::new(harness.ledger(name)));
    ok(patiently!(store.prepare_projection(&projector)));
    projector
}

pub(super) async fn apply<S: ProjectionStore>(
    store: &S,
    projection: &dyn PageProjection<S::Connection>,
    from: Position,
    page: &EventPage,
) -> Result<(), ProjectionError> {
    patiently!(store.apply_page(projection, &Advance::new(projection.name(), from, page.scanned_to), &page.events))
}

/// Reads and applies pages until nothing is left.
pub(super) async fn catch_up<S>(store: &S, projection: &dyn PageProjection<S::Connection>, size: PageSize)
where
    S: EventStore + ProjectionStore,
{
    loop {
        let from = Position::new(position_of(store, projection.name()).await.unwrap_or(0));
        let page = ok(store.read_all(from, projection.filter(), size).await);
        if page.scanned_to == from {
            return;
        }
        ok(apply(store, projection, from, &page).await);
    }
}

/// 11 events of accounts and one of something else.
pub(super) async fn some_history<S: EventStore>(store: &S) {
    append(store, &stream("ann"), vec![opened("Ann"), deposited(50), deposited(7)]).await;
    append(store, &stream("bob"), vec![opened("Bob"), deposited(100), event("Closed", "{}")]).await;
    append(store, &stream_in("customer", "ann"), vec![event("Moved", "{}")]).await;
    let of_ann = ["Withdrawn", "Deposited", "Deposited", "Withdrawn", "Deposited"];
    append(store, &stream("ann"), of_ann.map(|kind| event(kind, r#"{"cents":3}"#)).into()).await;
}

/// What the ledger must hold, from the log itself.
pub(super) async fn expected_rows<S: EventStore>(store: &S) -> Vec<LedgerRow> {
    let decoder = <AccountEvent as es_core::EventSet>::decoder();
    let log = log_after(store, Position::ZERO, decoder.filter(), PageSize::default()).await;
    ok(decoder.decode_page(log)).iter().map(LedgerRow::of).collect()
}

async fn first_page<S>(store: &S, projection: &dyn PageProjection<S::Connection>, size: usize) -> EventPage
where
    S: EventStore + ProjectionStore,
{
    ok(store.read_all(Position::ZERO, projection.filter(), page_of(size)).await)
}

/// Preparing, also twice, makes the tables and starts nothing.
pub async fn preparing_a_projection_does_not_start_it<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    for _ in 0..2 {
        let projector = ledger(harness, &store, "ledger").await;
        assert_eq!(position_of(&store, projector.name()).await, None);
        assert_eq!(harness.ledger_rows(&store, "ledger").await, []);
    }
    some_history(&store).await;
    let projector = ledger(harness, &store, "ledger").await;
    catch_up(&store, &projector, page_of(100)).await;
    let projector = ledger(harness, &harness.reopened(&store).await, "ledger").await;
    assert_eq!(harness.ledger_rows(&store, "ledger").await, expected_rows(&store).await);
    assert_eq!(position_of(&store, projector.name()).await, Some(12));
}

/// Pages of any size give each event's row once; the checkpoint ends at the head.
pub async fn every_event_takes_effect_once_whatever_the_pages<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let expected = expected_rows(&store).await;
    assert_eq!(expected.len(), 11);
    for size in [1, 4, 12, 1_000] {
        let name = format!("ledger_{size}");
        let projector = ledger(harness, &store, &name).await;
        catch_up(&store, &projector, page_of(size)).await;
        assert_eq!(harness.ledger_rows(&store, &name).await, expected, "in pages of {size}");
        assert_eq!(position_of(&store, projector.name()).await, Some(12));
    }
    append(&store, &stream("ann"), deposits(3)).await;
    catch_up(&store, &ledger(harness, &store, "ledger_4").await, page_of(4)).await;
    assert_eq!(harness.ledger_rows(&store, "ledger_4").await, expected_rows(&store).await);
    assert_eq!(harness.ledger_rows(&store, "ledger_1").await, expected);
}

/// A page that was applied is refused when it comes again.
pub async fn a_page_is_not_applied_twice<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let projector = ledger(harness, &store, "ledger").await;
    let page = first_page(&store, &projector, 5).await;
    ok(apply(&store, &projector, Position::ZERO, &page).await);
    let rows = harness.ledger_rows(&store, "ledger").await;
    assert_eq!(rows.len(), 5);
    for handle in [&store, &harness.reopened(&store).await] {
        let again = apply(handle, &projector, Position::ZERO, &page).await;
        assert_checkpoint_moved(again);
        assert_eq!(harness.ledger_rows(&store, "ledger").await, rows);
        assert_eq!(position_of(handle, projector.name()).await, Some(page.scanned_to.get()));
    }
}

fn assert_checkpoint_moved(result: Result<(), ProjectionError>) {
    assert!(matches!(result, Err(ProjectionError::Store(StoreError::CheckpointMoved { .. }))), "{result:?}");
}

/// Of runners that apply the same page at the same time one gets through, the others learn that it was done.
pub async fn of_concurrent_runners_one_applies_a_page<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    some_history(&store).await;
    for round in 0..4 {
        let name = format!("ledger_{round}");
        let page = first_page(&store, &ledger(harness, &store, &name).await, 100).await;
        let results = together(4, |number| {
            let (store, page) = (stores[number % 2].clone(), page.clone());
            let projector = ok(Projector::new(harness.ledger(&name)));
            async move { apply(&store, &projector, Position::ZERO, &page).await }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{} runners applied the same page", won.len());
        lost.into_iter().for_each(assert_checkpoint_moved);
        assert_eq!(harness.ledger_rows(&store, &name).await, expected_rows(&store).await);
    }
}

/// A handler that fails in the middle of a page leaves neither rows nor a moved checkpoint; the error names the event.
pub async fn a_failing_handler_leaves_neither_rows_nor_checkpoint<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let whole = ledger(harness, &store, "ledger").await;
    for (fails_after, position) in [(1, 1), (4, 4), (11, 12)] {
        let faulty = ok(Projector::new(Faulty::after(fails_after, harness.ledger("ledger"))));
        let page = first_page(&store, &faulty, 100).await;
        match apply(&store, &faulty, Position::ZERO, &page).await {
            Err(ProjectionError::Handler { consumer, position: at, .. }) => {
                assert_eq!((consumer.as_str(), at), ("ledger", Some(Position::new(position))));
            }
            other => panic!("expected the handler's error, got {other:?}"),
        }
        assert_eq!(harness.ledger_rows(&store, "ledger").await, [], "failed after {fails_after} events");
        assert_eq!(position_of(&store, whole.name()).await.unwrap_or(0), 0);
    }
    let head = first_page(&store, &whole, 4).await;
    ok(apply(&store, &whole, Position::ZERO, &head).await);
    let rest = ok(store.read_all(head.scanned_to, whole.filter(), page_of(100)).await);
    let faulty = ok(Projector::new(Faulty::after(3, harness.ledger("ledger"))));
    assert!(apply(&store, &faulty, head.scanned_to, &rest).await.is_err());
    assert_eq!(harness.ledger_rows(&store, "ledger").await, expected_rows(&store).await[..4]);
    assert_eq!(position_of(&store, whole.name()).await, Some(head.scanned_to.get()));
    catch_up(&store, &whole, page_of(3)).await;
    assert_eq!(harness.ledger_rows(&store, "ledger").await, expected_rows(&store).await);
}

/// An event that cannot be decoded stops the page; nothing of it takes effect.
pub async fn an_unreadable_event_leaves_neither_rows_nor_checkpoint<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), vec![opened("Ann"), event("Deposited", r#"{"crowns":1}"#), deposited(1)]).await;
    let projector = ledger(harness, &store, "ledger").await;
    let page = first_page(&store, &projector, 100).await;
    let result = apply(&store, &projector, Position::ZERO, &page).await;
    assert!(matches!(result, Err(ProjectionError::Decode(_))), "{result:?}");
    assert_eq!(harness.ledger_rows(&store, "ledger").await, []);
    assert_eq!(position_of(&store, projector.name()).await.unwrap_or(0), 0);
}

/// A page without events still moves the checkpoint.
pub async fn an_empty_page_moves_the_checkpoint<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream_in("customer", "ann"), deposits(5)).await;
    let projector = ledger(harness, &store, "ledger").await;
    catch_up(&store, &projector, page_of(2)).await;
    assert_eq!(position_of(&store, projector.name()).await, Some(5));
    assert_eq!(harness.ledger_rows(&store, "ledger").await, []);
}

/// Clearing empties the read model and puts the checkpoint to the start, both or neither.
pub async fn clearing_a_projection_resets_rows_and_checkpoint<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let (projector, other) = (ledger(harness, &store, "ledger").await, ledger(harness, &store, "other").await);
    catch_up(&store, &projector, page_of(100)).await;
    catch_up(&store, &other, page_of(100)).await;
    let faulty = ok(Projector::new(Faulty::on_clear(harness.ledger("ledger"))));
    let failed = patiently!(store.clear_projection(&faulty));
    assert!(matches!(failed, Err(ProjectionError::Handler { .. })), "{failed:?}");
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 11, "a failed clear emptied the read model");
    assert_eq!(position_of(&store, projector.name()).await, Some(12));
    ok(patiently!(store.clear_projection(&projector)));
    assert_eq!(harness.ledger_rows(&store, "ledger").await, []);
    assert_eq!(position_of(&store, projector.name()).await, Some(0));
    assert_eq!(harness.ledger_rows(&store, "other").await.len(), 11);
    assert_eq!(position_of(&store, other.name()).await, Some(12));
}

/// A read model that is cleared and built again, by other pages, equals the one that was kept up live, row for row.
pub async fn a_rebuilt_projection_equals_the_live_one<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let live = ledger(harness, &store, "ledger").await;
    for number in 0..6 {
        append(&store, &stream(&format!("s{}", number % 2)), vec![opened("X"), deposited(number)]).await;
        append(&store, &stream_in("customer", "c"), deposits(2)).await;
        catch_up(&store, &live, page_of(3)).await;
    }
    let (rows, position) = (harness.ledger_rows(&store, "ledger").await, position_of(&store, live.name()).await);
    assert_eq!(rows, expected_rows(&store).await);
    for size in [1, 7, 100] {
        ok(patiently!(store.clear_projection(&live)));
        catch_up(&store, &live, page_of(size)).await;
        assert_eq!(harness.ledger_rows(&store, "ledger").await, rows, "rebuilt in pages of {size}");
        assert_eq!(position_of(&store, live.name()).await, position);
    }
    let beside = ledger(harness, &store, "beside").await;
    catch_up(&store, &beside, page_of(100)).await;
    assert_eq!(harness.ledger_rows(&store, "beside").await, rows);
}

/// Projections run beside one another and beside writers, each with its own checkpoint, and all end complete.
pub async fn projections_keep_up_beside_writers<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let names = ["left", "right"];
    for name in names {
        ledger(harness, &store, name).await;
    }
    together(4, |number| {
        let store = stores[number % 2].clone();
        let projector = ok(Projector::new(harness.ledger(names[number / 2])));
        async move {
            for _ in 0..8 {
                append(&store, &stream(&format!("s{number}")), vec![opened("X"), deposited(1)]).await;
                // Two runners share each projection: whoever comes second is told so and reads on.
                let from = Position::new(position_of(&store, projector.name()).await.unwrap_or(0));
                let page = ok(store.read_all(from, projector.filter(), page_of(3)).await);
                match apply(&store, &projector, from, &page).await {
                    Ok(()) => {}
                    error => assert_checkpoint_moved(error),
                }
            }
        }
    })
    .await;
    for name in names {
        catch_up(&store, &ledger(harness, &store, name).await, page_of(100)).await;
        assert_eq!(harness.ledger_rows(&store, name).await, expected_rows(&store).await, "{name}");
    }
    assert_eq!(ok(store.checkpoints().await).len(), 2);
}
