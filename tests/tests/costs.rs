//! What commands, pages and messages cost in numbers that are the same on every machine: round trips, statements, rows
//! and bytes on PostgreSQL, commits and pages on SQLite. A change that makes a step dearer fails here. A change that
//! makes a step cheaper lowers its number.
//!
//! Each step is measured several times and the smallest of each number counts, since a heartbeat may fall into a step.

use std::{fmt::Debug, sync::Arc};

use es_core::{
    ConsumerStore, ControlStore, DeadLetterStore, EventStore, ExpectedVersion, HandlerError, InboxStore, Reactor,
    Recorded, Repository, RunnerStore,
};
use es_e2e::{
    server::{Folder, shared_postgres_url, unique_schema},
    wal_counter::{WalCosts, WalCounter},
    wire_counter::{WireCosts, WireCounter},
};
use es_messaging::{Broker, Consumer, MemoryBroker, Message, Outgoing, Subscription, Topology};
use es_postgres::PgOptions;
use es_projections::Runner;
use es_sqlite::SqliteStore;
use es_testkit::bank::{Account, AccountCommand, AccountEvent, Balance};

/// How often each step is measured.
const ROUNDS: usize = 5;
/// What the answers to tests of idle connections may add to a step.
const IDLE_TEST_BYTES: u64 = 120;

/// A meter, and what it has measured of each step.
struct Costs<M, C> {
    read: M,
    since: fn(C, C) -> C,
    steps: Vec<(&'static str, Vec<C>)>,
}

impl<M: AsyncFn() -> C, C: Copy> Costs<M, C> {
    fn new(read: M, since: fn(C, C) -> C) -> Self {
        Self { read, since, steps: Vec::new() }
    }

    /// Does something, and notes what it cost.
    async fn of<T>(&mut self, step: &'static str, work: impl Future<Output = T>) -> T {
        let before = (self.read)().await;
        let result = work.await;
        let cost = (self.since)((self.read)().await, before);
        match self.steps.iter_mut().find(|(known, _)| *known == step) {
            Some((_, costs)) => costs.push(cost),
            None => self.steps.push((step, vec![cost])),
        }
        result
    }

    /// The smallest numbers of each step.
    fn cheapest(self, cheapest: fn(C, C) -> C) -> Vec<(&'static str, C)> {
        let of = |costs: Vec<C>| costs.into_iter().reduce(cheapest).expect("each step was measured");
        self.steps.into_iter().map(|(step, costs)| (step, of(costs))).collect()
    }
}

/// Sees each event, and does nothing.
struct Looker;

impl Reactor for Looker {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "looker"
    }

    async fn react(&self, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        Ok(())
    }
}

fn open() -> AccountCommand {
    AccountCommand::Open { owner: "Ann".to_owned() }
}

fn deposit() -> AccountCommand {
    AccountCommand::Deposit { cents: 100 }
}

/// Ten deposits by one command.
async fn ten(_: Arc<Account>) -> Result<Vec<AccountEvent>, es_testkit::bank::AccountError> {
    Ok(vec![AccountEvent::Deposited { cents: 1 }; 10])
}

/// The steps that are measured, on any store.
async fn measure<S, M, C>(store: &S, costs: &mut Costs<M, C>)
where
    S: EventStore + RunnerStore + ConsumerStore + InboxStore + DeadLetterStore + ControlStore + Clone + 'static,
    M: AsyncFn() -> C,
    C: Copy,
{
    let accounts = Repository::<Account>::new(store);
    let runner = || Runner::builder(store).view::<Balance>().reactor(Looker).build().expect("a runner");
    let following = runner();
    // What is prepared once does not count: connections, statements, tables, leases.
    accounts.execute("first", open()).idempotency_key("first").await.expect("the first command");
    following.catch_up().await.expect("the first page");
    for round in 0..ROUNDS {
        let id = format!("account-{round}");
        let new = accounts.execute(&id, open()).expecting(ExpectedVersion::NoStream);
        costs.of("command on a new aggregate", async { new.await.map(drop).expect("opened") }).await;
        costs
            .of("command on a cached aggregate", async { accounts.execute(&id, deposit()).await.expect("done") })
            .await;
        let cold = Repository::<Account>::new(store);
        costs
            .of("command on an aggregate that is loaded", async { cold.execute(&id, deposit()).await.expect("done") })
            .await;
        let many = accounts.execute_with(&id, ten);
        costs.of("command of 10 events", async { many.await.map(drop).expect("done") }).await;
        let both = accounts.execute(&id, deposit()).and("first", deposit());
        costs.of("command over two aggregates", async { both.await.map(drop).expect("done") }).await;
        let key = format!("key-{round}");
        for step in ["command under a key", "the same command again"] {
            let keyed = accounts.execute(&id, deposit()).idempotency_key(&key);
            costs.of(step, async { keyed.await.map(drop).expect("done") }).await;
        }
        costs
            .of("page of 16 events for a view and a reactor", async { following.catch_up().await.expect("done") })
            .await;
        accounts.execute(&id, deposit()).await.expect("done");
        costs
            .of("page of one event for a view and a reactor", async { following.catch_up().await.expect("done") })
            .await;
        costs.of("nothing new for a view and a reactor", async { following.catch_up().await.expect("done") }).await;
        costs.of("batch of 100 messages", consume(store, round)).await;
    }
}

/// A consumer handles a hundred messages that are there already, in one lane.
async fn consume<S>(store: &S, round: usize)
where
    S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static,
{
    let broker = MemoryBroker::new();
    let topic = "orders";
    let subscription = Subscription::new("shipping", [topic]);
    broker.declare(&Topology::new([topic], vec![subscription.clone()])).await.expect("declared");
    let message = |n: usize| {
        let message = Message::builder("order", "/shop").id(format!("{round}-{n}")).json(&n).expect("JSON");
        Outgoing { topic: topic.to_owned(), message: message.build().expect("a message") }
    };
    let publisher = broker.publisher().await.expect("a publisher");
    let messages: Vec<_> = (0..100).map(message).collect();
    let published = publisher.publish(&messages).await;
    assert!(published.iter().all(Result::is_ok), "the in-process broker takes everything");
    let (done, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let consumer = Consumer::builder("shipping", store, Arc::new(broker), subscription)
        .on("order", move |n: usize, _, _| {
            let done = done.clone();
            Box::pin(async move {
                let _ = done.send(n);
                Ok(())
            })
        })
        .lanes(1)
        .build()
        .expect("a consumer");
    let all = async {
        for _ in 0..100 {
            handled.recv().await;
        }
    };
    consumer.run(all).await.expect("the consumer ends");
}

/// Compares with what was committed, and prints what was measured.
fn compare<C: Debug>(measured: &[(&'static str, C)], committed: &[(&'static str, C)], fits: impl Fn(&C, &C) -> bool) {
    for (step, cost) in measured {
        println!("        (\"{step}\", {cost:?}),");
    }
    assert_eq!(measured.len(), committed.len(), "each step has a committed cost");
    for ((step, cost), (known, expected)) in measured.iter().zip(committed) {
        assert_eq!(step, known);
        assert!(fits(cost, expected), "{step}: it costs {cost:?}, and {expected:?} is committed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_nothing_costs_more_round_trips_statements_rows_or_bytes_than_is_committed() {
    let wire = WireCounter::before(&shared_postgres_url()).await;
    // What tells other processes is sent in the background, once for all appends of a moment, so no step would have it.
    let options = PgOptions::new(wire.url()).schema(unique_schema()).notify(false);
    let store = options.connect().await.expect("the store opens");
    let mut costs = Costs::new(async || wire.costs(), WireCosts::since);
    measure(&store, &mut costs).await;
    let measured = costs.cheapest(WireCosts::cheapest);
    let of = |round_trips, statements, rows, bytes_sent, bytes_received| WireCosts {
        round_trips,
        statements,
        rows,
        bytes_sent,
        bytes_received,
    };
    let committed = [
        ("command on a new aggregate", of(1, 1, 1, 606, 151)),
        ("command on a cached aggregate", of(3, 2, 2, 826, 313)),
        ("command on an aggregate that is loaded", of(4, 3, 4, 824, 745)),
        ("command of 10 events", of(5, 4, 5, 4528, 971)),
        ("command over two aggregates", of(2, 2, 2, 978, 262)),
        ("command under a key", of(2, 1, 2, 822, 241)),
        ("the same command again", of(5, 4, 18, 990, 3872)),
        ("page of 16 events for a view and a reactor", of(26, 24, 50, 2305, 9073)),
        ("page of one event for a view and a reactor", of(26, 24, 21, 2231, 2397)),
        ("nothing new for a view and a reactor", of(22, 20, 15, 1597, 1597)),
        ("batch of 100 messages", of(48, 36, 24, 4500, 2500)),
    ];
    compare(&measured, &committed, |cost, expected| {
        // A test of an idle connection is answered, too.
        let is_near = |bytes: u64, committed: u64| bytes * 10 <= committed * 11 + 10 * IDLE_TEST_BYTES;
        cost.round_trips <= expected.round_trips
            && cost.statements <= expected.statements
            && cost.rows <= expected.rows
            && is_near(cost.bytes_sent, expected.bytes_sent)
            && is_near(cost.bytes_received, expected.bytes_received)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_nothing_costs_more_commits_or_pages_than_is_committed() {
    let folder = Folder::new();
    let file = folder.path("costs.db");
    let store = SqliteStore::open(&file).await.expect("the store opens");
    let wal = WalCounter::of(&file).await;
    let mut costs = Costs::new(async || wal.costs(), WalCosts::since);
    measure(&store, &mut costs).await;
    let measured = costs.cheapest(WalCosts::cheapest);
    let of = |commits, pages| WalCosts { commits, pages };
    let committed = [
        ("command on a new aggregate", of(1, 5)),
        ("command on a cached aggregate", of(1, 5)),
        ("command on an aggregate that is loaded", of(1, 5)),
        ("command of 10 events", of(1, 5)),
        ("command over two aggregates", of(1, 5)),
        ("command under a key", of(1, 6)),
        ("the same command again", of(0, 0)),
        ("page of 16 events for a view and a reactor", of(7, 9)),
        ("page of one event for a view and a reactor", of(7, 9)),
        ("nothing new for a view and a reactor", of(5, 6)),
        ("batch of 100 messages", of(9, 18)),
    ];
    compare(&measured, &committed, |cost, expected| cost.commits <= expected.commits && cost.pages <= expected.pages);
}
