//! Publishes dead letters again.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use es_core::{
    ConsumerName, DeadLetter, DeadLetterQuery, DeadReason, InvalidName, NewDeadLetter, StoreError,
    limits::MAX_CONSUMER_NAME_BYTES,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    broker::Outgoing,
    causes::with_causes,
    dead_letter_alert::{AlertTeller, DeadLetterAlert},
    error::PublishError,
    lease::Tenant,
    limits,
    message::{Message, extension},
    relay_store::RelayStore,
    sender::Sender,
    short_hash::short_hash,
};

/// The suffix of the lease name.
const LEASE_SUFFIX: &str = "_dead_letters";

/// Publishes dead letters of a relay again whose retry is requested, and removes those that the broker confirms. A dead
/// letter that is refused again is kept with the new error. A clone is another handle to the same component.
///
/// If several processes do this for one relay, one of them publishes at a time, under a lease of the relay's dead
/// letters. This is the lease of the consumer `<relay>_dead_letters`, so do not use that name for another consumer.
/// While the relay is suspended, nothing is published. If an operator edits or discards a dead letter while it is being
/// published, the operator's action takes precedence.
#[derive(Clone)]
pub struct DeadLetterRetries {
    shared: Arc<Shared>,
}

struct Shared {
    sender: Arc<Sender>,
    store: Arc<dyn RelayStore>,
    lease: Tenant,
    alert: DeadLetterAlert,
    teller: AlertTeller,
    next: Mutex<Option<Instant>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for DeadLetterRetries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterRetries").field("relay", &self.shared.sender.monitor.shared.consumer).finish()
    }
}

/// The result of a check for dead letters to publish again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// The number of dead letters that were published and removed.
    pub published: u64,
    /// The number of dead letters that were refused again.
    pub refused: u64,
    /// The number of dead letters, among those checked, that still have to be retried: the broker does not confirm, the
    /// relay is suspended, or another process is retrying them.
    pub waiting: u64,
}

impl DeadLetterRetries {
    /// # Errors
    /// Returns none that the name of a relay could cause.
    pub(crate) fn new(
        sender: Arc<Sender>,
        store: Arc<dyn RelayStore>,
        alert: DeadLetterAlert,
    ) -> Result<Self, InvalidName> {
        let name = lease_of(&sender.monitor.shared.consumer)?;
        let lease = Tenant::new(Arc::clone(&store) as _, name, format!("dead-letters-{}", Uuid::now_v7()))?;
        let (teller, next, one_at_a_time) = Default::default();
        Ok(Self { shared: Arc::new(Shared { sender, store, lease, alert, teller, next, one_at_a_time }) })
    }

    /// Checks for retry requests every [`limits::DEAD_LETTER_RETRY_INTERVAL`] until `shutdown` completes. Waits for a
    /// store or broker that is unavailable.
    ///
    /// # Cancel safety
    /// Safe: a dead letter that was published but not yet removed is published again.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = async {
                    self.on_the_way().await;
                    sleep(limits::DEAD_LETTER_RETRY_INTERVAL).await;
                } => {}
            }
        }
    }

    /// Checks for retry requests, if a check is due.
    pub(crate) async fn on_the_way(&self) {
        if !self.is_due() {
            return;
        }
        loop {
            match self.retry_requested().await {
                // There may be more.
                Ok(retried) if retried.waiting == 0 && retried.published + retried.refused > 0 => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(
                        error = with_causes(&error),
                        "the dead letters that are to be published again cannot be read"
                    );
                    return;
                }
            }
            if !self.is_quick() {
                return;
            }
        }
    }

    fn is_due(&self) -> bool {
        let (mut next, now) = (self.shared.next.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if next.is_some_and(|next| now < next) {
            return false;
        }
        *next = Some(now + limits::DEAD_LETTER_RETRY_INTERVAL);
        true
    }

    /// Returns whether the current check began recently enough to continue with it.
    fn is_quick(&self) -> bool {
        let next = *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.is_some_and(|next| Instant::now() + limits::DEAD_LETTER_RETRY_INTERVAL / 2 < next)
    }

    /// Checks once: publishes at most [`limits::DEAD_LETTERS_PER_RETRY`] dead letters, in the order in which they were
    /// stored.
    ///
    /// # Errors
    /// Returns a [`StoreError`] of the store of the dead letters.
    ///
    /// # Cancel safety
    /// Same as [`run`](Self::run). Other processes then wait until the lease has expired.
    pub async fn retry_requested(&self) -> Result<Retried, StoreError> {
        let _one = self.shared.one_at_a_time.lock().await;
        let Shared { sender, store, lease, alert, teller, .. } = &*self.shared;
        let consumer = &sender.monitor.shared.consumer;
        let totals = store.dead_letter_totals().await?;
        let Some(totals) = totals.into_iter().find(|totals| totals.consumer == *consumer) else {
            return Ok(Retried::default());
        };
        teller.tell(alert, &totals);
        if totals.depth == 0 || self.requested(1).await?.is_empty() {
            return Ok(Retried::default());
        }
        let waiting = Ok(Retried { waiting: 1, ..Retried::default() });
        if store.suspensions().await?.iter().any(|suspension| suspension.consumer == *consumer) {
            return waiting;
        }
        let Ok(held) = lease.claim().await? else { return waiting };
        let retried = tokio::select! {
            retried = self.retry_some() => retried,
            lost = lease.keep(held) => {
                tracing::info!(%consumer, ?lost, "somebody else may publish the dead letters again by now");
                waiting
            }
        };
        lease.release(held.fence).await;
        retried
    }

    /// Returns the first dead letters whose retry is requested.
    async fn requested(&self, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let mut query = DeadLetterQuery::of(self.shared.sender.monitor.shared.consumer.clone());
        query.is_retry_requested = Some(true);
        self.shared.store.dead_letters(&query, None, most).await
    }

    /// Publishes the dead letters whose retry is requested. The caller holds the lease.
    async fn retry_some(&self) -> Result<Retried, StoreError> {
        let Shared { sender, store, .. } = &*self.shared;
        let letters = self.requested(limits::DEAD_LETTERS_PER_RETRY).await?;
        let mut retried = Retried::default();
        let (mut requested, mut messages) = (Vec::with_capacity(letters.len()), Vec::with_capacity(letters.len()));
        for letter in letters {
            match self.readable(&letter).await {
                Ok(outgoing) => {
                    messages.push(outgoing);
                    requested.push(letter);
                }
                Err(PublishError::Refused { kind, reason, .. }) => {
                    store.fail_dead_letter(&letter, kind, &reason).await?;
                    retried.refused += 1;
                }
                Err(_) => retried.waiting += 1,
            }
        }
        if messages.is_empty() {
            return Ok(retried);
        }
        let results = sender.try_once(messages).await.unwrap_or_default();
        retried.waiting += requested.len().saturating_sub(results.len()) as u64;
        for (letter, result) in requested.iter().zip(results) {
            match result {
                Ok(()) => {
                    store.resolve_dead_letter(letter).await?;
                    retried.published += 1;
                }
                Err(error @ PublishError::Refused { kind, .. }) => {
                    store.fail_dead_letter(letter, kind, &with_causes(&error)).await?;
                    retried.refused += 1;
                }
                Err(_) => retried.waiting += 1,
            }
        }
        Ok(retried)
    }

    /// Returns the message of a dead letter, as the publisher accepts it.
    async fn readable(&self, letter: &DeadLetter) -> Result<Outgoing, PublishError> {
        let refused = |kind, reason| PublishError::Refused { broker: "the relay", kind, reason };
        let NewDeadLetter { topic, key, message, .. } = &letter.letter;
        let decoded = Message::from_raw(message).and_then(|message| match (message.key(), key) {
            (None, Some(key)) => message.to_builder().extension(extension::PARTITION_KEY, key.as_str()).build(),
            _ => Ok(message),
        });
        let message = decoded.map_err(|error| refused(DeadReason::Undecodable, error.to_string()))?;
        self.shared.sender.fitted(Outgoing { topic: topic.clone(), message }).await
    }
}

/// Returns the lease name for a relay's dead letters. For a long name, it consists of the beginning and a hash.
fn lease_of(relay: &ConsumerName) -> Result<ConsumerName, InvalidName> {
    let whole = format!("{relay}{LEASE_SUFFIX}");
    if whole.len() <= MAX_CONSUMER_NAME_BYTES {
        return ConsumerName::new(&whole);
    }
    let hash = short_hash(&[relay.as_str().as_bytes()]);
    let begin: String = whole.chars().take(MAX_CONSUMER_NAME_BYTES - LEASE_SUFFIX.len() - 17).collect();
    ConsumerName::new(&format!("{begin}_{hash:016x}{LEASE_SUFFIX}"))
}
