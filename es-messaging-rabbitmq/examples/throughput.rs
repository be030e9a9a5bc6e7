//! Confirmed messages a second through the publisher and the subscriber, beside the bare client doing the same with equal messages (the same
//! headers and properties), and with messages that have no headers.
//!
//! `cargo run --release -p es-messaging-rabbitmq --example throughput -- amqp://guest:guest@localhost:5672/%2f`

use std::{error::Error, time::Duration, time::Instant};

use es_messaging::{Broker, Message, Outgoing, Publisher, Settlement, Subscription, Topology};
use es_messaging_rabbitmq::{RabbitMq, RabbitMqOptions};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const BATCH: usize = 500;
const BATCHES: usize = 40;
const PREFETCH: u16 = 1_000;
const ROUNDS: usize = 5;
const NAME: &str = "throughput";
const TOPIC: &str = "measured";

fn rate(start: Instant) -> f64 {
    (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64()
}

fn outgoing(number: usize) -> Result<Outgoing> {
    let builder =
        Message::builder("shop.order.placed", "/shop").id(number.to_string()).key(format!("order/{}", number % 97));
    let message = builder.data("application/json", vec![b'1'; 300]).build()?;
    Ok(Outgoing { topic: TOPIC.to_owned(), message })
}

/// What the publisher sends with a message.
fn equal(outgoing: &Outgoing) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in outgoing.message.attributes() {
        headers.insert(format!("cloudEvents:{name}").into(), AMQPValue::LongString(value.into()));
    }
    without_headers(outgoing).with_headers(headers).with_message_id(outgoing.message.id().into())
}

fn without_headers(_: &Outgoing) -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into())
}

async fn publish(publisher: &dyn Publisher, batch: &[Outgoing]) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..BATCHES {
        for result in publisher.publish(batch).await {
            result?;
        }
    }
    Ok(rate(start))
}

/// Receives what is there, and acknowledges whenever at least so many are held.
async fn receive(broker: &RabbitMq, subscription: &Subscription, step: usize) -> Result<f64> {
    let subscriber = broker.subscriber(subscription).await?;
    let (start, mut count, mut held) = (Instant::now(), 0, Vec::with_capacity(2 * BATCH));
    while count < BATCH * BATCHES {
        let came = subscriber.receive(BATCH, Duration::from_secs(1)).await?;
        count += came.len();
        held.extend(came.into_iter().map(|one| (one.receipt, Settlement::Ack)));
        if held.len() >= step || count == BATCH * BATCHES {
            subscriber.settle(std::mem::take(&mut held)).await?;
        }
    }
    let rate = rate(start);
    subscriber.close().await?;
    Ok(rate)
}

async fn publish_bare(bare: &Connection, batch: &[(&Outgoing, BasicProperties)]) -> Result<f64> {
    let channel = bare.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let start = Instant::now();
    for _ in 0..BATCHES {
        let mut confirms = Vec::with_capacity(BATCH);
        for (outgoing, properties) in batch {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let (body, properties) = (outgoing.message.data(), properties.clone());
            confirms.push(channel.basic_publish(NAME.into(), TOPIC.into(), options, body, properties).await?);
        }
        for confirm in confirms {
            confirm.await?;
        }
    }
    let rate = rate(start);
    channel.close(200, "done".into()).await?;
    Ok(rate)
}

/// The same with the bare client.
async fn receive_bare(bare: &Connection, step: usize) -> Result<f64> {
    let channel = bare.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(NAME.into(), "".into(), options, FieldTable::default()).await?;
    let mut consumer = consumer.ready_chunks(BATCH);
    let (start, mut count, mut held) = (Instant::now(), 0, 0);
    while count < BATCH * BATCHES {
        let came = consumer.next().await.ok_or("the consumer ended")?;
        count += came.len();
        held += came.len();
        let last = came.into_iter().try_fold(0, |_, one| one.map(|one| one.delivery_tag))?;
        if held >= step || count == BATCH * BATCHES {
            channel.basic_ack(last, BasicAckOptions { multiple: true }).await?;
            held = 0;
        }
    }
    let rate = rate(start);
    channel.close(200, "done".into()).await?;
    Ok(rate)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).ok_or("give the URL of a server")?;
    let broker = RabbitMq::connect(&url, RabbitMqOptions::default().exchange(NAME)).await?;
    let subscription = Subscription::new(NAME, [TOPIC]).prefetch(PREFETCH.into());
    broker.declare(&Topology::new([TOPIC], vec![subscription.clone()])).await?;
    let publisher = broker.publisher().await?;
    let batch: Vec<Outgoing> = (0..BATCH).map(outgoing).collect::<Result<_>>()?;
    let [equal, light] =
        [equal, without_headers].map(|properties| batch.iter().map(|one| (one, properties(one))).collect::<Vec<_>>());
    let bare = Connection::connect(&url, ConnectionProperties::default()).await?;
    let mut rates: [[Vec<f64>; 3]; 3] = Default::default();
    for round in 0..=ROUNDS {
        // Own and bare in turn, so that what else the machine does meets both.
        let mut all = [[0.0; 3]; 3];
        for (step, column) in [(1, 1), (BATCH, 2)] {
            all[0][0] = publish(&*publisher, &batch).await?;
            all[0][column] = receive(&broker, &subscription, step).await?;
            for (row, properties) in [(1, &equal), (2, &light)] {
                all[row][0] = publish_bare(&bare, properties).await?;
                all[row][column] = receive_bare(&bare, step).await?;
            }
        }
        // The first one warms up.
        for (row, column) in (0..9).map(|cell| (cell / 3, cell % 3)).filter(|_| round > 0) {
            rates[row][column].push(all[row][column]);
        }
    }
    println!(
        "messages/s, medians of {ROUNDS} rounds: published; received and acknowledged as they come, and by {BATCH}"
    );
    let [own, equal, light] = rates.map(|row| row.map(median));
    println!("publisher and subscriber:     {own:8.0?}");
    for (what, floor) in [("bare client, equal messages: ", equal), ("bare client, without headers:", light)] {
        let ratios = [0, 1, 2].map(|column| own[column] / floor[column]);
        println!("{what} {floor:8.0?}  ratios {ratios:.2?}");
    }
    broker.close().await;
    Ok(())
}
