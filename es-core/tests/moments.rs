//! Time as a domain sees it: a decision that depends on when its command occurred, and the states of a whole category as of a moment.

use es_core::{
    Aggregate, AsOf, CommandContext, DomainEvent, ExecuteError, LoadError, MemoryStore, Repository, Version,
};
use es_testkit::given;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime, macros::datetime};

const DAY: Duration = Duration::days(1);
const FIRST: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum OfferEvent {
    Made { until: OffsetDateTime },
    Accepted,
}

impl DomainEvent for OfferEvent {
    const CATEGORY: &'static str = "offer";
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ask {
    Make,
    Accept,
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("the offer has ended")]
    Ended,
    #[error("nobody said when")]
    Undated,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Offer {
    until: Option<OffsetDateTime>,
    is_accepted: bool,
}

impl Aggregate for Offer {
    type Event = OfferEvent;
    type Command = Ask;
    type Error = Refusal;

    fn handle(&self, _: &Ask) -> Result<Vec<OfferEvent>, Refusal> {
        Err(Refusal::Undated)
    }

    fn handle_at(&self, ask: &Ask, context: &CommandContext) -> Result<Vec<OfferEvent>, Refusal> {
        let Some(now) = context.occurred_at() else { return self.handle(ask) };
        match ask {
            Ask::Make => Ok(vec![OfferEvent::Made { until: now + DAY }]),
            Ask::Accept if self.until.is_some_and(|until| now <= until) => Ok(vec![OfferEvent::Accepted]),
            Ask::Accept => Err(Refusal::Ended),
        }
    }

    fn apply(&mut self, event: &OfferEvent) {
        match event {
            OfferEvent::Made { until } => self.until = Some(*until),
            OfferEvent::Accepted => self.is_accepted = true,
        }
    }
}

#[tokio::test]
async fn a_decision_sees_when_its_command_occurred_and_no_clock() {
    let store = MemoryStore::new();
    let offers = Repository::<Offer>::new(&store);
    let undated = offers.execute("a", Ask::Make).await;
    assert!(matches!(undated, Err(ExecuteError::Rejected(Refusal::Undated))), "{undated:?}");
    // Settings come after the commands, and hold for all of them.
    let made = offers.execute("a", Ask::Make).and("b", Ask::Make).and_on(&offers, "c", Ask::Make).occurred_at(FIRST);
    made.idempotency_key("k").await.unwrap();
    for id in ["a", "b", "c"] {
        assert_eq!(offers.load(id).await.unwrap().state.until, Some(FIRST + DAY));
    }
    let late = offers.execute("a", Ask::Accept).occurred_at(FIRST + 2 * DAY).await;
    assert!(matches!(late, Err(ExecuteError::Rejected(Refusal::Ended))), "{late:?}");
    offers.execute("a", Ask::Accept).occurred_at(FIRST + DAY).await.unwrap();
    let again = offers.execute("a", Ask::Make).and("b", Ask::Make).and_on(&offers, "c", Ask::Make).occurred_at(FIRST);
    assert!(again.idempotency_key("k").await.unwrap().is_repeated());
}

#[test]
fn given_when_then_says_when_a_command_occurs() {
    given::<Offer>([])
        .at(FIRST)
        .when(Ask::Make)
        .then([OfferEvent::Made { until: FIRST + DAY }])
        .at(FIRST + DAY)
        .when(Ask::Accept)
        .then([OfferEvent::Accepted])
        .when(Ask::Make)
        .then_error(Refusal::Undated);
}

#[tokio::test]
async fn the_states_of_a_category_are_read_as_of_a_moment() {
    let store = MemoryStore::new();
    let offers = Repository::<Offer>::new(&store);
    let of_others = Repository::<Offer>::new(&store).for_tenant("acme");
    // More than a page; the second half occurred later, and a tenth was accepted after that.
    const OFFERS: i64 = 1_500;
    for id in 0..OFFERS {
        let time = FIRST + if id < OFFERS / 2 { Duration::ZERO } else { DAY };
        offers.execute(id.to_string(), Ask::Make).occurred_at(time).await.unwrap();
        of_others.execute(id.to_string(), Ask::Make).occurred_at(FIRST).await.unwrap();
    }
    let recorded = offers.load("0").await.unwrap();
    let last = offers.history("1499");
    let last = futures_util::TryStreamExt::try_collect::<Vec<_>>(last).await.unwrap();
    for id in 0..OFFERS / 10 {
        offers.execute(id.to_string(), Ask::Accept).occurred_at(FIRST + DAY).await.unwrap();
    }
    let counts = |states: std::collections::BTreeMap<String, es_core::Loaded<Offer>>| {
        (states.len(), states.values().filter(|loaded| loaded.state.is_accepted).count())
    };
    assert_eq!(counts(offers.states_at(AsOf::Occurred(FIRST - DAY)).await.unwrap()), (0, 0));
    assert_eq!(counts(offers.states_at(AsOf::Occurred(FIRST)).await.unwrap()), (750, 0));
    assert_eq!(counts(offers.states_at(AsOf::Occurred(FIRST + DAY)).await.unwrap()), (1_500, 150));
    assert_eq!(counts(offers.states_at(AsOf::Version(Version::new(1))).await.unwrap()), (1_500, 0));
    assert_eq!(counts(of_others.states_at(AsOf::Version(Version::new(2))).await.unwrap()), (1_500, 0));
    let then = offers.states_at(AsOf::Recorded(last[0].recorded_at())).await.unwrap();
    assert!(then.len() == 1_500 && then["0"].state.until == recorded.state.until);
    let now = offers.states_at(AsOf::Recorded(OffsetDateTime::now_utc())).await.unwrap();
    for id in ["0", "149", "150", "1499"] {
        let loaded = offers.load(id).await.unwrap();
        let (state, version, last_event) = (loaded.state, loaded.version, loaded.last_event);
        assert_eq!((&now[id].state, now[id].version, now[id].last_event), (&state, version, last_event));
    }
}

#[tokio::test]
async fn more_aggregates_than_the_limit_are_refused() {
    use es_core::{Append, EventStore, ExpectedVersion, NewEvent, StoreError, StreamId, limits};
    let store = MemoryStore::new();
    let offers = Repository::<Offer>::new(&store);
    let mut appended = 0;
    while appended <= limits::MAX_STATES_AT {
        let ids = appended..appended + limits::MAX_STREAMS_PER_APPEND;
        let append = ids.fold(Append::builder(), |append, id| {
            let event = NewEvent::of(&OfferEvent::Accepted).unwrap();
            append.and(StreamId::new("offer", &id.to_string()).unwrap(), ExpectedVersion::NoStream, vec![event])
        });
        store.append(&append.build().unwrap()).await.unwrap();
        appended += limits::MAX_STREAMS_PER_APPEND;
        if appended == limits::MAX_STATES_AT {
            assert_eq!(offers.states_at(AsOf::Version(Version::new(1))).await.unwrap().len(), limits::MAX_STATES_AT);
        }
    }
    let refused = offers.states_at(AsOf::Version(Version::new(1))).await.map(|states| states.len());
    assert!(matches!(refused, Err(LoadError::Store(StoreError::LimitExceeded { .. }))), "{refused:?}");
}
