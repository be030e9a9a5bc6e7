//! How many messages a second go from the log of one store through a broker into another, and how long one takes.
//!
//! `cargo run --release -p orders --features nats --example pipeline -- nats://127.0.0.1:4222 [MESSAGES]`
//!
//! Three figures, one after the other: a relay that publishes with confirmation what is in the log; a consumer that lets it take effect, an event
//! and a note each, in transactions of SQLite with its default durability; and single events from their append to the commit of the
//! consumer. The floors, the bare clients in confirmed batches, are examples of the crates of the brokers.

#[path = "../src/broker.rs"]
#[expect(unreachable_pub, reason = "in a program, `pub` says what a module offers to the others")]
mod broker;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use es_core::{Append, DomainEvent, EventStore, ExpectedVersion, NewEvent, Recorded, StreamId};
use es_messaging::{Broker, Consumer, Drafts, Relay, Subscription, Topology, map_with};
use es_projections::Runner;
use es_sqlite::SqliteStore;
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::sleep};

type Error = Box<dyn std::error::Error + Send + Sync>;

const STREAMS: u64 = 1_000;
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

fn counted(number: u64) -> Result<Append, Error> {
    let stream = StreamId::new(CounterEvent::CATEGORY, &format!("c{}", number % STREAMS))?;
    let event = NewEvent::of(&CounterEvent::Counted { number })?;
    Ok(Append::to(stream, ExpectedVersion::Any, vec![event]).build()?)
}

async fn fill(store: &SqliteStore, messages: u64) -> Result<(), Error> {
    for stream in 0..STREAMS.min(messages) {
        let numbers = (stream..messages).step_by(usize::try_from(STREAMS)?);
        let events = numbers.map(|number| NewEvent::of(&CounterEvent::Counted { number })).collect::<Result<_, _>>()?;
        let stream = StreamId::new(CounterEvent::CATEGORY, &format!("c{stream}"))?;
        store.append(&Append::to(stream, ExpectedVersion::Any, events).build()?).await?;
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

async fn measure(folder: &Path, url: &str, messages: u64) -> Result<(), Error> {
    let (sender, receiver) =
        (SqliteStore::open(folder.join("sender.db")).await?, SqliteStore::open(folder.join("receiver.db")).await?);
    let broker = broker::connect(url).await?;
    let subscription = Subscription::new("pipeline", [TOPIC]).prefetch(2_000);
    broker.declare(&Topology::new([TOPIC], vec![subscription.clone()])).await?;
    fill(&sender, messages).await?;

    let runner = relay(&sender, &*broker).await?;
    let begun = Instant::now();
    runner.catch_up().await?;
    report("relayed and confirmed", messages, begun.elapsed());

    let consumer = Consumer::builder("pipeline", &receiver, Arc::clone(&broker), subscription)
        .on(TYPE, |number: u64, _, unit| {
            Box::pin(async move {
                unit.append(counted(number).map_err(std::io::Error::other)?)?;
                Ok(())
            })
        })
        .build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let monitor = consumer.monitor();
    let begun = Instant::now();
    let consuming = tokio::spawn(async move {
        consumer
            .run(async {
                _ = stopped.await;
            })
            .await
    });
    while monitor.status().handled < messages {
        sleep(Duration::from_millis(2)).await;
    }
    report("received and taken effect", messages, begun.elapsed());

    let (stop_relay, relay_stopped) = oneshot::channel::<()>();
    let relaying = tokio::spawn(async move {
        runner
            .run(async {
                _ = relay_stopped.await;
            })
            .await
    });
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
