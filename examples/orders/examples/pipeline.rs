//! How many messages a second go from the log of one store through a broker into another, and how long one takes.
//!
//! `cargo run --release -p orders --features nats --example pipeline -- nats://127.0.0.1:4222 [MESSAGES]`
//!
//! A relay publishes with confirmation what is in the log. A consumer lets it take effect, an event and a note each, in transactions of SQLite
//! with its default durability; and beside it, several times in turns, the floor: the same messages from a subscriber, and the same rows by
//! hand, a statement for the notes and one for the events of each batch, acknowledged behind the commit. At last single events, from their
//! append to the commit of the consumer. How a subscriber compares with the bare client is in the examples of the brokers' crates.

#[path = "../src/broker.rs"]
#[expect(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]
mod broker;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use es_core::{Append, DomainEvent, EventStore, ExpectedVersion, NewEvent, Recorded, StreamId};
use es_messaging::{Broker, Consumer, Drafts, MemoryBroker, Relay, Settlement, Subscription, Topology, map_with};
use es_projections::Runner;
use es_sqlite::{
    SqliteStore,
    sqlx::{
        self, ConnectOptions, Connection,
        sqlite::{SqliteConnectOptions, SqliteSynchronous},
        types::Json,
    },
};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::sleep};

type Error = Box<dyn std::error::Error + Send + Sync>;

const STREAMS: u64 = 1_000;
/// Of one append that fills the log.
const STREAMS_AT_ONCE: usize = 100;
/// In the floor's transactions too.
const BATCH: usize = es_messaging::limits::DEFAULT_BATCH;
const ROUNDS: usize = 3;
const PREFETCH: usize = 2_000;
const SINGLE: u64 = 300;
const TYPE: &str = "pipeline.counted";
const TOPIC: &str = "counter.Counted";

#[derive(Serialize, Deserialize)]
enum CounterEvent {
    Counted { number: u64 },
}

impl DomainEvent for CounterEvent {
    const CATEGORY: &'static str = "counter";
}

fn stream_of(number: u64) -> Result<StreamId, Error> {
    Ok(StreamId::new(CounterEvent::CATEGORY, &format!("c{}", number % STREAMS))?)
}

fn counted(number: u64) -> Result<Append, Error> {
    Ok(Append::to(stream_of(number)?, ExpectedVersion::Any, vec![event_of(number)?]).build()?)
}

fn event_of(number: u64) -> Result<NewEvent, Error> {
    Ok(NewEvent::of(&CounterEvent::Counted { number })?)
}

/// One event after the other to different streams, as many users of a service make them.
async fn fill(store: &SqliteStore, messages: u64) -> Result<(), Error> {
    let numbers: Vec<u64> = (0..messages).collect();
    for some in numbers.chunks(STREAMS_AT_ONCE) {
        let mut append = Append::builder();
        for number in some {
            append = append.and(stream_of(*number)?, ExpectedVersion::Any, vec![event_of(*number)?]);
        }
        store.append(&append.build()?).await?;
    }
    Ok(())
}

async fn relay(store: &SqliteStore, broker: &dyn Broker) -> Result<Runner, Error> {
    let mapper = map_with(|event: &Recorded<CounterEvent>, messages: &mut Drafts<'_>| {
        let CounterEvent::Counted { number } = event.event;
        let draft = messages.message(TYPE).json(&number)?;
        messages.add(draft)
    });
    let relay = Relay::builder("counter_out", "/pipeline", mapper);
    let relay = relay.build(broker.publisher().await?, Arc::new(store.clone()))?;
    Ok(Runner::builder(store).reactor_with(relay, Relay::options()).build()?)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("give the URL of a broker, or memory:")?;
    let messages = arguments.next().map_or(Ok(20_000), |count| count.parse::<u64>())?;
    let folder = std::env::temp_dir().join(format!("pipeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = measure(&folder, &url, messages).await;
    std::fs::remove_dir_all(&folder)?;
    done
}

fn subscription(name: &str) -> Subscription {
    Subscription::new(name, [TOPIC]).prefetch(PREFETCH)
}

fn consumer(store: &SqliteStore, broker: &Arc<dyn Broker>, name: &str) -> Result<Consumer<SqliteStore>, Error> {
    let consumer = Consumer::builder("pipeline", store, Arc::clone(broker), subscription(name)).on(
        TYPE,
        |number: u64, _, unit| {
            Box::pin(async move {
                unit.append(counted(number).map_err(std::io::Error::other)?)?;
                Ok(())
            })
        },
    );
    Ok(consumer.lanes(1).build()?)
}

/// Lets all that is published take effect, by a consumer.
async fn consume(file: &Path, broker: &Arc<dyn Broker>, name: &str, messages: u64) -> Result<Duration, Error> {
    let store = SqliteStore::open(file).await?;
    let consumer = consumer(&store, broker, name)?;
    let begun = Instant::now();
    let done = async {
        while consumer.status().handled < messages {
            sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = consumer.run(async { _ = stopped.await });
    let waiting = async {
        let took = done.await;
        drop(stop);
        took
    };
    let (ended, took) = tokio::join!(running, waiting);
    ended?;
    store.close().await?;
    Ok(took)
}

const NOTES: &str = "INSERT INTO es_inbox_0 (consumer, id) SELECT 'floor', value FROM json_each(?1) WHERE true
                     ON CONFLICT DO NOTHING RETURNING id";
const EVENTS: &str = "INSERT INTO es_events
                          (position, version, stream, category, event_id, type, metadata, payload, recorded_at)
                      SELECT ?2 + key,
                             (SELECT coalesce(max(e.version), 0) FROM es_events e WHERE e.stream = value ->> 0)
                                  + row_number() OVER (PARTITION BY value ->> 0 ORDER BY key),
                             value ->> 0, 'counter', unhex(value ->> 1), 'Counted', '{}', value ->> 2, ?3
                      FROM json_each(?1)";

/// The same by hand.
async fn by_hand(file: &Path, broker: &Arc<dyn Broker>, name: &str, messages: u64) -> Result<Duration, Error> {
    // For its tables.
    SqliteStore::open(file).await?.close().await?;
    let options = SqliteConnectOptions::new().filename(file).synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await?;
    let subscriber = broker.subscriber(&subscription(name)).await?;
    let begun = Instant::now();
    let mut stored = 0;
    while stored < messages {
        let deliveries = subscriber.receive(BATCH, Duration::from_secs(5)).await?;
        let (mut ids, mut rows, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for delivery in deliveries {
            let message = delivery.content.map_err(|undecodable| undecodable.error)?;
            let number: u64 = message.json()?;
            ids.push(format!("{}#{}", message.source(), message.id()));
            let event = NewEvent::of(&CounterEvent::Counted { number })?;
            let id = event.id().simple().to_string();
            rows.push((format!("counter/c{}", number % STREAMS), id, event.payload().as_str().to_owned()));
            done.push((delivery.receipt, Settlement::Ack));
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let notes = sqlx::query(NOTES).bind(Json(&ids)).fetch_all(&mut *transaction).await?;
        if notes.len() < ids.len() {
            return Err("a message came twice; the floor is for a quiet broker".into());
        }
        let now = i64::try_from(begun.elapsed().as_micros())?;
        let events = sqlx::query(EVENTS).bind(Json(&rows));
        events.bind(i64::try_from(stored + 1)?).bind(now).execute(&mut *transaction).await?;
        transaction.commit().await?;
        stored += done.len() as u64;
        subscriber.settle(done).await?;
    }
    let took = begun.elapsed();
    subscriber.close().await?;
    Ok(took)
}

async fn measure(folder: &Path, url: &str, messages: u64) -> Result<(), Error> {
    let sender = SqliteStore::open(folder.join("sender.db")).await?;
    let broker: Arc<dyn Broker> = match url {
        "memory:" => Arc::new(MemoryBroker::new()),
        url => broker::connect(url).await?,
    };
    let names = |kind: &str| (0..ROUNDS).map(|round| format!("pipeline_{kind}_{round}")).collect::<Vec<_>>();
    let (own, floors) = (names("own"), names("floor"));
    let subscriptions = own.iter().chain(&floors).map(|name| subscription(name)).collect();
    broker.declare(&Topology::new([TOPIC], subscriptions)).await?;
    fill(&sender, messages).await?;

    let runner = relay(&sender, &*broker).await?;
    let begun = Instant::now();
    runner.catch_up().await?;
    report("relayed and confirmed", messages, begun.elapsed());

    let file = |name: &str| folder.join(format!("{name}.db"));
    let mut shares = Vec::new();
    for (own, floor) in own.iter().zip(&floors) {
        let took = consume(&file(own), &broker, own, messages).await?;
        let took_by_hand = by_hand(&file(floor), &broker, floor, messages).await?;
        report("received and taken effect", messages, took);
        report("the same by hand", messages, took_by_hand);
        shares.push(took_by_hand.as_secs_f64() / took.as_secs_f64() * 100.0);
    }
    shares.sort_by(f64::total_cmp);
    println!(
        "share of what goes by hand: {:.0} % (from {:.0} to {:.0} %)",
        shares[ROUNDS / 2],
        shares[0],
        shares[ROUNDS - 1]
    );
    delays(&sender, &file(&own[0]), &broker, &own[0], runner, messages).await
}

/// Single events, from the append to the commit of the consumer.
async fn delays(
    sender: &SqliteStore,
    file: &Path,
    broker: &Arc<dyn Broker>,
    name: &str,
    runner: Runner,
    messages: u64,
) -> Result<(), Error> {
    let receiver = SqliteStore::open(file).await?;
    let consumer = consumer(&receiver, broker, name)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (stop_relay, relay_stopped) = oneshot::channel::<()>();
    let consuming = tokio::spawn(async move { consumer.run(async { _ = stopped.await }).await });
    let relaying = tokio::spawn(async move { runner.run(async { _ = relay_stopped.await }).await });
    sleep(Duration::from_millis(500)).await;
    let mut delays = Vec::new();
    for number in messages..messages + SINGLE {
        sender.append(&counted(number)?).await?;
        let appended = Instant::now();
        while receiver.head().await?.get() <= number {
            tokio::task::yield_now().await;
        }
        delays.push(appended.elapsed());
    }
    delays.sort_unstable();
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
    println!("from the append to the consumer's commit: p50 {:.2} ms, p99 {:.2} ms", at(50), at(99));
    drop((stop, stop_relay));
    consuming.await??;
    relaying.await??;
    Ok(())
}

fn report(what: &str, messages: u64, took: Duration) {
    println!(
        "{what}: {:.0} messages/s ({messages} in {:.2} s)",
        messages as f64 / took.as_secs_f64(),
        took.as_secs_f64()
    );
}
