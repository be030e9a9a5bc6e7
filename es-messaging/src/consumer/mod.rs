//! Handles messages from a broker, each exactly once.

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

/// Runs handlers for the messages of a subscription. Each message takes effect once, no matter how often it is
/// delivered.
///
/// The consumer commits what a handler writes, appends, and enqueues together with a record of the message's source and
/// ID. It handles many messages in one transaction, and acknowledges them to the broker afterward. The record
/// identifies a message that is delivered again. Messages of one key are handled in order, one after another. Messages
/// of different keys are handled concurrently, in [lanes](ConsumerBuilder::lanes).
///
/// A failing message is retried after a wait; later messages of its key wait behind it. After the last attempt it
/// becomes a dead letter, in the transaction that records it. A message becomes a dead letter immediately if it cannot
/// be decoded, has an unknown type, violates its schema, or has expired. None of this stops other keys.
///
/// A clone is another handle to the same consumer. Consumers of the same name share the record of handled messages, so
/// a consumer can run in as many processes as the broker allows members.
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

/// Shows what a consumer is doing, independently of its store type. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ConsumerMonitor {
    consumer_state: Arc<ConsumerStateCell>,
}

impl ConsumerMonitor {
    /// Returns the current status of the consumer.
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
    /// Returns the name of the consumer.
    pub fn name(&self) -> &ConsumerName {
        &self.shared.name
    }

    /// Returns the current status of the consumer in this process.
    pub fn status(&self) -> ConsumerStatus {
        self.shared.consumer_state.status()
    }

    /// Returns a handle that shows the status.
    pub fn monitor(&self) -> ConsumerMonitor {
        ConsumerMonitor { consumer_state: Arc::clone(&self.shared.consumer_state) }
    }
}

impl<S: InboxStore + DeadLetterStore + ControlStore + Clone + 'static> Consumer<S> {
    /// Returns a builder for a consumer over a store, which is cloned, and a subscription of a broker, which must
    /// already be declared. The inbox, dead letters, and operators identify the consumer by its name, so the name must
    /// not change.
    pub fn builder(name: &str, store: &S, broker: Arc<dyn Broker>, subscription: Subscription) -> ConsumerBuilder<S> {
        ConsumerBuilder::new(name, store.clone(), broker, subscription)
    }

    /// Receives and handles messages until `shutdown` completes. Then the consumer finishes the messages that it holds,
    /// within its [time limit](ConsumerBuilder::drain_time_limit), returns the others to the broker, and this method
    /// returns.
    ///
    /// While the consumer is suspended ([`ControlStore`]), it returns all messages to the broker and waits. While the
    /// broker or the store does not answer, it waits and shows that in its [status](Self::status).
    ///
    /// # Errors
    /// Returns [`ConsumerError::Broker`] for a failure of the broker that waiting cannot resolve.
    ///
    /// # Cancel safety
    /// Dropping the future is a hard stop that does no harm: the broker delivers unfinished messages again, and
    /// messages that have taken effect are recorded.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), ConsumerError> {
        // This is the state until it is known whether the consumer is suspended.
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
                // The chores never end.
                () = &mut chores => {}
            }
        };
        self.shared.consumer_state.set_state(ConsumerState::Stopped);
        result
    }

    /// Runs one subscriber after another, as operators suspend and resume the consumer.
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

    /// Checks repeatedly whether the consumer is suspended.
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

    /// Carries out requested retries of dead letters, repeatedly.
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

    /// Counts the dead letters repeatedly, and reports when they are too many or too old.
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

    /// Removes old entries from the inbox, repeatedly.
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
