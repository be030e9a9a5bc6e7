//! The subscriber of the in-process broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    Connection, Shared, State, away,
    queue::{Member, Queue},
};
use crate::{
    broker::{Delivery, Receipt, Settlement, Subscriber, Subscription},
    error::BrokerError,
};

/// A member of a subscription. When it is dropped, the messages that it holds return to the queue.
#[derive(Debug)]
pub(crate) struct MemorySubscriber {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    subscription: Subscription,
    member: Member,
    changed: Arc<Notify>,
    /// The number of outages that it has reported.
    outages: AtomicU64,
}

impl MemorySubscriber {
    pub(crate) fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        subscription: Subscription,
        member: Member,
        changed: Arc<Notify>,
        outages: u64,
    ) -> Self {
        Self { shared, connection, subscription, member, changed, outages: AtomicU64::new(outages) }
    }

    /// Runs a function on the queue, if the connection is available.
    fn with<T>(&self, act: impl FnOnce(&mut Queue) -> T) -> Result<T, BrokerError> {
        if self.connection.is_closed() {
            return Err(BrokerError::Closed);
        }
        let mut state: std::sync::MutexGuard<'_, State> = self.shared.lock();
        // Reported once per outage, because messages that were held then are delivered again.
        if !state.available || self.outages.swap(state.outages, Ordering::Relaxed) != state.outages {
            return Err(away());
        }
        state.queues.get_mut(&self.subscription.name).map(act).ok_or(BrokerError::Closed)
    }
}

#[async_trait]
impl Subscriber for MemorySubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let end = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on, every change is noticed.
            changed.as_mut().enable();
            let (taken, next) = self.with(|queue| {
                let room = self.subscription.prefetch.saturating_sub(queue.held_by(self.member));
                let ack_wait = self.subscription.ack_wait;
                let taken = queue.take(self.member, max.min(room), ack_wait, || self.shared.next());
                (taken, queue.next_change())
            })?;
            if !taken.is_empty() || Instant::now() >= end {
                return Ok(taken);
            }
            // A change and the end of the time are handled in the same way.
            let _ = timeout_at(next.map_or(end, |next| next.min(end)), changed).await;
        }
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        self.with(|queue| {
            for (receipt, settlement) in settlements {
                queue.settle(self.member, receipt, settlement);
            }
        })?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        self.with(|queue| {
            for receipt in receipts {
                queue.extend(self.member, *receipt, self.subscription.ack_wait);
            }
        })
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        // Dropping the subscriber does everything.
        Ok(())
    }
}

impl Drop for MemorySubscriber {
    fn drop(&mut self) {
        if let Some(queue) = self.shared.lock().queues.get_mut(&self.subscription.name) {
            queue.give_back(|member| member == self.member);
        }
        self.changed.notify_waiters();
    }
}
