//! The number of partitions changes at random, and no event is lost or repeated.

use es_core::{
    ConsumerName, Partition, PartitionCheckpoint, Position, Slot, SlotOffsets, StoreError, limits, position_of_all,
    redistributed,
};
use es_testkit::SeededRng;

/// Up to where each slot has come. The checkpoints are in the order of their slots.
fn reached(all: &[PartitionCheckpoint]) -> Vec<Position> {
    let mut owners = all.iter().peekable();
    let mut one = |slot| {
        owners.next_if(|owner| !owner.partition().contains(slot));
        owners.peek().filter(|owner| owner.partition().contains(slot)).map(|owner| owner.position_of(slot))
    };
    Slot::all().map(|slot| one(slot).unwrap_or_else(|| panic!("{slot:?} has no owner"))).collect()
}

fn generation() -> ConsumerName {
    ConsumerName::new("balance").unwrap()
}

#[test]
fn whatever_happens_to_the_partitions_each_slot_stays_where_it_was() -> Result<(), StoreError> {
    let rng = SeededRng::from_env();
    for _ in 0..20 {
        let mut all = vec![PartitionCheckpoint::new(generation(), Position::new(rng.below(50)))];
        for _ in 0..30 {
            if rng.below(2) == 0 {
                let count = 1 + rng.below(limits::MAX_PARTITIONS.into()) as u16;
                let new = redistributed(&all, &generation(), count)?;
                let partitions: Vec<_> = new.iter().map(PartitionCheckpoint::partition).collect();
                assert_eq!((reached(&new), partitions), (reached(&all), Partition::all(count)?));
                let changed = new.len() != all.len();
                assert!(
                    new.iter().all(|new| all.iter().all(|old| (new.partition_epoch > old.partition_epoch) == changed))
                );
                all = new;
            } else {
                let chosen = rng.below(all.len() as u64) as usize;
                let PartitionCheckpoint { position, slot_offsets, .. } = all[chosen].clone();
                let before = reached(&all);
                let to = position.advanced_by(rng.below(20));
                // What the owner applies on the way: each event of its slots that is not ahead, once.
                let own = |slot: &Slot| all[chosen].partition().contains(*slot);
                let applies = |slot: Slot| {
                    let events = (position.get() + 1..=to.get()).map(Position::new);
                    events.filter(|event| !slot_offsets.covers(slot, *event)).collect::<Vec<_>>()
                };
                for slot in Slot::all().filter(own) {
                    let was = before[usize::from(slot.get())];
                    let expected: Vec<_> = (was.get() + 1..=to.get()).map(Position::new).collect();
                    assert_eq!(applies(slot), expected, "{slot:?} of {:?} to {to}", all[chosen]);
                }
                all[chosen].position = to;
            }
            for reached in &all {
                assert_eq!(SlotOffsets::parse(&reached.slot_offsets.to_string()).as_ref(), Some(&reached.slot_offsets));
                assert!(reached.furthest() >= reached.position);
            }
        }
    }
    Ok(())
}

#[test]
fn slot_offsets_are_forgotten_once_they_are_passed() -> Result<(), StoreError> {
    let mut all = redistributed(&[PartitionCheckpoint::new(generation(), Position::new(10))], &generation(), 4)?;
    all[2].position = Position::new(30);
    let mut whole = redistributed(&all, &generation(), 1)?;
    assert_eq!((whole[0].position, whole[0].slot_offsets.to_string().as_str()), (Position::new(10), "512-768:30"));
    assert!(matches!(position_of_all(&whole), Err(StoreError::Busy { .. })));
    whole[0].position = Position::new(30);
    assert_eq!(position_of_all(&whole)?, Position::new(30));
    let all = redistributed(&whole, &generation(), 64)?;
    assert!(all.iter().all(|reached| reached.slot_offsets.is_empty() && reached.position == Position::new(30)));
    assert_eq!(position_of_all(&all)?, Position::new(30));
    Ok(())
}

#[test]
fn a_number_of_partitions_that_cannot_be_is_refused() {
    let all = [PartitionCheckpoint::new(generation(), Position::ZERO)];
    assert!(matches!(redistributed(&all, &generation(), 0), Err(StoreError::Refused { .. })));
    assert!(matches!(redistributed(&all, &generation(), 65), Err(StoreError::LimitExceeded { .. })));
}
