//! A repeated command with the same key gives the original outcome, whatever it would decide now; and the key costs a look of
//! its own only where no append answers for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use es_core::{
    Aggregate, DomainEvent, EventStore, ExecuteError, ExpectedVersion, MemoryStore, Repository, StoreError, limits,
};
use es_testkit::{Fault, FaultPlan, FaultyStore, Operation};
use serde::{Deserialize, Serialize};

/// What the first command decides once, and what becomes of it the second time.
#[derive(Debug, Clone, Copy)]
enum Ask {
    AlwaysAccepted,
    RefusedTheSecondTime,
    NeedlessTheSecondTime,
    UnstorableTheSecondTime,
    TooManyTheSecondTime,
    TooLargeTheSecondTime,
    Noted,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum DoorEvent {
    Opened { degrees: f64 },
    Noted(String),
}

impl DomainEvent for DoorEvent {
    const CATEGORY: &'static str = "door";
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Door {
    times: u32,
}

#[derive(Debug, thiserror::Error)]
#[error("it is open")]
struct IsOpen;

impl Aggregate for Door {
    type Event = DoorEvent;
    type Command = Ask;
    type Error = IsOpen;

    fn handle(&self, ask: &Ask) -> Result<Vec<DoorEvent>, IsOpen> {
        let opened = |degrees| vec![DoorEvent::Opened { degrees }];
        match (self.times, ask) {
            (_, Ask::Noted) => Ok(vec![DoorEvent::Noted(String::new())]),
            (0, _) | (_, Ask::AlwaysAccepted) => Ok(opened(90.0)),
            (_, Ask::RefusedTheSecondTime) => Err(IsOpen),
            (_, Ask::NeedlessTheSecondTime) => Ok(vec![]),
            (_, Ask::UnstorableTheSecondTime) => Ok(opened(f64::NAN)),
            (_, Ask::TooManyTheSecondTime) => {
                Ok(vec![DoorEvent::Opened { degrees: 1.0 }; limits::MAX_EVENTS_PER_APPEND + 1])
            }
            (_, Ask::TooLargeTheSecondTime) => Ok(vec![DoorEvent::Noted("x".repeat(limits::MAX_PAYLOAD_BYTES))]),
        }
    }

    fn apply(&mut self, _: &DoorEvent) {
        self.times += 1;
    }
}

const ALL: [Ask; 6] = [
    Ask::AlwaysAccepted,
    Ask::RefusedTheSecondTime,
    Ask::NeedlessTheSecondTime,
    Ask::UnstorableTheSecondTime,
    Ask::TooManyTheSecondTime,
    Ask::TooLargeTheSecondTime,
];

fn doors() -> (FaultyStore<MemoryStore>, Repository<Door>) {
    let store = FaultyStore::new(MemoryStore::new(), FaultPlan::none());
    let doors = Repository::new(&store);
    (store, doors)
}

#[tokio::test]
async fn a_repeated_command_gives_the_original_outcome_whatever_it_decides_now() {
    for ask in ALL {
        let (_, warm) = doors();
        for doors in [warm.clone(), warm.without_cache()] {
            let id = format!("{ask:?}");
            let first = doors.execute(&id, ask).idempotency_key(&id).await;
            let again = doors.execute(&id, ask).idempotency_key(&id).await.unwrap();
            assert!(again.is_repeated(), "{ask:?}");
            assert_eq!((again.version.get(), again.state.times, again.events.len()), (1, 1, 1), "{ask:?}");
            assert_eq!(again.events[0].id(), first.unwrap().events[0].id());
        }
    }
}

#[tokio::test]
async fn a_repeated_command_gives_the_original_outcome_whatever_it_expected() {
    for expected in [ExpectedVersion::NoStream, ExpectedVersion::Exact(es_core::Version::ZERO)] {
        for ask in ALL {
            let (_, doors) = doors();
            doors.execute("a", ask).idempotency_key("k").expecting(expected).await.unwrap();
            let again = doors.execute("a", ask).idempotency_key("k").expecting(expected).await.unwrap();
            assert!(again.is_repeated(), "{ask:?}, expecting {expected}");
        }
    }
}

#[tokio::test]
async fn a_key_costs_a_look_of_its_own_only_where_no_append_answers_for_it() {
    let (store, doors) = doors();
    let reads = || store.plan().calls(Operation::Read);
    doors.execute("a", Ask::AlwaysAccepted).await.unwrap();
    let before = reads();
    doors.execute("a", Ask::AlwaysAccepted).idempotency_key("k-1").await.unwrap();
    assert_eq!(reads() - before, 0, "the append looks at the key");
    let refused = doors.execute("a", Ask::RefusedTheSecondTime).idempotency_key("k-2").await;
    assert!(matches!(refused, Err(ExecuteError::Rejected(IsOpen))));
    assert_eq!(reads() - before, 2, "the tail confirms the refusal, and the key was not used");
    let refused = doors.execute("a", Ask::RefusedTheSecondTime).await;
    assert!(refused.is_err() && reads() - before == 3, "without a key there is none to look for");
}

#[tokio::test]
async fn a_key_of_another_aggregate_is_refused_on_every_way() {
    for ask in ALL {
        let (_, doors) = doors();
        doors.execute("a", ask).idempotency_key("k").await.unwrap();
        doors.execute("b", ask).await.unwrap();
        let misused = doors.execute("b", ask).idempotency_key("k").await;
        assert!(matches!(misused, Err(ExecuteError::Store(StoreError::IdReused { .. }))), "{ask:?}: {misused:?}");
    }
}

#[tokio::test]
async fn a_function_that_may_look_things_up_does_not_run_for_a_repeated_command() {
    let (_, doors) = doors();
    let runs = Arc::new(AtomicUsize::new(0));
    for expected_runs in [1, 1] {
        let counted = Arc::clone(&runs);
        let open = move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok(vec![DoorEvent::Opened { degrees: 1.0 }]))
        };
        let done = doors.execute_with("a", open).idempotency_key("k").await.unwrap();
        assert_eq!((done.version.get(), runs.load(Ordering::SeqCst)), (1, expected_runs));
    }
}

#[tokio::test]
async fn a_failed_look_for_the_key_does_not_pass_for_a_refusal() {
    let (store, doors) = doors();
    doors.execute("a", Ask::AlwaysAccepted).await.unwrap();
    store.plan().spare_next(Operation::Read);
    store.plan().fail_next(Operation::Read, Fault::LostRequest);
    let unknown = doors.execute("a", Ask::RefusedTheSecondTime).idempotency_key("k").await;
    assert!(matches!(unknown, Err(ExecuteError::Store(StoreError::Unavailable { .. }))), "{unknown:?}");
}

#[tokio::test]
async fn a_state_whose_append_has_an_unknown_outcome_is_not_kept() {
    let (store, doors) = doors();
    doors.execute("a", Ask::AlwaysAccepted).await.unwrap();
    (0..=limits::UNKNOWN_OUTCOME_RETRIES).for_each(|_| store.plan().fail_next(Operation::Append, Fault::LostRequest));
    assert!(doors.execute("a", Ask::AlwaysAccepted).await.is_err());
    let reads = store.plan().calls(Operation::Read);
    doors.execute("a", Ask::AlwaysAccepted).await.unwrap();
    assert_eq!(store.plan().calls(Operation::Read) - reads, 1);
}

#[tokio::test]
async fn a_decision_for_a_callers_own_transaction_is_compared_with_the_first_use_of_its_key_too() {
    let (store, doors) = doors();
    let decided = doors.execute("a", Ask::AlwaysAccepted).idempotency_key("k").decide().await.unwrap().unwrap();
    store.append(&decided).await.unwrap();
    for again in [Ask::AlwaysAccepted, Ask::RefusedTheSecondTime] {
        let again = doors.execute("a", again).idempotency_key("k").decide().await.unwrap();
        assert!(again.is_none(), "it was executed before");
        assert!(doors.execute("a", Ask::AlwaysAccepted).idempotency_key("k").await.unwrap().is_repeated());
    }
    let shut = |_: Arc<Door>| std::future::ready(Ok(vec![DoorEvent::Noted("shut".to_owned())]));
    let others = [
        doors.execute("a", Ask::AlwaysAccepted).and("b", Ask::AlwaysAccepted).idempotency_key("k").decide().await,
        doors.execute("b", Ask::AlwaysAccepted).idempotency_key("k").decide().await,
        doors.execute_with("a", shut).idempotency_key("k").decide().await,
        doors.execute("a", Ask::Noted).idempotency_key("k").decide().await,
    ];
    for other in others {
        assert!(matches!(other, Err(ExecuteError::Store(StoreError::IdReused { .. }))), "{other:?}");
    }
}
