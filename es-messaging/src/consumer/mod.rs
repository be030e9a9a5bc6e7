//! Messages from a broker take effect once.

mod batch;
mod builder;
mod handler;
mod item;
mod lane;
#[cfg(feature = "metrics")]
pub mod metrics;
mod pace;
mod retries;
mod session;
mod shared;
mod status;
mod stop;
mod validator;

use std::{pin::pin, sync::Arc};

use es_core::{ConsumerName, ControlStore, DeadLetterStore, InboxStore};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::{
    batch::wait_before,
    session::{Session, SessionEnd},
    shared::Shared,
    status::ConsumerStateCell,
    stop::{Stop, Stopped, SuspendedBy},
};
pub use self::{
    builder::{ConsumerBuilder, ExpiredMessages, UnknownTypes},
    handler::{Handling, MessageHandler, Unacceptable},
    status::{ConsumerState, ConsumerStatus},
    validator::{Invalid, MessageValidator},
};
use crate::{
    broker::{Broker, Subscriber, Subscription},
    causes::with_causes,
    dead_letter_alert::AlertTeller,
    error::ConsumerError,
    limits,
};

/// Runs handlers for the messages of a subscription; each takes effect once, however often it is given.
///
/// What a handler writes, appends and enqueues is committed together with a note of the message's source and id, many messages in one
/// transaction; after that the broker is told. A message that comes again is known by its note. Messages of one key are handled in
/// order, one after the other; messages of different keys beside each other, in [lanes](ConsumerBuilder::lanes).
///
/// One that fails is tried again after a while, with what is behind it in its key waiting, and at last put aside as a dead letter, in
/// the transaction that notes it. What cannot be read, is of an unknown type, breaks its schema or has expired is put aside at
/// once. Nothing of that stops other keys.
///
/// Cloning gives another handle to the same consumer. Consumers of the same name share what was handled: run one in as many processes
/// as the broker has members for.
///
/// ```
/// use std::sync::Arc;
///
/// use es_core::{MemoryStore, MessageUnit};
/// use es_messaging::{Broker, Consumer, MemoryBroker, Message, Outgoing, Subscription, Topology};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct OrderPlaced {
///     cents: i64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, broker) = (MemoryStore::new(), MemoryBroker::new());
/// let subscription = Subscription::new("shipping", ["order.*"]);
/// broker.declare(&Topology::new(["order.placed"], vec![subscription.clone()])).await?;
///
/// let consumer = Consumer::builder("shipping", &store, Arc::new(broker.clone()), subscription)
///     .on("order.placed", |order: OrderPlaced, message, unit| {
///         Box::pin(async move {
///             let row = serde_json::json!(order.cents);
///             unit.connection().table("to_ship").insert(message.id().to_owned(), row);
///             Ok(())
///         })
///     })
///     .build()?;
/// let (shut_down, shutdown) = tokio::sync::oneshot::channel::<()>();
/// let running = tokio::spawn({
///     let consumer = consumer.clone();
///     async move { consumer.run(async { _ = shutdown.await }).await }
/// });
///
/// let message = Message::builder("order.placed", "/shop").id("17").json(&OrderPlaced { cents: 100 })?.build()?;
/// let outgoing = Outgoing { topic: "order.placed".to_owned(), message };
/// // Published twice, handled once.
/// for result in broker.publisher().await?.publish(&[outgoing.clone(), outgoing]).await {
///     result?;
/// }
/// while consumer.status().handled + consumer.status().duplicates < 2 {
///     tokio::task::yield_now().await;
/// }
/// drop(shut_down);
/// running.await??;
/// assert_eq!((consumer.status().handled, consumer.status().duplicates), (1, 1));
/// assert_eq!(store.tables().await.table("to_ship")["17"], 100);
/// # Ok(())
/// # }
/// ```
///
/// # For operators
///
/// | level | event | fields |
/// |---|---|---|
/// | warn | `a message failed and will be tried again` | `consumer`, `id`, `attempt`, `wait`, `error` |
/// | warn | `a message becomes a dead letter` | `consumer`, `id`, `attempt`, `error` |
/// | warn | `a dead letter failed again` | `consumer`, `dead_letter`, `error` |
/// | warn | `dead letters are too many or too old; retry or discard them` | `consumer`, `depth`, `oldest` |
/// | warn | `waiting for the broker`, `waiting for the store` | `consumer`, `attempt`, `wait`, `error` |
/// | warn | `messages were not settled and may come again` | `consumer`, `error` |
/// | warn | `not all in hand was finished in time; it is given back` | `consumer`, `limit` |
/// | warn | `what the store is asked now and then failed` | `consumer`, `what`, `error` |
/// | info | `a dead letter took effect` | `consumer`, `dead_letter` |
/// | info | `the broker answers again` | `consumer` |
/// | info | `dead letters are fine again` | `consumer`, `depth` |
/// | info | `suspended`, `not suspended any more` | `consumer` |
/// | debug | `one message a transaction` | `error`, `messages` |
pub struct Consumer<S: InboxStore> {
    shared: Arc<Shared<S>>,
}

/// Shows what a consumer does, whatever its store. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ConsumerMonitor {
    consumer_state: Arc<ConsumerStateCell>,
}

impl ConsumerMonitor {
    /// Where the consumer stands.
    pub fn status(&self) -> ConsumerStatus {
        self.consumer_state.status()
    }
}

impl<S: InboxStore> Clone for Consumer<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: InboxStore> std::fmt::Debug for Consumer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl<S: InboxStore> Consumer<S> {
    /// Its name.
    pub fn name(&self) -> &ConsumerName {
        &self.shared.name
    }

    /// Where it stands, in this process.
    pub fn status(&self) -> ConsumerStatus {
        self.shared.consumer_state.status()
    }

    /// A handle that shows where it stands.
    pub fn monitor(&self) -> ConsumerMonitor {
        ConsumerMonitor { consumer_state: Arc::clone(&self.shared.consumer_state) }
    }
}

impl<S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static> Consumer<S> {
    /// Starts to put a consumer together over a store, which is cloned, and a subscription of a broker, which is to be declared
    /// already. The name is what the inbox, dead letters and operators know it by, so it must stay the same.
    pub fn builder(name: &str, store: &S, broker: Arc<dyn Broker>, subscription: Subscription) -> ConsumerBuilder<S> {
        ConsumerBuilder::new(name, store.clone(), broker, subscription)
    }

    /// Receives and handles messages until `shutdown` is ready; then finishes what it has in hand, within its
    /// [time limit](ConsumerBuilder::drain_time_limit), gives the rest back, and returns.
    ///
    /// While it is suspended ([`ControlStore`]), it gives everything back and waits. While the broker or the store do
    /// not answer, it waits, and says so in its [status](Self::status).
    ///
    /// # Errors
    /// [`ConsumerError::Broker`] for what does not pass by itself.
    ///
    /// # Cancel safety
    /// Dropping it is a hard stop without harm: what was in hand comes again, and what had taken effect is known.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), ConsumerError> {
        // Until it is known whether it is suspended.
        self.shared.consumer_state.set_state(ConsumerState::WaitingForStore);
        let (shut_down, shutdown_seen) = watch::channel(false);
        let (suspension, suspended) = watch::channel(SuspendedBy::Unknown);
        let stop = Stop { shutdown: shutdown_seen, suspended };
        let mut working = pin!(self.sessions(stop.clone()));
        let mut chores = pin!(async {
            tokio::join!(
                self.watch_suspensions(suspension),
                self.retry_dead_letters(stop),
                self.watch_dead_letters(),
                self.rotate_inbox()
            );
        });
        let mut shutdown = pin!(shutdown);
        let mut is_shutting_down = false;
        let result = loop {
            tokio::select! {
                biased;
                () = &mut shutdown, if !is_shutting_down => {
                    is_shutting_down = true;
                    shut_down.send_replace(true);
                }
                result = &mut working => break result,
                // They never end.
                () = &mut chores => {}
            }
        };
        self.shared.consumer_state.set_state(ConsumerState::Stopped);
        result
    }

    /// One subscriber after the other, as operators suspend and resume the consumer.
    async fn sessions(&self, stop: Stop) -> Result<(), ConsumerError> {
        let shared = &self.shared;
        let consumer_state = &shared.consumer_state;
        let failed = |source| Err(ConsumerError::Broker { name: shared.name.clone(), source });
        let mut failures: u32 = 0;
        loop {
            let mut was_suspended = false;
            let may_go_on = stop.may_go_on(|suspension| {
                if !was_suspended {
                    tracing::info!(consumer = %shared.name, kind = %suspension.kind, by = suspension.by, reason = suspension.reason, "suspended");
                }
                was_suspended = true;
                consumer_state.set_state(ConsumerState::Suspended(suspension.clone()));
            });
            if !may_go_on.await {
                return Ok(());
            }
            if was_suspended {
                tracing::info!(consumer = %shared.name, "not suspended any more");
            }
            consumer_state.set_state(ConsumerState::WaitingForBroker);
            let opened = tokio::select! {
                biased;
                _ = stop.requested() => continue,
                opened = shared.broker.subscriber(&shared.subscription) => opened,
            };
            let subscriber = match opened {
                Ok(subscriber) => subscriber,
                Err(error) if error.is_transient() => {
                    failures = failures.saturating_add(1);
                    let wait = wait_before(shared.settings.backoff, failures);
                    let text = with_causes(&error);
                    tracing::warn!(consumer = %shared.name, attempt = failures, ?wait, error = text, "waiting for the broker");
                    consumer_state.set_error(text);
                    consumer_state.set_state(ConsumerState::WaitingForBroker);
                    tokio::select! {
                        _ = stop.requested() => {}
                        () = sleep(wait) => {}
                    }
                    continue;
                }
                Err(error) => return failed(error),
            };
            failures = 0;
            let end = Session::new(shared, &*subscriber, stop.clone()).run().await;
            self.close(subscriber).await;
            match end {
                SessionEnd::Stopped(Stopped::Shutdown) => return Ok(()),
                SessionEnd::Stopped(Stopped::Suspended(_)) => {}
                SessionEnd::Failed(error) => return failed(error),
            }
        }
    }

    async fn close(&self, subscriber: Box<dyn Subscriber>) {
        match timeout(limits::CLOSE_TIME, subscriber.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.note("closing the subscription", &error),
            Err(late) => self.note("closing the subscription", &late),
        }
    }

    /// Looks again and again whether the consumer is suspended.
    async fn watch_suspensions(&self, suspension: watch::Sender<SuspendedBy>) {
        let mut ticks = interval(limits::WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.shared.store.suspensions().await {
                Ok(suspensions) => {
                    let own = suspensions.into_iter().find(|suspension| suspension.consumer == self.shared.name);
                    let known = own.map_or(SuspendedBy::Nobody, SuspendedBy::Somebody);
                    suspension.send_if_modified(|before| {
                        let is_news = *before != known;
                        *before = known;
                        is_news
                    });
                }
                Err(error) => self.note("which consumers are suspended", &error),
            }
        }
    }

    /// Carries out requested retries of dead letters, again and again.
    async fn retry_dead_letters(&self, stop: Stop) {
        let mut ticks = interval(limits::WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if *stop.suspended.borrow() == SuspendedBy::Nobody
                && let Err(error) = self.shared.retry_requested().await
            {
                self.note("dead letters", &error);
            }
        }
    }

    /// Counts the dead letters, and tells when they are too many or too old, again and again.
    async fn watch_dead_letters(&self) {
        let teller = AlertTeller::default();
        let mut ticks = interval(limits::DEAD_LETTER_RETRY_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.shared.store.dead_letter_totals().await {
                Ok(totals) => {
                    if let Some(totals) = totals.iter().find(|totals| totals.consumer == self.shared.name) {
                        teller.tell(&self.shared.settings.alert, totals);
                    }
                }
                Err(error) => self.note("how many dead letters there are", &error),
            }
        }
    }

    /// Lets the inbox forget what is old, again and again.
    async fn rotate_inbox(&self) {
        let mut ticks = interval(limits::INBOX_ROTATION_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.shared.store.rotate_inbox(self.shared.settings.inbox_keep).await {
                self.note("the inbox", &error);
            }
        }
    }

    fn note(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let error = with_causes(error);
        tracing::warn!(consumer = %self.shared.name, what, error, "what the store is asked now and then failed");
        self.shared.consumer_state.set_error(error);
    }
}
