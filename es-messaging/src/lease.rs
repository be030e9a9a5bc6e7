//! A lease that is extended during some work.

use std::sync::Arc;

use es_core::{ConsumerName, Fence, InvalidName, Lease, LeaseHolder, LeaseStore, Leased, StoreError, check_member};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{causes::with_causes, limits};

/// Claims, extends, and releases one lease under one name.
pub(crate) struct Tenant {
    store: Arc<dyn LeaseStore>,
    consumer: ConsumerName,
    owner: String,
}

/// A granted lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) fence: Fence,
    /// When it was requested. Its time starts no earlier than this.
    pub(crate) asked_at: Instant,
}

impl Held {
    /// Returns whether no heartbeat is due yet.
    pub(crate) fn is_fresh(self) -> bool {
        self.asked_at.elapsed() < limits::RELAY_LEASE_TIME / limits::RELAY_HEARTBEATS_PER_LEASE
    }
}

/// The reason why a lease is no longer held.
#[derive(Debug)]
pub(crate) enum Lost {
    /// Another process holds it.
    To(LeaseHolder),
    /// Its time is over, or another process held it in the meantime.
    Ended(StoreError),
}

impl Tenant {
    /// # Errors
    /// Returns [`InvalidName`] for an owner that [`check_member`] refuses.
    pub(crate) fn new(store: Arc<dyn LeaseStore>, consumer: ConsumerName, owner: String) -> Result<Self, InvalidName> {
        check_member(&owner)?;
        Ok(Self { store, consumer, owner })
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// Claims the lease, or extends it.
    pub(crate) async fn claim(&self) -> Result<Result<Held, LeaseHolder>, StoreError> {
        let asked_at = Instant::now();
        Ok(match self.store.claim_lease(&self.consumer, &self.owner, limits::RELAY_LEASE_TIME).await? {
            Leased::Yours(lease) => Ok(Held { fence: lease.fence, asked_at }),
            Leased::Taken(holder) => Err(holder),
        })
    }

    /// Sends heartbeats until the lease is lost. If the store does not answer, retries until the lease has expired, as
    /// seen by a process that waits for it.
    pub(crate) async fn keep(&self, mut held: Held) -> Lost {
        let interval = limits::RELAY_LEASE_TIME / limits::RELAY_HEARTBEATS_PER_LEASE;
        let mut next = held.asked_at + interval;
        loop {
            let end = held.asked_at + limits::RELAY_LEASE_TIME;
            sleep_until(next.min(end)).await;
            let error = match timeout_at(end, self.claim()).await {
                Ok(Ok(Ok(again))) if again.fence == held.fence => {
                    held = again;
                    next = held.asked_at + interval;
                    continue;
                }
                Ok(Ok(Ok(_))) => return Lost::Ended(StoreError::LeaseLost { consumer: self.consumer.clone() }),
                Ok(Ok(Err(holder))) => return Lost::To(holder),
                Ok(Err(error)) => error,
                Err(late) => StoreError::Unavailable { source: late.into() },
            };
            tracing::warn!(consumer = %self.consumer, error = with_causes(&error), "a lease could not be extended");
            next = Instant::now() + interval;
            if Instant::now() >= end {
                return Lost::Ended(error);
            }
        }
    }

    /// Releases the lease. If that fails, the lease expires.
    pub(crate) async fn release(&self, fence: Fence) {
        let lease = Lease::new(fence, limits::RELAY_LEASE_TIME);
        if let Err(error) = self.store.release_lease(&self.consumer, lease).await {
            tracing::debug!(consumer = %self.consumer, error = with_causes(&error), "a lease is left to run out");
        }
    }
}
