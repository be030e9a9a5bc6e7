//! What the relay itself costs for each message: events of the store in memory through a publisher that confirms at once, beside the same
//! messages given to the bare publisher.
//!
//! `cargo run --release -p es-messaging --example relay_overhead -- [events]`

use std::{
    error::Error,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use es_core::{Append, EventStore, ExpectedVersion, HandlerError, MemoryStore, NewEvent, Reactor, Recorded, StreamId};
use es_messaging::{Message, Outgoing, PublishError, Publisher, PublisherLimits, Relay, map_into};
use es_projections::Runner;
use es_testkit::bank::AccountEvent;
use serde::Serialize;

#[derive(Debug)]
struct Instantly;

#[async_trait]
impl Publisher for Instantly {
    fn limits(&self) -> PublisherLimits {
        PublisherLimits { message_bytes: 1_000_000, batch: 1_000 }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        std::hint::black_box(batch).iter().map(|_| Ok(())).collect()
    }
}

#[derive(Serialize)]
enum BankMessage {
    MoneyCame { cents: i64 },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let events: usize = std::env::args().nth(1).map_or(Ok(500_000), |count| count.parse())?;
    let store = MemoryStore::new();
    for n in 0..events / 100 {
        let deposits =
            (0..100).map(|_| NewEvent::of(&AccountEvent::Deposited { cents: 1 })).collect::<Result<_, _>>()?;
        let stream = StreamId::new("account", &format!("a{}", n % 997))?;
        store.append(&Append::to(stream, ExpectedVersion::Any, deposits).build()?).await?;
    }
    let publisher: Arc<dyn Publisher> = Arc::new(Instantly);
    for _ in 0..3 {
        let begun = now();
        let mut sent = 0;
        while sent < events {
            let message = Message::builder("bank.MoneyCame", "/bank").key("account/a1").json(&1)?;
            let batch: Vec<Outgoing> = (0..500)
                .map(|_| {
                    Ok(Outgoing { topic: "account.Deposited".to_owned(), message: message.clone().id("7").build()? })
                })
                .collect::<Result<_, Box<dyn Error>>>()?;
            sent += publisher.publish(&batch).await.len();
        }
        tell("bare publisher, messages built alike", events, begun);
        let name = format!("nothing_{}", uuid::Uuid::now_v7().simple());
        let runner = Runner::builder(&store).reactor(Nothing(name)).build()?;
        let begun = now();
        runner.catch_up().await?;
        tell("runner with a reactor that does nothing", events, begun);
        let mapper = map_into("bank.", |event: &Recorded<AccountEvent>| match event.event {
            AccountEvent::Deposited { cents } => Some(BankMessage::MoneyCame { cents }),
            _ => None,
        });
        let name = format!("relay_{}", uuid::Uuid::now_v7().simple());
        let relay = Relay::builder(name, "/bank", mapper).build(Arc::clone(&publisher), Arc::new(store.clone()))?;
        let monitor = relay.monitor();
        let runner = Runner::builder(&store).reactor_with(relay, Relay::options()).build()?;
        let begun = now();
        runner.catch_up().await?;
        tell("relay under the runner", events, begun);
        assert_eq!(monitor.status().published, events as u64);
    }
    Ok(())
}

/// Everything but the relay.
struct Nothing(String);

impl Reactor for Nothing {
    type Event = AccountEvent;

    fn name(&self) -> &str {
        &self.0
    }

    async fn react(&self, _: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        Ok(())
    }

    fn page_size(&self) -> usize {
        500
    }
}

/// Processor time of this thread, where the system tells: others may use the machine meanwhile.
fn now() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGUN.elapsed(), Duration::from_nanos)
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

fn tell(what: &str, events: usize, begun: Duration) {
    let took = now() - begun;
    let micros = took.as_secs_f64() * 1e6 / events as f64;
    println!("{what}: {events} in {took:.2?}, {:.0} a second, {micros:.2} us each", events as f64 / took.as_secs_f64());
}
