//! The actions of operators on parked events.

use std::time::Duration;

use es_core::{ConsumerName, EventKey, OperationKind, OperatorRequest, ParkedEdit, ParkedQueue, Position};
use tokio::time::{sleep, timeout};

use crate::{error::RunnerError, limits, runner::Runner, status::ConsumerKind};

/// The result of retrying a parked key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retried {
    /// All events of the key took effect. New events of the key are applied again.
    Freed,
    /// An event failed again. That event and those behind it are still parked; the queue contains the error.
    StillParked(ParkedQueue),
    /// The key was not parked.
    NotParked,
}

impl Runner {
    /// Returns the parked keys of a consumer that come after the key `after`: for each, how many events are parked,
    /// since when, and why.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`] if the store fails, or if `limit` is above
    /// [`es_core::limits::MAX_PARKED_PER_READ`].
    ///
    /// # Cancel safety
    /// Safe: this method changes nothing.
    pub async fn parked(
        &self,
        consumer: &str,
        after: Option<&EventKey>,
        limit: usize,
    ) -> Result<Vec<ParkedQueue>, RunnerError> {
        let queue = self.queue_of(consumer).await?;
        Ok(self.store().parked_queues(&queue, after, limit).await?)
    }

    /// Retries the events of a parked key in order, after their cause is fixed, and stops at the first one that fails.
    /// The process that runs the consumer carries out the retry: this runner, or another process that checks for
    /// requests every [`limits::RETRY_REQUEST_INTERVAL`]. If this runner has the consumer but is not running it, this
    /// method carries out the retry itself.
    ///
    /// # Errors
    /// Returns [`RunnerError::RetryTimeout`] if no process has carried out the retry in time; the request remains in
    /// effect. Returns [`RunnerError::Store`] if the store fails.
    ///
    /// # Cancel safety
    /// Safe: each event has either taken effect and left the queue, or neither.
    pub async fn retry_parked(
        &self,
        consumer: &str,
        key: &EventKey,
        request: &OperatorRequest,
        time: Duration,
    ) -> Result<Retried, RunnerError> {
        self.request_and_wait(consumer, key, None, request, time).await
    }

    /// Retries a parked key like [`retry_parked`](Self::retry_parked), with another payload for one of its events. The
    /// edit is recorded with the operator and the reason. The log does not change, so a rebuild receives the original
    /// event.
    ///
    /// # Errors
    /// Same as [`retry_parked`](Self::retry_parked). Also returns [`RunnerError::Store`] with
    /// [`StoreError::Refused`](es_core::StoreError::Refused) if the request has no reason, or if the event is not
    /// parked under this key.
    ///
    /// # Cancel safety
    /// Same as [`retry_parked`](Self::retry_parked).
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

    /// Discards one parked event of a key, or all of them. The request must include a reason, and each discarded event
    /// is recorded. The events behind it stay parked until they are retried. Returns the number of discarded events.
    ///
    /// # Errors
    /// Returns [`RunnerError::Store`], with [`StoreError::Refused`](es_core::StoreError::Refused) if there is no
    /// reason.
    ///
    /// # Cancel safety
    /// Safe: the events are either discarded or not.
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

    /// Returns the name under which a consumer's events are parked, which is the name of its live generation.
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
