//! The relay of the outbox: publishes what the transactions of other code wrote.

use std::{
    collections::HashSet,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use es_core::{
    ConsumerName, ControlStore, DeadLetterStore, DeadReason, Fence, Hold, InvalidName, LeaseHolder, LeaseStore, Leased,
    NewDeadLetter, OUTBOX_CONSUMER, OutboxEntry, OutboxStore, StoreError, check_member,
};
use es_projections::Backoff;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    broker::{Outgoing, Publisher},
    circuit_breaker::{BreakerOptions, CircuitBreaker},
    claim_check::ClaimCheck,
    dead_letter_alert::DeadLetterAlert,
    dead_letter_retries::DeadLetterRetries,
    limits,
    message::{Message, extension},
    rate_limit::RateLimit,
    relay_monitor::{OutboxWork, RelayMonitor, with_causes},
    sender::{RelayError, Sender},
    sender_settings::SenderSettings,
};

/// Everything that the relay of an outbox needs of a store.
pub trait OutboxRelayStore: OutboxStore + LeaseStore + ControlStore + DeadLetterStore {}

impl<S: OutboxStore + LeaseStore + ControlStore + DeadLetterStore + ?Sized> OutboxRelayStore for S {}

/// Publishes the outbox of a store to one broker.
///
/// Of all that run over one store, in whatever process, one publishes at a time, under the lease of [`OUTBOX_CONSUMER`]; the
/// others take over when it stops, at once, or is killed, after [`limits::OUTBOX_LEASE_TIME`]. Who pauses or disables that consumer
/// ([`ControlStore::hold`]) stops all of them.
///
/// - Every message is published at least once, under the id that it was written with. None is confirmed to the outbox before the
///   broker has confirmed it or it is a dead letter.
/// - Messages of one key are published in the order in which they were written.
///
/// ```
/// use std::sync::Arc;
///
/// use es_messaging::{Broker, OutboxRelay, OutboxRelayStore};
///
/// async fn publish<S: OutboxRelayStore + 'static>(
///     store: Arc<S>,
///     broker: &dyn Broker,
///     shutdown: impl Future<Output = ()>,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     let relay = OutboxRelay::builder().build(broker.publisher().await?, store)?;
///     relay.run(shutdown).await;
///     Ok(())
/// }
/// ```
pub struct OutboxRelay {
    store: Arc<dyn OutboxRelayStore>,
    consumer: ConsumerName,
    owner: String,
    sender: Arc<Sender>,
    retries: DeadLetterRetries,
    poll_interval: Duration,
}

impl std::fmt::Debug for OutboxRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxRelay").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Puts an [`OutboxRelay`] together.
#[must_use = "a builder does nothing until it is built"]
#[derive(Debug, Default)]
pub struct OutboxRelayBuilder {
    settings: SenderSettings,
    alert: DeadLetterAlert,
    owner: Option<String>,
    poll_interval: Option<Duration>,
}

impl OutboxRelayBuilder {
    /// What it calls itself; a random name if not said.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// How often it looks for new messages when there were none; [`limits::OUTBOX_POLL_INTERVAL`] if not said.
    pub fn poll_interval(mut self, time: Duration) -> Self {
        self.poll_interval = Some(time);
        self
    }

    /// Most messages that are given to the publisher at once; [`limits::DEFAULT_RELAY_BATCH`] if not said, at most
    /// [`limits::MAX_RELAY_BATCH`].
    pub fn batch(mut self, messages: usize) -> Self {
        self.settings.batch = Some(messages);
        self
    }

    /// At most so many messages a second.
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.rate_limit = Some(limit);
        self
    }

    /// Where content goes that is too large for the broker. Without it such messages are dead letters.
    pub fn claim_check(mut self, claim_check: ClaimCheck) -> Self {
        self.settings.claim_check = Some(claim_check);
        self
    }

    /// When the broker is left alone, and for how long.
    pub fn breaker(mut self, options: BreakerOptions) -> Self {
        self.settings.breaker = options;
        self
    }

    /// When its dead letters are too many or too old.
    pub fn dead_letter_alert(mut self, alert: DeadLetterAlert) -> Self {
        self.alert = alert;
        self
    }

    /// The relay, over a publisher and a store.
    ///
    /// # Errors
    /// [`InvalidName`] for an owner that [`check_member`] refuses.
    pub fn build<S: OutboxRelayStore + 'static>(
        self,
        publisher: impl Into<Arc<dyn Publisher>>,
        store: Arc<S>,
    ) -> Result<OutboxRelay, InvalidName> {
        let Self { settings, alert, owner, poll_interval } = self;
        let owner = owner.unwrap_or_else(|| format!("outbox-relay-{}", Uuid::now_v7()));
        check_member(&owner)?;
        let consumer = ConsumerName::new(OUTBOX_CONSUMER)?;
        let monitor = RelayMonitor::new(consumer.clone(), CircuitBreaker::new(settings.breaker.clone()));
        let letters: Arc<dyn DeadLetterStore> = Arc::clone(&store) as _;
        let sender = Arc::new(Sender::new(monitor, publisher.into(), letters, &settings));
        let retries = DeadLetterRetries::new(Arc::clone(&sender), alert);
        let poll_interval = poll_interval.unwrap_or(limits::OUTBOX_POLL_INTERVAL);
        Ok(OutboxRelay { store, consumer, owner, sender, retries, poll_interval })
    }
}

/// Why it does not publish now.
enum Pause {
    Held(Hold),
    Taken(LeaseHolder),
    Store(StoreError),
    Broker(RelayError),
}

/// What it has while it works.
struct Work {
    fence: Option<Fence>,
    /// When the lease was last claimed.
    claimed_at: Instant,
    held_checked_at: Option<Instant>,
    tidied_at: Option<Instant>,
    /// The places of messages that are done, though an earlier one is not.
    done: HashSet<String>,
    store_failures: u32,
}

impl OutboxRelay {
    /// Starts to put one together.
    pub fn builder() -> OutboxRelayBuilder {
        OutboxRelayBuilder::default()
    }

    /// Shows what it does.
    pub fn monitor(&self) -> RelayMonitor {
        self.sender.monitor.clone()
    }

    /// Publishes until `shutdown` is ready; then it finishes its batch, as far as that takes no longer than
    /// [`limits::OUTBOX_SHUTDOWN_GRACE`], and leaves the lease to others. Whatever is away meanwhile, broker or store, is waited for.
    ///
    /// # Cancel safety
    /// Dropping it is a hard stop: nothing is lost, and what was published and not yet confirmed to the outbox is published again, under
    /// the same id.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut work = Work::new();
        loop {
            let end: Option<Duration> = {
                let mut turn = pin!(self.turn(&mut work));
                tokio::select! {
                    wait = &mut turn => Some(wait),
                    () = &mut shutdown => {
                        // Its batch is published already, or nearly.
                        let _ = timeout(limits::OUTBOX_SHUTDOWN_GRACE, turn).await;
                        None
                    }
                }
            };
            let Some(wait) = end else { break };
            if is_ready_within(shutdown.as_mut(), wait).await {
                break;
            }
        }
        self.leave(&mut work).await;
        self.note(OutboxWork::Stopped);
    }

    /// Publishes until nothing waits that could be published now.
    ///
    /// # Errors
    /// [`OutboxRelayError`]: it does not wait for a broker or store that is away, nor for another process.
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn catch_up(&self) -> Result<(), OutboxRelayError> {
        let mut work = Work::new();
        let result = loop {
            match self.step(&mut work).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(Pause::Held(hold)) => break Err(OutboxRelayError::Held(Box::new(hold))),
                Err(Pause::Taken(holder)) => break Err(OutboxRelayError::Elsewhere { owner: holder.owner }),
                Err(Pause::Store(error)) => break Err(error.into()),
                Err(Pause::Broker(error)) => break Err(error.into()),
            }
        };
        self.leave(&mut work).await;
        self.note(OutboxWork::Stopped);
        result
    }

    /// One step, and how long to wait before the next.
    async fn turn(&self, work: &mut Work) -> Duration {
        let step = self.step(work).await;
        let wait = match step {
            Ok(0) => self.poll_interval,
            Ok(_) => Duration::ZERO,
            Err(Pause::Held(hold)) => {
                self.leave(work).await;
                self.note(OutboxWork::Held(Box::new(hold)));
                limits::OUTBOX_CONTROL_INTERVAL
            }
            Err(Pause::Taken(holder)) => {
                self.note(OutboxWork::Elsewhere { owner: holder.owner });
                limits::OUTBOX_TURN_INTERVAL
            }
            // The time that it took to find out is over: the sender has waited, and gives the rest of the wait.
            Err(Pause::Broker(RelayError::Waiting { wait, .. })) => wait.min(limits::RELAY_CALL_PATIENCE),
            Err(Pause::Broker(RelayError::OutOfTime)) => Duration::ZERO,
            Err(Pause::Broker(RelayError::Store(error)) | Pause::Store(error)) => {
                work.store_failures = work.store_failures.saturating_add(1);
                let backoff = Backoff::new(limits::OUTBOX_FIRST_STORE_WAIT, limits::OUTBOX_LONGEST_STORE_WAIT);
                let wait = backoff.wait(work.store_failures).max(limits::OUTBOX_FIRST_STORE_WAIT / 2);
                tracing::warn!(
                    attempt = work.store_failures,
                    ?wait,
                    error = with_causes(&error),
                    "the outbox waits for its store"
                );
                self.sender.monitor.shared.note_error(&error);
                self.note(OutboxWork::WaitingForStore);
                return wait;
            }
        };
        work.store_failures = 0;
        wait
    }

    /// Publishes the next messages. Gives how many there were.
    async fn step(&self, work: &mut Work) -> Result<usize, Pause> {
        self.check_holds(work).await?;
        let fence = self.lease(work).await?;
        self.note(OutboxWork::Working);
        self.retries.on_the_way().await;
        self.tidy(work).await?;
        let entries = self.store.read_outbox(self.sender.batch()).await?;
        if entries.is_empty() {
            work.done.clear();
            return Ok(0);
        }
        let sent = self.publish(&entries, work).await;
        let is_undone = |entry: &&OutboxEntry| !work.done.contains(entry.cursor.as_str());
        let count = entries.iter().take_while(|entry| !is_undone(entry)).count();
        let first_undone = entries.iter().find(is_undone).is_some();
        if let Some(last) = count.checked_sub(1).and_then(|last| entries.get(last)) {
            let confirmed = self.store.confirm_outbox(fence, &last.cursor).await;
            if let Err(StoreError::LeaseLost { .. }) = &confirmed {
                tracing::info!("the outbox is somebody else's by now; what was just published may be published again");
                work.lose();
                return Ok(count);
            }
            confirmed?;
            for entry in &entries[..count] {
                work.done.remove(entry.cursor.as_str());
            }
        }
        if !first_undone {
            work.done.clear();
        }
        sent.map(|()| entries.len())
    }

    /// Publishes entries, and keeps the lease meanwhile.
    async fn publish(&self, entries: &[OutboxEntry], work: &mut Work) -> Result<(), Pause> {
        let (mut messages, mut cursors) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for entry in entries.iter().filter(|entry| !work.done.contains(entry.cursor.as_str())).collect::<Vec<_>>() {
            match self.outgoing(entry) {
                Ok(outgoing) => {
                    messages.push(outgoing);
                    cursors.push(entry.cursor.as_str());
                }
                Err(letter) => {
                    self.sender.put_undecodable_aside(*letter).await?;
                    work.done.insert(entry.cursor.as_str().to_owned());
                }
            }
        }
        let done = &mut work.done;
        let sending = self.sender.send(messages, |place| {
            done.insert(cursors[place].to_owned());
        });
        tokio::select! {
            sent = sending => sent.map_err(Pause::Broker),
            lost = self.keep_lease() => Err(lost),
        }
    }

    /// An entry as a message, or as a dead letter if it is none.
    fn outgoing(&self, entry: &OutboxEntry) -> Result<Outgoing, Box<NewDeadLetter>> {
        let (row, cursor) = (&entry.message, entry.cursor.as_str());
        let decoded = Message::from_raw(&row.message).and_then(|message| match &row.key {
            Some(key) if message.key() != Some(key) => {
                message.to_builder().extension(extension::PARTITION_KEY, key.as_str()).build()
            }
            _ => Ok(message),
        });
        match decoded {
            Ok(message) => Ok(Outgoing { topic: row.topic.clone(), message }),
            Err(error) => {
                let id = format!("outbox-{cursor}");
                let (consumer, reason) = (self.consumer.clone(), DeadReason::Undecodable);
                let text = with_causes(&error);
                let letter = NewDeadLetter::new(consumer, id, row.topic.as_str(), reason, &text, row.message.clone());
                Err(Box::new(letter.with_key(row.key.as_deref())))
            }
        }
    }

    /// Looks now and then whether somebody holds it back.
    async fn check_holds(&self, work: &mut Work) -> Result<(), Pause> {
        if work.held_checked_at.is_some_and(|at| at.elapsed() < limits::OUTBOX_CONTROL_INTERVAL) {
            return Ok(());
        }
        work.held_checked_at = None;
        let hold = self.store.holds().await?.into_iter().find(|hold| hold.consumer == self.consumer);
        match hold {
            Some(hold) => Err(Pause::Held(hold)),
            None => {
                work.held_checked_at = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Has the lease, and claims or extends it if it is time to.
    async fn lease(&self, work: &mut Work) -> Result<Fence, Pause> {
        let beat = limits::OUTBOX_LEASE_TIME / limits::OUTBOX_BEATS_PER_LEASE;
        if let Some(fence) = work.fence.filter(|_| work.claimed_at.elapsed() < beat) {
            return Ok(fence);
        }
        let asked_at = Instant::now();
        match self.claim().await {
            Ok(Leased::Yours(lease)) => {
                if work.fence != Some(lease.fence) {
                    // Whoever had it in between may have confirmed what is remembered here.
                    work.lose();
                }
                work.fence = Some(lease.fence);
                work.claimed_at = asked_at;
                Ok(lease.fence)
            }
            Ok(Leased::Taken(holder)) => {
                work.lose();
                Err(Pause::Taken(holder))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn claim(&self) -> Result<Leased, StoreError> {
        self.store.claim_lease(&self.consumer, &self.owner, limits::OUTBOX_LEASE_TIME).await
    }

    /// Gives signs of life, until the lease is somebody else's.
    async fn keep_lease(&self) -> Pause {
        loop {
            sleep(limits::OUTBOX_LEASE_TIME / limits::OUTBOX_BEATS_PER_LEASE).await;
            match self.claim().await {
                Ok(Leased::Yours(_)) => {}
                Ok(Leased::Taken(holder)) => return Pause::Taken(holder),
                // The fence tells in the end.
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "the lease of the outbox could not be extended")
                }
            }
        }
    }

    /// Has the outbox cleared of what was published, and counts what waits.
    async fn tidy(&self, work: &mut Work) -> Result<(), Pause> {
        if work.tidied_at.is_some_and(|at| at.elapsed() < limits::OUTBOX_TIDY_INTERVAL) {
            return Ok(());
        }
        work.tidied_at = Some(Instant::now());
        if let Err(error) = self.store.tidy_outbox().await {
            tracing::warn!(error = with_causes(&error), "the outbox could not be tidied; it is tried again");
        }
        let stats = self.store.outbox_stats().await?;
        #[cfg(feature = "metrics")]
        crate::metrics::outbox(&stats);
        self.sender.monitor.shared.note_outbox(stats);
        Ok(())
    }

    /// Gives the lease back.
    async fn leave(&self, work: &mut Work) {
        let Some(fence) = work.fence.take() else { return };
        work.lose();
        let lease = es_core::Lease::new(fence, limits::OUTBOX_LEASE_TIME);
        if let Err(error) = self.store.release_lease(&self.consumer, lease).await {
            tracing::debug!(error = with_causes(&error), "the lease of the outbox is left to run out");
        }
    }

    fn note(&self, work: OutboxWork) {
        self.sender.monitor.shared.note_work(work);
    }
}

impl Work {
    fn new() -> Self {
        let (fence, claimed_at, done) = (None, Instant::now(), HashSet::new());
        Self { fence, claimed_at, held_checked_at: None, tidied_at: None, done, store_failures: 0 }
    }

    /// Forgets what only who has the lease can know.
    fn lose(&mut self) {
        self.fence = None;
        self.done.clear();
    }
}

impl From<StoreError> for Pause {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Why the outbox was not published up to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxRelayError {
    /// Somebody holds it back: resume or enable it.
    #[error("the outbox is held back: {0}")]
    Held(Box<Hold>),
    /// Another process publishes.
    #[error("{owner} publishes the outbox")]
    Elsewhere {
        /// Which, as it calls itself.
        owner: String,
    },
    /// The store refused or failed; see [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker does not confirm.
    #[error(transparent)]
    Broker(#[from] RelayError),
}

/// Waits for some time, or until the shutdown is ready; says whether it is.
async fn is_ready_within(shutdown: Pin<&mut impl Future<Output = ()>>, time: Duration) -> bool {
    if time.is_zero() {
        tokio::task::yield_now().await;
    }
    tokio::select! {
        biased;
        () = shutdown => true,
        () = sleep(time) => false,
    }
}
