//! Partitions: each with a checkpoint of its own, whose number changes without an event lost or repeated.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use es_core::{
    Advance, BuildClaim, CheckpointOverride, Claimed, ConsumerName, ConsumerStore, ControlStore, Direction,
    DocumentChange, Generation, GenerationStore, LeaseStore, Leased, OperatorRequest, Partition, PartitionCheckpoint,
    PartitionStore, Payload, Position, ReadModelDefinition, Slot, SlotOffsets, StoreError, Swapped, limits,
};

use super::{
    checkpoints::{assert_moved, at, consumer, position_of},
    support::*,
};
use crate::{harness::StoreHarness, rng::SeededRng};

fn one_of(name: &ConsumerName, index: u16, count: u16) -> ConsumerName {
    name.in_partition(ok(Partition::new(index, count)))
}

async fn start<S: PartitionStore>(store: &S, name: &ConsumerName, count: u16, to: u64) -> Vec<PartitionCheckpoint> {
    ok(patiently!(store.start_partitions(name, count, at(to))))
}

async fn repartition<S: PartitionStore>(store: &S, name: &ConsumerName, count: u16) -> Vec<PartitionCheckpoint> {
    ok(patiently!(store.repartition(name, count)))
}

/// Moves a partition in its partition epoch.
async fn go<S: PartitionStore>(store: &S, name: &ConsumerName, from: u64, to: u64) {
    let all = ok(store.partitions(&name.unpartitioned()).await);
    let own = some(all.into_iter().find(|reached| reached.consumer == *name), "a partition");
    ok(patiently!(
        store.move_checkpoint(&Advance::new(name, at(from), at(to)).in_partition_epoch(own.partition_epoch))
    ));
}

/// Where each slot is.
fn slots(all: &[PartitionCheckpoint]) -> Vec<Position> {
    let mut owners = all.iter().peekable();
    let mut one = |slot| {
        owners.next_if(|owner| !owner.partition().contains(slot));
        owners.peek().filter(|owner| owner.partition().contains(slot)).map(|owner| owner.position_of(slot))
    };
    Slot::all().map(|slot| some(one(slot), "the owner of a slot")).collect()
}

fn positions(all: &[PartitionCheckpoint]) -> Vec<(&str, u64)> {
    all.iter().map(|reached| (reached.consumer.as_str(), reached.position.get())).collect()
}

#[track_caller]
fn assert_retired<T: std::fmt::Debug>(result: Result<T, StoreError>, name: &ConsumerName) {
    match result {
        Err(StoreError::StaleGeneration { generation }) if generation == *name => {}
        other => panic!("expected StaleGeneration of {name}; got {other:?}"),
    }
}

fn change(key: &str, json: &str) -> DocumentChange {
    DocumentChange { key: key.to_owned(), body: Some(ok(Payload::from_json(json))) }
}

async fn second_of<S: GenerationStore>(store: &S, name: &ConsumerName) -> ConsumerName {
    let definition = ReadModelDefinition { version: 2, tables: Vec::new() };
    let claim = ok(BuildClaim::new(name, "ann", definition, Duration::from_secs(600)));
    match ok(patiently!(store.claim_build(&claim))) {
        Claimed::Yours(info) => info.name,
        other => panic!("expected the claim to be granted, got {other:?}"),
    }
}

/// The partitions of a generation are started together, once. One partition is the unpartitioned consumer.
pub async fn partitions_are_started_together_and_once<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    assert_eq!(ok(store.partitions(&name).await), []);
    let started = start(&store, &name, 12, 7).await;
    let names: Vec<_> = (0..12).map(|index| one_of(&name, index, 12)).collect();
    let of = |all: &[PartitionCheckpoint]| all.iter().map(|reached| reached.consumer.clone()).collect::<Vec<_>>();
    assert_eq!(of(&started), names);
    assert!(started.iter().all(|reached| reached.position == at(7) && reached.slot_offsets.is_empty()), "{started:?}");
    let other = harness.reopened(&store).await;
    assert_eq!(start(&other, &name, 3, 9).await, started);
    assert_eq!(start(&other, &name, 1, 9).await, started);
    assert_eq!(ok(other.partitions(&name).await), started);
    assert_eq!(position_of(&store, &one_of(&name, 10, 12)).await, Some(7));
    assert_eq!(position_of(&store, &name).await, None);
    assert_eq!(ok(store.checkpoints().await).len(), 12);

    // Names that begin alike are others.
    for alike in ["balance", "balancess"] {
        assert_eq!(positions(&start(&store, &consumer(alike), 1, 3).await), [(alike, 3)]);
    }
    let second = name.in_generation(Generation::FIRST.next());
    assert_eq!(positions(&start(&store, &second, 2, 4).await), [("balances@2#0of2", 4), ("balances@2#1of2", 4)]);
    assert_eq!(ok(store.partitions(&name).await), started);

    let refused = consumer("refused");
    assert!(matches!(store.start_partitions(&refused, 0, at(0)).await, Err(StoreError::Refused { .. })));
    assert_limit(store.start_partitions(&refused, 65, at(0)).await, limits::MAX_PARTITIONS.into(), 65);
    assert!(matches!(store.repartition(&refused, 2).await, Err(StoreError::Refused { .. })));
    assert_eq!(ok(store.partitions(&refused).await), []);
}

/// Processes that start a consumer at the same time, unpartitioned or in any number of partitions, agree with each
/// other.
pub async fn concurrent_starts_agree_on_the_partitions<H: StoreHarness>(harness: &H) {
    for _ in 0..5 {
        let store = harness.fresh().await;
        let stores = [store.clone(), harness.reopened(&store).await];
        let name = consumer("balances");
        let found = together(8, |number| {
            let (store, name) = (stores[number % 2].clone(), name.clone());
            async move {
                match number {
                    0 => _ = patiently!(store.move_checkpoint(&Advance::new(&name, at(0), at(0)))),
                    1 => _ = patiently!(store.start_checkpoint(&name, at(0))),
                    2 => _ = patiently!(store.clear_view(&name)),
                    _ => {}
                }
                start(&store, &name, 1 + number as u16 % 4, 0).await
            }
        })
        .await;
        let kept = ok(store.partitions(&name).await);
        assert!(found.iter().all(|found| *found == kept), "{kept:?}\n{found:?}");
        assert_eq!(slots(&kept).len(), usize::from(limits::PARTITION_SLOTS));
        assert_eq!(kept.len(), usize::from(kept[0].partition().count()));
    }
}

/// Each partition has a checkpoint of its own, and all share the documents; the generation is where the last one is.
pub async fn a_partition_moves_by_itself_and_writes_what_all_write<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    let definition = ReadModelDefinition { version: 1, tables: Vec::new() };
    ok(patiently!(store.live_generation(&name, &definition)));
    start(&store, &name, 3, 0).await;
    let [first, second, third] = [0, 1, 2].map(|index| one_of(&name, index, 3));
    let save = async |own: &ConsumerName, (from, to), change: DocumentChange| {
        patiently!(store.save_documents(&Advance::new(own, at(from), at(to)), std::slice::from_ref(&change)))
    };
    ok(save(&first, (0, 10), change("ann", "1")).await);
    ok(save(&second, (0, 20), change("bob", "2")).await);
    assert_moved(save(&second, (0, 30), change("bob", "3")).await, 0, 20);
    go(&store, &third, 0, 5).await;
    let all = ok(store.partitions(&name).await);
    assert_eq!(positions(&all), [("balances#0of3", 10), ("balances#1of3", 20), ("balances#2of3", 5)]);
    for view in [&name, &second, &name.live()] {
        let keys = ["ann".to_owned(), "bob".to_owned()];
        let found = ok(store.documents(view, &keys).await);
        let found: BTreeMap<_, _> = found.iter().map(|found| (found.key.as_str(), found.body.as_str())).collect();
        assert_eq!(found, BTreeMap::from([("ann", "1"), ("bob", "2")]), "{view}");
    }
    assert_eq!(ok(store.generations(&name).await)[0].position, Some(at(5)));
}

/// The number of partitions is changed, from whatever positions: each slot stays where it was.
pub async fn other_partitions_go_on_where_each_slot_was<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    start(&store, &name, 1, 10).await;
    let rng = SeededRng::from_env();
    for count in [4, 3, 1, 64, 64, 7, 1] {
        let before = ok(store.partitions(&name).await);
        let after = repartition(&store, &name, count).await;
        assert_eq!((after.len(), slots(&after)), (usize::from(count), slots(&before)), "{count}");
        let other = harness.reopened(&store).await;
        assert_eq!(ok(other.partitions(&name).await), after);
        for reached in after {
            let from = reached.position.get();
            go(&store, &reached.consumer, from, from + rng.below(30)).await;
        }
    }
    let all = ok(store.partitions(&name).await);
    assert_eq!(ok(store.checkpoints().await).len(), 1);
    assert_eq!((all[0].consumer.clone(), position_of(&store, &name).await), (name, Some(all[0].position.get())));
}

/// Whoever believes in partitions that are not there any more moves nothing: not at the beginning, and not if there are partitions
/// of the same names again.
pub async fn whoever_believes_in_other_partitions_is_refused<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    let first = one_of(&name, 0, 2);
    let go_at = async |own: &ConsumerName, from| {
        let advance = Advance::new(own, at(from), at(from + 1));
        let saved = patiently!(store.save_documents(&advance, &[change("ann", "1")]));
        assert!(saved.is_err(), "{own} was written");
        patiently!(store.move_checkpoint(&advance))
    };
    assert_retired(go_at(&first, 0).await, &first);
    assert_retired(patiently!(store.start_checkpoint(&first, at(0))), &first);
    start(&store, &name, 2, 0).await;
    for from in [0, 3] {
        assert_retired(go_at(&name, from).await, &name);
        assert_retired(go_at(&one_of(&name, 0, 4), from).await, &one_of(&name, 0, 4));
    }
    assert_retired(patiently!(store.start_checkpoint(&name, at(0))), &name);
    repartition(&store, &name, 64).await;
    assert_retired(go_at(&first, 0).await, &first);
    assert_retired(go_at(&name, 0).await, &name);

    // A part of the first partition goes on, the rest does not: the first partition of two is where it was, but not what it was.
    go(&store, &one_of(&name, 3, 64), 0, 50).await;
    repartition(&store, &name, 2).await;
    assert_eq!(position_of(&store, &first).await, Some(0));
    assert_retired(go_at(&first, 0).await, &first);
    go(&store, &first, 0, 1).await;
    repartition(&store, &name, 1).await;
    assert_retired(go_at(&name, 0).await, &name);
    assert_eq!(ok(store.documents(&name, &["ann".to_owned()]).await), []);
    assert_eq!(positions(&ok(store.partitions(&name).await)), [("balances", 0)]);
}

/// A cleared view begins again in all its partitions, without slot offsets; partitions move back together, each that is
/// further.
pub async fn slot_offsets_are_taken_back_by_a_step_back<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    append(&store, &stream("ann"), deposits(40)).await;
    for is_cleared in [true, false] {
        start(&store, &name, 4, 0).await;
        for (index, to) in [(0, 10), (1, 20), (2, 30)] {
            go(&store, &one_of(&name, index, 4), 0, to).await;
        }
        let all = repartition(&store, &name, 2).await;
        assert_eq!(
            all.iter().map(|reached| reached.slot_offsets.to_string()).collect::<Vec<_>>(),
            ["256-512:20", "512-768:30"]
        );
        if is_cleared {
            ok(patiently!(store.clear_view(&name)));
        } else {
            let request = ok(ok(OperatorRequest::by("ann")).because("the mails were not sent"));
            let override_to =
                async |checkpoint_override| patiently!(store.override_checkpoint(&name, checkpoint_override, &request));
            assert_eq!(ok(override_to(CheckpointOverride::Reset(at(15))).await), at(30));
            let all = ok(store.partitions(&name).await);
            let reached: Vec<_> =
                all.iter().map(|reached| (reached.position.get(), reached.slot_offsets.to_string())).collect();
            assert_eq!(reached, [(10, "256-512:15".to_owned()), (0, "512-768:15".to_owned())]);
            assert_eq!(ok(override_to(CheckpointOverride::Skip(at(12))).await), at(0));
            let reached = slots(&ok(store.partitions(&name).await));
            assert_eq!([0, 256, 512, 768].map(|slot| reached[slot].get()), [12, 15, 15, 12]);
            let back = Advance::new(&all[0].consumer, at(12), at(0)).in_partition_epoch(all[0].partition_epoch);
            assert!(matches!(patiently!(store.move_checkpoint(&back)), Err(StoreError::Refused { .. })));
            assert_eq!(ok(override_to(CheckpointOverride::Reset(at(0))).await), at(15));
        }
        let again = ok(store.partitions(&name).await);
        let none = SlotOffsets::default();
        assert!(again.iter().all(|reached| (reached.position, &reached.slot_offsets) == (at(0), &none)), "{again:?}");
        // A process that left out what the slot offsets covered must not continue.
        let stale = Advance::new(&all[1].consumer, at(0), at(5)).in_partition_epoch(all[1].partition_epoch);
        assert_retired(patiently!(store.move_checkpoint(&stale)), &all[1].consumer);
        repartition(&store, &name, 4).await;
    }
}

/// A swap freezes all partitions of the one and frees those of the other, which has as many from then on; it takes no slot back.
pub async fn generations_with_partitions_take_each_others_place<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    let definition = ReadModelDefinition { version: 1, tables: Vec::new() };
    ok(patiently!(store.live_generation(&name, &definition)));
    start(&store, &name, 3, 10).await;
    go(&store, &one_of(&name, 0, 3), 10, 40).await;
    let second = second_of(&store, &name).await;
    ok(patiently!(store.move_checkpoint(&Advance::new(&second, at(0), at(39)))));
    let swap = async |to: &ConsumerName, direction| ok(patiently!(store.make_live(to, direction)));
    assert_eq!(swap(&second, Direction::Forward).await, Swapped::Behind(at(40)));
    go(&store, &one_of(&name, 0, 3), 40, 41).await;
    assert_eq!(positions(&ok(store.partitions(&second).await)), [("balances@2", 39)]);

    ok(patiently!(store.move_checkpoint(&Advance::new(&second, at(39), at(41)))));
    assert_eq!(swap(&second, Direction::Forward).await, Swapped::Done);
    let new = ok(store.partitions(&second).await);
    assert_eq!(positions(&new), [("balances@2#0of3", 41), ("balances@2#1of3", 41), ("balances@2#2of3", 41)]);
    assert_retired(patiently!(store.move_checkpoint(&Advance::new(&second, at(41), at(42)))), &second);
    for (index, from) in [(0, 41), (1, 10)] {
        let own = one_of(&name, index, 3);
        assert_retired(patiently!(store.move_checkpoint(&Advance::new(&own, at(from), at(50)))), &own);
    }
    assert_retired(patiently!(store.repartition(&name, 2)), &name);
    assert_retired(patiently!(store.start_partitions(&name, 3, at(0))), &name);
    assert_retired(patiently!(store.clear_view(&name)), &name);
    go(&store, &one_of(&second, 2, 3), 41, 60).await;

    assert_eq!(swap(&name, Direction::Back).await, Swapped::Done);
    go(&store, &one_of(&name, 1, 3), 10, 11).await;
    assert_retired(patiently!(store.repartition(&second, 2)), &second);
    ok(patiently!(store.drop_generation(&second)));
    assert_eq!(ok(store.partitions(&second).await), []);
    assert_eq!(ok(store.checkpoints().await).len(), 3);
}

/// A snapshot is of one position: there is none while the partitions are at several.
pub async fn a_snapshot_needs_all_partitions_at_one_position<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    let definition = ReadModelDefinition { version: 1, tables: Vec::new() };
    ok(patiently!(store.live_generation(&name, &definition)));
    start(&store, &name, 2, 0).await;
    let [first, second] = [0, 1].map(|index| one_of(&name, index, 2));
    go(&store, &first, 0, 5).await;
    let is_refused = async || match store.open_snapshot(&name).await {
        Err(StoreError::Busy { waiting_for, .. }) => assert!(waiting_for.contains("balances"), "{waiting_for}"),
        other => panic!("expected Busy, got {other:?}"),
    };
    is_refused().await;
    repartition(&store, &name, 1).await;
    is_refused().await;
    go(&store, &name, 0, 5).await;
    assert_eq!(ok(store.open_snapshot(&name).await).position(), at(5));
    repartition(&store, &name, 2).await;
    assert_eq!(ok(store.open_snapshot(&name).await).position(), at(5));
    go(&store, &second, 5, 6).await;
    is_refused().await;
}

/// Each partition has a lease of its own.
pub async fn each_partition_has_a_lease_of_its_own<H: StoreHarness>(harness: &H) {
    let store = harness.fresh().await;
    let name = consumer("balances");
    start(&store, &name, 2, 0).await;
    let [first, second] = [0, 1].map(|index| one_of(&name, index, 2));
    let time = Duration::from_secs(600);
    let mut leases = Vec::new();
    for (own, owner) in [(&first, "ann"), (&second, "bob")] {
        match ok(patiently!(store.claim_lease(own, owner, time))) {
            Leased::Yours(lease) => leases.push(lease),
            taken => panic!("the lease of {own} was free: {taken:?}"),
        }
    }
    assert!(
        matches!(ok(patiently!(store.claim_lease(&first, "bob", time))), Leased::Taken(holder) if holder.owner == "ann")
    );
    ok(patiently!(store.release_lease(&first, leases[0])));
    let advance = |own, lease| Advance::new(own, at(0), at(1)).under(Some(lease));
    match patiently!(store.move_checkpoint(&advance(&first, leases[0]))) {
        Err(StoreError::LeaseLost { consumer }) if consumer == first => {}
        other => panic!("expected LeaseLost of {first}; got {other:?}"),
    }
    ok(patiently!(store.move_checkpoint(&advance(&second, leases[1]))));
    assert_eq!(positions(&ok(store.partitions(&name).await)), [("balances#0of2", 0), ("balances#1of2", 1)]);
}

/// While partitions move and their number changes, by several at once, each event takes effect once in each slot.
pub async fn no_event_is_lost_or_repeated_while_the_partitions_change<H: StoreHarness>(harness: &H) {
    const ROUNDS: usize = 30;
    let store = harness.fresh().await;
    let name = consumer("balances");
    let stores = [store.clone(), harness.reopened(&store).await];
    let rng = Arc::new(SeededRng::from_env());
    let effects = Arc::new(Mutex::new(vec![Vec::new(); usize::from(limits::PARTITION_SLOTS)]));
    start(&store, &name, 2, 0).await;
    together(6, |number| {
        let (store, name, rng, effects) =
            (stores[number % 2].clone(), name.clone(), Arc::clone(&rng), Arc::clone(&effects));
        async move {
            let mut believed = ok(store.partitions(&name).await);
            for round in 0..ROUNDS {
                tokio::task::yield_now().await;
                if number == 0 {
                    // Few numbers, so that the same partitions come back.
                    repartition(&store, &name, [1, 2, 5, 64][rng.below(4) as usize]).await;
                    continue;
                }
                if round % 3 == 0 {
                    believed = ok(store.partitions(&name).await);
                }
                let chosen = rng.below(believed.len() as u64) as usize;
                let PartitionCheckpoint { consumer, position, slot_offsets, partition_epoch, .. } =
                    believed[chosen].clone();
                let to = position.advanced_by(1 + rng.below(5));
                let moved = patiently!(
                    store.move_checkpoint(&Advance::new(&consumer, position, to).in_partition_epoch(partition_epoch))
                );
                if moved.is_err() {
                    believed = ok(store.partitions(&name).await);
                    continue;
                }
                let partition = believed[chosen].partition();
                let mut effects = ok(effects.lock());
                for slot in Slot::all().filter(|slot| partition.contains(*slot)) {
                    let new = (position.get() + 1..=to.get()).filter(|event| !slot_offsets.covers(slot, at(*event)));
                    effects[usize::from(slot.get())].extend(new);
                }
                believed[chosen].position = to;
            }
        }
    })
    .await;
    let reached = slots(&ok(store.partitions(&name).await));
    for (slot, (mut events, reached)) in ok(effects.lock()).drain(..).zip(reached).enumerate() {
        events.sort_unstable();
        assert!(events.iter().copied().eq(1..=reached.get()), "slot {slot}, at {reached}: {events:?}");
    }
}
