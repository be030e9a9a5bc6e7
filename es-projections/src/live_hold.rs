//! Holds the live generation of a read model still during a swap.

use std::sync::Arc;

use es_core::{ConsumerName, LeaseStore, RunnerStore, StoreError, limits::MAX_METADATA_TEXT_BYTES, position_of_all};
use tokio::time::{Instant, sleep, timeout};

use crate::{error::RunnerError, limits};

/// The leases of a live generation, seized from the processes that run it. Those processes wait and report who holds
/// the leases. The checkpoints of the live generation stop after the current pages, so that the rebuilt generation
/// catches up however quickly events are written. If the process that holds the leases dies, the leases expire.
pub(crate) struct LiveHold {
    store: Arc<dyn RunnerStore>,
    /// The owner's name, as the status of the consumer shows it.
    owner: String,
}

impl LiveHold {
    pub(crate) fn new(store: &Arc<dyn RunnerStore>, rebuilt: &ConsumerName, by: &str) -> Self {
        let mut owner = format!("the swap to {rebuilt} by {by}");
        owner.truncate(owner.floor_char_boundary(MAX_METADATA_TEXT_BYTES));
        Self { store: Arc::clone(store), owner }
    }

    /// Seizes the leases of all partitions of a generation that are not held yet.
    pub(crate) async fn take(&self, live: &ConsumerName) -> Result<(), StoreError> {
        let partitions = self.store.partitions(live).await?;
        let names = partitions.into_iter().map(|reached| reached.consumer);
        for name in std::iter::once(live.unpartitioned()).chain(names) {
            self.store.seize_lease(&name, &self.owner, limits::SWAP_HOLD_LEASE).await?;
        }
        Ok(())
    }

    /// Runs a future and extends the leases while it runs, for at most [`limits::MAX_SWAP_HOLD`]. Then it releases
    /// them.
    pub(crate) async fn while_held<T>(
        &self,
        work: impl Future<Output = Result<T, RunnerError>>,
    ) -> Result<T, RunnerError> {
        let held = timeout(limits::MAX_SWAP_HOLD, async {
            tokio::select! {
                result = work => result,
                () = self.keep() => std::future::pending().await,
            }
        });
        let result = held.await.unwrap_or_else(|_| {
            let waiting_for =
                format!("the rebuilt read model, which did not reach the live one in {:?}", limits::MAX_SWAP_HOLD);
            Err(StoreError::Busy { waiting_for, source: None }.into())
        });
        if let Err(error) = self.store.deregister(&self.owner).await {
            tracing::warn!(owner = self.owner, %error, "the live read model is held until the leases run out");
        }
        result
    }

    async fn keep(&self) {
        loop {
            sleep(limits::SWAP_HOLD_LEASE / limits::HEARTBEATS_PER_LEASE).await;
            if let Err(error) = self.store.heartbeat(&self.owner, &[], limits::SWAP_HOLD_LEASE).await {
                tracing::warn!(owner = self.owner, %error, "the leases of the live read model were not extended");
            }
        }
    }
}

/// Waits until a generation is unpartitioned and at one position, because its runner merges its partitions. Another
/// process may change the number of its partitions during the wait.
///
/// # Errors
/// Returns [`StoreError::Busy`] if the generation has not moved for [`limits::GATHERING_STALL`].
pub(crate) async fn gather(store: &dyn RunnerStore, generation: &ConsumerName) -> Result<(), StoreError> {
    let (mut seen, mut moved_at) = (Vec::new(), Instant::now());
    loop {
        let mut all = store.partitions(generation).await?;
        if all.len() > 1 {
            all = store.repartition(generation, 1).await?;
        }
        let stuck = match position_of_all(&all) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if all != seen {
            (seen, moved_at) = (all, Instant::now());
        }
        if moved_at.elapsed() >= limits::GATHERING_STALL {
            return Err(stuck);
        }
        sleep(limits::GATHERING_INTERVAL).await;
    }
}
