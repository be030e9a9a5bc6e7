//! Messages per second through this crate, beside the SDK alone doing the same calls with the same content, as many at a time. Needs
//! nothing: it starts its own moto, which manages some hundred messages a second; so the ratio says something, the rates do not.
//! `cargo run --release -p es-messaging-sqs --example sqs_throughput [rounds]`

#[path = "../tests/moto/clients.rs"]
mod clients;

use std::time::{Duration, Instant};

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use es_messaging::{Broker, Message, Outgoing, Settlement, Subscription, Topology};
use es_messaging_sqs::{Sqs, SqsOptions, limits};
use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use xtask::brokers::moto::ThrowawayMoto;

use clients::clients;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const MESSAGES: usize = 500;
const KEYS: usize = 200;
const TOPIC: &str = "order.placed";

fn outgoing(number: usize) -> Outgoing {
    let message = Message::builder("shop.order.placed", "/shop/orders")
        .id(format!("{number:08}"))
        .subject("order/17")
        .key(format!("order/{}", number % KEYS))
        .json(&serde_json::json!({ "order": number, "cents": 1_999, "note": "x".repeat(120) }))
        .map(|builder| builder.build());
    Outgoing { topic: TOPIC.to_owned(), message: message.unwrap().unwrap() }
}

/// The SDK, without anything of this crate.
struct Bare {
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
    fifo: bool,
}

impl Bare {
    fn new(port: u16, fifo: bool) -> Self {
        let (sqs, sns) = clients(port);
        Self { sqs, sns, fifo }
    }

    async fn topic(&self, prefix: &str) -> Result<String> {
        let topics = self.sns.list_topics().send().await?;
        let mut arns = topics.topics().iter().filter_map(|topic| topic.topic_arn());
        let name = format!(":{prefix}-messages");
        Ok(arns.find(|arn| arn.contains(&name)).ok_or("there is no such topic")?.to_owned())
    }

    async fn queue(&self, prefix: &str) -> Result<String> {
        let name = format!("{prefix}-all{}", if self.fifo { ".fifo" } else { "" });
        Ok(self.sqs.get_queue_url().queue_name(name).send().await?.queue_url.ok_or("there is no such queue")?)
    }

    /// In calls of ten, without a thought of what belongs together.
    async fn publish(&self, topic: &str, messages: &[Outgoing]) -> Result<()> {
        let calls = messages.chunks(limits::CALL_MESSAGES).map(|chunk| async move {
            let mut entries = Vec::new();
            for (index, one) in chunk.iter().enumerate() {
                let name = MessageAttributeValue::builder().data_type("String").string_value(&one.topic).build()?;
                let entry = PublishBatchRequestEntry::builder().id(index.to_string()).message_attributes("topic", name);
                let entry = entry.message(String::from_utf8(one.message.to_structured()?)?);
                let key = one.message.key().unwrap_or_default();
                entries.push(match self.fifo {
                    true => entry.message_group_id(key).message_deduplication_id(one.message.id()).build()?,
                    false => entry.build()?,
                });
            }
            let publish = self.sns.publish_batch().topic_arn(topic);
            let answer = publish.set_publish_batch_request_entries(Some(entries)).send().await?;
            if answer.successful().len() == chunk.len() { Ok(()) } else { Err("some were not published".into()) }
        });
        stream::iter(calls).buffer_unordered(limits::CALLS).try_collect().await
    }

    /// Receives and deletes, ten at a time, by several tasks.
    async fn drain(&self, queue: &str) -> Result<()> {
        let seen = std::sync::atomic::AtomicUsize::new(0);
        let seen = &seen;
        let tasks = (0..limits::CALLS).map(|_| async move {
            while seen.load(std::sync::atomic::Ordering::Relaxed) < MESSAGES {
                let receive = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
                let came = receive.message_attribute_names("topic").send().await?.messages.unwrap_or_default();
                if came.is_empty() {
                    continue;
                }
                let mut delete = self.sqs.delete_message_batch().queue_url(queue);
                for (index, one) in came.iter().enumerate() {
                    let handle = one.receipt_handle().unwrap_or_default();
                    let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(handle);
                    delete = delete.entries(entry.build()?);
                }
                delete.send().await?;
                seen.fetch_add(came.len(), std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        });
        try_join_all(tasks).await.map(|_| ())
    }
}

/// Seconds of one round: the publisher, and the SDK; the subscriber, and the SDK.
async fn round(port: u16, fifo: bool, number: usize, messages: &[Outgoing]) -> Result<[f64; 4]> {
    let bare = Bare::new(port, fifo);
    let all = Subscription::new("all", [TOPIC]).prefetch(256);
    let connect = |prefix: String| {
        let all = all.clone();
        async move {
            let url = format!("sqs://test:test@127.0.0.1:{port}?prefix={prefix}");
            let broker = Sqs::connect(&url, SqsOptions::new().fifo(fifo)).await?;
            broker.declare(&Topology::new([TOPIC], vec![all])).await.map(|()| broker)
        }
    };
    let ours = format!("own-{fifo}-{number}");
    let theirs = format!("bare-{fifo}-{number}");
    let broker = connect(ours).await?;
    connect(theirs.clone()).await?;
    let (topic, queue) = (bare.topic(&theirs).await?, bare.queue(&theirs).await?);
    let (publisher, subscriber) = (broker.publisher().await?, broker.subscriber(&all).await?);
    let own_publish = async {
        let begin = Instant::now();
        for result in publisher.publish(messages).await {
            result?;
        }
        Result::Ok(begin.elapsed().as_secs_f64())
    };
    let bare_publish = async {
        let begin = Instant::now();
        bare.publish(&topic, messages).await?;
        Result::Ok(begin.elapsed().as_secs_f64())
    };
    let own_drain = async {
        let (begin, mut seen) = (Instant::now(), 0);
        while seen < MESSAGES {
            let came = subscriber.receive(256, Duration::from_secs(5)).await?;
            seen += came.len();
            subscriber.settle(came.iter().map(|one| (one.receipt, Settlement::Ack)).collect()).await?;
        }
        Result::Ok(begin.elapsed().as_secs_f64())
    };
    let bare_drain = async {
        let begin = Instant::now();
        bare.drain(&queue).await?;
        Result::Ok(begin.elapsed().as_secs_f64())
    };
    // Whoever is second has a server that holds more.
    Ok(if number.is_multiple_of(2) {
        let (one, two) = (own_publish.await?, bare_publish.await?);
        [one, two, own_drain.await?, bare_drain.await?]
    } else {
        let (two, one) = (bare_publish.await?, own_publish.await?);
        let (four, three) = (bare_drain.await?, own_drain.await?);
        [one, two, three, four]
    })
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(9), |rounds| rounds.parse())?;
    let messages: Vec<Outgoing> = (0..MESSAGES).map(outgoing).collect();
    for fifo in [false, true] {
        let server = ThrowawayMoto::start(&xtask::tools::ensure_moto()?)?;
        println!("== {}, {MESSAGES} messages of {KEYS} keys a round", if fifo { "FIFO" } else { "standard" });
        let (mut publishing, mut receiving) = (Vec::new(), Vec::new());
        for number in 0..rounds {
            let seconds = round(server.port(), fifo, number, &messages).await?;
            let rate = seconds.map(|seconds| MESSAGES as f64 / seconds);
            println!(
                "round {number}: publisher {:.0} of {:.0}/s, subscriber {:.0} of {:.0}/s",
                rate[0], rate[1], rate[2], rate[3]
            );
            publishing.push(rate[0] / rate[1]);
            receiving.push(rate[2] / rate[3]);
        }
        let (publisher, subscriber) = (median(publishing), median(receiving));
        println!("median: publisher {publisher:.2} of the SDK alone, subscriber {subscriber:.2}");
    }
    Ok(())
}
