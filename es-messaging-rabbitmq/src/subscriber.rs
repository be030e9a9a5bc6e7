//! Receiving and settling.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use es_messaging::{BrokerError, Delivery, Receipt, Settlement, Subscriber, Subscription};
use futures_util::{FutureExt, StreamExt, future::try_join_all};
use lapin::{
    Channel, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    broker::short,
    error::{of_order, of_receiving, unavailable},
    link::{Link, answer},
    wire,
};

/// A member of a subscription: a consumer on a channel of its own.
#[derive(Debug)]
pub(crate) struct RabbitMqSubscriber {
    link: Arc<Link>,
    queue: ShortString,
    prefetch: u16,
    consumer: Mutex<Option<Consumer>>,
    /// One settles at a time.
    settling: Mutex<()>,
    held: Arc<StdMutex<Held>>,
    /// Retries that wait; they end with this.
    retries: StdMutex<JoinSet<()>>,
}

/// What was handed out on the current channel and is not settled.
#[derive(Debug, Default)]
struct Held {
    /// Counts channels: receipts of an earlier one are void.
    generation: u64,
    channel: Option<Channel>,
    tags: BTreeSet<u64>,
}

/// How many bits of a receipt are the server's number of the message on its channel.
const TAG_BITS: u32 = 40;

fn receipt(generation: u64, tag: u64) -> Receipt {
    Receipt(generation << TAG_BITS | tag)
}

fn lock(held: &StdMutex<Held>) -> MutexGuard<'_, Held> {
    // Nothing panics under the lock.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

const BACK: BasicNackOptions = BasicNackOptions { multiple: false, requeue: true };
const AWAY: BasicNackOptions = BasicNackOptions { multiple: false, requeue: false };

impl RabbitMqSubscriber {
    pub(crate) async fn open(link: Arc<Link>, subscription: &Subscription) -> Result<Self, BrokerError> {
        let queue = short("a subscription's name", &subscription.name)?;
        let prefetch = u16::try_from(subscription.prefetch).unwrap_or(u16::MAX);
        let (consumer, settling) = (Mutex::default(), Mutex::default());
        let this =
            Self { link, queue, prefetch, consumer, settling, held: Arc::default(), retries: StdMutex::default() };
        let consumer = this.consume(Duration::ZERO).await?;
        *this.consumer.lock().await = Some(consumer);
        Ok(this)
    }

    /// Begins to receive on a new channel.
    async fn consume(&self, patience: Duration) -> Result<Consumer, BrokerError> {
        let (_connection, channel) = self.link.channel(patience).await?;
        let what = format!("the queue {}", self.queue);
        answer(&what, channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let consuming = channel.basic_consume(self.queue.clone(), tag, options, FieldTable::default());
        let consumer = answer(&what, consuming).await?;
        let mut held = lock(&self.held);
        *held = Held { generation: held.generation + 1, channel: Some(channel), tags: BTreeSet::new() };
        Ok(consumer)
    }

    /// The channel is gone, and with it what was held and what waited to go back.
    fn lose(&self) {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let mut held = lock(&self.held);
        *held = Held { generation: held.generation, ..Held::default() };
    }

    fn handed_out(&self, came: lapin::message::Delivery) -> Delivery {
        let tag = came.delivery_tag;
        let generation = {
            let mut held = lock(&self.held);
            held.tags.insert(tag);
            held.generation
        };
        Delivery {
            receipt: receipt(generation, tag),
            topic: came.routing_key.as_str().to_owned(),
            attempt: wire::attempt(&came.properties, came.redelivered),
            content: wire::message(&came.properties, came.data),
        }
    }

    /// Acknowledges messages, given in ascending order: all up to some message at once, where none of them is still being handled, and the
    /// others one by one.
    async fn ack(&self, channel: &Channel, tags: &[u64]) -> Result<(), lapin::Error> {
        let upto = lock(&self.held).tags.iter().copied().take_while(|tag| tags.binary_search(tag).is_ok()).last();
        if let Some(upto) = upto {
            channel.basic_ack(upto, BasicAckOptions { multiple: true }).await?;
        }
        let rest = tags.iter().copied().filter(|&tag| upto.is_none_or(|upto| tag > upto));
        try_join_all(rest.map(|tag| channel.basic_ack(tag, BasicAckOptions { multiple: false }))).await.map(drop)
    }

    fn retry_later(&self, channel: Channel, generation: u64, tag: u64, after: Duration) {
        let held = self.held.clone();
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets those that are done.
        while retries.try_join_next().is_some() {}
        retries.spawn(async move {
            sleep(after).await;
            // If it fails, the channel is gone and the server has the message back.
            if channel.basic_nack(tag, BACK).await.is_ok() {
                let mut held = lock(&held);
                if held.generation == generation {
                    held.tags.remove(&tag);
                }
            }
        });
    }
}

#[async_trait]
impl Subscriber for RabbitMqSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let end = Instant::now() + wait;
        let mut slot = self.consumer.lock().await;
        if self.link.is_closed() {
            return Err(BrokerError::Closed);
        }
        if max == 0 {
            return Ok(Vec::new());
        }
        if slot.is_none() {
            *slot = Some(self.consume(wait).await?);
        }
        let Some(consumer) = slot.as_mut() else { return Ok(Vec::new()) };
        let mut came = Vec::new();
        let mut next = timeout_at(end, consumer.next()).await.ok();
        let ended = loop {
            match next.take() {
                Some(Some(Ok(delivery))) => came.push(self.handed_out(delivery)),
                Some(Some(Err(error))) => break Some(of_receiving(error, &format!("the queue {}", self.queue))),
                Some(None) => {
                    break Some(unavailable(format!(
                        "the server ended the consumer of {}; was it removed?",
                        self.queue
                    )));
                }
                None => break None,
            }
            if came.len() == max {
                break None;
            }
            // What is there at once; a message is taken out and noted without a pause.
            next = consumer.next().now_or_never();
        };
        match ended {
            None => Ok(came),
            Some(error) => {
                *slot = None;
                self.lose();
                // Receipts of what came just now would be void.
                Err(if self.link.is_closed() { BrokerError::Closed } else { error })
            }
        }
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let _one = self.settling.lock().await;
        let (generation, channel) = {
            let held = lock(&self.held);
            (held.generation, held.channel.clone())
        };
        let Some(channel) = channel.filter(|channel| channel.status().connected()) else {
            return Err(unavailable("the connection was lost; what was held comes again"));
        };
        let (mut acks, mut back, mut away, mut later) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        {
            let held = lock(&self.held);
            for (receipt, settlement) in settlements {
                let tag = receipt.0 & ((1 << TAG_BITS) - 1);
                if receipt.0 >> TAG_BITS != held.generation || !held.tags.contains(&tag) {
                    continue;
                }
                match settlement {
                    Settlement::Ack => acks.push(tag),
                    Settlement::Retry { after } if after.is_zero() => back.push(tag),
                    Settlement::Retry { after } => later.push((tag, after)),
                    Settlement::Reject { reason } => {
                        tracing::debug!(queue = %self.queue, %reason, "a message goes to the dead letters");
                        away.push(tag);
                    }
                    other => {
                        tracing::warn!(?other, "RabbitMQ knows no such settlement; the message stays unsettled");
                    }
                }
            }
        }
        acks.sort_unstable();
        acks.dedup();
        // First, so that they are not forgotten when nobody waits for the rest.
        for (tag, after) in later {
            self.retry_later(channel.clone(), generation, tag, after);
        }
        let settled = async {
            // Acknowledgements of many reach no further than to the first message that has another fate.
            self.ack(&channel, &acks).await?;
            try_join_all(back.iter().map(|&tag| channel.basic_nack(tag, BACK))).await?;
            try_join_all(away.iter().map(|&tag| channel.basic_nack(tag, AWAY))).await.map(drop)
        };
        settled.await.map_err(|error| of_order(error, &format!("the queue {}", self.queue)))?;
        {
            // Only now: what is not sent must not be acknowledged together with others.
            let mut held = lock(&self.held);
            if held.generation == generation {
                for tag in acks.iter().chain(&back).chain(&away) {
                    held.tags.remove(tag);
                }
            }
        }
        Ok(())
    }

    async fn extend(&self, _receipts: &[Receipt]) -> Result<(), BrokerError> {
        // There is no time to extend.
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        let channel = lock(&self.held).channel.take();
        match channel.filter(|channel| channel.status().connected()) {
            // The server takes back what is unsettled.
            Some(channel) => answer("closing a channel", channel.close(200, "closed by its owner".into())).await,
            None => Ok(()),
        }
    }
}

impl Drop for RabbitMqSubscriber {
    /// Closes the channel before the library cancels the consumer. Cancelled, it would keep what it holds a moment longer, while another
    /// member gets what comes after it: out of order.
    fn drop(&mut self) {
        if let Some(channel) = lock(&self.held).channel.take() {
            // The first step sends it; nobody waits for the answer.
            let _ = channel.close(200, "dropped by its owner".into()).now_or_never();
        }
    }
}
