//! The in-process broker.

mod publisher;
mod queue;
mod subscriber;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::Notify;

pub use queue::MemoryDeadLetter;

use self::{publisher::MemoryPublisher, queue::Queue, subscriber::MemorySubscriber};
use crate::{
    broker::{Broker, Publisher, Subscriber, Subscription, Topology},
    error::BrokerError,
    limits,
};

pub(crate) const BROKER: &str = "memory";

/// An in-process broker, for tests and for applications of a single binary. Its messages do not outlive it.
///
/// A clone is another connection to the same broker: closing one leaves the others open. The broker stores messages for
/// the subscriptions that were declared earlier. It refuses a message that no subscription matches as unroutable.
/// Messages of one key are delivered in order. While a member holds an unsettled message of a key, no other member
/// receives messages of that key. An expired message becomes a dead letter. Priorities are ignored, and a message that
/// is published twice is stored twice.
///
/// All times use Tokio's clock, so that a test can pause them.
///
/// ```
/// use es_messaging::{Broker, MemoryBroker, Message, Outgoing, Subscription, Topology};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = MemoryBroker::new();
/// let shipping = Subscription::new("shipping", ["order.*"]);
/// broker.declare(&Topology::new(["order.placed"], vec![shipping.clone()])).await?;
/// let message = Message::builder("shop.order.placed", "/shop").build()?;
/// let outgoing = Outgoing { topic: "order.placed".to_owned(), message };
/// broker.publisher().await?.publish(&[outgoing]).await.remove(0)?;
/// let received = broker.subscriber(&shipping).await?.receive(10, std::time::Duration::ZERO).await?;
/// assert_eq!(received.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
}

/// The settings of a broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) queue_messages: usize,
    pub(crate) message_bytes: usize,
}

/// The state that all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    settings: Settings,
    state: Mutex<State>,
    next: AtomicU64,
}

/// All queues, and whether the broker answers.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queues: HashMap<String, Queue>,
    pub(crate) available: bool,
    /// The number of outages.
    pub(crate) outages: u64,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock. Even if it did, the queues would be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// One connection, which can be closed.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    closed: AtomicBool,
}

impl Connection {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for MemoryBroker {
    fn clone(&self) -> Self {
        Self::on(self.shared.clone())
    }
}

impl MemoryBroker {
    /// Returns an empty broker with the default [`limits`].
    pub fn new() -> Self {
        Self::with_limits(limits::MEMORY_QUEUE_MESSAGES, limits::MEMORY_MESSAGE_BYTES)
    }

    /// Returns an empty broker with other limits: the maximum number of messages that a subscription holds, including
    /// its dead letters, and the maximum message size in bytes. Publishers to a full subscription are throttled.
    pub fn with_limits(queue_messages: usize, message_bytes: usize) -> Self {
        let state = State { queues: HashMap::new(), available: true, outages: 0 };
        let settings = Settings { queue_messages, message_bytes };
        Self::on(Arc::new(Shared { settings, state: Mutex::new(state), next: AtomicU64::new(1) }))
    }

    fn on(shared: Arc<Shared>) -> Self {
        let connection = Arc::new(Connection { id: shared.next(), closed: AtomicBool::new(false) });
        Self { shared, connection }
    }

    /// Makes the broker unavailable or available again, like an outage of a server. During the outage, nothing is
    /// confirmed and nothing is received. Afterward, unsettled messages are delivered again. For tests.
    pub fn set_available(&self, available: bool) {
        let mut state = self.shared.lock();
        if state.available && !available {
            state.outages += 1;
            state.queues.values_mut().for_each(|queue| queue.give_back(|_| true));
        }
        state.available = available;
        state.queues.values().for_each(|queue| queue.changed.notify_waiters());
    }

    /// Returns the number of unsettled messages of a subscription, including those that members hold.
    pub fn depth(&self, subscription: &str) -> usize {
        self.shared.lock().queues.get(subscription).map_or(0, Queue::depth)
    }

    /// Returns the messages that members of a subscription rejected, oldest first.
    pub fn dead_letters(&self, subscription: &str) -> Vec<MemoryDeadLetter> {
        self.shared.lock().queues.get(subscription).map(|queue| queue.dead.clone()).unwrap_or_default()
    }

    /// Returns the dead letters like [`dead_letters`](Self::dead_letters), and removes them, which makes room for
    /// others.
    pub fn take_dead_letters(&self, subscription: &str) -> Vec<MemoryDeadLetter> {
        let mut state = self.shared.lock();
        state.queues.get_mut(subscription).map(|queue| std::mem::take(&mut queue.dead)).unwrap_or_default()
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.connection.is_closed() {
            return Err(BrokerError::Closed);
        }
        if self.shared.lock().available { Ok(()) } else { Err(away()) }
    }
}

/// Returns the error of an unavailable broker.
pub(crate) fn away() -> BrokerError {
    BrokerError::Unavailable { broker: BROKER, source: "it was taken away".into() }
}

fn missing(subscription: &Subscription, reason: String) -> BrokerError {
    BrokerError::Missing { broker: BROKER, what: format!("the subscription {}", subscription.name), reason }
}

/// Returns an error if a subscription was declared with other topics.
fn check_topics(queue: &Queue, subscription: &Subscription) -> Result<(), BrokerError> {
    if queue.topics == subscription.topics {
        return Ok(());
    }
    let reason = format!("it was declared for {:?}, not for {:?}", queue.topics, subscription.topics);
    Err(missing(subscription, reason))
}

#[async_trait]
impl Broker for MemoryBroker {
    fn name(&self) -> &'static str {
        BROKER
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        self.check_open()?;
        let mut state = self.shared.lock();
        for subscription in &topology.subscriptions {
            match state.queues.get(&subscription.name) {
                Some(queue) => check_topics(queue, subscription)?,
                None => {
                    state.queues.insert(subscription.name.clone(), Queue::new(subscription.topics.clone()));
                }
            }
        }
        Ok(())
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        self.check_open()?;
        Ok(Box::new(MemoryPublisher { shared: self.shared.clone(), connection: self.connection.clone() }))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        self.check_open()?;
        let state = self.shared.lock();
        let Some(queue) = state.queues.get(&subscription.name) else {
            return Err(missing(subscription, "it was never declared; call declare first".to_owned()));
        };
        check_topics(queue, subscription)?;
        let changed: Arc<Notify> = queue.changed.clone();
        let member = queue::Member { id: self.shared.next(), connection: self.connection.id };
        let (shared, connection) = (self.shared.clone(), self.connection.clone());
        Ok(Box::new(MemorySubscriber::new(shared, connection, subscription.clone(), member, changed, state.outages)))
    }

    async fn close(&self) {
        self.connection.closed.store(true, Ordering::Release);
        let mut state = self.shared.lock();
        for queue in state.queues.values_mut() {
            queue.give_back(|member| member.connection == self.connection.id);
            queue.changed.notify_waiters();
        }
    }
}
