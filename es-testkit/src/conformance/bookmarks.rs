//! Places in the log: a position counts only together with the event that stands there, since a database can be put back to an
//! earlier state and grow again (G6).

use es_core::{
    Advance, Append, Appended, Bookmark, CheckpointOverride, ConsumerStore, ControlStore, DocumentChange, EventFilter,
    EventKey, EventPage, EventStore, ExpectedVersion, OperatorRequest, PageProjection, Park, ParkFailure, Parking,
    ParkingStore, PartitionCheckpoint, PartitionStore, Payload, Position, ProjectionError, ProjectionStore,
    RecordedEvent, StoreError,
};
use uuid::Uuid;

use super::{
    checkpoints::{at, consumer, position_of},
    projections::{ledger, some_history},
    support::*,
};
use crate::harness::StoreHarness;

/// The place of the event at a position, from the log itself.
async fn place<S: EventStore>(store: &S, position: u64) -> Bookmark {
    whole_log(store).await.iter().map(Bookmark::of).find(|place| place.position() == at(position)).unwrap_or_default()
}

/// Another event at the position: what a log that went back held there.
fn former(position: u64) -> Bookmark {
    Bookmark::new(at(position), Uuid::now_v7())
}

#[track_caller]
fn assert_went_back<T: std::fmt::Debug>(result: Result<T, StoreError>, seen: Bookmark, is: Option<Uuid>) {
    match result {
        Err(StoreError::LogWentBack { position, expected, found, head })
            if (position, expected, found) == (seen.position(), seen.event_id(), is)
                && head.is_some() != is.is_some() => {}
        other => panic!("expected LogWentBack for {seen}, where {is:?} is now; got {other:?}"),
    }
}

/// A page names the event that it comes after, and one that proves which log it was read from: with any filter and of any size, and
/// whether it comes from the database or from memory.
pub async fn a_page_names_the_event_before_it_and_the_one_at_its_end<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let _hints = store.wakeups();
    some_history(&store).await;
    let other = harness.reopened(&store).await;
    let log = whole_log(&store).await;
    let place = |position: Position| log.iter().map(Bookmark::of).find(|place| place.position() == position);
    let filters = [
        EventFilter::all(),
        EventFilter::all().or_category("customer"),
        EventFilter::all().or_type("account", "Deposited").or_stream(stream("bob")),
        EventFilter::all().or_category("nothing"),
    ];
    for (filter, handle) in filters.iter().flat_map(|filter| [(filter, &store), (filter, &other)]) {
        for (after, size) in (0..log.len() as u64).flat_map(|after| [(after, 1), (after, 3), (after, 100)]) {
            let page: EventPage = ok(handle.read_all(at(after), filter, page_of(size)).await);
            assert_eq!(page.after, place(at(after)), "after {after}, {filter:?}");
            assert_eq!(Some(page.end()), place(page.scanned_to), "after {after}, {filter:?}");
            let seen = some(page.seen, "nothing proves which log the page was read from");
            assert!(seen.position() >= page.scanned_to && Some(seen) == place(seen.position()), "{seen}");
            ok(page.check_continues(place(at(after)).unwrap_or_default()));
        }
        let page = ok(handle.read_all(at(20), filter, page_of(3)).await);
        assert_eq!((page.scanned_to, page.log_end), (at(20), Some(at(12))));
        assert!(page.check_continues(former(20)).is_err());
    }
    let before = former(3);
    let page = ok(store.read_all(at(3), &EventFilter::all(), page_of(1)).await);
    assert_went_back(page.check_continues(before), before, place(at(3)).and_then(Bookmark::event_id));
}

/// What was seen at a place is verified against the log: the event there, and where the log ends.
pub async fn what_was_seen_at_a_place_is_verified<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    ok(store.verify(Bookmark::START).await);
    let beyond = former(1);
    assert_went_back(store.verify(beyond).await, beyond, None);
    some_history(&store).await;
    for position in 1..=12 {
        let (is, was) = (place(&store, position).await, former(position));
        ok(store.verify(is).await);
        ok(store.verify(is.position().into()).await);
        assert_went_back(store.verify(was).await, was, is.event_id());
    }
    for beyond in [former(13), Bookmark::unverified(at(13)), former(u64::MAX)] {
        assert!(
            matches!(store.verify(beyond).await, Err(StoreError::LogWentBack { head: Some(head), .. }) if head == at(12))
        );
    }
}

/// An append names its last event, also where it is repeated, by its ids or by its key.
pub async fn an_append_names_its_last_event<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("early"), deposits(2)).await;
    let events = || {
        let both = Append::builder().idempotency_key(key_of("once"));
        let both = both.and(stream("ann"), ExpectedVersion::Any, deposits(2));
        ok(both.and(stream("bob"), ExpectedVersion::Any, deposits(1)).build())
    };
    let first = events();
    let appended: Appended = ok(send(&store, &first).await);
    let is = place(&store, 5).await;
    assert_eq!((appended.bookmark(), first.last_event_id()), (is, is.event_id()));
    ok(store.verify(appended.bookmark()).await);
    for again in [&first, &events()] {
        let repeated = ok(send(&store, again).await);
        assert_eq!((repeated.repeated, repeated.bookmark()), (true, is));
    }
    let found = ok(harness.reopened(&store).await.find_append(&key_of("once")).await);
    assert_eq!(found.map(|found| found.bookmark()), Some(is));
    // The shortest append has a way of its own on some stores.
    let alone = append(&store, &stream("ann"), deposits(1)).await;
    assert_eq!(alone.bookmark(), place(&store, 6).await);
}

/// A runner that has seen another log moves no checkpoint and changes no documents or rows.
pub async fn nothing_that_was_read_from_another_log_takes_effect<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let (view, projector) = (consumer("view"), ledger(harness, &store, "ledger").await);
    ok(store.prepare_view(&view).await);
    let (is, change) =
        (place(&store, 5).await, DocumentChange { key: "a".to_owned(), body: Some(Payload::trusted("{}")) });
    let events: Vec<RecordedEvent> = whole_log(&store).await.into_iter().take(5).collect();
    for (seen, found) in
        [(former(5), is.event_id()), (former(7), place(&store, 7).await.event_id()), (former(13), None)]
    {
        let advance = |name| Advance::new(name, at(0), at(5)).having_seen(Some(seen));
        assert_went_back(patiently!(store.move_checkpoint(&advance(&view))), seen, found);
        assert_went_back(patiently!(store.save_documents(&advance(&view), std::slice::from_ref(&change))), seen, found);
        let applied = patiently!(store.apply_page(&projector, &advance(projector.name()), &events));
        let Err(ProjectionError::Store(error)) = applied else { panic!("applied: {applied:?}") };
        assert_went_back::<()>(Err(error), seen, found);
    }
    assert_eq!(position_of(&store, &view).await.unwrap_or(0), 0);
    assert_eq!(position_of(&store, projector.name()).await.unwrap_or(0), 0);
    assert_eq!(ok(store.documents(&view, &["a".to_owned()]).await), []);
    assert_eq!(harness.ledger_rows(&store, "ledger").await, []);

    // What was seen may lie after the end of the move.
    for seen in [is, place(&store, 9).await, place(&store, 12).await] {
        let from = at(position_of(&store, &view).await.unwrap_or(0));
        let advance = Advance::new(&view, from, at(5)).having_seen(Some(seen));
        ok(patiently!(store.save_documents(&advance, std::slice::from_ref(&change))));
    }
    let advance = Advance::new(projector.name(), at(0), at(5)).having_seen(Some(is));
    ok(patiently!(store.apply_page(&projector, &advance, &events)));
}

/// A checkpoint keeps the event at its position, however it got there, and so do parked events and slot offsets of
/// partitions.
pub async fn a_checkpoint_keeps_the_event_at_its_position<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let name = consumer("balances");
    let kept = async |name| some(ok(store.checkpoint(name).await), "no checkpoint").bookmark();
    assert_eq!(ok(patiently!(store.start_checkpoint(&name, at(3)))).bookmark(), place(&store, 3).await);
    for (from, to) in [(3, 7), (7, 12), (12, 2), (2, 2)] {
        ok(patiently!(store.move_checkpoint(&Advance::new(&name, at(from), at(to)))));
        assert_eq!(kept(&name).await, place(&store, to).await);
    }
    let key = EventKey::Stream(stream("ann"));
    let park = vec![Park::failed(key.clone(), at(4), ParkFailure::new("broken", 1))];
    let parking = Advance::new(&name, at(2), at(4)).with_parking(Parking::of(park));
    ok(patiently!(store.move_checkpoint(&parking)));
    assert_eq!(
        ok(store.checkpoints().await).iter().map(|all| all.bookmark()).collect::<Vec<_>>(),
        [place(&store, 4).await]
    );
    let parked = ok(store.parked_events(&name, &key, at(0), 10).await);
    assert_eq!(parked.iter().map(|event| event.event_id).collect::<Vec<_>>(), [place(&store, 4).await.event_id()]);

    let request = ok(OperatorRequest::by("ann").and_then(|request| request.because("to see")));
    ok(patiently!(store.override_checkpoint(&name, CheckpointOverride::Skip(at(6)), &request)));
    assert_eq!(kept(&name).await, place(&store, 6).await);
    let halves = ok(patiently!(store.repartition(&name, 2)));
    assert_eq!(halves.iter().map(PartitionCheckpoint::bookmark).collect::<Vec<_>>(), [place(&store, 6).await; 2]);
    let first = Advance::new(&halves[0].consumer, at(6), at(9)).in_partition_epoch(halves[0].partition_epoch);
    ok(patiently!(store.move_checkpoint(&first)));
    let whole = ok(patiently!(store.repartition(&name, 1)));
    let found = ok(store.partitions(&name).await);
    assert_eq!(found, whole);
    let rests_on: Vec<_> = found.iter().map(|whole| (whole.bookmark(), whole.furthest_bookmark())).collect();
    assert_eq!(rests_on, [(place(&store, 6).await, place(&store, 9).await)]);
    ok(patiently!(store.override_checkpoint(&name, CheckpointOverride::Reset(at(0)), &request)));
    assert_eq!(kept(&name).await, Bookmark::START);
}
