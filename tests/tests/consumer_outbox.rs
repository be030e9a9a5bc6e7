//! What a handler does besides its own rows, on real databases: it decides a command, and writes a message to the outbox. Both happen with
//! the note that the message was handled, or none of the three.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use es_core::{
    ControlStore, DeadLetterQuery, DeadLetterStore, EventStore, HandlerError, InboxStore, LeaseStore, MessageUnit,
    OutboxStore, Repository,
};
use es_e2e::server::{Folder, shared_postgres_url, unique_schema};
use es_messaging::{
    Broker, Consumer, MemoryBroker, Message, MessageHandler, OutboxRelay, Outgoing, Publisher, Settlement,
    Subscription, Topology, to_outbox,
};
use es_postgres::PgOptions;
use es_projections::Backoff;
use es_sqlite::SqliteStore;
use es_testkit::{
    SeededRng,
    bank::{Account, AccountCommand},
};

const PAYMENTS: u64 = 60;
const ACCOUNTS: u64 = 5;
const LONG: Duration = Duration::from_secs(20);
/// The payment that its handler never takes.
const BAD: &str = "00013";

/// Books a payment, and enqueues a receipt for it.
#[derive(Clone)]
struct Books<S> {
    store: S,
    chances: Arc<SeededRng>,
}

impl<S> MessageHandler<S::Unit> for Books<S>
where
    S: InboxStore + EventStore + Clone + 'static,
{
    async fn handle(&self, message: &Message, unit: &mut S::Unit) -> Result<(), HandlerError> {
        let account = message.key().unwrap_or("none");
        let receipt = Message::builder("receipt", "/bank").id(format!("receipt-{}", message.id())).key(account);
        unit.enqueue(&to_outbox("receipts", &receipt.build()?)?).await?;
        let deposit = AccountCommand::Deposit { cents: 1 };
        let accounts = Repository::<Account>::new(&self.store);
        let decided = accounts.execute(account, deposit).metadata(message.metadata()).decide().await?;
        unit.append(decided.ok_or_else(|| std::io::Error::other("nothing to book"))?)?;
        // After everything was written.
        match message.id() {
            BAD => Err(std::io::Error::other("not this one").into()),
            _ if self.chances.percent(20) => Err(HandlerError::transient(std::io::Error::other("now and then"))),
            _ => Ok(()),
        }
    }
}

async fn run<S>(store: S)
where
    S: InboxStore + DeadLetterStore + ControlStore + EventStore + OutboxStore + LeaseStore + Clone + 'static,
{
    let accounts = Repository::<Account>::new(&store);
    for account in 0..ACCOUNTS {
        let open = AccountCommand::Open { owner: format!("owner {account}") };
        accounts.execute(account.to_string(), open).await.expect("it opens");
    }
    let broker = MemoryBroker::new();
    let (payments, receipts) = (Subscription::new("books", ["payments"]), Subscription::new("post", ["receipts"]));
    let topology = Topology::new(["payments", "receipts"], vec![payments.clone(), receipts.clone()]);
    broker.declare(&topology).await.expect("declared");
    let publisher: Arc<dyn Publisher> = broker.publisher().await.expect("a publisher").into();
    let outgoing = |id: u64| {
        let message = Message::builder("payment", "/shop").id(format!("{id:05}")).key((id % ACCOUNTS).to_string());
        Outgoing { topic: "payments".to_owned(), message: message.build().expect("a message") }
    };
    // Each of them twice.
    let sent: Vec<Outgoing> = (0..PAYMENTS).chain(0..PAYMENTS).map(outgoing).collect();
    assert!(publisher.publish(&sent).await.iter().all(Result::is_ok));

    let handler = Books { store: store.clone(), chances: Arc::new(SeededRng::from_env()) };
    let consumer = Consumer::builder("books", &store, Arc::new(broker.clone()), payments)
        .handler("payment", handler)
        .backoff(Backoff::new(Duration::from_millis(2), Duration::from_millis(20)))
        .max_attempts(3)
        .build()
        .expect("a consumer");
    let relay = OutboxRelay::builder().build(publisher, Arc::new(store.clone())).expect("a relay");
    let drained = async {
        while broker.depth("books") > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ran = tokio::time::timeout(LONG, consumer.run(drained)).await;
    ran.unwrap_or_else(|_| panic!("{} left: {}", broker.depth("books"), consumer.status())).expect("it runs");
    relay.catch_up().await.expect("the outbox is published");

    // The receipts, the bookings and the notes tell the same.
    let letters = store.dead_letters(&DeadLetterQuery::default(), None, 100).await.expect("dead letters");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].letter.error.contains("not this one"), "{}", letters[0].letter.error);
    assert_eq!(consumer.status().handled, PAYMENTS - 1);
    let subscriber = broker.subscriber(&receipts.prefetch(1_000)).await.expect("a subscriber");
    let mut came = BTreeMap::<String, Vec<String>>::new();
    while let Some(delivery) = subscriber.receive(1, Duration::ZERO).await.expect("a receipt").pop() {
        let receipt = delivery.content.expect("it can be read");
        came.entry(receipt.key().expect("a key").to_owned()).or_default().push(receipt.id().to_owned());
        subscriber.settle(vec![(delivery.receipt, Settlement::Ack)]).await.expect("settled");
    }
    let mut expected = BTreeMap::<String, Vec<String>>::new();
    for id in (0..PAYMENTS).map(|id| format!("{id:05}")).filter(|id| id != BAD) {
        let account = (id.parse::<u64>().expect("a number") % ACCOUNTS).to_string();
        expected.entry(account).or_default().push(format!("receipt-{id}"));
    }
    for (account, receipts) in &expected {
        let state = accounts.load(account.as_str()).await.expect("an account").state;
        assert_eq!(state.cents, receipts.len() as i64, "account {account}");
    }
    assert_eq!(came, expected);
    assert_eq!(store.outbox_stats().await.expect("stats").waiting, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handlers_decision_and_its_message_happen_with_it_or_not_at_all_on_sqlite() {
    let folder = Folder::new();
    run(SqliteStore::open(folder.path("books.db")).await.expect("it opens")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handlers_decision_and_its_message_happen_with_it_or_not_at_all_on_postgres() {
    run(PgOptions::new(shared_postgres_url()).schema(unique_schema()).connect().await.expect("it opens")).await;
}
