//! Confirmed messages a second through the publisher and the subscriber, beside the bare client doing the same.
//!
//! `cargo run --release -p es-messaging-rabbitmq --example throughput -- amqp://guest:guest@localhost:5672/%2f`

use std::{error::Error, time::Duration, time::Instant};

use es_messaging::{Broker, Message, Outgoing, Settlement, Subscription, Topology};
use es_messaging_rabbitmq::{RabbitMq, RabbitMqOptions};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions},
    types::FieldTable,
};

const BATCH: usize = 500;
const BATCHES: usize = 40;
const PREFETCH: u16 = 1_000;

fn rate(what: &str, start: Instant) {
    println!("{what}: {:.0} messages/s", (BATCH * BATCHES) as f64 / start.elapsed().as_secs_f64());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("give the URL of a server")?;
    let options = RabbitMqOptions::default().exchange("throughput");
    let broker = RabbitMq::connect(&url, options).await?;
    let subscription = Subscription::new("throughput", ["measured"]).prefetch(PREFETCH.into());
    broker.declare(&Topology::new(["measured"], vec![subscription.clone()])).await?;
    let publisher = broker.publisher().await?;
    let message = |number: usize| {
        let builder =
            Message::builder("shop.order.placed", "/shop").id(number.to_string()).key(format!("order/{}", number % 97));
        let message = builder.data("application/json", vec![b'1'; 300]).build();
        message.map(|message| Outgoing { topic: "measured".to_owned(), message })
    };
    let batch: Vec<Outgoing> = (0..BATCH).map(message).collect::<Result<_, _>>()?;
    let bare = Connection::connect(&url, ConnectionProperties::default()).await?;
    for round in 1..=3 {
        println!("round {round}");
        let start = Instant::now();
        for _ in 0..BATCHES {
            for result in publisher.publish(&batch).await {
                result?;
            }
        }
        rate("publisher", start);
        let subscriber = broker.subscriber(&subscription).await?;
        let (start, mut count) = (Instant::now(), 0);
        while count < BATCH * BATCHES {
            let came = subscriber.receive(BATCH, Duration::from_secs(1)).await?;
            count += came.len();
            subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
        }
        rate("subscriber", start);
        subscriber.close().await?;

        let channel = bare.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let body = vec![b'1'; 300];
        let start = Instant::now();
        for _ in 0..BATCHES {
            let mut confirms = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
                let publishing =
                    channel.basic_publish("throughput".into(), "measured".into(), options, &body, properties.clone());
                confirms.push(publishing.await?);
            }
            for confirm in confirms {
                confirm.await?;
            }
        }
        rate("bare client, publishing", start);
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let mut consumer =
            channel.basic_consume("throughput".into(), "".into(), options, FieldTable::default()).await?;
        let start = Instant::now();
        for number in 1..=BATCH * BATCHES {
            let delivery = consumer.next().await.ok_or("the consumer ended")??;
            if number % BATCH == 0 {
                delivery.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        rate("bare client, receiving", start);
        channel.close(200, "done".into()).await?;
    }
    broker.close().await;
    Ok(())
}
