//! What operators do with parked events.

use std::time::Duration;

use es_core::{ConsumerName, EventKey, OperationKind, OperatorRequest, ParkedEdit, ParkedQueue, Position};
use tokio::time::{sleep, timeout};

use crate::{error::RunnerError, limits, runner::Runner, status::ConsumerKind};

/// What came of trying a parked key again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retried {
    /// All its events took effect, and new ones do again.
    Freed,
    /// One failed again. It and those behind it are still parked; the queue says why.
    StillParked(ParkedQueue),
    /// It was not parked.
    NotParked,
}

impl Runner {
    /// The parked keys of a consumer, after a key: how many events, since when, and why.
    ///
    /// # Errors
    /// [`RunnerError::Store`], over [`es_core::limits::MAX_PARKED_PER_READ`] keys too.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn parked(
        &self,
        consumer: &str,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, RunnerError> {
        let queue = self.queue_of(consumer).await?;
        Ok(self.store().parked_queues(&queue, after, limit).await?)
    }

    /// Tries the events of a parked key again, in order, once their cause is mended; stops at the first that fails. Whoever runs
    /// the consumer does it: this runner, or another process that looks for it every
    /// [`limits::RETRY_REQUEST_INTERVAL`]. If this runner has the consumer and is not running it, it does it at once.
    ///
    /// # Errors
    /// [`RunnerError::RetryTimeout`] if no process has done it in time; the request stands. [`RunnerError::Store`].
    ///
    /// # Cancel safety
    /// Safe: each event took effect and left the queue, or neither.
    pub async fn retry_parked(
        &self,
        consumer: &str,
        key: &EventKey,
        request: &OperatorRequest,
        time: Duration,
    ) -> Result<Retried, RunnerError> {
        self.request_and_wait(consumer, key, None, request, time).await
    }

    /// The same with another payload for one of the key's events. The edit is recorded, with who and why; the log stays as it is,
    /// and so a rebuild meets the event as it was.
    ///
    /// # Errors
    /// As of [`retry_parked`](Self::retry_parked); [`RunnerError::Store`] with
    /// [`StoreError::Refused`](es_core::StoreError::Refused) without a reason, or for an event that is not parked under this key.
    ///
    /// # Cancel safety
    /// As of [`retry_parked`](Self::retry_parked).
    pub async fn edit_parked(
        &self,
        consumer: &str,
        key: &EventKey,
        edit: &ParkedEdit,
        request: &OperatorRequest,
        time: Duration,
    ) -> Result<Retried, RunnerError> {
        self.request_and_wait(consumer, key, Some(edit), request, time).await
    }

    /// Throws away one parked event of a key, or all of them, with a reason. Each is recorded. Those behind it stay parked until
    /// they are tried again. Gives how many.
    ///
    /// # Errors
    /// [`RunnerError::Store`], with [`StoreError::Refused`](es_core::StoreError::Refused) without a reason.
    ///
    /// # Cancel safety
    /// Safe: it happened or not.
    pub async fn discard_parked(
        &self,
        consumer: &str,
        key: &EventKey,
        event: Option<Position>,
        request: &OperatorRequest,
    ) -> Result<u64, RunnerError> {
        let queue = self.queue_of(consumer).await?;
        let discarded = self.store().discard_parked(&queue, key, event, request).await?;
        tracing::warn!(consumer, %key, events = discarded, by = request.author(), "parked events discarded");
        self.note_request(OperationKind::PARKED_DISCARD, &queue, request).await;
        Ok(discarded)
    }

    /// The name under which a consumer's events are parked: that of its live generation.
    async fn queue_of(&self, consumer: &str) -> Result<ConsumerName, RunnerError> {
        let name = ConsumerName::parse(consumer)?;
        match self.local(consumer).map(|local| local.kind()) {
            Ok(ConsumerKind::Reactor) => Ok(name),
            _ if name != name.base() => Ok(name),
            _ => self.live_name(&name).await,
        }
    }

    async fn request_and_wait(
        &self,
        consumer: &str,
        key: &EventKey,
        edit: Option<&ParkedEdit>,
        request: &OperatorRequest,
        time: Duration,
    ) -> Result<Retried, RunnerError> {
        let queue = self.queue_of(consumer).await?;
        if !self.store().request_retry(&queue, key, edit, request).await? {
            return Ok(Retried::NotParked);
        }
        let kind = if edit.is_some() { OperationKind::PARKED_EDIT } else { OperationKind::PARKED_RETRY };
        self.note_request(kind, &queue, request).await;
        let outcome = async {
            loop {
                if let Ok(local) = self.local(consumer)
                    && !local.consumer_state().is_running()
                {
                    local.retry_requested().await?;
                }
                match self.store().parked_queue(&queue, key).await? {
                    None => return Ok(Retried::Freed),
                    Some(parked) if parked.retry.is_none() => return Ok(Retried::StillParked(parked)),
                    Some(_) => sleep(limits::RETRY_OUTCOME_INTERVAL).await,
                }
            }
        };
        let waited = timeout(time, outcome).await;
        waited.unwrap_or_else(|_| Err(RunnerError::RetryTimeout { consumer: queue, key: key.clone(), waited: time }))
    }
}
