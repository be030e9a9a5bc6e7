//! Writers that append to many accounts at once, and note what they were told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use es_core::{
    Append, Decoder, EventFilter, EventStore, EventStoreExt, EventType, ExpectedVersion, NewEvent, Payload, Position,
    RecordedEvent, StoreError, StreamId, View,
};
use es_testkit::{
    HistoryChecker, SeededRng,
    bank::{AccountEvent, Balance},
};
use futures_util::TryStreamExt;

/// Accounts that the writers share.
pub const ACCOUNTS: u64 = 24;

/// What the writers of one test share.
#[derive(Debug, Clone)]
pub struct Workload {
    /// What they were told.
    pub history: Arc<HistoryChecker>,
    /// Random numbers; the seed is printed.
    pub random: Arc<SeededRng>,
    acknowledged: Arc<AtomicU64>,
}

impl Workload {
    /// A workload that has done nothing yet.
    #[expect(clippy::new_without_default, reason = "it prints a seed")]
    pub fn new() -> Self {
        Self { history: Arc::default(), random: Arc::new(SeededRng::from_env()), acknowledged: Arc::default() }
    }

    /// How many appends were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// An append over one to three accounts, of one to three deposits each.
    pub fn random_append(&self) -> Append {
        let mut append = Append::builder();
        let first = self.random.below(ACCOUNTS);
        for offset in 0..=self.random.below(3) {
            let events = (0..=self.random.below(3)).map(|_| deposit(self.random.below(1_000) as i64)).collect();
            append = append.and(account((first + offset) % ACCOUNTS), ExpectedVersion::Any, events);
        }
        append.build().expect("the append keeps its limits")
    }

    /// Appends until `is_over` says so, and notes what came of each append. Gives up at the first unknown outcome, as a
    /// client does whose server has gone.
    ///
    /// # Panics
    /// On an error that is neither "busy" nor "unavailable".
    pub async fn write(&self, store: &impl EventStore, is_over: impl Fn() -> bool) {
        while !is_over() {
            let append = self.random_append();
            match store.append(&append).await {
                Ok(appended) => {
                    self.history.acknowledged(&append, &appended);
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(StoreError::Busy { .. }) => self.history.refused(&append),
                Err(StoreError::Unavailable { .. }) => {
                    self.history.unacknowledged(&append);
                    return;
                }
                Err(error) => panic!("an append failed: {error:?}"),
            }
        }
    }

    /// Compares what the writers and readers were told with what is there.
    ///
    /// # Panics
    /// On any difference.
    pub async fn check(&self, store: &impl EventStore) -> Vec<RecordedEvent> {
        let log: Vec<RecordedEvent> =
            store.all_events(Position::ZERO, &EventFilter::all()).try_collect().await.expect("the log can be read");
        self.history.check(&log).assert_clean();
        log
    }
}

/// The stream of an account.
///
/// # Panics
/// Never: a number is a valid id.
pub fn account(number: u64) -> StreamId {
    StreamId::new("account", &number.to_string()).expect("a valid stream id")
}

/// A deposit, ready to be stored.
///
/// # Panics
/// Never: the payload is JSON.
pub fn deposit(cents: i64) -> NewEvent {
    let payload = Payload::from_json(format!(r#"{{"cents":{cents}}}"#)).expect("JSON");
    NewEvent::new(EventType::new("Deposited").expect("a valid event type"), payload)
}

/// The balances that a log adds up to, folded here and now.
///
/// # Panics
/// If an event is of no known type.
pub fn fresh_fold(log: Vec<RecordedEvent>) -> BTreeMap<String, Balance> {
    let events = Decoder::new().with(|event: AccountEvent| event).decode_page(log).expect("every event can be read");
    let mut balances: BTreeMap<String, Balance> = BTreeMap::new();
    for event in &events {
        for key in Balance::keys(event) {
            balances.entry(key).or_default().apply(event);
        }
    }
    balances
}
