//! A publisher that does as it is told.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use es_core::DeadReason;
use es_messaging::{Outgoing, PublishError, Publisher, PublisherLimits};
use es_testkit::SeededRng;
use tokio::time::{Instant, sleep};

/// How the broker behind it behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Answers nothing but that it is away.
    pub(crate) is_down: bool,
    /// Asks for patience, and for so long.
    pub(crate) throttles: Option<Duration>,
    /// Never answers.
    pub(crate) hangs: bool,
    /// Of a hundred messages, so many are lost on the way, and of so many the confirmation is.
    pub(crate) lost: u64,
    pub(crate) unconfirmed: u64,
    /// Refuses messages that hold this text.
    pub(crate) refuses: Option<&'static str>,
    /// Never confirms messages of this key.
    pub(crate) stuck_key: Option<&'static str>,
    /// How long it takes.
    pub(crate) latency: Duration,
    /// How long each message takes.
    pub(crate) each: Duration,
    /// Says nothing of the last messages of a batch.
    pub(crate) forgets: usize,
}

/// What it was asked for, and what it kept.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<(Instant, usize)>,
    pub(crate) kept: Vec<Outgoing>,
    pub(crate) confirmed: HashSet<String>,
    /// Ids that were published though they had been confirmed.
    pub(crate) again: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) behaviour: Mutex<Behaviour>,
    pub(crate) seen: Mutex<Seen>,
    rng: SeededRng,
    message_bytes: usize,
}

impl Scripted {
    pub(crate) fn new(behaviour: Behaviour) -> Arc<Self> {
        Self::with(behaviour, SeededRng::new(7), 100_000)
    }

    pub(crate) fn with(behaviour: Behaviour, rng: SeededRng, message_bytes: usize) -> Arc<Self> {
        Arc::new(Self { behaviour: Mutex::new(behaviour), seen: Mutex::default(), rng, message_bytes })
    }

    pub(crate) fn confirming() -> Arc<Self> {
        Self::new(Behaviour::default())
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().calls.len()
    }

    pub(crate) fn kept(&self) -> Vec<Outgoing> {
        self.seen.lock().unwrap().kept.clone()
    }

    pub(crate) fn again(&self) -> Vec<String> {
        self.seen.lock().unwrap().again.clone()
    }

    /// The ids that were kept, each once, by key, in the order in which they came first.
    pub(crate) fn first_by_key(&self) -> BTreeMap<String, Vec<String>> {
        let (mut seen, mut by_key) = (HashSet::new(), BTreeMap::<String, Vec<String>>::new());
        for outgoing in self.kept() {
            let message = outgoing.message;
            if seen.insert(message.id().to_owned()) {
                by_key.entry(message.key().unwrap_or_default().to_owned()).or_default().push(message.id().to_owned());
            }
        }
        by_key
    }

    fn one(&self, behaviour: &Behaviour, seen: &mut Seen, outgoing: &Outgoing) -> Result<(), PublishError> {
        let unconfirmed = |why: &str| PublishError::Unconfirmed { broker: "scripted", source: why.into() };
        if behaviour.is_down {
            return Err(unconfirmed("it is away"));
        }
        if let Some(after) = behaviour.throttles {
            return Err(PublishError::Throttled { broker: "scripted", after: Some(after) });
        }
        let text = String::from_utf8_lossy(outgoing.message.data()).into_owned();
        if behaviour.refuses.is_some_and(|word| text.contains(word)) {
            let (kind, reason) = (DeadReason::Refused, "it does not like it".to_owned());
            return Err(PublishError::Refused { broker: "scripted", kind, reason });
        }
        if behaviour.stuck_key.is_some() && outgoing.message.key() == behaviour.stuck_key {
            return Err(unconfirmed("its leader is away"));
        }
        let chance = self.rng.below(100);
        if chance < behaviour.lost {
            return Err(unconfirmed("lost on the way"));
        }
        seen.kept.push(outgoing.clone());
        if chance < behaviour.lost + behaviour.unconfirmed {
            return Err(unconfirmed("its confirmation was lost"));
        }
        let id = outgoing.message.id().to_owned();
        if !seen.confirmed.insert(id.clone()) {
            seen.again.push(id);
        }
        Ok(())
    }
}

#[async_trait]
impl Publisher for Scripted {
    fn limits(&self) -> PublisherLimits {
        PublisherLimits { message_bytes: self.message_bytes, batch: 1_000 }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let behaviour = self.behaviour.lock().unwrap().clone();
        self.seen.lock().unwrap().calls.push((Instant::now(), batch.len()));
        if behaviour.hangs {
            return std::future::pending().await;
        }
        if !behaviour.latency.is_zero() {
            sleep(behaviour.latency).await;
        }
        let mut failed: HashSet<&str> = HashSet::new();
        let mut results = Vec::with_capacity(batch.len());
        for outgoing in batch {
            if !behaviour.each.is_zero() {
                sleep(behaviour.each).await;
            }
            let key = outgoing.message.key();
            let result = match key.filter(|key| failed.contains(key)) {
                Some(_) => Err(PublishError::Behind),
                None => self.one(&behaviour, &mut self.seen.lock().unwrap(), outgoing),
            };
            if result.as_ref().is_err_and(PublishError::is_transient) {
                failed.extend(key);
            }
            results.push(result);
            // Somebody may be killed between any two.
            tokio::task::yield_now().await;
        }
        results.truncate(results.len().saturating_sub(behaviour.forgets));
        results
    }
}
