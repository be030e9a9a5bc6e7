//! Messages per second through this crate, beside the client alone doing the same in batches of the same size. Needs nothing: it starts
//! its own server. `cargo run --release -p es-messaging-redis --example redis_throughput`

use std::time::{Duration, Instant};

use es_messaging::{Broker, Message, Outgoing, Settlement, Subscription, Topology};
use es_messaging_redis::{RedisOptions, RedisStreams};
use redis::{Pipeline, Value, streams::StreamReadReply};
use xtask::brokers::redis::{RedisOptions as ServerOptions, ThrowawayRedis};

const MESSAGES: usize = 40_000;
const BATCH: usize = 256;

fn outgoing(number: usize) -> Outgoing {
    let message = Message::builder("shop.order.placed", "/shop/orders")
        .id(format!("{number:08}"))
        .subject("order/17")
        .key(format!("order/{}", number % 16))
        .json(&serde_json::json!({ "order": number, "cents": 1_999, "note": "x".repeat(120) }))
        .map(|builder| builder.build());
    Outgoing { topic: "order.placed".to_owned(), message: message.unwrap().unwrap() }
}

fn rate(what: &str, begin: Instant) -> f64 {
    let rate = MESSAGES as f64 / begin.elapsed().as_secs_f64();
    println!("{what:<40} {rate:>9.0} messages/s");
    rate
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let install = xtask::tools::ensure_redis()?;
    for (name, server_options) in
        [("no file", ServerOptions::default()), ("appendfsync always", ServerOptions::durable())]
    {
        println!("== {name}, batches of {BATCH}");
        let server = ThrowawayRedis::start(&install, &server_options)?;
        let broker = RedisStreams::connect(&server.url(), RedisOptions::new().assume_durable()).await?;
        let all = Subscription::new("all", ["#"]).prefetch(BATCH);
        broker
            .declare(&Topology::new(
                ["order.placed", "bare"],
                vec![all.clone(), Subscription::new("bare", ["order.#"])],
            ))
            .await?;
        let mut client = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
        let messages: Vec<Outgoing> = (0..MESSAGES).map(outgoing).collect();

        let publisher = broker.publisher().await?;
        let begin = Instant::now();
        for batch in messages.chunks(BATCH) {
            for result in publisher.publish(batch).await {
                result?;
            }
        }
        let own = rate("publisher", begin);
        let begin = Instant::now();
        for batch in messages.chunks(BATCH) {
            let mut transaction = Pipeline::new();
            transaction.atomic();
            for one in batch {
                transaction
                    .cmd("XADD")
                    .arg("bare")
                    .arg("*")
                    .arg("id")
                    .arg(one.message.id())
                    .arg("data")
                    .arg(one.message.data());
            }
            transaction.query_async::<Vec<Value>>(&mut client).await?;
        }
        let bare = rate("client alone, id and content", begin);
        println!("{:>40} {:>8.0} %", "", own / bare * 100.0);
        let begin = Instant::now();
        for batch in messages.chunks(BATCH) {
            let mut transaction = Pipeline::new();
            transaction.atomic();
            for one in batch {
                let command = transaction.cmd("XADD").arg("bare2").arg("*");
                for (name, value) in one.message.attributes() {
                    command.arg(format!("ce_{name}")).arg(value);
                }
                command.arg("data").arg(one.message.data());
            }
            transaction.query_async::<Vec<Value>>(&mut client).await?;
        }
        let bare = rate("client alone, all attributes", begin);
        println!("{:>40} {:>8.0} %", "", own / bare * 100.0);

        let subscriber = broker.subscriber(&all).await?;
        let (begin, mut seen) = (Instant::now(), 0);
        while seen < MESSAGES {
            let came = subscriber.receive(BATCH, Duration::from_secs(5)).await?;
            seen += came.len();
            subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
        }
        let own = rate("subscriber", begin);
        let key = broker.stream_key("order.placed");
        let (begin, mut seen) = (Instant::now(), 0);
        while seen < MESSAGES {
            let mut read = redis::cmd("XREADGROUP");
            read.arg("GROUP").arg("bare").arg("c").arg("COUNT").arg(BATCH).arg("STREAMS").arg(&key).arg(">");
            let came: StreamReadReply = read.query_async(&mut client).await?;
            let ids: Vec<String> = came.keys.into_iter().flat_map(|key| key.ids).map(|entry| entry.id).collect();
            seen += ids.len();
            let mut ack = redis::cmd("XACK");
            ack.arg(&key).arg("bare").arg(&ids);
            ack.query_async::<u64>(&mut client).await?;
        }
        let bare = rate("client alone, read and acknowledged", begin);
        println!("{:>40} {:>8.0} %", "", own / bare * 100.0);
    }
    Ok(())
}
