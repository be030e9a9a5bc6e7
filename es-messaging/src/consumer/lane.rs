//! A lane of a consumer: handles the messages of the same keys, one batch after another.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use es_core::{DeadLetterStore, InboxStore};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError},
    time::{Instant, sleep_until},
};

use super::{
    batch::{Settled, wait_before},
    item::Item,
    pace::Pace,
    shared::Shared,
};

pub(crate) struct Lane<S: InboxStore> {
    shared: Arc<Shared<S>>,
    /// Bounded by the number of messages that the consumer holds.
    incoming: UnboundedReceiver<Item>,
    is_open: bool,
    queue: VecDeque<Item>,
    settled: UnboundedSender<Settled>,
    /// The number of messages in this lane.
    load: Arc<AtomicUsize>,
    pace: Pace,
    /// Whether it waits for the store, as the consumer state shows.
    is_store_away: bool,
}

impl<S: InboxStore> Drop for Lane<S> {
    fn drop(&mut self) {
        if self.is_store_away {
            self.shared.consumer_state.lane_waits_for_store(false);
        }
    }
}

impl<S: InboxStore + DeadLetterStore> Lane<S> {
    pub(crate) fn new(
        shared: Arc<Shared<S>>,
        incoming: UnboundedReceiver<Item>,
        settled: UnboundedSender<Settled>,
        load: Arc<AtomicUsize>,
    ) -> Self {
        let pace = Pace::new(shared.settings.batch);
        Self { shared, incoming, is_open: true, queue: VecDeque::new(), settled, load, pace, is_store_away: false }
    }

    /// Works until no more messages arrive and only messages that have to wait are left.
    pub(crate) async fn run(mut self) {
        let mut store_failures: u32 = 0;
        loop {
            self.take_incoming();
            // The clock is read once: a message that became due between two reads would be neither taken nor waited
            // for.
            let now = Instant::now();
            let batch = self.next_batch(now);
            if batch.is_empty() {
                if !self.is_open {
                    return;
                }
                // Every message that is due is behind one that waits.
                let waiting = self.queue.iter().filter(|item| item.waits_at(now));
                let earliest = waiting.filter_map(|item| item.not_before).min();
                self.wait(earliest, true).await;
                continue;
            }
            let processed = self.shared.process(batch).await;
            processed.left.into_iter().rev().for_each(|item| self.queue.push_front(item));
            self.load.fetch_sub(processed.settled.len(), Relaxed);
            for settled in processed.settled {
                // There is no receiver if the consumer is being dropped.
                let _ = self.settled.send(settled);
            }
            if processed.was_split {
                self.pace.halve();
            } else if let Some((messages, time)) = processed.held {
                self.pace.held(messages, time);
            }
            let consumer_state = &self.shared.consumer_state;
            let is_away = processed.store_away.is_some();
            if is_away != self.is_store_away {
                self.is_store_away = is_away;
                consumer_state.lane_waits_for_store(is_away);
            }
            let Some(error) = processed.store_away else {
                store_failures = 0;
                continue;
            };
            store_failures = store_failures.saturating_add(1);
            let wait = wait_before(self.shared.settings.backoff, store_failures);
            tracing::warn!(consumer = %self.shared.name, attempt = store_failures, ?wait, error, "waiting for the store");
            consumer_state.set_error(error);
            if !self.is_open {
                return;
            }
            self.wait(Some(Instant::now() + wait), false).await;
            if !self.is_open {
                return;
            }
        }
    }

    fn take_incoming(&mut self) {
        loop {
            match self.incoming.try_recv() {
                Ok(item) => self.queue.push_back(item),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_open = false;
                    return;
                }
            }
        }
    }

    /// Waits until a time, or until no more messages arrive. With `for_any`, also returns when a message arrives.
    async fn wait(&mut self, until: Option<Instant>, for_any: bool) {
        let time = async {
            match until {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        let mut time = std::pin::pin!(time);
        while self.is_open {
            tokio::select! {
                item = self.incoming.recv() => match item {
                    None => self.is_open = false,
                    Some(item) => {
                        self.queue.push_back(item);
                        if for_any {
                            return;
                        }
                    }
                },
                () = &mut time => return,
            }
        }
    }

    /// Takes the messages of the next transaction in order, without those that have to wait or are behind a waiting one
    /// of their key. A message that has failed is alone in its transaction.
    fn next_batch(&mut self, now: Instant) -> Vec<Item> {
        let mut batch: Vec<Item> = Vec::new();
        let mut passed = VecDeque::new();
        let mut blocked: HashSet<String> = HashSet::new();
        while let Some(item) = self.queue.pop_front() {
            let is_blocked = item.key().is_some_and(|key| blocked.contains(key));
            if is_blocked || item.waits_at(now) || (item.is_suspect() && !batch.is_empty()) {
                if let Some(key) = item.key().filter(|_| !is_blocked) {
                    blocked.insert(key.to_owned());
                }
                passed.push_back(item);
                continue;
            }
            let is_alone = item.is_suspect();
            batch.push(item);
            if is_alone || batch.len() >= self.pace.size() {
                break;
            }
        }
        passed.append(&mut self.queue);
        self.queue = passed;
        batch
    }
}
