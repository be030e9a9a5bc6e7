//! Consumers of messages on real databases: dropped at any moment and started again, with messages that come twice and handlers that
//! fail, each message takes effect once: the row that its handler writes, and the event that it appends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use es_core::{
    Append, ControlStore, DeadLetterQuery, DeadLetterStore, DomainEvent, EventFilter, EventStore, EventStoreExt,
    EventType, ExpectedVersion, HandlerError, InboxStore, NewEvent, OperatorRequest, Payload, Position, Projection,
    Recorded, StreamId,
};
use es_e2e::server::{Folder, shared_postgres_url, unique_schema};
use es_messaging::{
    Broker, Consumer, ConsumerState, DeadLetters, MemoryBroker, Message, MessageHandler, Outgoing, Subscription,
    Topology,
};
use es_postgres::PgOptions;
use es_projections::Backoff;
use es_sqlite::{SqliteOptions, SqliteStore};
use es_testkit::SeededRng;
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

const MESSAGES: u64 = 1_500;
const KEYS: u64 = 20;
const LONG: Duration = Duration::from_secs(120);

/// Writes a row for each message by a plain insert that nothing protects from duplicates, and appends an event.
#[derive(Clone)]
struct Ships {
    table: String,
    chances: Option<Arc<SeededRng>>,
}

fn shipped(message: &Message) -> Result<Append, HandlerError> {
    let stream = StreamId::new("parcel", message.key().unwrap_or("none"))?;
    let event = NewEvent::new(EventType::new("Shipped")?, Payload::from_json("{}")?);
    Ok(Append::to(stream, ExpectedVersion::Any, vec![event.with_metadata(message.metadata())]).build()?)
}

macro_rules! ships {
    ($unit:ty) => {
        impl MessageHandler<$unit> for Ships {
            async fn handle(&self, message: &Message, unit: &mut $unit) -> Result<(), HandlerError> {
                unit.append(shipped(message)?)?;
                let sql = format!("INSERT INTO {} VALUES ('{}')", self.table, message.id());
                sqlx::query(AssertSqlSafe(sql)).execute(unit.connection()).await?;
                match self.chances.as_ref().map_or(9, |chances| chances.below(40)) {
                    0 => Err(std::io::Error::other("now and then").into()),
                    // What PostgreSQL answers with a broken transaction.
                    1 => sqlx::query("SELECT * FROM nowhere")
                        .execute(unit.connection())
                        .await
                        .map(drop)
                        .map_err(Into::into),
                    2 => Err(HandlerError::transient(std::io::Error::other("away"))),
                    _ => Ok(()),
                }
            }
        }
    };
}
ships!(es_postgres::UnitOfWork);
ships!(es_sqlite::UnitOfWork);

/// What all of it needs of a store.
trait Store: InboxStore + DeadLetterStore + ControlStore + EventStore + Clone + 'static {}
impl<S: InboxStore + DeadLetterStore + ControlStore + EventStore + Clone + 'static> Store for S {}

fn consumer<S: Store>(store: &S, broker: &MemoryBroker, handler: Ships, attempts: u32) -> Consumer<S>
where
    Ships: MessageHandler<S::Unit>,
{
    let broker = Arc::new(broker.clone());
    Consumer::builder("shipping", store, broker, subscription())
        .handler("order.placed", handler)
        .backoff(Backoff::new(Duration::from_millis(2), Duration::from_millis(20)))
        .max_attempts(attempts)
        .build()
        .expect("a consumer")
}

fn subscription() -> Subscription {
    Subscription::new("shipping", ["orders"])
}

async fn declared() -> MemoryBroker {
    let broker = MemoryBroker::new();
    broker.declare(&Topology::new(["orders"], vec![subscription()])).await.expect("declared");
    broker
}

async fn publish(broker: &MemoryBroker, ids: impl Iterator<Item = u64>) {
    let outgoing: Vec<_> = ids
        .map(|id| {
            let message = Message::builder("order.placed", "/shop").id(format!("{id:05}")).key((id % KEYS).to_string());
            Outgoing { topic: "orders".to_owned(), message: message.build().expect("a message") }
        })
        .collect();
    let published = broker.publisher().await.expect("a publisher").publish(&outgoing).await;
    assert!(published.iter().all(Result::is_ok));
}

async fn takes_effect_once<S: Store>(store: S, table: &str, rows: impl AsyncFn() -> Vec<String>)
where
    Ships: MessageHandler<S::Unit>,
{
    let random = Arc::new(SeededRng::from_env());
    let broker = declared().await;
    publish(&broker, 0..MESSAGES).await;
    publish(&broker, (0..MESSAGES).filter(|_| random.percent(20))).await;
    let started = Instant::now();
    while broker.depth("shipping") > 0 {
        assert!(started.elapsed() < LONG, "{} are left", broker.depth("shipping"));
        let handler = Ships { table: table.to_owned(), chances: Some(random.clone()) };
        let running = consumer(&store, &broker, handler, 1_000);
        // Dropped wherever it is then.
        let time = Duration::from_micros(1_000 + random.below(150_000));
        let _ = tokio::time::timeout(time, running.run(std::future::pending())).await;
    }
    let expected: Vec<String> = (0..MESSAGES).map(|id| format!("{id:05}")).collect();
    let mut rows = rows().await;
    rows.sort_unstable();
    assert_eq!(rows, expected);
    let events: Vec<_> =
        store.all_events(Position::ZERO, &EventFilter::all()).try_collect().await.expect("the log can be read");
    let mut causes: Vec<String> = Vec::new();
    for key in 0..KEYS {
        let stream = StreamId::new("parcel", &key.to_string()).expect("a stream");
        let of_key = events.iter().filter(|event| *event.stream() == stream);
        let of_key: Vec<_> = of_key.filter_map(|event| event.metadata().causation().map(str::to_owned)).collect();
        assert!(of_key.is_sorted(), "the order of {key} is kept");
        causes.extend(of_key);
    }
    causes.sort_unstable();
    assert_eq!(causes, expected);
}

async fn a_dead_letter_takes_effect_once<S: Store>(store: S, table: &str, rows: impl AsyncFn() -> Vec<String>)
where
    Ships: MessageHandler<S::Unit>,
{
    let broker = declared().await;
    let until = async |is_so: &dyn Fn(u64, u64) -> bool, consumer: &Consumer<S>| {
        let started = Instant::now();
        let done = async {
            while !is_so(consumer.status().dead, consumer.status().revived) {
                assert!(started.elapsed() < LONG, "{}", consumer.status());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        consumer.run(done).await.expect("it runs");
    };
    publish(&broker, 0..3).await;
    let broken = Ships { table: "nowhere".to_owned(), chances: None };
    until(&|dead, _| dead == 3, &consumer(&store, &broker, broken, 2)).await;
    let letters = DeadLetters::new(store.clone());
    let ann = OperatorRequest::by("ann").expect("a name");
    assert_eq!(letters.retry_all(&DeadLetterQuery::default(), &ann).await.expect("asked"), 3);
    let whole = Ships { table: table.to_owned(), chances: None };
    // Two consumers see what is asked.
    let (first, second) = (consumer(&store, &broker, whole.clone(), 2), consumer(&store, &broker, whole, 2));
    let other = second.clone();
    let beside = tokio::spawn(async move { other.run(std::future::pending()).await });
    until(&|_, revived| revived + second.status().revived == 3, &first).await;
    beside.abort();
    let mut rows = rows().await;
    rows.sort_unstable();
    assert_eq!(rows, ["00000", "00001", "00002"]);
    assert_eq!(letters.list(&DeadLetterQuery::default(), None, 10).await.expect("a list"), []);
}

struct Sqlite {
    _folder: Folder,
    store: SqliteStore,
}

impl Sqlite {
    async fn open() -> Self {
        let folder = Folder::new();
        let store = SqliteStore::open(folder.path("shop.db")).await.expect("it opens");
        let mut connection = SqliteConnection::connect(&url(&store)).await.expect("a connection");
        sqlx::query("CREATE TABLE shipped (id TEXT NOT NULL)").execute(&mut connection).await.expect("a table");
        Self { _folder: folder, store }
    }

    async fn rows(&self) -> Vec<String> {
        let mut connection = SqliteConnection::connect(&url(&self.store)).await.expect("a connection");
        sqlx::query_scalar("SELECT id FROM shipped").fetch_all(&mut connection).await.expect("rows")
    }
}

fn url(store: &SqliteStore) -> String {
    format!("sqlite://{}", store.path().display())
}

async fn postgres() -> (es_postgres::PgStore, String) {
    let schema = unique_schema();
    let store = PgOptions::new(shared_postgres_url()).schema(&schema).connect().await.expect("it opens");
    let mut connection = PgConnection::connect(&shared_postgres_url()).await.expect("a connection");
    let sql = format!("CREATE TABLE {schema}.shipped (id text NOT NULL)");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.expect("a table");
    (store, format!("{schema}.shipped"))
}

async fn postgres_rows(table: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(&shared_postgres_url()).await.expect("a connection");
    let sql = format!("SELECT id FROM {table}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.expect("rows")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_takes_effect_once_on_sqlite() {
    let sqlite = Sqlite::open().await;
    takes_effect_once(sqlite.store.clone(), "shipped", async || sqlite.rows().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_takes_effect_once_on_postgres() {
    let (store, table) = postgres().await;
    takes_effect_once(store, &table, async || postgres_rows(&table).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_tried_again_takes_effect_once_on_sqlite() {
    let sqlite = Sqlite::open().await;
    a_dead_letter_takes_effect_once(sqlite.store.clone(), "shipped", async || sqlite.rows().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_tried_again_takes_effect_once_on_postgres() {
    let (store, table) = postgres().await;
    a_dead_letter_takes_effect_once(store, &table, async || postgres_rows(&table).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_does_not_answer_nothing_is_settled_and_the_status_says_so() {
    let sqlite = Sqlite::open().await;
    let options = SqliteOptions::new(sqlite.store.path()).busy_timeout(Duration::from_millis(50));
    let (store, broker) = (options.open().await.expect("it opens"), declared().await);
    let handler = Ships { table: "shipped".to_owned(), chances: None };
    let consumer = consumer(&store, &broker, handler, 1);
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < LONG, "{what}: {}", consumer.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let running = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.run(std::future::pending()).await }
    });
    until("it runs", &|| consumer.status().state == ConsumerState::Running).await;
    // Somebody else writes for long.
    let mut other = SqliteConnection::connect(&url(&sqlite.store)).await.expect("a connection");
    let writing = other.begin_with("BEGIN IMMEDIATE").await.expect("a transaction");
    publish(&broker, 0..5).await;
    until("it waits", &|| consumer.status().state == ConsumerState::WaitingForStore).await;
    until("it has tried again", &|| consumer.status().last_error.is_some()).await;
    assert_eq!((broker.depth("shipping"), consumer.status().handled), (5, 0));
    writing.rollback().await.expect("rolled back");
    until("all are settled", &|| broker.depth("shipping") == 0).await;
    let status = consumer.status();
    assert_eq!((status.handled, status.retried, status.dead), (5, 0, 0), "{status}");
    assert_eq!(sqlite.rows().await.len(), 5);
    running.abort();
}

/// A projection in the transaction of the append, which panics at one event.
struct Panics;

impl Projection for Panics {
    type Connection = PgConnection;
    type Event = ParcelEvent;

    fn name(&self) -> &str {
        "panics"
    }

    async fn apply(&self, _: &mut PgConnection, event: &Recorded<ParcelEvent>) -> Result<(), HandlerError> {
        assert!(event.stream().id() != "3", "as the test wants it");
        Ok(())
    }

    async fn clear(&self, _: &mut PgConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
enum ParcelEvent {
    Shipped {},
}

impl DomainEvent for ParcelEvent {
    const CATEGORY: &'static str = "parcel";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_panics_fails_its_message_and_stops_no_other() {
    let (store, table) = postgres().await;
    let schema = table.trim_end_matches(".shipped");
    let options = PgOptions::new(shared_postgres_url()).schema(schema).inline_projection(Panics);
    let (store, broker) = (options.connect().await.expect("it opens"), {
        drop(store);
        declared().await
    });
    publish(&broker, 0..KEYS).await;
    let consumer = consumer(&store, &broker, Ships { table: table.clone(), chances: None }, 2);
    let started = Instant::now();
    let done = async {
        while broker.depth("shipping") > 0 {
            assert!(started.elapsed() < LONG, "{}", consumer.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    consumer.run(done).await.expect("it runs");
    let status = consumer.status();
    assert_eq!((status.handled, status.dead), (KEYS - 1, 1), "{status}");
    assert!(status.last_error.is_some_and(|error| error.contains("panicked: as the test wants it")));
    assert_eq!(postgres_rows(&table).await.len() as u64, KEYS - 1);
}
