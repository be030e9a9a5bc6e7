//! Generations of read models: built side by side, and put in each other's place for all readers at once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use es_core::{
    Advance, BuildClaim, Claimed, ConsumerName, ConsumerStore, Direction, DocumentChange, DocumentQuery, EventStore,
    Generation, GenerationInfo, GenerationState, GenerationStore, PageProjection, Payload, Position, ProjectionStore,
    Projector, ReadModelDefinition, ReadModelRow, StoreError, Swapped,
};

use super::{
    checkpoints::{at, consumer, position_of},
    projections::{apply, catch_up, ledger},
    support::*,
};
use crate::harness::StoreHarness;

/// Long enough that it does not run out within a case.
const LEASE: Duration = Duration::from_secs(600);

fn definition(version: u32) -> ReadModelDefinition {
    ReadModelDefinition { version, tables: Vec::new() }
}

async fn claim<S: GenerationStore>(
    store: &S,
    name: &ConsumerName,
    by: &str,
    definition: ReadModelDefinition,
) -> Claimed {
    claim_for(store, name, by, definition, LEASE).await
}

async fn claim_for<S: GenerationStore>(
    store: &S,
    name: &ConsumerName,
    by: &str,
    definition: ReadModelDefinition,
    lease: Duration,
) -> Claimed {
    let claim = ok(BuildClaim::new(name, by, definition, lease));
    ok(patiently!(store.claim_build(&claim)))
}

#[track_caller]
fn yours(claimed: Claimed) -> GenerationInfo {
    match claimed {
        Claimed::Yours(info) => info,
        other => panic!("expected the claim to be granted, got {other:?}"),
    }
}

async fn swap<S: GenerationStore>(store: &S, name: &ConsumerName, direction: Direction) -> Swapped {
    ok(patiently!(store.make_live(name, direction)))
}

async fn put<S: ConsumerStore>(store: &S, view: &ConsumerName, (from, to): (u64, u64), documents: &[(&str, &str)]) {
    let change =
        |&(key, json): &(&str, &str)| DocumentChange { key: key.to_owned(), body: Some(ok(Payload::from_json(json))) };
    let changes: Vec<_> = documents.iter().map(change).collect();
    ok(patiently!(store.save_documents(&Advance::new(view, at(from), at(to)), &changes)));
}

/// The documents that readers are given.
async fn read<S: ConsumerStore>(store: &S, view: &ConsumerName) -> Vec<(String, String)> {
    let query = DocumentQuery::ByKey { after: None, limit: 1_000 };
    let documents = ok(store.list_documents(&view.live(), &query).await);
    documents.into_iter().map(|found| (found.key, found.body.as_str().to_owned())).collect()
}

fn texts(documents: &[(&str, &str)]) -> Vec<(String, String)> {
    documents.iter().map(|&(key, json)| (key.to_owned(), json.to_owned())).collect()
}

async fn rows_of<S: GenerationStore>(store: &S, name: &ConsumerName) -> (u64, Vec<ReadModelRow>) {
    let mut snapshot = ok(store.open_snapshot(name).await);
    let mut rows = Vec::new();
    while let Some(row) = ok(snapshot.next().await) {
        rows.push(row);
    }
    (snapshot.position().get(), rows)
}

/// The first generation is live as soon as somebody asks, with the code that was named then.
pub async fn a_consumer_begins_with_one_generation_which_is_live<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    assert_eq!(ok(store.generations(&name).await), []);
    let stores = [store.clone(), harness.reopened(&store).await];
    let live = together(6, |number| {
        let (store, name) = (stores[number % 2].clone(), name.clone());
        async move { ok(patiently!(store.live_generation(&name, &definition(3)))) }
    })
    .await;
    let first = &live[0];
    assert!(live.iter().all(|info| info == first), "{live:?}");
    assert_eq!((&first.name, first.state, &first.definition), (&name, GenerationState::Live, &definition(3)));
    assert_eq!((first.position, &first.builder), (None, &None));
    assert_eq!(ok(store.live_generation(&name, &definition(4)).await), *first);
    ok(patiently!(store.start_checkpoint(&name, at(7))));
    let known = ok(store.generations(&name).await);
    assert_eq!((known.len(), known[0].position, &known[0].definition), (1, Some(at(7)), &first.definition));
    assert_eq!(ok(store.generations(&consumer("balance")).await), []);
}

/// One builder at a time; the others hear who it is, and get it when the claim is given back or has run out.
pub async fn the_next_generation_is_built_by_one_at_a_time<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (name, other) = (consumer("balances"), harness.reopened(&store).await);
    let stores = [store.clone(), other.clone()];
    let claims = together(4, |number| {
        let (store, name) = (stores[number % 2].clone(), name.clone());
        async move { claim(&store, &name, &format!("builder {number}"), definition(1)).await }
    })
    .await;
    let won: Vec<_> = claims.iter().filter(|claim| matches!(claim, Claimed::Yours(_))).collect();
    assert_eq!(won.len(), 1, "{claims:?}");
    let building = some(ok(store.generations(&name).await).pop(), "a generation that is built");
    assert_eq!(building.name, name.in_generation(some(Generation::new(2), "2")));
    assert_eq!(building.state, GenerationState::Building);
    let builder = some(building.builder.clone(), "its builder");
    assert!(builder.until > builder.since);
    for claimed in claims.iter().filter(|claim| !matches!(claim, Claimed::Yours(_))) {
        assert_eq!(*claimed, Claimed::Taken(building.clone()));
    }
    // The same builder goes on, and has built since the same time.
    let again = yours(claim(&other, &name, &builder.by, definition(1)).await);
    assert_eq!(some(again.builder, "its builder").since, builder.since);
    ok(patiently!(store.release_build(&building.name, "somebody else")));
    assert!(matches!(claim(&store, &name, "second", definition(1)).await, Claimed::Taken(_)));
    ok(patiently!(store.release_build(&building.name, &builder.by)));
    assert_eq!(yours(claim_for(&store, &name, "second", definition(1), Duration::ZERO).await).name, building.name);
    // Its lease has run out.
    let third = yours(claim(&store, &name, "third", definition(1)).await);
    assert_eq!((third.name, some(third.builder, "its builder").by), (building.name, "third".to_owned()));
}

/// What a builder left is taken over with its checkpoint, by the same code only.
pub async fn what_is_left_half_built_goes_on_where_it_was<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    let building = yours(claim(&store, &name, "first", definition(2)).await);
    ok(patiently!(store.prepare_view(&building.name)));
    put(&store, &building.name, (0, 5), &[("ann", "1")]).await;
    assert_eq!(read(&store, &name).await, []);
    ok(patiently!(store.release_build(&building.name, "first")));
    match claim(&store, &name, "second", definition(3)).await {
        Claimed::VersionMismatch(found) => {
            assert_eq!((found.name, found.definition), (building.name.clone(), definition(2)))
        }
        other => panic!("expected VersionMismatch, got {other:?}"),
    }
    let taken_over = yours(claim(&store, &name, "second", definition(2)).await);
    assert_eq!((taken_over.name, taken_over.position), (building.name.clone(), Some(at(5))));
    put(&store, &building.name, (5, 6), &[("bob", "2")]).await;
    assert_eq!(rows_of(&store, &building.name).await.1.len(), 2);
    ok(patiently!(store.drop_generation(&building.name)));
    let next = yours(claim(&store, &name, "second", definition(3)).await);
    assert_eq!((next.position, next.definition), (None, definition(3)));
}

/// Two generations of a view have documents and checkpoints of their own; readers are given those of the live one.
pub async fn readers_of_a_view_are_given_the_live_generation<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let (name, other) = (consumer("balances"), harness.reopened(&store).await);
    assert_eq!(read(&store, &name).await, []);
    ok(patiently!(store.prepare_view(&name)));
    put(&store, &name, (0, 5), &[("ann", "1"), ("bob", "2")]).await;
    assert_eq!(read(&store, &name).await, texts(&[("ann", "1"), ("bob", "2")]));
    let next = yours(claim(&store, &name, "builder", definition(1)).await).name;
    ok(patiently!(store.prepare_view(&next)));
    put(&store, &next, (0, 9), &[("ann", "3"), ("cid", "4")]).await;
    put(&store, &name, (5, 8), &[("bob", "5")]).await;
    for store in [&store, &other] {
        assert_eq!(read(store, &name).await, texts(&[("ann", "1"), ("bob", "5")]));
    }
    assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Done);
    assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Done);
    for store in [&store, &other] {
        assert_eq!(read(store, &name).await, texts(&[("ann", "3"), ("cid", "4")]));
        let states: Vec<_> =
            ok(store.generations(&name).await).iter().map(|info| (info.state, info.position)).collect();
        assert_eq!(states, [(GenerationState::Retired, Some(at(8))), (GenerationState::Live, Some(at(9)))]);
        assert_eq!(ok(store.live_generation(&name, &definition(1)).await).name, next);
    }
    put(&other, &next, (9, 10), &[("cid", "6")]).await;
    let one = ok(store.documents(&name.live(), &["cid".to_owned(), "bob".to_owned()]).await);
    assert_eq!(one.iter().map(|found| found.body.as_str()).collect::<Vec<_>>(), ["6"]);
}

/// The same for the tables of a projection.
pub async fn readers_of_a_projection_are_given_the_live_generation<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(3)).await;
    let first = ledger(harness, &store, "ledger").await;
    catch_up(&store, &first, page_of(100)).await;
    let name = first.name().clone();
    let info = ok(patiently!(store.live_generation(&name, &first.definition())));
    assert_eq!(info.definition, first.definition());
    let next = yours(claim(&store, &name, "builder", first.definition()).await).name;
    let second = some(ok(first.in_generation(some(next.generation(), "2"))), "a second generation");
    ok(patiently!(store.prepare_projection(&*second)));
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 3);
    append(&store, &stream("ann"), deposits(2)).await;
    let page = ok(store.read_all(Position::ZERO, second.filter(), page_of(4)).await);
    ok(patiently!(store.apply_page(
        &*second,
        &Advance::new(second.name(), Position::ZERO, page.scanned_to),
        &page.events
    )));
    ok(patiently!(store.finish_projection(&*second)));
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 3);
    assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Done);
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 4);
    // Whoever has the old code prepares its tables again, and readers keep the new ones.
    ok(patiently!(store.prepare_projection(&first)));
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 4);
    assert_eq!(rows_of(&store, &name).await.1.len(), 3);
    assert_eq!(swap(&store, &name, Direction::Back).await, Swapped::Done);
    assert_eq!(harness.ledger_rows(&store, "ledger").await.len(), 3);
}

/// Nobody writes to a generation that was live: whoever still works on it is told.
pub async fn a_retired_generation_does_not_move<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    append(&store, &stream("ann"), deposits(3)).await;
    let first = ledger(harness, &store, "ledger").await;
    let view = consumer("balances");
    ok(patiently!(store.prepare_view(&view)));
    for (name, definition) in [(first.name().clone(), first.definition()), (view.clone(), definition(1))] {
        ok(patiently!(store.live_generation(&name, &definition)));
        let next = yours(claim(&store, &name, "builder", definition).await).name;
        if let Some(second) = ok(first.in_generation(Generation::FIRST.next())).filter(|p| *p.name() == next) {
            ok(patiently!(store.prepare_projection(&*second)));
        }
        assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Done);
    }
    let is_retired = |result: Result<(), StoreError>, name: &ConsumerName| match result {
        Err(StoreError::StaleGeneration { generation }) => assert_eq!(generation, *name),
        other => panic!("expected StaleGeneration, got {other:?}"),
    };
    is_retired(patiently!(store.move_checkpoint(&Advance::new(&view, at(0), at(3)))), &view);
    is_retired(patiently!(store.move_checkpoint(&Advance::new(&view, at(1), at(3)))), &view);
    let change = [DocumentChange { key: "ann".to_owned(), body: Some(ok(Payload::from_json("1"))) }];
    is_retired(patiently!(store.save_documents(&Advance::new(&view, at(0), at(3)), &change)), &view);
    is_retired(patiently!(store.clear_view(&view)), &view);
    let page = ok(store.read_all(Position::ZERO, first.filter(), page_of(4)).await);
    match apply(&store, &first, Position::ZERO, &page).await {
        Err(es_core::ProjectionError::Store(error)) => is_retired(Err(error), first.name()),
        other => panic!("expected StaleGeneration, got {other:?}"),
    }
    assert_eq!(position_of(&store, &view).await.unwrap_or(0), 0);
    assert_eq!(rows_of(&store, first.name()).await, (0, Vec::new()));
}

/// Readers do not go back in time by a swap, unless that is what was asked for.
pub async fn a_generation_that_is_behind_takes_no_readers_back_unless_told_to<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    ok(patiently!(store.prepare_view(&name)));
    put(&store, &name, (0, 5), &[("ann", "5")]).await;
    let next = yours(claim(&store, &name, "builder", definition(1)).await).name;
    ok(patiently!(store.prepare_view(&next)));
    put(&store, &next, (0, 4), &[("ann", "4")]).await;
    assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Behind(at(5)));
    assert_eq!(read(&store, &name).await, texts(&[("ann", "5")]));
    // Nothing was changed: both go on.
    put(&store, &name, (5, 6), &[("ann", "6")]).await;
    put(&store, &next, (4, 7), &[("ann", "7")]).await;
    assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Done);
    put(&store, &next, (7, 8), &[("ann", "8")]).await;
    assert_eq!(swap(&store, &name, Direction::Forward).await, Swapped::Behind(at(8)));
    assert_eq!(swap(&store, &name, Direction::Back).await, Swapped::Done);
    assert_eq!(read(&store, &name).await, texts(&[("ann", "6")]));
    put(&store, &name, (6, 9), &[("ann", "9")]).await;
    assert_eq!(read(&store, &name).await, texts(&[("ann", "9")]));
    let missing = store.make_live(&name.in_generation(some(Generation::new(9), "9")), Direction::Forward).await;
    assert!(matches!(missing, Err(StoreError::Refused { .. })), "{missing:?}");
}

/// A generation that is not live is dropped as a whole, the live one never.
pub async fn a_dropped_generation_leaves_nothing<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    ok(patiently!(store.prepare_view(&name)));
    put(&store, &name, (0, 5), &[("ann", "5")]).await;
    let next = yours(claim(&store, &name, "builder", definition(1)).await).name;
    ok(patiently!(store.prepare_view(&next)));
    put(&store, &next, (0, 5), &[("ann", "6")]).await;
    let refused = patiently!(store.drop_generation(&name));
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    for _ in 0..2 {
        ok(patiently!(store.drop_generation(&next)));
    }
    assert_eq!(ok(store.generations(&name).await).len(), 1);
    assert_eq!(ok(store.checkpoint(&next).await), None);
    assert_eq!(ok(store.documents(&next, &["ann".to_owned()]).await), []);
    assert_eq!(read(&store, &name).await, texts(&[("ann", "5")]));
    // Built anew, it begins with nothing.
    let again = yours(claim(&store, &name, "builder", definition(1)).await);
    assert_eq!(again.position, None);
    ok(patiently!(store.prepare_view(&again.name)));
    assert_eq!(rows_of(&store, &again.name).await, (0, Vec::new()));
}

/// A snapshot is of one position, whatever is written while it is looked at; its rows come in bytewise order.
pub async fn a_snapshot_holds_the_rows_of_one_position_in_order<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    ok(patiently!(store.prepare_view(&name)));
    ok(patiently!(store.live_generation(&name, &definition(1))));
    let keys: BTreeSet<String> = (0..1_200).map(|number| format!("{}{number}", ["a", "B", "é"][number % 3])).collect();
    let documents: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).collect();
    put(&store, &name, (0, 5), &documents).await;
    let mut snapshot = ok(store.open_snapshot(&name).await);
    let first = some(ok(snapshot.next().await), "a row");
    put(&store, &name, (5, 6), &[("zzz", "2"), ("a0", "2")]).await;
    let mut seen = vec![first];
    while let Some(row) = ok(snapshot.next().await) {
        seen.push(row);
    }
    assert_eq!(snapshot.position(), at(5));
    assert!(seen.iter().all(|row| row.table.is_empty() && row.content == "1"));
    assert!(seen.iter().map(|row| &row.key).eq(&keys));
    // Its position and its rows are of the same moment, whatever is written right after it was taken.
    put(&store, &name, (6, 7), &[("now", "7")]).await;
    for at in 7..27 {
        let (mut snapshot, documents) = (ok(store.open_snapshot(&name).await), (at + 1).to_string());
        put(&store, &name, (at, at + 1), &[("now", &documents)]).await;
        let mut now = None;
        while let Some(row) = ok(snapshot.next().await) {
            now = now.or((row.key == "now").then_some(row.content));
        }
        assert_eq!((snapshot.position().get(), now), (at, Some(at.to_string())));
    }
    // Somebody who loses interest holds nothing up.
    drop(ok(store.open_snapshot(&name).await));
    put(&store, &name, (27, 28), &[("zzz", "3")]).await;

    append(&store, &stream("ann"), deposits(2)).await;
    let ledger: Projector<H::Ledger> = ledger(harness, &store, "ledger").await;
    ok(patiently!(store.live_generation(ledger.name(), &ledger.definition())));
    catch_up(&store, &ledger, page_of(100)).await;
    let (position, rows) = rows_of(&store, ledger.name()).await;
    assert_eq!((position, rows.len()), (2, 2));
    assert!(
        rows.iter().all(|row| ledger.definition().tables == [row.table.clone()] && row.content.contains("account/ann"))
    );
    assert!(rows[0].key < rows[1].key);
}

/// Readers who read all the time see the documents of one generation or of the other, never none and never both.
pub async fn no_reader_sees_an_empty_or_a_mixed_read_model_while_generations_change<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    ok(patiently!(store.prepare_view(&name)));
    let keys: Vec<String> = (0..20).map(|number| format!("k{number:02}")).collect();
    let documents = |json: &'static str| keys.iter().map(|key| (key.as_str(), json)).collect::<Vec<_>>();
    put(&store, &name, (0, 1), &documents("1")).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let reads = [Arc::new(AtomicU64::new(0)), Arc::default()];
    let readers: Vec<_> = [store.clone(), harness.reopened(&store).await]
        .into_iter()
        .zip(&reads)
        .map(|(store, reads)| {
            let (name, keys, stopped, reads) = (name.clone(), keys.clone(), stopped.clone(), Arc::clone(reads));
            tokio::spawn(async move {
                let mut latest = 1;
                while !*stopped.borrow() {
                    let listed = read(&store, &name).await;
                    let got = ok(store.documents(&name.live(), &keys).await);
                    for bodies in [
                        listed.iter().map(|(_, body)| body.as_str()).collect::<Vec<_>>(),
                        got.iter().map(|found| found.body.as_str()).collect(),
                    ] {
                        assert_eq!(bodies.len(), 20);
                        assert!(bodies.iter().all(|body| *body == bodies[0]), "mixed: {bodies:?}");
                        let generation = ok(bodies[0].parse::<u64>());
                        assert!(generation >= latest, "back from {latest} to {generation}");
                        latest = generation;
                    }
                    reads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for (round, json) in ["2", "3", "4", "5", "6"].into_iter().enumerate() {
        let next = yours(claim(&store, &name, "builder", definition(1)).await).name;
        ok(patiently!(store.prepare_view(&next)));
        put(&store, &next, (0, round as u64 + 2), &documents(json)).await;
        assert_eq!(swap(&store, &next, Direction::Forward).await, Swapped::Done);
        // Everybody reads what is live now.
        for (reads, reader) in reads.iter().zip(&readers) {
            let so_far = reads.load(Ordering::SeqCst);
            while reads.load(Ordering::SeqCst) < so_far + 2 && !reader.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        for retired in ok(store.generations(&name).await) {
            if retired.state == GenerationState::Retired && retired.name != name {
                ok(patiently!(store.drop_generation(&retired.name)));
            }
        }
    }
    stop.send_replace(true);
    for reader in readers {
        ok(reader.await);
    }
    assert_eq!(read(&store, &name).await, texts(&documents("6")));
}
