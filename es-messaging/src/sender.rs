//! Publishes in order with confirmations. Every relay uses this sender.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use es_core::{BoxError, DeadLetterStore, DeadReason, NewDeadLetter, StoreError, limits as core_limits};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::{
    broker::{Outgoing, Publisher},
    causes::with_causes,
    circuit_breaker::{Admit, BreakerState, CircuitBreaker},
    claim_check::{ClaimCheck, ClaimError},
    error::PublishError,
    limits,
    rate_limit::RateLimiter,
    relay_monitor::RelayMonitor,
    sender_settings::SenderSettings,
};

/// Publishes messages in order until each is confirmed or has become a dead letter.
pub(crate) struct Sender {
    publisher: Arc<dyn Publisher>,
    dead_letters: Arc<dyn DeadLetterStore>,
    claim_check: Option<ClaimCheck>,
    limiter: Option<RateLimiter>,
    batch: usize,
    /// The number of messages that the broker confirms in time. Smaller than a batch after a batch that was too large
    /// for the broker.
    in_time: AtomicUsize,
    pub(crate) monitor: RelayMonitor,
}

/// The reason why not every message was published. All reasons except a failure of the store are transient.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The broker does not confirm, and the relay does not send to it for a while. Nothing is lost: unconfirmed
    /// messages are published again.
    #[error("the broker does not confirm, it is tried again in {wait:?}: {last_error}")]
    Waiting {
        /// The time until the next attempt.
        wait: Duration,
        /// The last error of the broker or its client.
        last_error: String,
    },
    /// There are more messages than can be sent in one call. The relay continues immediately.
    #[error("the messages take their time: a slow broker, or the rate limit")]
    OutOfTime,
    /// Dead letters could not be stored, or content could not be written to the blob store.
    #[error("what cannot be published could not be put aside")]
    Store(#[from] StoreError),
}

/// The unfinished messages in order, each with its index among the given messages.
struct Queue {
    messages: Vec<Outgoing>,
    places: Vec<usize>,
}

impl Queue {
    /// Removes the finished messages from the first messages.
    fn take_out(&mut self, is_done: &[bool]) {
        if is_done.iter().all(|&is_done| is_done) {
            self.messages.drain(..is_done.len());
            self.places.drain(..is_done.len());
            return;
        }
        let mut flags = is_done.iter();
        self.messages.retain(|_| !flags.next().copied().unwrap_or(false));
        let mut flags = is_done.iter();
        self.places.retain(|_| !flags.next().copied().unwrap_or(false));
    }
}

impl Sender {
    pub(crate) fn new(
        monitor: RelayMonitor,
        publisher: Arc<dyn Publisher>,
        dead_letters: Arc<dyn DeadLetterStore>,
        settings: &SenderSettings,
    ) -> Self {
        let limiter = settings.rate_limit.map(RateLimiter::new);
        let claim_check = settings.claim_check.clone();
        let batch = settings.batch();
        let in_time = AtomicUsize::new(batch);
        Self { publisher, dead_letters, claim_check, limiter, batch, in_time, monitor }
    }

    /// Returns the maximum number of messages that are passed to the publisher at once.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    fn breaker(&self) -> &CircuitBreaker {
        &self.monitor.shared.breaker
    }

    /// Publishes messages in order. Calls `done` with the index of each message once it is confirmed or stored as a
    /// dead letter. What was reported remains valid whatever the result is, and also if the future is dropped.
    ///
    /// # Errors
    /// Returns [`RelayError`] if some messages are not done.
    pub(crate) async fn send(
        &self,
        messages: Vec<Outgoing>,
        mut done: impl FnMut(usize) + Send,
    ) -> Result<(), RelayError> {
        let begun = Instant::now();
        let deadline = begun + limits::RELAY_CALL_TIME;
        let mut patience = limits::RELAY_CALL_PATIENCE;
        let mut queue = Queue { places: (0..messages.len()).collect(), messages };
        self.fit(&mut queue, &mut done).await?;
        while !queue.messages.is_empty() {
            if Instant::now() >= deadline {
                return Err(RelayError::OutOfTime);
            }
            let admitted = self.breaker().admit();
            let most = match &admitted {
                Admit::Wait(at) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    let Some(left) = patience.checked_sub(wait) else {
                        return Err(self.waiting(wait));
                    };
                    patience = left;
                    sleep_until(*at).await;
                    continue;
                }
                Admit::Batch => self.in_time.load(Ordering::Relaxed).min(queue.messages.len()),
                Admit::Probe(_) => 1,
            };
            let most = match &self.limiter {
                None => most,
                Some(limiter) => timeout_at(deadline, limiter.take(most)).await.map_err(|_| RelayError::OutOfTime)?,
            };
            self.publish(&mut queue, most, &mut done).await?;
        }
        Ok(())
    }

    /// Publishes the first messages of the queue once, and removes those that are done.
    async fn publish(
        &self,
        queue: &mut Queue,
        count: usize,
        done: &mut (impl FnMut(usize) + Send),
    ) -> Result<(), RelayError> {
        let shared = &self.monitor.shared;
        let batch = &queue.messages[..count];
        let results = self.give(batch).await;
        let (mut is_done, mut letters) = (vec![false; count], Vec::new());
        let (mut failed, mut worst, mut after) = (0_u64, None, None);
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(()) => is_done[index] = true,
                Err(PublishError::Refused { broker, kind, reason }) => {
                    let error = PublishError::Refused { broker, kind, reason };
                    letters.push((index, dead_letter(self, &batch[index], kind, &error)));
                }
                Err(error) => {
                    failed += 1;
                    if let PublishError::Throttled { after: asked, .. } = &error {
                        after = after.max(*asked);
                    }
                    // That a message is behind another one provides no information.
                    if !matches!(error, PublishError::Behind) || worst.is_none() {
                        worst = Some(error);
                    }
                }
            }
        }
        let published = is_done.iter().filter(|&&is_done| is_done).count();
        self.monitor.note_published(published);
        for place in is_done.iter().enumerate().filter(|(_, is_done)| **is_done) {
            done(queue.places[place.0]);
        }
        let refused = letters.len();
        if let Some(error) = &worst {
            self.monitor.note_unconfirmed(failed, error);
        }
        if published == 0 && refused == 0 {
            if self.breaker().note_failure(after) {
                let error = shared.last_error().unwrap_or_default();
                tracing::warn!(consumer = %shared.consumer, error, "the broker does not confirm; it is left alone for a while");
            }
        } else {
            if self.breaker().state().0 != BreakerState::Closed {
                tracing::info!(consumer = %shared.consumer, "the broker confirms again");
            }
            let is_first_refused = letters.first().is_some_and(|(index, _)| *index == 0);
            self.breaker().note_progress(!is_done[0] && !is_first_refused, after);
        }
        let keep = self.put_aside(letters, queue, &mut is_done, done).await;
        queue.take_out(&is_done);
        keep
    }

    /// Passes messages to the publisher, and returns the result for each.
    async fn give(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let begun = Instant::now();
        let results = {
            let _in_flight = self.monitor.shared.in_flight(batch.len());
            timeout(limits::PUBLISH_TIMEOUT, self.publisher.publish(batch)).await
        };
        let took = begun.elapsed();
        self.monitor.note_latency(took);
        // A slow broker that receives the same large batch again and again would never confirm anything.
        if results.is_err() {
            self.in_time.store((batch.len() / 2).max(1), Ordering::Relaxed);
        } else if took < limits::PUBLISH_TIMEOUT / 4 && batch.len() >= self.in_time.load(Ordering::Relaxed) {
            self.in_time.store(batch.len().saturating_mul(2).min(self.batch), Ordering::Relaxed);
        }
        let silence = || {
            let source: BoxError = format!("no answer within {:?}", limits::PUBLISH_TIMEOUT).into();
            Err(PublishError::Unconfirmed { broker: "the broker", source })
        };
        let mut results = results.unwrap_or_default();
        // A publisher that returns no result for a message has not confirmed it.
        results.resize_with(batch.len(), silence);
        results
    }

    /// Stores dead letters, which are then done.
    async fn put_aside(
        &self,
        letters: Vec<(usize, NewDeadLetter)>,
        queue: &Queue,
        is_done: &mut [bool],
        done: &mut (impl FnMut(usize) + Send),
    ) -> Result<(), RelayError> {
        if letters.is_empty() {
            return Ok(());
        }
        let (places, letters): (Vec<usize>, Vec<NewDeadLetter>) = letters.into_iter().unzip();
        for some in letters.chunks(core_limits::MAX_DEAD_LETTERS_PER_READ) {
            self.dead_letters
                .add_dead_letters(some)
                .await
                .inspect_err(|error| self.monitor.shared.note_error(error))?;
        }
        self.monitor.note_refused(&letters);
        for place in places {
            is_done[place] = true;
            done(queue.places[place]);
        }
        Ok(())
    }

    /// Handles messages that are too large: either their content is stored elsewhere, or they become dead letters.
    async fn fit(&self, queue: &mut Queue, done: &mut (impl FnMut(usize) + Send)) -> Result<(), RelayError> {
        let (limit, mut letters) = (self.size_limit(), Vec::new());
        for (index, outgoing) in queue.messages.iter_mut().enumerate() {
            if outgoing.message.size() > limit
                && let Some(error) = self.fit_one(outgoing, limit).await?
            {
                letters.push((index, dead_letter(self, outgoing, DeadReason::Refused, &error)));
            }
        }
        if letters.is_empty() {
            return Ok(());
        }
        let mut is_done = vec![false; queue.messages.len()];
        self.put_aside(letters, queue, &mut is_done, done).await?;
        queue.take_out(&is_done);
        Ok(())
    }

    /// Returns the maximum size of a message that keeps its content.
    fn size_limit(&self) -> usize {
        let most = self.publisher.limits().message_bytes;
        self.claim_check.as_ref().map_or(most, |claim_check| claim_check.limit(most))
    }

    async fn fit_one(&self, outgoing: &mut Outgoing, limit: usize) -> Result<Option<TooLarge>, StoreError> {
        let (message, most) = (&mut outgoing.message, self.publisher.limits().message_bytes);
        if message.size() > limit
            && message.has_data()
            && let Some(claim_check) = &self.claim_check
        {
            match claim_check.put(message).await {
                Ok(small) => *message = small,
                // The content exceeds the maximum size of a blob.
                Err(ClaimError::Store(StoreError::LimitExceeded { .. })) => {}
                Err(ClaimError::Store(error)) => {
                    self.monitor.shared.note_error(&error);
                    return Err(error);
                }
                Err(ClaimError::Message(_) | ClaimError::Missing { .. }) => {}
            }
        }
        let size = message.size();
        Ok((size > most).then_some(TooLarge { size, most }))
    }

    /// Publishes messages once, as for dead letters that are retried, and returns the result for each. Returns `None`
    /// if the circuit breaker is open.
    pub(crate) async fn try_once(&self, mut messages: Vec<Outgoing>) -> Option<Vec<Result<(), PublishError>>> {
        let admitted = self.breaker().admit();
        match &admitted {
            Admit::Wait(_) => return None,
            Admit::Batch => {}
            Admit::Probe(_) => messages.truncate(1),
        }
        let most = match &self.limiter {
            Some(limiter) => limiter.take(messages.len()).await,
            None => messages.len(),
        };
        messages.truncate(most);
        let results = self.give(&messages).await;
        let published = results.iter().filter(|result| result.is_ok()).count();
        let (mut failed, mut worst, mut after) = (0, None, None);
        for error in results.iter().filter_map(|result| result.as_ref().err()).filter(|error| error.is_transient()) {
            failed += 1;
            if let PublishError::Throttled { after: asked, .. } = error {
                after = after.max(*asked);
            }
            worst = worst.or(Some(error));
        }
        self.monitor.note_published(published);
        if let Some(error) = worst {
            self.monitor.note_unconfirmed(failed, error);
        }
        if failed < results.len() as u64 {
            self.breaker().note_progress(false, after);
        } else {
            self.breaker().note_failure(after);
        }
        Some(results)
    }

    /// Returns a message as the publisher accepts it: without its content if that is too large and can be stored
    /// elsewhere.
    pub(crate) async fn fitted(&self, outgoing: Outgoing) -> Result<Outgoing, PublishError> {
        let mut queue = Queue { messages: vec![outgoing], places: vec![0] };
        let limit = self.size_limit();
        match self.fit_one(&mut queue.messages[0], limit).await {
            Ok(None) => Ok(queue.messages.remove(0)),
            Ok(Some(error)) => {
                let (kind, reason) = (DeadReason::Refused, error.to_string());
                Err(PublishError::Refused { broker: "the relay", kind, reason })
            }
            Err(error) => Err(PublishError::Unconfirmed { broker: "the blob store", source: error.into() }),
        }
    }

    /// Stores bytes that are not a valid message as a dead letter.
    pub(crate) async fn put_undecodable_aside(&self, letter: NewDeadLetter) -> Result<(), StoreError> {
        let letters = [letter];
        self.dead_letters.add_dead_letters(&letters).await?;
        self.monitor.note_refused(&letters);
        Ok(())
    }

    fn waiting(&self, wait: Duration) -> RelayError {
        self.monitor.note_breaker();
        RelayError::Waiting { wait, last_error: self.monitor.shared.last_error().unwrap_or_default() }
    }
}

/// A message that exceeds the limit of the broker.
#[derive(Debug, thiserror::Error)]
#[error("the message has {size} bytes, the broker takes {most}; use a claim check")]
struct TooLarge {
    size: usize,
    most: usize,
}

fn dead_letter(
    sender: &Sender,
    outgoing: &Outgoing,
    reason: DeadReason,
    error: &(dyn std::error::Error + 'static),
) -> NewDeadLetter {
    let message = &outgoing.message;
    let consumer = sender.monitor.shared.consumer.clone();
    let mut text = with_causes(error);
    let (raw, dropped) = message.to_bounded_raw();
    if let Some(dropped) = dropped {
        // The event itself is still in the log.
        text.push_str(&format!("; {dropped}"));
    }
    NewDeadLetter::new(consumer, message.id(), outgoing.topic.as_str(), reason, &text, raw)
        .with_type(Some(message.message_type()))
        .with_key(message.key())
}
