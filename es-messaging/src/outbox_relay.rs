//! The relay of the outbox: publishes what other code wrote in its own transactions.

use std::{
    collections::HashSet,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use es_core::{
    ConsumerName, DeadReason, InvalidName, LeaseHolder, NewDeadLetter, OUTBOX_CONSUMER, OutboxEntry, StoreError,
    Suspension,
};
use es_projections::Backoff;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    broker::{Outgoing, Publisher},
    causes::with_causes,
    dead_letter_retries::DeadLetterRetries,
    lease::{Held, Lost, Tenant},
    limits,
    message::{Message, extension},
    relay_monitor::{OutboxWork, RelayMonitor},
    relay_store::OutboxRelayStore,
    sender::{RelayError, Sender},
    sender_settings::{SenderSettings, sender_setters},
};

/// Publishes the outbox of a store to one broker.
///
/// Of all relays over one store, in any process, one publishes at a time, under the lease of [`OUTBOX_CONSUMER`]. When
/// that relay stops, another one takes over immediately; when its process is killed, after
/// [`limits::RELAY_LEASE_TIME`]. Pausing or disabling that consumer
/// ([`ControlStore::suspend`](es_core::ControlStore::suspend)) stops all relays.
///
/// - Every message is published at least once, under the ID with which it was written. The relay marks a message as
///   done only after the broker has confirmed it or it has become a dead letter.
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
    lease: Tenant,
    sender: Arc<Sender>,
    retries: DeadLetterRetries,
    poll_interval: Duration,
}

impl std::fmt::Debug for OutboxRelay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboxRelay").field("owner", &self.lease.owner()).finish_non_exhaustive()
    }
}

/// Builds an [`OutboxRelay`].
#[must_use = "a builder does nothing until it is built"]
#[derive(Debug, Default)]
pub struct OutboxRelayBuilder {
    settings: SenderSettings,
    owner: Option<String>,
    poll_interval: Option<Duration>,
}

impl OutboxRelayBuilder {
    /// Sets the name of this process as the owner of the lease. The default is a random name.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets how often the relay checks for new messages after it found none. The default is
    /// [`limits::OUTBOX_POLL_INTERVAL`].
    pub fn poll_interval(mut self, time: Duration) -> Self {
        self.poll_interval = Some(time);
        self
    }

    sender_setters!();

    /// Builds the relay, with a publisher and a store.
    ///
    /// # Errors
    /// Returns [`InvalidName`] for an owner that [`es_core::check_member`] refuses.
    pub fn build<S: OutboxRelayStore + 'static>(
        self,
        publisher: impl Into<Arc<dyn Publisher>>,
        store: Arc<S>,
    ) -> Result<OutboxRelay, InvalidName> {
        let Self { settings, owner, poll_interval } = self;
        let owner = owner.unwrap_or_else(|| format!("outbox-relay-{}", Uuid::now_v7()));
        let consumer = ConsumerName::new(OUTBOX_CONSUMER)?;
        let lease = Tenant::new(Arc::clone(&store) as _, consumer.clone(), owner)?;
        let (sender, retries) = settings.machine(&consumer, publisher.into(), Arc::clone(&store) as _)?;
        let poll_interval = poll_interval.unwrap_or(limits::OUTBOX_POLL_INTERVAL);
        Ok(OutboxRelay { store, consumer, lease, sender, retries, poll_interval })
    }
}

/// The reason why the relay does not publish now.
enum Pause {
    Suspended(Suspension),
    Taken(LeaseHolder),
    Store(StoreError),
    Broker(RelayError),
}

/// The state of the relay while it works.
struct Work {
    held: Option<Held>,
    suspension_checked_at: Option<Instant>,
    tidied_at: Option<Instant>,
    /// The cursors of messages that are done although an earlier one is not.
    done: HashSet<String>,
    store_failures: u32,
}

impl OutboxRelay {
    /// Returns a builder.
    pub fn builder() -> OutboxRelayBuilder {
        OutboxRelayBuilder::default()
    }

    /// Returns a monitor that shows what the relay is doing.
    pub fn monitor(&self) -> RelayMonitor {
        self.sender.monitor.clone()
    }

    /// Publishes until `shutdown` completes. Then the relay finishes its batch, for at most
    /// [`limits::OUTBOX_SHUTDOWN_GRACE`], and releases the lease. While the broker or the store is unavailable, the
    /// relay waits.
    ///
    /// # Cancel safety
    /// Dropping the future is a hard stop. Nothing is lost; messages that were published but not yet marked as done are
    /// published again under the same ID.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let mut work = Work::new();
        loop {
            let end: Option<Duration> = {
                let mut turn = pin!(self.turn(&mut work));
                tokio::select! {
                    wait = &mut turn => Some(wait),
                    () = &mut shutdown => {
                        // Its batch is already published, or almost.
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

    /// Publishes until no message is left that can be published now.
    ///
    /// # Errors
    /// Returns [`OutboxRelayError`]: this method waits neither for an unavailable broker or store nor for another
    /// process.
    ///
    /// # Cancel safety
    /// Same as [`run`](Self::run).
    pub async fn catch_up(&self) -> Result<(), OutboxRelayError> {
        let mut work = Work::new();
        let result = loop {
            match self.step(&mut work).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(Pause::Suspended(suspension)) => break Err(OutboxRelayError::Suspended(Box::new(suspension))),
                Err(Pause::Taken(holder)) => break Err(OutboxRelayError::Elsewhere { owner: holder.owner }),
                Err(Pause::Store(error)) => break Err(error.into()),
                Err(Pause::Broker(error)) => break Err(error.into()),
            }
        };
        self.leave(&mut work).await;
        self.note(OutboxWork::Stopped);
        result
    }

    /// Takes one step. Returns how long to wait before the next one.
    async fn turn(&self, work: &mut Work) -> Duration {
        let step = self.step(work).await;
        let wait = match step {
            Ok(0) => self.poll_interval,
            Ok(_) => Duration::ZERO,
            Err(Pause::Suspended(suspension)) => {
                self.leave(work).await;
                self.note(OutboxWork::Suspended(Box::new(suspension)));
                limits::OUTBOX_CONTROL_INTERVAL
            }
            Err(Pause::Taken(holder)) => {
                self.note(OutboxWork::Elsewhere { owner: holder.owner });
                limits::OUTBOX_LEASE_CHECK_INTERVAL
            }
            // The time of the failed attempt has passed already: the sender has waited, and returns the rest of the
            // wait.
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

    /// Publishes the next messages. Returns how many there were.
    async fn step(&self, work: &mut Work) -> Result<usize, Pause> {
        self.check_suspensions(work).await?;
        self.lease(work).await?;
        self.note(OutboxWork::Working);
        self.retries.on_the_way().await;
        self.tidy(work).await?;
        // The retries and the tidying may have taken longer than the lease.
        let held = self.lease(work).await?;
        let entries = self.store.read_outbox(self.sender.batch()).await?;
        if entries.is_empty() {
            work.done.clear();
            return Ok(0);
        }
        let sent = self.publish(&entries, held, work).await;
        let is_undone = |entry: &&OutboxEntry| !work.done.contains(entry.cursor.as_str());
        let count = entries.iter().take_while(|entry| !is_undone(entry)).count();
        let first_undone = entries.iter().find(is_undone).is_some();
        if let Some(last) = count.checked_sub(1).and_then(|last| entries.get(last)) {
            let confirmed = self.store.confirm_outbox(held.fence, &last.cursor).await;
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

    /// Publishes entries, and extends the lease in the meantime.
    async fn publish(&self, entries: &[OutboxEntry], held: Held, work: &mut Work) -> Result<(), Pause> {
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
            lost = self.lease.keep(held) => Err(match lost {
                Lost::To(holder) => Pause::Taken(holder),
                Lost::Ended(error) => Pause::Store(error),
            }),
        }
    }

    /// Converts an entry into a message, or into a dead letter if it is not a valid message.
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

    /// Checks at intervals whether the relay is suspended.
    async fn check_suspensions(&self, work: &mut Work) -> Result<(), Pause> {
        if work.suspension_checked_at.is_some_and(|at| at.elapsed() < limits::OUTBOX_CONTROL_INTERVAL) {
            return Ok(());
        }
        work.suspension_checked_at = None;
        let suspension =
            self.store.suspensions().await?.into_iter().find(|suspension| suspension.consumer == self.consumer);
        match suspension {
            Some(suspension) => Err(Pause::Suspended(suspension)),
            None => {
                work.suspension_checked_at = Some(Instant::now());
                Ok(())
            }
        }
    }

    /// Returns the lease, after claiming or extending it if necessary.
    async fn lease(&self, work: &mut Work) -> Result<Held, Pause> {
        if let Some(held) = work.held.filter(|held| held.is_fresh()) {
            return Ok(held);
        }
        match self.lease.claim().await? {
            Ok(held) => {
                if work.held.is_none_or(|before| before.fence != held.fence) {
                    // Another holder in between may have confirmed the messages that are remembered here.
                    work.lose();
                }
                work.held = Some(held);
                Ok(held)
            }
            Err(holder) => {
                work.lose();
                Err(Pause::Taken(holder))
            }
        }
    }

    /// Removes published messages from the outbox, and counts the waiting ones.
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

    /// Releases the lease.
    async fn leave(&self, work: &mut Work) {
        let Some(held) = work.held.take() else { return };
        work.lose();
        self.lease.release(held.fence).await;
    }

    fn note(&self, work: OutboxWork) {
        self.sender.monitor.shared.note_work(work);
    }
}

impl Work {
    fn new() -> Self {
        Self { held: None, suspension_checked_at: None, tidied_at: None, done: HashSet::new(), store_failures: 0 }
    }

    /// Forgets everything that only the holder of the lease can know.
    fn lose(&mut self) {
        self.held = None;
        self.done.clear();
    }
}

impl From<StoreError> for Pause {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The reason why the outbox was not published to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxRelayError {
    /// An operator suspended the relay. Resume or enable it.
    #[error("the outbox is suspended: {0}")]
    Suspended(Box<Suspension>),
    /// Another process publishes the outbox.
    #[error("{owner} publishes the outbox")]
    Elsewhere {
        /// The name of that process.
        owner: String,
    },
    /// The store refused or failed; see [`StoreError`].
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The broker does not confirm.
    #[error("{0}")]
    Broker(#[from] RelayError),
}

/// Waits for some time, or until the shutdown completes. Returns whether it has completed.
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
