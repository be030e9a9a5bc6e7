//! What cannot be stored is a verdict on the decision, and a decision of a stale state is void.

use es_core::{Aggregate, DomainEvent, ExecuteError, MemoryStore, Repository, limits};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ask {
    Plain,
    NotANumber,
    TooMany,
    TooLarge,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum MeterEvent {
    Read { value: f64 },
    Noted(String),
}

impl DomainEvent for MeterEvent {
    const CATEGORY: &'static str = "meter";
}

/// A meter that decides what cannot be stored, as long as it was read once.
#[derive(Debug, Default, Clone)]
struct Meter {
    times: u32,
}

impl Aggregate for Meter {
    type Event = MeterEvent;
    type Command = Ask;
    type Error = std::convert::Infallible;

    fn handle(&self, ask: &Ask) -> Result<Vec<MeterEvent>, Self::Error> {
        let read = |value| MeterEvent::Read { value };
        Ok(match (self.times, ask) {
            (1, Ask::NotANumber) => vec![read(f64::NAN)],
            (1, Ask::TooMany) => vec![read(1.0); limits::MAX_EVENTS_PER_APPEND + 1],
            (1, Ask::TooLarge) => vec![MeterEvent::Noted("x".repeat(limits::MAX_PAYLOAD_BYTES))],
            _ => vec![read(1.0)],
        })
    }

    fn apply(&mut self, _: &MeterEvent) {
        self.times += 1;
    }
}

#[tokio::test]
async fn what_a_stale_state_decides_and_no_store_takes_is_decided_again() {
    for ask in [Ask::NotANumber, Ask::TooMany, Ask::TooLarge] {
        let store = MemoryStore::new();
        let (meters, elsewhere) = (Repository::<Meter>::new(&store), Repository::<Meter>::new(&store));
        meters.execute("a", Ask::Plain).await.unwrap();
        assert!(meters.execute("a", ask).await.is_err(), "{ask:?} from the present state");
        elsewhere.execute("a", Ask::Plain).await.unwrap();
        let done = meters.execute("a", ask).await.unwrap();
        assert_eq!((done.version.get(), done.state.times), (3, 3), "{ask:?}");
    }
}

#[tokio::test]
async fn what_no_store_takes_is_an_error_that_says_why() {
    let store = MemoryStore::new();
    let meters = Repository::<Meter>::new(&store);
    meters.execute("a", Ask::Plain).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(meters.execute("a", Ask::NotANumber).await, Err(ExecuteError::Encode(_))));
        assert!(matches!(meters.execute("a", Ask::TooMany).await, Err(ExecuteError::Store(_))));
        assert!(matches!(meters.execute("a", Ask::TooLarge).await, Err(ExecuteError::Store(_))));
    }
    assert_eq!(meters.execute("a", Ask::Plain).await.unwrap().version.get(), 2);
}
