//! Messages per second through this crate, beside the client alone doing the same in batches of the same size. Needs nothing: it starts
//! its own server. `cargo run --release -p es-messaging-nats --example nats_throughput [ROUNDS]`
//!
//! The two sides alternate, and the ratio is the median of the rounds. The floor of the publisher sends the same headers, content and
//! window of acknowledgements; a second one sends nothing but the id that the server knows duplicates by.

use std::time::{Duration, Instant};

use async_nats::{
    HeaderMap,
    jetstream::{self, Context, consumer::PullConsumer, message::PublishMessage},
};
use es_messaging::{Broker, Message, Outgoing, Publisher, Settlement, Subscriber, Subscription, Topology};
use es_messaging_nats::{Nats, NatsOptions};
use futures_util::{StreamExt, future::join_all};
use xtask::brokers::nats::{NatsOptions as ServerOptions, ThrowawayNats};

const MESSAGES: usize = 20_000;
const BATCH: usize = 256;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn outgoing(run: &str, number: usize, keys: usize) -> Outgoing {
    let message = Message::builder("shop.order.placed", "/shop/orders")
        .id(format!("{run}{number:08}"))
        .subject("order/17")
        .key(format!("order/{}", number % keys))
        .json(&serde_json::json!({ "order": number, "cents": 1_999, "note": "x".repeat(120) }))
        .map(|builder| builder.build());
    Outgoing { topic: "order.placed".to_owned(), message: message.unwrap().unwrap() }
}

fn batches(run: &str, keys: usize) -> Vec<Vec<Outgoing>> {
    let all: Vec<_> = (0..MESSAGES).map(|number| outgoing(run, number, keys)).collect();
    all.chunks(BATCH).map(<[Outgoing]>::to_vec).collect()
}

fn rate(begin: Instant) -> f64 {
    MESSAGES as f64 / begin.elapsed().as_secs_f64()
}

async fn publish(publisher: &dyn Publisher, batches: &[Vec<Outgoing>]) -> Outcome<f64> {
    let begin = Instant::now();
    for batch in batches {
        for result in publisher.publish(batch).await {
            result?;
        }
    }
    Ok(rate(begin))
}

/// All headers that the publisher sends, as whoever writes for this one kind of message would write them.
fn all_headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{} {}", message.source(), message.id()));
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", message.id());
    headers.insert("ce-source", message.source());
    headers.insert("ce-type", message.message_type());
    headers.insert("ce-subject", message.subject().unwrap_or_default());
    headers.insert("ce-partitionkey", message.key().unwrap_or_default());
    headers.insert("ce-datacontenttype", message.content_type());
    headers
}

async fn publish_bare(jetstream: &Context, batches: &[Vec<Outgoing>], same_headers: bool) -> Outcome<f64> {
    let begin = Instant::now();
    for batch in batches {
        let mut acks = Vec::with_capacity(batch.len());
        for one in batch {
            let message = PublishMessage::build().payload(one.message.data().to_vec().into());
            let message = if same_headers {
                message.headers(all_headers(&one.message)).expected_stream("EVENTS")
            } else {
                message.message_id(one.message.id())
            };
            acks.push(jetstream.send_publish("events.bare", message).await?);
        }
        for ack in acks {
            ack.await?;
        }
    }
    Ok(rate(begin))
}

async fn receive(subscriber: &dyn Subscriber) -> Outcome<f64> {
    let (begin, mut seen) = (Instant::now(), 0);
    while seen < MESSAGES {
        let came = subscriber.receive(BATCH.min(MESSAGES - seen), Duration::from_secs(5)).await?;
        seen += came.len();
        subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
    }
    Ok(rate(begin))
}

async fn receive_bare(consumer: &PullConsumer) -> Outcome<f64> {
    let (begin, mut seen) = (Instant::now(), 0);
    while seen < MESSAGES {
        let fetched = consumer.fetch().max_messages(BATCH.min(MESSAGES - seen)).messages().await?;
        let came: Vec<_> = fetched.filter_map(|message| async { message.ok() }).collect().await;
        seen += came.len();
        for done in join_all(came.iter().map(|message| message.double_ack())).await {
            done.map_err(|error| error.to_string())?;
        }
    }
    Ok(rate(begin))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn show(what: &str, own: &[f64], floor: &[f64]) {
    let ratio = median(own.iter().zip(floor).map(|(own, floor)| own / floor).collect());
    let (own, floor) = (median(own.to_vec()), median(floor.to_vec()));
    println!("{what:<56} {own:>8.0} beside {floor:>8.0} messages/s, ratio {ratio:.2}");
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(5).max(1);
    let install = xtask::tools::ensure_nats()?;
    for (name, server_options) in
        [("sync_interval 2 min", ServerOptions::default()), ("sync always", ServerOptions::durable())]
    {
        println!("== {name}, batches of {BATCH}, {rounds} rounds of {MESSAGES} messages");
        let server = ThrowawayNats::start(&install, &server_options)?;
        let nats = Nats::connect(&server.url(), NatsOptions::new().assume_synced()).await?;
        let all = Subscription::new("all", ["order.placed"]).prefetch(BATCH);
        let bare = Subscription::new("bare", ["order.placed"]);
        nats.declare(&Topology::new(["order.placed"], vec![all.clone(), bare])).await?;
        let jetstream = jetstream::new(async_nats::connect(server.url()).await?);
        let publisher = nats.publisher().await?;

        let (mut own, mut few, mut same, mut one) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            own.push(publish(&*publisher, &batches(&format!("a{round}-"), BATCH)).await?);
            same.push(publish_bare(&jetstream, &batches(&format!("b{round}-"), BATCH), true).await?);
            few.push(publish(&*publisher, &batches(&format!("c{round}-"), 16)).await?);
            one.push(publish_bare(&jetstream, &batches(&format!("d{round}-"), BATCH), false).await?);
        }
        show("publisher, 256 keys; client, same headers", &own, &same);
        show("publisher, 256 keys; client, one header", &own, &one);
        show("publisher, 16 keys; client, same headers", &few, &same);

        let subscriber = nats.subscriber(&all).await?;
        let stream = jetstream.get_stream("EVENTS").await?;
        let consumer: PullConsumer = stream.get_consumer("bare").await.map_err(|error| error.to_string())?;
        let (mut own, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            own.push(receive(&*subscriber).await?);
            floor.push(receive_bare(&consumer).await?);
        }
        show("subscriber; client; acknowledgements confirmed", &own, &floor);
    }
    Ok(())
}
