//! One subscriber's lifetime in a consumer: receive, handle, and settle.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use es_core::{DeadLetterStore, InboxStore};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, UnboundedReceiver, UnboundedSender},
    },
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    batch::{Settled, wait_before},
    item::Item,
    lane::Lane,
    shared::Shared,
    status::{ConsumerState, Count},
    stop::{Stop, Stopped},
};
use crate::{
    broker::{Receipt, Settlement, Subscriber},
    causes::with_causes,
    error::BrokerError,
    limits,
};

/// How a session ended.
pub(crate) enum SessionEnd {
    Stopped(Stopped),
    Failed(BrokerError),
}

/// The messages that are received and not settled.
struct InHand {
    receipts: Mutex<HashMap<Receipt, Instant>>,
    freed: Notify,
}

impl InHand {
    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<Receipt, Instant>> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lanes, which end when this value is dropped.
struct Lanes {
    tasks: JoinSet<()>,
    ways: Vec<(UnboundedSender<Item>, Arc<AtomicUsize>)>,
}

impl Lanes {
    /// Passes a message to the lane of its key. A message without a key goes to the lane with the fewest messages.
    fn give(&self, item: Item) {
        let fewest = || self.ways.iter().min_by_key(|(_, load)| load.load(Relaxed));
        let way = match item.key() {
            None => fewest(),
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                key.hash(&mut hasher);
                self.ways.get((hasher.finish() % self.ways.len() as u64) as usize)
            }
        };
        if let Some((way, load)) = way {
            load.fetch_add(1, Relaxed);
            // A lane ends only after this value is dropped.
            let _ = way.send(item);
        }
    }
}

pub(crate) struct Session<'a, S: InboxStore> {
    shared: &'a Arc<Shared<S>>,
    subscriber: &'a dyn Subscriber,
    stop: Stop,
    in_hand: InHand,
    /// Signals that no lane has anything left to settle.
    are_lanes_done: Notify,
}

impl<'a, S: InboxStore + DeadLetterStore + 'static> Session<'a, S> {
    pub(crate) fn new(shared: &'a Arc<Shared<S>>, subscriber: &'a dyn Subscriber, stop: Stop) -> Self {
        let in_hand = InHand { receipts: Mutex::default(), freed: Notify::new() };
        Self { shared, subscriber, stop, in_hand, are_lanes_done: Notify::new() }
    }

    /// Receives, handles, and settles messages until a stop is requested, and then finishes the messages that it holds.
    pub(crate) async fn run(&self) -> SessionEnd {
        let (settled, settlements) = mpsc::unbounded_channel();
        let mut lanes = Lanes { tasks: JoinSet::new(), ways: Vec::new() };
        for _ in 0..self.shared.settings.lanes {
            let (way, incoming) = mpsc::unbounded_channel();
            let load = Arc::new(AtomicUsize::new(0));
            let lane = Lane::new(Arc::clone(self.shared), incoming, settled.clone(), Arc::clone(&load));
            lanes.tasks.spawn(lane.run());
            lanes.ways.push((way, load));
        }
        drop(settled);
        let receiving = async {
            let end = self.receive(&lanes).await;
            self.shared.consumer_state.set_state(ConsumerState::Draining);
            self.drain(lanes).await;
            self.are_lanes_done.notify_one();
            end
        };
        let both = futures_util::future::join(receiving, self.settle_all(settlements));
        let end = tokio::select! {
            (end, ()) = both => end,
            () = self.extend_all() => std::future::pending().await,
        };
        self.in_hand.lock().clear();
        self.shared.consumer_state.set_in_hand(0);
        end
    }

    /// Receives messages and passes them to their lanes until a stop is requested.
    async fn receive(&self, lanes: &Lanes) -> SessionEnd {
        let prefetch = self.shared.subscription.prefetch.max(1);
        let (consumer_state, limiter) = (&self.shared.consumer_state, self.shared.settings.limiter.as_ref());
        let mut failures: u32 = 0;
        let mut stopped = pin!(self.stop.requested());
        consumer_state.set_state(ConsumerState::Running);
        loop {
            let room = prefetch.saturating_sub(self.in_hand.lock().len());
            if room == 0 {
                tokio::select! {
                    () = self.in_hand.freed.notified() => continue,
                    why = &mut stopped => return SessionEnd::Stopped(why),
                }
            }
            let receiving = async {
                let max = match limiter {
                    Some(limiter) => limiter.take(room).await,
                    None => room,
                };
                let received = self.subscriber.receive(max, limits::RECEIVE_WAIT).await;
                if let Some(limiter) = limiter {
                    limiter.give_back(max.saturating_sub(received.as_ref().map_or(0, Vec::len)));
                }
                received
            };
            let received = tokio::select! {
                biased;
                why = &mut stopped => return SessionEnd::Stopped(why),
                received = receiving => received,
            };
            match received {
                Ok(deliveries) => {
                    if failures > 0 {
                        tracing::info!(consumer = %self.shared.name, "the broker answers again");
                        consumer_state.set_state(ConsumerState::Running);
                    }
                    failures = 0;
                    let items: Vec<Item> = deliveries.into_iter().map(Item::new).collect();
                    let in_hand = {
                        let mut receipts = self.in_hand.lock();
                        receipts.extend(items.iter().map(|item| (item.receipt, Instant::now())));
                        receipts.len()
                    };
                    consumer_state.set_in_hand(in_hand);
                    items.into_iter().for_each(|item| lanes.give(item));
                }
                Err(error) if error.is_transient() => {
                    failures = failures.saturating_add(1);
                    let wait = wait_before(self.shared.settings.backoff, failures);
                    let text = with_causes(&error);
                    tracing::warn!(consumer = %self.shared.name, attempt = failures, ?wait, error = text, "waiting for the broker");
                    consumer_state.set_error(text);
                    consumer_state.set_state(ConsumerState::WaitingForBroker);
                    tokio::select! {
                        why = &mut stopped => return SessionEnd::Stopped(why),
                        () = sleep(wait) => {}
                    }
                }
                Err(error) => return SessionEnd::Failed(error),
            }
        }
    }

    /// Lets the lanes finish within the drain time.
    async fn drain(&self, lanes: Lanes) {
        let Lanes { mut tasks, ways } = lanes;
        drop(ways);
        let limit = self.shared.settings.drain_time;
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            tracing::warn!(consumer = %self.shared.name, ?limit, "not all in hand was finished in time; it is given back");
            tasks.abort_all();
            // A lane that blocks its thread cannot be ended.
            let _ = timeout(limits::CLOSE_TIME, async { while tasks.join_next().await.is_some() {} }).await;
        }
    }

    /// Settles finished messages with the broker.
    async fn settle_all(&self, mut settlements: UnboundedReceiver<Settled>) {
        loop {
            let first = tokio::select! {
                biased;
                first = settlements.recv() => first,
                () = self.are_lanes_done.notified() => None,
            };
            let Some(first) = first else { return };
            let mut some = vec![first];
            while let Ok(next) = settlements.try_recv() {
                some.push(next);
            }
            self.settle(some).await;
        }
    }

    async fn settle(&self, settled: Vec<Settled>) {
        let (mut acks, mut rejects) = (Vec::with_capacity(settled.len()), Vec::new());
        for settled in settled {
            match settled {
                Settled::Ack(receipt) => acks.push(receipt),
                Settled::Reject { item, reason, error } => rejects.push((item, reason, error)),
            }
        }
        for (item, reason, error) in rejects {
            let settlement = Settlement::Reject { reason: format!("{reason}: {error}") };
            match self.tell(vec![(item.receipt, settlement)]).await {
                Ok(()) => {
                    self.shared.consumer_state.count(Count::Dead(reason));
                    self.forget([item.receipt]);
                }
                Err(BrokerError::Unsupported { .. }) => match self.shared.put_aside(&item, reason, &error).await {
                    Ok(()) => acks.push(item.receipt),
                    Err(error) => {
                        self.not_settled(&error);
                        self.forget([item.receipt]);
                    }
                },
                Err(error) => {
                    self.not_settled(&error);
                    self.forget([item.receipt]);
                }
            }
        }
        if acks.is_empty() {
            return;
        }
        let settlements = acks.iter().map(|receipt| (*receipt, Settlement::Ack)).collect();
        if let Err(error) = self.tell(settlements).await {
            self.not_settled(&error);
        }
        self.forget(acks);
    }

    /// Settles messages within a time limit, so that a broker that never answers does not block later messages or the
    /// shutdown.
    async fn tell(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let limit = limits::SETTLE_TIME;
        timeout(limit, self.subscriber.settle(settlements)).await.unwrap_or_else(|_| {
            let source = format!("it did not confirm within {limit:?} what is done").into();
            Err(BrokerError::Unavailable { broker: self.shared.broker.name(), source })
        })
    }

    /// Reports that messages were not settled. If the broker delivers them again, the inbox identifies them.
    fn not_settled(&self, error: &(dyn std::error::Error + 'static)) {
        let error = with_causes(error);
        tracing::warn!(consumer = %self.shared.name, error, "messages were not settled and may come again");
        self.shared.consumer_state.set_error(error);
    }

    fn forget(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let mut in_hand = self.in_hand.lock();
        for receipt in receipts {
            in_hand.remove(&receipt);
        }
        self.shared.consumer_state.set_in_hand(in_hand.len());
        self.in_hand.freed.notify_one();
    }

    /// Asks repeatedly for more time for messages that have been held for a while.
    async fn extend_all(&self) {
        let period = (self.shared.subscription.ack_wait / 3).max(limits::MIN_EXTEND_INTERVAL);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await;
            // Messages that arrived since the last round are extended in the next one, which is early enough.
            let is_due = |since: &Instant| now.duration_since(*since) >= period;
            let due: Vec<Receipt> =
                self.in_hand.lock().iter().filter(|(_, since)| is_due(since)).map(|(receipt, _)| *receipt).collect();
            if due.is_empty() {
                continue;
            }
            let error = match timeout(period, self.subscriber.extend(&due)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => with_causes(&error),
                Err(late) => with_causes(&late),
            };
            tracing::debug!(consumer = %self.shared.name, error, "no more time was given");
        }
    }
}
