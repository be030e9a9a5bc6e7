//! Messages per second through this crate, beside the client alone doing the same in batches of the same size. Needs nothing: it starts
//! its own server. `cargo run --release -p es-messaging-nats --example nats_throughput`

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::PullConsumer, message::PublishMessage};
use es_messaging::{Broker, Message, Outgoing, Settlement, Subscription, Topology};
use es_messaging_nats::{Nats, NatsOptions};
use futures_util::{StreamExt, future::join_all};
use xtask::brokers::nats::{NatsOptions as ServerOptions, ThrowawayNats};

const MESSAGES: usize = 20_000;
const BATCH: usize = 256;

fn outgoing(run: &str, number: usize, keys: usize) -> Outgoing {
    let message = Message::builder("shop.order.placed", "/shop/orders")
        .id(format!("{run}{number:08}"))
        .subject("order/17")
        .key(format!("order/{}", number % keys))
        .json(&serde_json::json!({ "order": number, "cents": 1_999, "note": "x".repeat(120) }))
        .map(|builder| builder.build());
    Outgoing { topic: "order.placed".to_owned(), message: message.unwrap().unwrap() }
}

fn rate(what: &str, begin: Instant) -> f64 {
    let rate = MESSAGES as f64 / begin.elapsed().as_secs_f64();
    println!("{what:<52} {rate:>9.0} messages/s");
    rate
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let install = xtask::tools::ensure_nats()?;
    for (name, server_options) in
        [("sync_interval 2 min", ServerOptions::default()), ("sync always", ServerOptions::durable())]
    {
        println!("== {name}, batches of {BATCH}");
        let server = ThrowawayNats::start(&install, &server_options)?;
        let nats = Nats::connect(&server.url(), NatsOptions::new().assume_synced()).await?;
        let all = Subscription::new("all", ["#"]).prefetch(BATCH);
        nats.declare(&Topology::new(["order.placed"], vec![all.clone(), Subscription::new("bare", ["#"])])).await?;
        let jetstream = jetstream::new(async_nats::connect(server.url()).await?);

        for (run, keys) in [("a", BATCH), ("b", 16)] {
            let batches: Vec<Vec<Outgoing>> = (0..MESSAGES)
                .map(|number| outgoing(run, number, keys))
                .collect::<Vec<_>>()
                .chunks(BATCH)
                .map(<[Outgoing]>::to_vec)
                .collect();
            let publisher = nats.publisher().await?;
            let begin = Instant::now();
            for batch in &batches {
                for result in publisher.publish(batch).await {
                    result?;
                }
            }
            let own = rate(&format!("publisher, {keys} keys"), begin);
            if keys == BATCH {
                let begin = Instant::now();
                for batch in &batches {
                    let mut acks = Vec::with_capacity(batch.len());
                    for one in batch {
                        let payload = one.message.data().to_vec().into();
                        let id = format!("bare{}", one.message.id());
                        let message = PublishMessage::build().payload(payload).message_id(id);
                        acks.push(jetstream.send_publish("events.bare", message).await?);
                    }
                    for ack in acks {
                        ack.await?;
                    }
                }
                let bare = rate("client alone", begin);
                println!("{:>52} {:>8.0} %", "", own / bare * 100.0);
            }
        }

        let subscriber = nats.subscriber(&all).await?;
        let (begin, mut seen) = (Instant::now(), 0);
        while seen < MESSAGES {
            let came = subscriber.receive(BATCH, Duration::from_secs(5)).await?;
            seen += came.len();
            subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
        }
        let own = rate("subscriber, acknowledgements confirmed", begin);
        let stream = jetstream.get_stream("EVENTS").await?;
        let consumer: PullConsumer = stream.get_consumer("bare").await.map_err(|error| error.to_string())?;
        let (begin, mut seen) = (Instant::now(), 0);
        while seen < MESSAGES {
            let fetched = consumer.fetch().max_messages(BATCH).messages().await?;
            let came: Vec<_> = fetched.filter_map(|message| async { message.ok() }).collect().await;
            seen += came.len();
            for done in join_all(came.iter().map(|message| message.double_ack())).await {
                done.map_err(|error| error.to_string())?;
            }
        }
        let bare = rate("client alone, acknowledgements confirmed", begin);
        println!("{:>52} {:>8.0} %", "", own / bare * 100.0);
    }
    Ok(())
}
