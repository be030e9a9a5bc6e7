//! Receiving from a queue.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use aws_sdk_sqs::types::MessageAttributeValue;
use es_messaging::{BrokerError, Delivery, Receipt, Settlement, Subscriber, Subscription};
use tokio::sync::watch;

use crate::{
    binding::{REASON, TOPIC, decode, hash, is_taken},
    connection::Connection,
    declare::visibility_seconds,
    error::{SQS, broker_error},
    fetch::{Queue, Taken},
    limits,
    policy::filter_policy,
};

/// Receives from a subscription's queue. Dropped, it leaves what it holds to the others, once its time is over at the latest.
#[derive(Debug)]
pub(crate) struct SqsSubscriber {
    queue: Arc<Queue>,
    prefetch: usize,
    closed: watch::Receiver<bool>,
}

impl SqsSubscriber {
    pub(crate) async fn open(
        connection: Arc<Connection>,
        subscription: &Subscription,
        closed: watch::Receiver<bool>,
    ) -> Result<Self, BrokerError> {
        filter_policy(&subscription.topics)?;
        let (name, dead_name) = connection.target.options.queue_names(&subscription.name)?;
        let (url, dead_url) = (connection.queue_url(&name).await?, connection.queue_url(&dead_name).await?);
        let visibility = Duration::from_secs(visibility_seconds(subscription)?);
        let queue = Queue::new(connection, url, dead_url, subscription.topics.clone(), visibility);
        Ok(Self { queue, prefetch: subscription.prefetch, closed })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if *self.closed.borrow() { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// What is there; and how many more there may be.
    fn take(&self, max: usize) -> Result<(Vec<Delivery>, usize), BrokerError> {
        let mut guard = self.queue.lock();
        let state = &mut *guard;
        state.forget_late(Instant::now(), self.queue.visibility);
        let room = self.prefetch.saturating_sub(state.held.len()).min(max);
        let mut given = Vec::with_capacity(room.min(state.waiting.len()));
        while given.len() < room
            && let Some(taken) = state.waiting.pop_front()
        {
            let receipt = state.next_receipt;
            state.next_receipt += 1;
            given.push((receipt, taken.clone()));
            state.held.insert(receipt, taken);
        }
        if given.is_empty()
            && let Some(error) = state.error.take()
        {
            return Err(error);
        }
        drop(guard);
        let delivery = |(receipt, taken): (u64, Taken)| Delivery {
            receipt: Receipt(receipt),
            content: decode(&taken.body),
            topic: taken.topic,
            attempt: taken.attempt,
        };
        Ok((given.into_iter().map(delivery).collect(), room))
    }

    /// Sends a message to the dead letters.
    async fn put_aside(&self, receipt: u64, taken: &Taken, reason: &str) -> Result<(), BrokerError> {
        let text = |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build();
        let wrong = |error| BrokerError::Unavailable { broker: SQS, source: Box::new(error) };
        // What the services take as a text, and not too much of it.
        let reason: String = reason.chars().filter(|c| is_taken(*c)).take(limits::MAX_REASON_CHARS).collect();
        let reason = if reason.is_empty() { "no reason was given" } else { reason.as_str() };
        let mut send = self.queue.connection.sqs.send_message().queue_url(&self.queue.dead_url);
        send = send.message_body(taken.body.as_ref());
        send = send.message_attributes(TOPIC, text(&taken.topic).map_err(wrong)?);
        send = send.message_attributes(REASON, text(reason).map_err(wrong)?);
        if self.queue.connection.target.options.fifo {
            let group = taken.group.clone().unwrap_or_else(|| receipt.to_string());
            // Not the id of the message itself: the same one, rejected again after somebody sent it once more, would be deleted here and
            // not be kept there.
            send = send.message_group_id(group).message_deduplication_id(hash(&[&taken.message_id]));
        }
        send.send().await.map_err(|error| broker_error("the queue of the dead letters", error))?;
        Ok(())
    }
}

#[async_trait]
impl Subscriber for SqsSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let end = tokio::time::Instant::now() + wait;
        let mut closed = self.closed.clone();
        loop {
            let arrived = self.queue.arrived.notified();
            tokio::pin!(arrived);
            // Whatever happens from here on is noticed.
            arrived.as_mut().enable();
            self.check_open()?;
            let (given, room) = self.take(max)?;
            if !given.is_empty() || max == 0 {
                return Ok(given);
            }
            if room > 0 {
                self.queue.fetch(room, end.saturating_duration_since(tokio::time::Instant::now()));
            }
            if tokio::time::Instant::now() >= end {
                return Ok(Vec::new());
            }
            // What is held too long makes room too.
            let look = end.min(tokio::time::Instant::now() + limits::CALL_TIMEOUT);
            tokio::select! {
                () = arrived => {}
                () = tokio::time::sleep_until(look) => {}
                _ = closed.changed() => {}
            }
        }
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let (mut done, mut later, mut failed) = (Vec::new(), Vec::new(), None);
        for (Receipt(receipt), settlement) in settlements {
            // Otherwise its time is over, and it comes again.
            let Some(taken) = self.queue.lock().held.get(&receipt).cloned() else { continue };
            match settlement {
                Settlement::Retry { after } => {
                    let seconds = after.min(limits::MAX_VISIBILITY).as_millis().div_ceil(1_000) as i32;
                    later.push((taken.handle, seconds));
                }
                Settlement::Reject { reason } => {
                    if let Err(error) = self.put_aside(receipt, &taken, &reason).await {
                        failed = Some(error);
                        continue;
                    }
                    done.push(taken.handle);
                }
                _ => done.push(taken.handle),
            }
            self.queue.lock().held.remove(&receipt);
        }
        let (deleted, hidden) = tokio::join!(self.queue.delete(done), self.queue.hide(later));
        // Somebody may wait for room.
        self.queue.arrived.notify_waiters();
        deleted.and(hidden)?;
        failed.map_or(Ok(()), Err)
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let seconds = self.queue.visibility_seconds();
        let until = Instant::now() + self.queue.visibility;
        let handles: Vec<(u64, String)> = {
            let state = self.queue.lock();
            let handle = |Receipt(receipt): &Receipt| Some((*receipt, state.held.get(receipt)?.handle.clone()));
            receipts.iter().filter_map(handle).collect()
        };
        self.queue.hide(handles.iter().map(|(_, handle)| (handle.clone(), seconds)).collect()).await?;
        let mut state = self.queue.lock();
        for (receipt, _) in &handles {
            if let Some(taken) = state.held.get_mut(receipt) {
                taken.until = until;
            }
        }
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        self.queue.ended.store(true, Ordering::Release);
        let end = tokio::time::Instant::now() + limits::CALL_TIMEOUT;
        // Whatever is being fetched is given back too.
        loop {
            let arrived = self.queue.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if !self.queue.lock().fetching || tokio::time::timeout_at(end, arrived).await.is_err() {
                break;
            }
        }
        self.queue.give_back().await;
        Ok(())
    }
}

impl Drop for SqsSubscriber {
    fn drop(&mut self) {
        // What is being fetched is given back; what is held comes again after its time.
        self.queue.ended.store(true, Ordering::Release);
    }
}
