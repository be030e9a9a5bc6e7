//! Commands that are sent again under their keys: what they cost in calls and events, whatever the length of the stream, and when they are
//! the same command although code or content has changed its form.

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use es_core::{
    Aggregate, Append, Appended, DomainEvent, EventFilter, EventPage, EventStore, ExecuteError, IdempotencyKey,
    MemoryStore, PageSize, Position, Repository, StoreError, StreamId, StreamPage, Upcasters, Version, Wakeups,
};
use es_testkit::bank::{Account, AccountCommand};
use serde::{Deserialize, Serialize};

/// Counts calls, and the events that they return.
#[derive(Clone, Default)]
struct CountingStore {
    store: MemoryStore,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    events: AtomicU64,
}

impl CountingStore {
    fn call<T>(&self, result: T, events: impl Fn(&T) -> usize) -> T {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        self.counts.events.fetch_add(events(&result) as u64, Ordering::Relaxed);
        result
    }

    /// Calls and events since the last time.
    fn taken(&self) -> (u64, u64) {
        (self.counts.calls.swap(0, Ordering::Relaxed), self.counts.events.swap(0, Ordering::Relaxed))
    }
}

fn of_stream(page: &Result<StreamPage, StoreError>) -> usize {
    page.as_ref().map_or(0, |page| page.events.len())
}

#[async_trait]
impl EventStore for CountingStore {
    async fn append(&self, append: &Append) -> Result<Appended, StoreError> {
        self.call(self.store.append(append).await, |_| 0)
    }

    async fn find_append(&self, key: &IdempotencyKey) -> Result<Option<Appended>, StoreError> {
        self.call(self.store.find_append(key).await, |_| 0)
    }

    async fn read_stream(&self, stream: &StreamId, after: Version, page: PageSize) -> Result<StreamPage, StoreError> {
        self.call(self.store.read_stream(stream, after, page).await, of_stream)
    }

    async fn read_tail(&self, stream: &StreamId, after: Version) -> Result<StreamPage, StoreError> {
        self.call(self.store.read_tail(stream, after).await, of_stream)
    }

    async fn read_all(&self, after: Position, filter: &EventFilter, page: PageSize) -> Result<EventPage, StoreError> {
        let count = |page: &Result<EventPage, StoreError>| page.as_ref().map_or(0, |page| page.events.len());
        self.call(self.store.read_all(after, filter, page).await, count)
    }

    async fn head(&self) -> Result<Position, StoreError> {
        self.call(self.store.head().await, |_| 0)
    }

    async fn wait_durable(&self, position: Position) -> Result<(), StoreError> {
        self.call(self.store.wait_durable(position).await, |_| 0)
    }

    fn wakeups(&self) -> Wakeups {
        self.store.wakeups()
    }
}

const LINES: u64 = 3_000;

/// Imports a file into one account, line by line. Returns how many lines were there already.
async fn import(accounts: &Repository<Account>, lines: impl Iterator<Item = u64>) -> u64 {
    let mut repeated = 0;
    for line in lines {
        let command = match line {
            0 => AccountCommand::Open { owner: "Ann".to_owned() },
            line => AccountCommand::Deposit { cents: line as i64 },
        };
        let done = accounts.execute("ann", command).idempotency_key(format!("line-{line}")).await.unwrap();
        assert_eq!((done.version.get(), done.events.len()), (line + 1, 1));
        assert_eq!(done.state.cents as u64, line * (line + 1) / 2, "the state as it was then");
        repeated += u64::from(done.is_repeated());
    }
    repeated
}

#[tokio::test]
async fn a_file_that_is_imported_again_costs_a_look_at_the_key_and_a_read_of_its_events_for_each_line() {
    let store = CountingStore::default();
    let first = Repository::<Account>::new(&store);
    assert_eq!(import(&first, 0..LINES).await, 0);
    // The same process, another one, and one with snapshots; each of them twice.
    let saving = Repository::<Account>::new(&store).with_snapshots(&store.store, NonZeroU64::new(100).unwrap());
    for accounts in [first, Repository::new(&store), saving] {
        for _ in 0..2 {
            store.taken();
            assert_eq!(import(&accounts, 0..LINES).await, LINES);
            let (calls, events) = store.taken();
            // For each line the event before, which shows that it is the same history, and its own; once the whole stream.
            assert!(calls <= 2 * LINES + 10, "{calls} calls");
            assert!(events <= 4 * LINES + 10, "{events} events");
        }
    }
}

#[tokio::test]
async fn one_command_that_is_sent_again_and_again_is_found_by_its_key_and_one_read() {
    let store = CountingStore::default();
    let accounts = Repository::<Account>::new(&store);
    import(&accounts, 0..LINES).await;
    import(&accounts, std::iter::once(LINES - 10)).await;
    for _ in 0..5 {
        store.taken();
        assert_eq!(import(&accounts, std::iter::once(LINES - 10)).await, 1);
        let (calls, events) = store.taken();
        assert_eq!((calls, events), (2, 2));
    }
    store.taken();
    assert_eq!(import(&accounts, LINES..LINES + 1).await, 0);
    assert_eq!(store.taken().0, 2, "a key that is looked up in vain");
    assert_eq!(import(&accounts, LINES + 1..LINES + 2).await, 0);
    assert_eq!(store.taken().0, 1, "and then no more");
}

#[tokio::test]
async fn lines_in_another_order_are_what_they_were() {
    let store = CountingStore::default();
    let accounts = Repository::<Account>::new(&store);
    import(&accounts, 0..200).await;
    for step in [7, 41, 199] {
        let order = (0..200).map(|line| line * step % 200);
        assert_eq!(import(&accounts, order).await, 200);
    }
}

/// What was sold, in two versions of the code.
mod shop {
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(super) enum Old {
        Sold { items: HashMap<String, u32> },
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(super) enum New {
        ItemsSold {
            items: HashMap<String, u32>,
            #[serde(default)]
            gift: bool,
        },
    }

    impl DomainEvent for Old {
        const CATEGORY: &'static str = "shop";
    }

    impl DomainEvent for New {
        const CATEGORY: &'static str = "shop";
        fn upcasters() -> Upcasters<Self> {
            Upcasters::none().rename("Sold", "ItemsSold")
        }
    }

    /// How many of each, and whether it is a gift.
    pub(super) type Sale = (Vec<(String, u32)>, bool);

    #[derive(Default, Clone)]
    pub(super) struct OldShop;

    #[derive(Default, Clone)]
    pub(super) struct NewShop;

    impl Aggregate for OldShop {
        type Event = Old;
        type Command = Sale;
        type Error = std::convert::Infallible;
        fn handle(&self, (items, _): &Sale) -> Result<Vec<Old>, Self::Error> {
            Ok(vec![Old::Sold { items: items.iter().cloned().collect() }])
        }
        fn apply(&mut self, _: &Old) {}
    }

    impl Aggregate for NewShop {
        type Event = New;
        type Command = Sale;
        type Error = std::convert::Infallible;
        fn handle(&self, (items, gift): &Sale) -> Result<Vec<New>, Self::Error> {
            Ok(vec![New::ItemsSold { items: items.iter().cloned().collect(), gift: *gift }])
        }
        fn apply(&mut self, _: &New) {}
    }
}

fn sale(gift: bool) -> shop::Sale {
    ((0..50).map(|n| (format!("item-{n}"), n)).collect(), gift)
}

#[tokio::test]
async fn maps_that_hash_their_keys_are_the_same_content_in_whatever_order_they_are_written() {
    let shops = Repository::<shop::OldShop>::new(&MemoryStore::new());
    shops.execute("a", sale(false)).idempotency_key("k").await.unwrap();
    for _ in 0..20 {
        assert!(shops.execute("a", sale(false)).idempotency_key("k").await.unwrap().is_repeated());
    }
    let fewer = (sale(false).0[1..].to_vec(), false);
    assert!(shops.execute("a", fewer).idempotency_key("k").await.is_err());
}

#[tokio::test]
async fn a_command_is_the_same_one_after_its_event_was_renamed_and_got_a_field_with_a_default() {
    let store = MemoryStore::new();
    Repository::<shop::OldShop>::new(&store).execute("a", sale(false)).idempotency_key("k").await.unwrap();
    let shops = Repository::<shop::NewShop>::new(&store);
    assert!(shops.execute("a", sale(false)).idempotency_key("k").await.unwrap().is_repeated());
    // The code of today would decide otherwise: it is refused, and not taken for the same.
    let refused = shops.execute("a", sale(true)).idempotency_key("k").await;
    assert!(matches!(refused, Err(ExecuteError::Store(StoreError::IdReused { .. }))), "{refused:?}");
}
