//! How many messages a second a consumer handles, with a handler that upserts one row, from a broker that costs nothing; and beside it the
//! same upserts with the same notes of the ids, written by hand in transactions of the same size.
//!
//! `cargo run --release -p es-e2e --example message_consumer_throughput`, with `ES_TEST_POSTGRES_URL` naming a throwaway PostgreSQL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use es_core::{ControlStore, DeadLetterStore, HandlerError, InboxStore};
use es_e2e::server::{Folder, shared_postgres_url, unique_schema};
use es_messaging::{
    Broker, BrokerError, Consumer, Delivery, Message, MessageHandler, Publisher, Receipt, Settlement, Subscriber,
    Subscription, Topology,
};
use es_postgres::PgOptions;
use es_sqlite::SqliteStore;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

const MESSAGES: u64 = 60_000;
const KEYS: u64 = 1_000;
type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Gives messages at once, and counts what is settled.
#[derive(Debug, Clone, Default)]
struct Instantly {
    given: Arc<AtomicU64>,
    settled: Arc<AtomicU64>,
}

fn message(id: u64) -> Result<Message, AnyError> {
    let builder = Message::builder("order.placed", "/shop").id(format!("{id:08}")).key((id % KEYS).to_string());
    Ok(builder.json(&serde_json::json!({ "cents": id }))?.build()?)
}

#[async_trait::async_trait]
impl Broker for Instantly {
    fn name(&self) -> &'static str {
        "instantly"
    }

    async fn declare(&self, _: &Topology) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn subscriber(&self, _: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        Ok(Box::new(self.clone()))
    }

    async fn close(&self) {}
}

#[async_trait::async_trait]
impl Subscriber for Instantly {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let first = self.given.fetch_add(max as u64, Relaxed);
        if first >= MESSAGES {
            tokio::time::sleep(wait).await;
            return Ok(Vec::new());
        }
        let ids = first..(first + max as u64).min(MESSAGES);
        let deliveries = ids.filter_map(|id| {
            let (content, topic) = (Ok(message(id).ok()?), "orders".to_owned());
            Some(Delivery { receipt: Receipt(id), topic, attempt: 1, content })
        });
        Ok(deliveries.collect())
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        self.settled.fetch_add(settlements.len() as u64, Relaxed);
        Ok(())
    }

    async fn extend(&self, _: &[Receipt]) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// Upserts the amount of the message's key.
struct Upserts(String);

fn upsert(table: &str, first: &str) -> String {
    format!(
        "INSERT INTO {table} (id, cents) VALUES ({first}) ON CONFLICT (id) DO UPDATE SET cents = {table}.cents + excluded.cents"
    )
}

macro_rules! upserts {
    ($unit:ty, $values:literal) => {
        impl MessageHandler<$unit> for Upserts {
            async fn handle(&self, message: &Message, unit: &mut $unit) -> Result<(), HandlerError> {
                let content: serde_json::Value = message.json()?;
                let query = sqlx::query(AssertSqlSafe(upsert(&self.0, $values)));
                let query = query.bind(message.key().unwrap_or("none").to_owned());
                query.bind(content["cents"].as_i64().unwrap_or(0)).execute(unit.connection()).await?;
                Ok(())
            }
        }
    };
}
upserts!(es_postgres::UnitOfWork, "$1, $2");
upserts!(es_sqlite::UnitOfWork, "?, ?");

async fn consume<S>(store: &S, table: &str, lanes: usize, batch: usize) -> Result<f64, AnyError>
where
    S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static,
    Upserts: MessageHandler<S::Unit>,
{
    let broker = Instantly::default();
    let subscription = Subscription::new("shipping", ["orders"]).prefetch(lanes * batch * 2);
    let consumer = Consumer::builder("shipping", store, Arc::new(broker.clone()), subscription)
        .handler("order.placed", Upserts(table.to_owned()))
        .lanes(lanes)
        .batch(batch)
        .build()?;
    let started = Instant::now();
    let done = async {
        while broker.settled.load(Relaxed) < MESSAGES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    consumer.run(done).await?;
    Ok(MESSAGES as f64 / started.elapsed().as_secs_f64())
}

macro_rules! floor {
    ($name:ident, $connection:ty, $note:literal, $values:literal) => {
        async fn $name(
            url: String,
            table: String,
            notes: String,
            batch: usize,
            ids: Vec<u64>,
            begin: &'static str,
        ) -> Result<(), AnyError> {
            let mut connection = <$connection>::connect(&url).await?;
            let (note, upsert) = (format!("INSERT INTO {notes} {}", $note), upsert(&table, $values));
            for some in ids.chunks(batch) {
                let mut transaction = connection.begin_with(begin).await?;
                for id in some {
                    let query = sqlx::query(AssertSqlSafe(note.clone()));
                    query.bind(format!("/shop#{id:08}")).execute(&mut *transaction).await?;
                }
                for id in some {
                    let message = message(*id)?;
                    let content: serde_json::Value = message.json()?;
                    let query = sqlx::query(AssertSqlSafe(upsert.clone())).bind((id % KEYS).to_string());
                    query.bind(content["cents"].as_i64().unwrap_or(0)).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            }
            Ok(())
        }
    };
}
floor!(sqlite_floor, SqliteConnection, "VALUES ('shipping', ?) ON CONFLICT DO NOTHING", "?, ?");

/// The notes of a batch are one statement here.
async fn postgres_floor(
    url: String,
    table: String,
    notes: String,
    batch: usize,
    ids: Vec<u64>,
) -> Result<(), AnyError> {
    let mut connection = PgConnection::connect(&url).await?;
    let note = format!("INSERT INTO {notes} SELECT 'shipping', unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING id");
    let upsert = upsert(&table, "$1, $2");
    for some in ids.chunks(batch) {
        let mut transaction = connection.begin().await?;
        let names: Vec<String> = some.iter().map(|id| format!("/shop#{id:08}")).collect();
        sqlx::query(AssertSqlSafe(note.clone())).bind(names).fetch_all(&mut *transaction).await?;
        for id in some {
            let message = message(*id)?;
            let content: serde_json::Value = message.json()?;
            let query = sqlx::query(AssertSqlSafe(upsert.clone())).bind((id % KEYS).to_string());
            query.bind(content["cents"].as_i64().unwrap_or(0)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    Ok(())
}

const TABLES: [&str; 2] = ["shipped", "notes"];

fn tables(schema: &str) -> String {
    let [shipped, notes] = TABLES.map(|table| format!("{schema}{table}"));
    format!(
        "CREATE TABLE IF NOT EXISTS {shipped} (id text PRIMARY KEY, cents bigint NOT NULL);
         CREATE TABLE IF NOT EXISTS {notes} (consumer text NOT NULL, id text NOT NULL, PRIMARY KEY (consumer, id));"
    )
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    for batch in [64, 256] {
        let folder = Folder::new();
        let store = SqliteStore::open(folder.path("shop.db")).await?;
        let url = format!("sqlite://{}", folder.path("shop.db").display());
        let mut connection = SqliteConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(tables(""))).execute(&mut connection).await?;
        connection.close().await?;
        let rate = consume(&store, "shipped", 1, batch).await?;
        let started = Instant::now();
        let [table, notes] = TABLES.map(str::to_owned);
        sqlite_floor(url, table, notes, batch, (0..MESSAGES).collect(), "BEGIN IMMEDIATE").await?;
        show("SQLite", 1, batch, rate, MESSAGES as f64 / started.elapsed().as_secs_f64());
    }
    for (lanes, batch) in [(1, 64), (1, 256), (4, 256)] {
        let (url, schema) = (shared_postgres_url(), unique_schema());
        let store = PgOptions::new(&url).schema(&schema).connect().await?;
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::raw_sql(AssertSqlSafe(tables(&format!("{schema}.")))).execute(&mut connection).await?;
        let [table, notes] = TABLES.map(|table| format!("{schema}.{table}"));
        let rate = consume(&store, &table, lanes, batch).await?;
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for lane in 0..lanes as u64 {
            // A key is in one lane.
            let ids = (0..MESSAGES).filter(|id| id % KEYS % lanes as u64 == lane).collect();
            tasks.spawn(postgres_floor(url.clone(), table.clone(), notes.clone(), batch, ids));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        show("PostgreSQL", lanes, batch, rate, MESSAGES as f64 / started.elapsed().as_secs_f64());
    }
    Ok(())
}

fn show(store: &str, lanes: usize, batch: usize, rate: f64, floor: f64) {
    let share = rate / floor * 100.0;
    println!("{store}, {lanes} lanes, batches of {batch}: {rate:.0} messages/s, by hand {floor:.0}/s: {share:.0} %");
}
