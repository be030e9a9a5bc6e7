//! A log of account events, and relays of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use es_core::{
    Append, ConsumerName, ConsumerStore, EventFilter, EventStore, ExpectedVersion, MemoryStore, NewEvent,
    OperatorRequest, PageSize, Position, Recorded, StreamId,
};
use es_messaging::{BreakerOptions, Drafts, MapError, MessageMapper, Publisher, Relay, RelayBuilder, RelayMonitor};
use es_projections::{Backoff, Runner};
use es_testkit::bank::AccountEvent;
use serde_json::json;

pub(crate) const NAME: &str = "bank_out";

/// The bank's contract with others: deposits and withdrawals, of which a large one is told twice; nothing of owners.
pub(crate) struct BankContract;

impl MessageMapper for BankContract {
    type Event = AccountEvent;

    fn map(&self, event: &Recorded<AccountEvent>, messages: &mut Drafts<'_>) -> Result<(), MapError> {
        let cents = match &event.event {
            AccountEvent::Deposited { cents } => *cents,
            AccountEvent::Withdrawn { cents: 13 } => return Err(MapError::other("thirteen")),
            AccountEvent::Withdrawn { cents } => -cents,
            _ => return Ok(()),
        };
        let moved = messages.message("bank.money.moved").json(&json!({ "cents": cents }))?;
        messages.add(moved)?;
        if cents >= 1_000_000 {
            let alert = messages.message("bank.money.noticed").topic("alerts").json(&json!({}))?;
            messages.add(alert)?;
        }
        Ok(())
    }
}

pub(crate) async fn append<S: EventStore>(store: &S, account: &str, events: &[AccountEvent]) -> Position {
    let events = events.iter().map(|event| NewEvent::of(event).unwrap()).collect();
    let stream = StreamId::new("account", account).unwrap();
    let append = Append::to(stream, ExpectedVersion::Any, events).build().unwrap();
    store.append(&append).await.unwrap().last_position
}

pub(crate) async fn deposit<S: EventStore>(store: &S, account: &str, cents: i64) -> Position {
    append(store, account, &[AccountEvent::Deposited { cents }]).await
}

/// Deposits one cent, `count` times, to a few accounts in turn.
pub(crate) async fn deposits<S: EventStore>(store: &S, count: u64) {
    for n in 0..count {
        deposit(store, &format!("a{}", n % 7), 1).await;
    }
}

/// The ids of all events by stream, in order: what a relay must have published.
pub(crate) async fn expected(store: &MemoryStore) -> BTreeMap<String, Vec<String>> {
    let mut ids = BTreeMap::<String, Vec<String>>::new();
    let mut after = Position::ZERO;
    loop {
        let page = store.read_all(after, &EventFilter::all(), PageSize::new(1_000).unwrap()).await.unwrap();
        if page.events.is_empty() {
            return ids;
        }
        for event in page.events {
            ids.entry(event.stream().as_str().to_owned()).or_default().push(event.id().to_string());
            after = event.position();
        }
    }
}

/// Waits that need no patience, and no chance.
pub(crate) fn quick_breaker() -> BreakerOptions {
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(8));
    BreakerOptions::default().backoff(backoff).jitter(|| 1.0)
}

pub(crate) fn builder() -> RelayBuilder<BankContract> {
    Relay::builder(NAME, "/bank", BankContract).breaker(quick_breaker())
}

pub(crate) fn runner<M: MessageMapper>(
    store: &MemoryStore,
    publisher: &Arc<impl Publisher + 'static>,
    relay: RelayBuilder<M>,
) -> (Runner, RelayMonitor) {
    let publisher: Arc<dyn Publisher> = publisher.clone();
    let relay = relay.build(publisher, Arc::new(store.clone())).unwrap();
    let monitor = relay.monitor();
    (Runner::builder(store).reactor_with(relay, Relay::options()).build().unwrap(), monitor)
}

pub(crate) async fn checkpoint(store: &MemoryStore, consumer: &str) -> Position {
    let checkpoint = store.checkpoint(&ConsumerName::new(consumer).unwrap()).await.unwrap();
    checkpoint.map_or(Position::ZERO, |checkpoint| checkpoint.position)
}

pub(crate) fn request() -> OperatorRequest {
    OperatorRequest::by("ops").unwrap().because("a test").unwrap()
}

/// Waits until a relay's checkpoint is at a position.
pub(crate) async fn arrival(store: &MemoryStore, at: Position) {
    while checkpoint(store, NAME).await < at {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
