//! The faulty store fails as it is told to, and what it wraps stays whole.

use es_core::{
    Advance, Append, ConsumerName, ConsumerStore, EventFilter, EventStore, EventType, ExpectedVersion, MemoryStore,
    NewEvent, PageProjection as _, PageSize, Payload, Position, ProjectionStore, Projector, StoreError, StreamId,
};
use es_testkit::{Fault, FaultPlan, FaultyStore, HistoryChecker, MemoryHarness, Operation, StoreHarness};

fn one_event() -> Append {
    let event = NewEvent::new(EventType::new("Noted").unwrap(), Payload::trusted("{}"));
    Append::to(StreamId::new("account", "ann").unwrap(), ExpectedVersion::Any, vec![event]).build().unwrap()
}

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let store = FaultyStore::new(MemoryStore::new(), FaultPlan::none());
    let head = async || store.intact().head().await.unwrap().get();
    let append = one_event();
    store.plan().fail_next(Operation::Append, Fault::LostRequest);
    store.plan().fail_next(Operation::Append, Fault::Busy);
    store.plan().spare_next(Operation::Append);
    store.plan().fail_next(Operation::Append, Fault::LostAnswer);

    assert!(matches!(store.append(&append).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(head().await, 0);
    assert!(matches!(store.append(&append).await, Err(StoreError::Busy { .. })));
    assert_eq!(head().await, 0);
    assert!(!store.append(&append).await.unwrap().repeated);
    assert_eq!(head().await, 1);
    let second = one_event();
    assert!(matches!(store.append(&second).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(head().await, 2);
    assert!(store.append(&second).await.unwrap().repeated);
    assert_eq!(store.plan().faults(), 3);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let run = async |seed| {
        let plan = FaultPlan::seeded(seed).lost_requests(10).lost_answers(10).busy(10).delays(50);
        let store = FaultyStore::new(MemoryStore::new(), plan);
        let mut answers = Vec::new();
        for _ in 0..100 {
            answers.push(match store.append(&one_event()).await {
                Ok(_) => 'o',
                Err(StoreError::Busy { .. }) => 'b',
                Err(_) => 'u',
            });
        }
        (answers, store.intact().head().await.unwrap())
    };
    let (answers, head) = run(7).await;
    assert_eq!((answers.clone(), head), run(7).await);
    assert_ne!(answers, run(8).await.0);
    for kind in ['o', 'b', 'u'] {
        assert!(answers.contains(&kind), "no {kind} in {answers:?}");
    }
}

#[tokio::test]
async fn faults_can_be_kept_to_some_operations_and_stopped() {
    let plan = FaultPlan::seeded(1).busy(100).only([Operation::Projection, Operation::Consumer]);
    let store = FaultyStore::new(MemoryStore::new(), plan);
    store.append(&one_event()).await.unwrap();
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    let ledger = Projector::new(MemoryHarness.ledger("ledger")).unwrap();
    let (name, zero) = (ConsumerName::new("ledger").unwrap(), Position::ZERO);
    assert!(
        store.apply_page(&ledger, &Advance::new(ledger.name(), zero, page.scanned_to), &page.events).await.is_err()
    );
    assert!(store.move_checkpoint(&Advance::new(&name, zero, Position::new(1))).await.is_err());
    store.plan().stop();
    assert_eq!(store.checkpoint(&name).await.unwrap(), None);
    store.move_checkpoint(&Advance::new(&name, zero, Position::new(1))).await.unwrap();
    assert_eq!(store.plan().faults(), 2);
}

#[tokio::test]
async fn appends_are_whole_and_readers_skip_nothing_whatever_fails() {
    let plan = FaultPlan::from_env().lost_requests(10).lost_answers(10).busy(10).delays(30);
    let store = FaultyStore::new(MemoryStore::new(), plan);
    let history = HistoryChecker::new();
    let mut after = Position::ZERO;
    for _ in 0..200 {
        let append = one_event();
        match store.append(&append).await {
            Ok(appended) => history.acknowledged(&append, &appended),
            Err(StoreError::Unavailable { .. }) => history.unacknowledged(&append),
            Err(_) => history.refused(&append),
        }
        if let Ok(page) = store.read_all(after, &EventFilter::all(), PageSize::new(3).unwrap()).await {
            history.read("reader", &EventFilter::all(), after, &page);
            after = page.scanned_to;
        }
    }
    assert!(store.plan().faults() > 50, "seed {}", store.plan().seed());
    let log = store.intact().read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap().events;
    history.check(&log).assert_clean();
}
