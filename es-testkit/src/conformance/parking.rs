//! Parked events: put aside and let go with the checkpoint and the read model, in order, and never dropped without a record
//! (G9).

use es_core::{
    Advance, CheckpointOverride, ConsumerName, ConsumerStore, ControlStore, DocumentChange, EventKey, GenerationStore,
    HandlerError, InvalidName, OperatorRequest, PageProjection, Park, ParkFailure, ParkedEdit, ParkedTotals, Parking,
    ParkingAction, ParkingRecord, ParkingStore, Payload, Projection, ProjectionError, ProjectionStore, Projector,
    Recorded, StoreError, TableNames, Unpark, limits,
};

use super::{
    checkpoints::{assert_moved, at, consumer, position_of},
    projections::{ledger, some_history},
    support::*,
};
use crate::{bank::AccountEvent, harness::StoreHarness};

fn key(id: &str) -> EventKey {
    EventKey::Stream(stream(id))
}

fn document(key: &str) -> EventKey {
    ok(EventKey::document(key))
}

fn failed(key: EventKey, position: u64) -> Park {
    Park::failed(key, at(position), ParkFailure::new("no room: disk full", 3))
}

fn behind(key: EventKey, position: u64) -> Park {
    Park::behind(key, at(position))
}

fn gone(key: EventKey, position: u64) -> Unpark {
    Unpark { key, position: at(position) }
}

fn request() -> OperatorRequest {
    ok(OperatorRequest::by("ann").and_then(|request| request.because("the disk was full")))
}

/// A move with changes to parked events.
fn parking(consumer: &ConsumerName, (from, to): (u64, u64), park: Vec<Park>, unpark: Vec<Unpark>) -> Advance {
    Advance::new(consumer, at(from), at(to)).with_parking(Parking::of(park).and_unpark(unpark))
}

async fn park<S: ParkingStore>(
    store: &S,
    consumer: &ConsumerName,
    between: (u64, u64),
    park: Vec<Park>,
) -> Result<(), StoreError> {
    patiently!(store.move_checkpoint(&parking(consumer, between, park.clone(), Vec::new())))
}

async fn unpark<S: ParkingStore>(
    store: &S,
    consumer: &ConsumerName,
    at: u64,
    unpark: Vec<Unpark>,
) -> Result<(), StoreError> {
    patiently!(store.move_checkpoint(&parking(consumer, (at, at), Vec::new(), unpark.clone())))
}

/// The positions that are parked under a key.
async fn parked<S: ParkingStore>(store: &S, consumer: &ConsumerName, key: &EventKey) -> Vec<u64> {
    let events = ok(store.parked_events(consumer, key, at(0), limits::MAX_PARKED_PER_READ).await);
    events.iter().map(|event| event.position.get()).collect()
}

async fn totals<S: ParkingStore>(store: &S) -> Vec<(String, u64, u64)> {
    let totals = ok(store.parked_totals().await);
    totals.into_iter().map(|(name, ParkedTotals { keys, events })| (name.to_string(), keys, events)).collect()
}

async fn history<S: ParkingStore>(store: &S, consumer: &ConsumerName) -> Vec<ParkingRecord> {
    ok(store.parking_history(consumer, 0, limits::MAX_PARKED_PER_READ).await)
}

#[track_caller]
fn assert_changed<T: std::fmt::Debug>(result: Result<T, StoreError>, changed: &EventKey) {
    match result {
        Err(StoreError::ParkingChanged { key, .. }) if key == *changed => {}
        other => panic!("expected ParkingChanged of {changed}, got {other:?}"),
    }
}

/// An event is put aside together with the move of the checkpoint and what the rest of its page writes, or not at all.
pub async fn an_event_is_parked_with_the_move_of_the_checkpoint_or_not_at_all<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let reactor = consumer("mailer");
    assert_eq!(totals(&store).await, []);
    assert_moved(park(&store, &reactor, (1, 2), vec![failed(key("ann"), 2)]).await, 1, 0);
    assert_eq!(totals(&store).await, [], "a refused move parked an event");
    ok(park(&store, &reactor, (0, 3), vec![failed(key("ann"), 1), behind(key("ann"), 2), behind(key("ann"), 3)]).await);
    assert_eq!(position_of(&store, &reactor).await, Some(3));
    assert_eq!(parked(&store, &reactor, &key("ann")).await, [1, 2, 3]);

    let view = consumer("balances");
    let change = [DocumentChange { key: "ann".to_owned(), body: Some(ok(Payload::from_json("1"))) }];
    for (between, is_right) in [((5, 6), false), ((0, 6), true)] {
        let advance = parking(&view, between, vec![failed(document("bob"), 6)], Vec::new());
        let result = patiently!(store.save_documents(&advance, &change));
        assert_eq!(result.is_ok(), is_right, "{result:?}");
        assert_eq!(ok(store.documents(&view, &["ann".to_owned()]).await).len(), usize::from(is_right));
        assert_eq!(parked(&store, &view, &document("bob")).await.len(), usize::from(is_right));
    }

    let projection = ledger(harness, &store, "ledger").await;
    let page = ok(store_page(&store, &projection, 3).await);
    for (between, is_right) in [((5, 6), false), ((0, 6), true)] {
        let advance = parking(projection.name(), between, vec![failed(key("bob"), 4)], Vec::new());
        let result = patiently!(store.apply_page(&projection, &advance, &page));
        assert_eq!(result.is_ok(), is_right, "{result:?}");
        assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), if is_right { 3 } else { 0 });
        assert_eq!(parked(&store, projection.name(), &key("bob")).await.len(), usize::from(is_right));
    }
    // A page of which nothing is left.
    let advance = parking(projection.name(), (6, 7), vec![behind(key("bob"), 5)], Vec::new());
    ok(patiently!(store.apply_page(&projection, &advance, &[])));
    assert_eq!(parked(&store, projection.name(), &key("bob")).await, [4, 5]);
    let all = [("balances".to_owned(), 1, 1), ("ledger".to_owned(), 1, 2), ("mailer".to_owned(), 1, 3)];
    assert_eq!(totals(&harness.reopened(&store).await).await, all);
}

async fn store_page<S: es_core::EventStore + ProjectionStore>(
    store: &S,
    projection: &dyn PageProjection<S::Connection>,
    events: usize,
) -> Result<Vec<es_core::RecordedEvent>, StoreError> {
    Ok(store.read_all(at(0), projection.filter(), page_of(events)).await?.events)
}

/// An event waits behind others of its key as long as there are any; once they are gone, whoever believed in them is told.
/// Otherwise it would wait for nobody.
pub async fn nothing_waits_behind_a_key_that_is_free<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let reactor = consumer("mailer");
    assert_changed(park(&store, &reactor, (0, 1), vec![behind(key("ann"), 1)]).await, &key("ann"));
    assert_eq!(position_of(&store, &reactor).await.unwrap_or(0), 0, "the checkpoint moved past an event");
    ok(park(&store, &reactor, (0, 1), vec![failed(key("ann"), 1)]).await);
    // Another kind of key, another consumer, and the same key as part of a page with a right one.
    assert_changed(park(&store, &reactor, (1, 2), vec![behind(document("ann"), 2)]).await, &document("ann"));
    assert_changed(park(&store, &consumer("other"), (0, 2), vec![behind(key("ann"), 2)]).await, &key("ann"));
    let both = vec![behind(key("ann"), 2), behind(key("bob"), 3)];
    assert_changed(park(&store, &reactor, (1, 3), both).await, &key("bob"));
    assert_eq!(parked(&store, &reactor, &key("ann")).await, [1]);

    ok(unpark(&store, &reactor, 1, vec![gone(key("ann"), 1)]).await);
    assert_changed(park(&store, &reactor, (1, 2), vec![behind(key("ann"), 2)]).await, &key("ann"));
    assert_eq!(position_of(&store, &reactor).await, Some(1));
    assert_eq!(totals(&store).await, []);
}

/// A parked event leaves the queue together with what it writes, and not a second time. What is parked behind it stays.
pub async fn a_parked_event_takes_effect_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let projection = ledger(harness, &store, "ledger").await;
    let name = projection.name();
    let page = ok(store_page(&store, &projection, 2).await);
    ok(park(&store, name, (0, 2), vec![failed(key("ann"), 1), behind(key("ann"), 2)]).await);
    let first = parking(name, (2, 2), Vec::new(), vec![gone(key("ann"), 1)]);
    ok(patiently!(store.apply_page(&projection, &first, &page[..1])));
    match patiently!(store.apply_page(&projection, &first, &page[..1])) {
        Err(ProjectionError::Store(StoreError::ParkingChanged { .. })) => {}
        other => panic!("a parked event took effect twice: {other:?}"),
    }
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 1);
    assert_eq!(parked(&store, name, &key("ann")).await, [2]);
    assert_eq!(ok(store.parked_queue(name, &key("ann")).await).map(|queue| queue.events), Some(1));
    // Under another key the last one is still parked, and then the first is free.
    let moved = parking(name, (2, 2), vec![failed(document("ann"), 2)], vec![gone(key("ann"), 2)]);
    ok(patiently!(store.apply_page(&projection, &moved, &[])));
    assert_eq!(ok(store.parked_queue(name, &key("ann")).await), None);
    assert_eq!(parked(&store, name, &document("ann")).await, [2]);
}

/// A ledger that cannot take anything.
struct Full<P>(P);

impl<P: Projection<Event = AccountEvent>> Projection for Full<P> {
    type Connection = P::Connection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        self.0.name()
    }

    fn in_generation(&self, names: &mut TableNames) -> Result<Option<Self>, InvalidName> {
        Ok(self.0.in_generation(names)?.map(Self))
    }

    async fn apply(&self, connection: &mut P::Connection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        self.0.apply(connection, event).await?;
        Err(HandlerError::from(std::io::Error::other("no room")))
    }

    async fn clear(&self, connection: &mut P::Connection) -> Result<(), HandlerError> {
        self.0.clear(connection).await
    }
}

/// A parked event whose handler fails again stays parked, and what the handler wrote is undone.
pub async fn a_failing_handler_leaves_its_event_parked<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let projection = ledger(harness, &store, "ledger").await;
    let page = ok(store_page(&store, &projection, 1).await);
    let full = ok(Projector::new(Full(harness.ledger("ledger"))));
    let name = full.name();
    ok(park(&store, name, (0, 1), vec![failed(key("ann"), 1)]).await);
    let again = parking(name, (1, 1), Vec::new(), vec![gone(key("ann"), 1)]);
    let result = patiently!(store.apply_page(&full, &again, &page));
    assert!(matches!(result, Err(ProjectionError::Handler { .. })), "{result:?}");
    assert_eq!(parked(&store, name, &key("ann")).await, [1]);
    assert_eq!(harness.ledger_rows(&store, "ledger").await, []);
    ok(patiently!(store.apply_page(&projection, &again, &page)));
    assert_eq!((totals(&store).await, harness.ledger_rows(&store, "ledger").await.len()), (Vec::new(), 1));
}

/// Keys are listed in the order of their texts and events in that of the log, page by page; lists are bounded.
pub async fn parked_keys_and_events_are_listed_in_order<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let reactor = consumer("mailer");
    let keys = [document("B"), document("a"), key("ann"), key("bob")];
    let mut all = Vec::new();
    for (n, key) in (1..).zip(keys.iter().rev()) {
        // Not in the order of the log.
        all.extend([failed(key.clone(), 100 + n), behind(key.clone(), 9 + n), behind(key.clone(), 20 + n)]);
    }
    ok(park(&store, &reactor, (0, 200), all.clone()).await);
    // Putting the same aside again changes nothing.
    ok(park(&store, &reactor, (200, 200), all).await);
    let listed = ok(store.parked_queues(&reactor, None, 10).await);
    let listed: Vec<_> = listed.iter().map(|queue| (queue.key.clone(), queue.events)).collect();
    assert_eq!(listed, keys.clone().map(|key| (key, 3)));
    let page = ok(store.parked_queues(&reactor, Some(&keys[0]), 2).await);
    assert_eq!(page.iter().map(|queue| &queue.key).collect::<Vec<_>>(), [&keys[1], &keys[2]]);
    assert_eq!(parked(&store, &reactor, &keys[3]).await, [10, 21, 101]);
    let page = ok(store.parked_events(&reactor, &keys[3], at(10), 1).await);
    assert_eq!(page.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [21]);

    let mut among =
        ok(store.parked_among(&reactor, &[key("eve"), keys[2].clone(), document("ann"), keys[0].clone()]).await);
    among.sort_by_key(EventKey::to_string);
    assert_eq!(among, [keys[0].clone(), keys[2].clone()]);
    assert_eq!(ok(store.parked_among(&consumer("other"), &keys).await), []);
    assert_eq!(totals(&store).await, [("mailer".to_owned(), 4, 12)]);

    let over = limits::MAX_PARKED_PER_READ + 1;
    assert_limit(store.parked_queues(&reactor, None, over).await, over - 1, over);
    assert_limit(store.parked_events(&reactor, &keys[0], at(0), over).await, over - 1, over);
    assert_limit(store.parking_history(&reactor, 0, over).await, over - 1, over);
    let many: Vec<_> = (0..over).map(|n| document(&n.to_string())).collect();
    assert_limit(store.parked_among(&reactor, &many).await, over - 1, over);
    assert_eq!(ok(store.parked_among(&reactor, &many[1..]).await), []);
}

/// A retry is requested once, with an edit of one event if need be; who, when and why are recorded. A failed one is
/// noted.
pub async fn a_retry_is_asked_for_with_an_edit_and_recorded<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (reactor, other) = (consumer("mailer"), harness.reopened(&store).await);
    ok(park(&store, &reactor, (0, 9), vec![failed(key("ann"), 1), behind(key("ann"), 5), failed(key("bob"), 2)]).await);
    let before = some(ok(store.parked_queue(&reactor, &key("ann")).await), "a parked key");
    assert_eq!((before.first_error.as_str(), before.attempts, &before.retry), ("no room: disk full", 3, &None));

    let nobody = ok(OperatorRequest::by("ann"));
    assert!(!ok(patiently!(store.request_retry(&reactor, &key("eve"), None, &nobody))));
    let edit = |position| ParkedEdit::new(at(position), ok(Payload::from_json(r#"{ "cents": 5}"#)));
    for (edit, request) in [(edit(5), &nobody), (edit(6), &request())] {
        let result = patiently!(store.request_retry(&reactor, &key("ann"), Some(&edit), request));
        assert!(matches!(result, Err(StoreError::Refused { .. })), "{result:?}");
    }
    assert_eq!((history(&store, &reactor).await, ok(store.retry_requests(&reactor).await)), (vec![], vec![]));

    assert!(ok(patiently!(store.request_retry(&reactor, &key("bob"), None, &nobody))));
    assert!(ok(patiently!(store.request_retry(&reactor, &key("ann"), Some(&edit(5)), &request()))));
    assert_eq!(ok(other.retry_requests(&reactor).await), [key("bob"), key("ann")]);
    let retry = some(ok(other.parked_queue(&reactor, &key("ann")).await).and_then(|queue| queue.retry), "a request");
    assert_eq!((retry.by.as_str(), retry.reason.as_deref()), ("ann", Some("the disk was full")));
    let events = ok(other.parked_events(&reactor, &key("ann"), at(0), 9).await);
    let edited: Vec<_> = events.iter().map(|event| event.edited.as_ref().map(Payload::as_str)).collect();
    assert_eq!(edited, [None, Some(r#"{ "cents": 5}"#)], "an edit keeps its exact bytes");
    let records = history(&other, &reactor).await;
    let said: Vec<_> = records
        .iter()
        .map(|record| (record.action, record.key.clone(), record.position, record.reason.is_some()))
        .collect();
    let edit_of_5 = (ParkingAction::Edit, key("ann"), Some(at(5)), true);
    let retry = |id, is_reasoned| (ParkingAction::Retry, key(id), None, is_reasoned);
    assert_eq!(said, [retry("bob", false), edit_of_5, retry("ann", true)]);
    assert_eq!(records[1].payload.as_ref().map(Payload::as_str), Some(r#"{ "cents": 5}"#));
    assert_eq!(ok(store.parking_history(&reactor, records[0].id, 1).await), records[1..2]);

    ok(patiently!(store.note_failed_retry(&reactor, &key("ann"), &ParkFailure::new("still no room", 1))));
    ok(patiently!(store.note_failed_retry(&reactor, &key("eve"), &ParkFailure::new("nobody", 1))));
    assert_eq!(ok(store.retry_requests(&reactor).await), [key("bob")]);
    let after = some(ok(store.parked_queue(&reactor, &key("ann")).await), "a parked key");
    let said = (after.first_error.as_str(), after.last_error.as_str(), after.attempts, after.events);
    assert_eq!(said, ("no room: disk full", "still no room", 4, 2));
    assert!(after.retry.is_none() && after.tried_at >= before.tried_at && after.parked_at == before.parked_at);
}

/// What is thrown away leaves a record each, and its key is free when nothing is left. A reason is asked for.
pub async fn what_is_discarded_is_recorded<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let reactor = consumer("mailer");
    let park_three = vec![failed(key("ann"), 1), behind(key("ann"), 2), behind(key("ann"), 3), failed(key("bob"), 4)];
    ok(park(&store, &reactor, (0, 4), park_three).await);
    let discard = async |id, position: Option<u64>, request: OperatorRequest| {
        patiently!(store.discard_parked(&reactor, &key(id), position.map(at), &request))
    };
    let nobody = discard("ann", None, ok(OperatorRequest::by("ann"))).await;
    assert!(matches!(nobody, Err(StoreError::Refused { .. })), "{nobody:?}");
    assert_eq!(ok(discard("ann", Some(2), request()).await), 1);
    assert_eq!(ok(discard("ann", Some(2), request()).await), 0);
    assert_eq!(parked(&store, &reactor, &key("ann")).await, [1, 3]);
    assert_eq!(ok(discard("ann", None, request()).await), 2);
    assert_eq!(ok(discard("eve", None, request()).await), 0);
    assert_eq!(ok(store.parked_queue(&reactor, &key("ann")).await), None);
    assert_eq!(totals(&store).await, [("mailer".to_owned(), 1, 1)]);
    let records = history(&store, &reactor).await;
    let said: Vec<_> = records.iter().map(|record| (record.action, record.position.map(|p| p.get()))).collect();
    assert_eq!(said, [2, 1, 3].map(|position| (ParkingAction::Discard, Some(position))));
    let is_whole =
        |record: &ParkingRecord| (record.by.as_str(), record.reason.as_deref()) == ("ann", Some("the disk was full"));
    assert!(records.iter().all(is_whole), "{records:?}");
    assert_eq!(history(&store, &consumer("other")).await, []);
}

/// An event that is thrown away at the moment at which it takes effect does one or the other.
pub async fn an_event_is_discarded_or_takes_effect<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let stores = [store.clone(), harness.reopened(&store).await];
    let view = consumer("balances");
    ok(patiently!(store.prepare_view(&view)));
    for round in 1..=10 {
        ok(park(&store, &view, (round - 1, round), vec![failed(document("ann"), round)]).await);
        together(4, |number| {
            let (store, view) = (stores[number % 2].clone(), view.clone());
            async move {
                let change = DocumentChange { key: round.to_string(), body: Some(Payload::trusted("1")) };
                let advance = parking(&view, (round, round), Vec::new(), vec![gone(document("ann"), round)]);
                if number < 2 {
                    let result = patiently!(store.save_documents(&advance, std::slice::from_ref(&change)));
                    assert!(matches!(result, Ok(()) | Err(StoreError::ParkingChanged { .. })), "{result:?}");
                } else {
                    ok(patiently!(store.discard_parked(&view, &document("ann"), None, &request())));
                }
            }
        })
        .await;
        let written = ok(store.documents(&view, &[round.to_string()]).await).len();
        let discarded = history(&store, &view).await.iter().filter(|record| record.position == Some(at(round))).count();
        assert_eq!(written + discarded, 1, "written {written} times, discarded {discarded} times");
        assert_eq!(totals(&store).await, []);
        // What took effect does not do so again.
        let advance = parking(&view, (round, round), Vec::new(), vec![gone(document("ann"), round)]);
        assert_changed(patiently!(store.save_documents(&advance, &[])), &document("ann"));
    }
}

/// A read model that is cleared, or a checkpoint that moves back, takes what comes again out of the queue.
pub async fn what_comes_again_is_not_parked<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    some_history(&store).await;
    let (view, reactor) = (consumer("balances"), consumer("mailer"));
    let projection = ledger(harness, &store, "ledger").await;
    let five = || vec![failed(key("ann"), 1), behind(key("ann"), 3), failed(key("bob"), 4), behind(key("ann"), 5)];
    for name in [&view, &reactor, projection.name()] {
        ok(park(&store, name, (0, 6), five()).await);
    }
    ok(patiently!(store.clear_view(&view)));
    ok(patiently!(store.clear_projection(&projection)));
    assert_eq!(totals(&store).await, [("mailer".to_owned(), 2, 4)]);
    ok(patiently!(store.move_checkpoint(&Advance::new(&reactor, at(6), at(3)))));
    assert_eq!(totals(&store).await, [("mailer".to_owned(), 1, 2)]);
    assert_eq!(parked(&store, &reactor, &key("ann")).await, [1, 3]);
    // They can be parked again.
    ok(park(&store, &reactor, (3, 6), vec![failed(key("bob"), 4), behind(key("ann"), 5)]).await);
    assert_eq!(totals(&store).await, [("mailer".to_owned(), 2, 4)]);
    // By hand it is the same; forwards nothing comes again.
    ok(patiently!(store.override_checkpoint(&reactor, CheckpointOverride::Skip(at(8)), &request())));
    assert_eq!(totals(&store).await, [("mailer".to_owned(), 2, 4)]);
    ok(patiently!(store.override_checkpoint(&reactor, CheckpointOverride::Reset(at(4)), &request())));
    assert_eq!(parked(&store, &reactor, &key("ann")).await, [1, 3]);
    ok(patiently!(store.retire_consumer(&reactor, &request())));
    assert_eq!(totals(&store).await, []);
}

/// A generation that is built has a queue of its own, and takes it along when it is dropped.
pub async fn every_generation_has_a_queue_of_its_own<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let view = consumer("balances");
    let definition = es_core::ReadModelDefinition { version: 1, tables: Vec::new() };
    let claim = ok(es_core::BuildClaim::new(&view, "ann", definition, std::time::Duration::from_secs(60)));
    ok(park(&store, &view, (0, 1), vec![failed(document("ann"), 1)]).await);
    let next = match ok(patiently!(store.claim_build(&claim))) {
        es_core::Claimed::Yours(info) => info.name,
        other => panic!("{other:?}"),
    };
    assert_changed(park(&store, &next, (0, 2), vec![behind(document("ann"), 2)]).await, &document("ann"));
    ok(park(&store, &next, (0, 2), vec![failed(document("ann"), 2)]).await);
    assert_eq!(totals(&store).await, [("balances".to_owned(), 1, 1), ("balances@2".to_owned(), 1, 1)]);
    ok(patiently!(store.drop_generation(&next)));
    assert_eq!(totals(&store).await, [("balances".to_owned(), 1, 1)]);
}
