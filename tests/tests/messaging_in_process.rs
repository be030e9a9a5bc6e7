//! A relay and two consumers in one process, over the broker inside it: their tasks are aborted at random while 20 000 events go
//! through. Each takes effect exactly once. The same over every other broker, with processes that are killed, is a test of
//! `examples/orders`.
//!
//! `ES_ORDERS` says how many events, `ES_TEST_SEED` at which moments.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use es_core::{
    Append, ConsumerName, ConsumerStore, DomainEvent, EventStore, ExpectedVersion, NewEvent, Recorded, StreamId,
};
use es_e2e::server::Folder;
use es_messaging::{Broker, Consumer, Drafts, MemoryBroker, Relay, Subscription, Topology, map_with};
use es_projections::Runner;
use es_sqlite::SqliteStore;
use es_testkit::{SeededRng, bank::AccountEvent};
use tokio::task::JoinHandle;

const EVENTS: u64 = 20_000;
const STREAMS: u64 = 500;
const SECONDS: u64 = 6;
const TOPIC: &str = "account.Deposited";
const TYPE: &str = "bank.deposited";

async fn append_all(store: &SqliteStore, events: u64) {
    for stream in 0..STREAMS {
        let count = events / STREAMS + u64::from(stream < events % STREAMS);
        let deposits = (0..count).map(|number| AccountEvent::Deposited { cents: i64::try_from(number).unwrap() });
        let deposits = deposits.map(|event| NewEvent::of(&event).unwrap()).collect();
        let stream = StreamId::new(AccountEvent::CATEGORY, &format!("a{stream}")).unwrap();
        store.append(&Append::to(stream, ExpectedVersion::NoStream, deposits).build().unwrap()).await.unwrap();
    }
}

async fn relay(store: SqliteStore, broker: MemoryBroker) {
    let mapper = map_with(|event: &Recorded<AccountEvent>, messages: &mut Drafts<'_>| {
        let AccountEvent::Deposited { cents } = event.event else { return Ok(()) };
        let draft = messages.message(TYPE).json(&cents)?;
        messages.add(draft)
    });
    let relay = Relay::builder("deposits_out", "/bank", mapper).topic("{category}.{type}");
    let relay = relay.build(broker.publisher().await.unwrap(), Arc::new(store.clone())).unwrap();
    let runner = Runner::builder(&store).lease_time(Duration::from_millis(300)).reactor_with(relay, Relay::options());
    runner.build().unwrap().run(std::future::pending()).await.unwrap();
}

async fn consume(store: SqliteStore, broker: MemoryBroker, subscription: Subscription) {
    let consumer = Consumer::builder("receiver", &store, Arc::new(broker), subscription)
        .on(TYPE, |cents: i64, message, unit| {
            Box::pin(async move {
                // In the stream of the sender's name, in the order in which they come.
                let stream = StreamId::new(
                    AccountEvent::CATEGORY,
                    message.subject().unwrap_or_default().rsplit('/').next().unwrap_or_default(),
                )?;
                let event = NewEvent::of(&AccountEvent::Deposited { cents })?.with_metadata(message.metadata());
                unit.append(Append::to(stream, ExpectedVersion::Any, vec![event]).build()?)?;
                Ok(())
            })
        })
        .build()
        .unwrap();
    consumer.run(std::future::pending()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_relayed_takes_effect_once_and_in_order_however_often_both_sides_are_aborted() {
    let random = SeededRng::from_env();
    let events = std::env::var("ES_ORDERS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    let folder = Folder::new();
    let (sender, receiver) = (
        SqliteStore::open(folder.path("sender.db")).await.unwrap(),
        SqliteStore::open(folder.path("receiver.db")).await.unwrap(),
    );
    let broker = MemoryBroker::new();
    let subscription = Subscription::new("receivers", ["account.*"]).ack_wait(Duration::from_millis(500));
    broker.declare(&Topology::new([TOPIC], vec![subscription.clone()])).await.unwrap();
    append_all(&sender, events).await;

    let start = |which: u64| -> JoinHandle<()> {
        match which {
            0 => tokio::spawn(relay(sender.clone(), broker.clone())),
            _ => tokio::spawn(consume(receiver.clone(), broker.clone(), subscription.clone())),
        }
    };
    let mut tasks: Vec<JoinHandle<()>> = (0..3).map(start).collect();
    let (begun, mut aborted) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(SECONDS) {
        tokio::time::sleep(Duration::from_millis(random.below(300))).await;
        let victim = random.below(3);
        let index = usize::try_from(victim).unwrap();
        assert!(!tasks[index].is_finished(), "a task ended by itself");
        tasks[index].abort();
        tasks[index] = start(victim);
        aborted += 1;
    }
    let name = ConsumerName::new("deposits_out").unwrap();
    loop {
        let published = sender.checkpoint(&name).await.unwrap().map_or(0, |checkpoint| checkpoint.position.get());
        let arrived = receiver.head().await.unwrap().get();
        if published == events && arrived >= events {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{published} published and {arrived} arrived of {events}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tasks.iter().for_each(JoinHandle::abort);
    println!("{events} events in {:.1} s, {aborted} tasks aborted", begun.elapsed().as_secs_f64());

    assert_eq!(receiver.head().await.unwrap().get(), events);
    for stream in 0..STREAMS {
        let stream = StreamId::new(AccountEvent::CATEGORY, &format!("a{stream}")).unwrap();
        let of = async |store: &SqliteStore| {
            let page = store.read_stream(&stream, es_core::Version::ZERO, es_core::PageSize::default()).await.unwrap();
            page.events.iter().map(|event| event.payload().as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(&receiver).await, of(&sender).await, "{stream}");
    }
}
