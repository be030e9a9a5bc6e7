//! Publishes dead letters again.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use es_core::{DeadLetter, DeadLetterQuery, DeadReason, NewDeadLetter, StoreError};
use tokio::time::{Instant, sleep};

use crate::{
    broker::Outgoing,
    dead_letter_alert::{AlertTeller, DeadLetterAlert},
    error::PublishError,
    limits,
    message::{Message, extension},
    relay_monitor::with_causes,
    sender::Sender,
};

/// Publishes the dead letters of a relay again for which somebody asked that, and takes those away that the broker confirms. One that is
/// refused again is kept with the new error. Cloning gives another handle to the same.
///
/// Of several processes that do so for one relay, more than one may publish a letter, under the same id.
#[derive(Clone)]
pub struct DeadLetterRetries {
    shared: Arc<Shared>,
}

struct Shared {
    sender: Arc<Sender>,
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

/// What came of a look for letters to publish again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retried {
    /// Published, and no dead letters any more.
    pub published: u64,
    /// Refused again.
    pub refused: u64,
    /// Still to be tried: the broker does not confirm.
    pub waiting: u64,
}

impl DeadLetterRetries {
    pub(crate) fn new(sender: Arc<Sender>, alert: DeadLetterAlert) -> Self {
        let shared = Shared {
            sender,
            alert,
            teller: AlertTeller::default(),
            next: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Looks every [`limits::DEAD_LETTER_RETRY_INTERVAL`], until `shutdown` is ready. A store or broker that is away is waited for.
    ///
    /// # Cancel safety
    /// Safe: a letter that was published and not yet taken away is published again.
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

    /// Looks, if it is time to.
    pub(crate) async fn on_the_way(&self) {
        if !self.is_due() {
            return;
        }
        loop {
            match self.retry_asked().await {
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

    /// Whether the look that is under way is young enough to go on with.
    fn is_quick(&self) -> bool {
        let next = *self.shared.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.is_some_and(|next| Instant::now() + limits::DEAD_LETTER_RETRY_INTERVAL / 2 < next)
    }

    /// Looks once: publishes at most [`limits::DEAD_LETTERS_PER_RETRY`], in the order in which they were put aside.
    ///
    /// # Errors
    /// [`StoreError`] of the dead letters' store.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn retry_asked(&self) -> Result<Retried, StoreError> {
        let _one = self.shared.one_at_a_time.lock().await;
        let sender = &*self.shared.sender;
        let consumer = &sender.monitor.shared.consumer;
        let totals = sender.letters().dead_letter_totals().await?;
        let Some(totals) = totals.into_iter().find(|totals| totals.consumer == *consumer) else {
            return Ok(Retried::default());
        };
        self.shared.teller.tell(&self.shared.alert, &totals);
        if totals.depth == 0 {
            return Ok(Retried::default());
        }
        let query = {
            let mut query = DeadLetterQuery::of(consumer.clone());
            query.is_retry_asked = Some(true);
            query
        };
        let letters = sender.letters().dead_letters(&query, None, limits::DEAD_LETTERS_PER_RETRY).await?;
        let mut retried = Retried::default();
        let (mut asked, mut messages) = (Vec::with_capacity(letters.len()), Vec::with_capacity(letters.len()));
        for letter in letters {
            match self.readable(&letter).await {
                Ok(outgoing) => {
                    messages.push(outgoing);
                    asked.push(letter);
                }
                Err(PublishError::Refused { kind, reason, .. }) => {
                    self.keep(&letter, kind, &reason).await?;
                    retried.refused += 1;
                }
                Err(_) => retried.waiting += 1,
            }
        }
        if messages.is_empty() {
            return Ok(retried);
        }
        let results = sender.try_once(messages).await.unwrap_or_default();
        retried.waiting += asked.len().saturating_sub(results.len()) as u64;
        for (letter, result) in asked.iter().zip(results) {
            match result {
                Ok(()) => {
                    sender.letters().resolve_dead_letter(letter.id).await?;
                    retried.published += 1;
                }
                Err(PublishError::Refused { broker, kind, reason }) => {
                    let error = PublishError::Refused { broker, kind, reason };
                    self.keep(letter, kind, &with_causes(&error)).await?;
                    retried.refused += 1;
                }
                Err(_) => retried.waiting += 1,
            }
        }
        Ok(retried)
    }

    /// The message of a letter, as the publisher takes it.
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

    /// Keeps a letter that was refused again, with the new error.
    async fn keep(&self, letter: &DeadLetter, reason: DeadReason, error: &str) -> Result<(), StoreError> {
        let old = &letter.letter;
        let (consumer, id, topic) = (old.consumer.clone(), old.message_id.as_str(), old.topic.as_str());
        let again = NewDeadLetter::new(consumer, id, topic, reason, error, old.message.clone())
            .with_type(old.message_type.as_deref())
            .with_key(old.key.as_deref())
            .with_attempts(old.attempts.saturating_add(1));
        self.shared.sender.letters().add_dead_letters(&[again]).await
    }
}
