//! What the tests of consumers share.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use es_core::{MemoryStore, MemoryUnit, MessageUnit, RawMessage};
use es_messaging::{
    Broker, BrokerError, Consumer, ConsumerBuilder, ConsumerError, Delivery, MalformedMessage, Message, Publisher,
    Receipt, Settlement, Subscriber, Subscription, Topology, Undecodable,
};
use es_projections::Backoff;
use tokio::{sync::Notify, time::Instant};

/// A broker that does what a test tells it.
#[derive(Debug, Default, Clone)]
pub(crate) struct ScriptedBroker {
    pub(crate) shared: Arc<Script>,
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    pending: Mutex<VecDeque<Delivery>>,
    unsettled: Mutex<HashMap<Receipt, Delivery>>,
    next: AtomicU64,
    changed: Notify,
    pub(crate) receives: AtomicUsize,
    pub(crate) largest_ask: AtomicUsize,
    pub(crate) away: AtomicBool,
    pub(crate) loses_settlements: AtomicBool,
    /// Settlements and subscriptions that are asked for never come to an end.
    pub(crate) hangs: AtomicBool,
    pub(crate) has_dead_letters: AtomicBool,
    pub(crate) acked: Mutex<Vec<String>>,
    pub(crate) rejected: Mutex<Vec<String>>,
    pub(crate) extended: Mutex<Vec<(Instant, Receipt)>>,
    pub(crate) subscribed: AtomicUsize,
}

fn away() -> BrokerError {
    BrokerError::Unavailable { broker: "script", source: "gone".into() }
}

fn name_of(delivery: &Delivery) -> String {
    delivery.content.as_ref().map_or_else(|_| "undecodable".to_owned(), |message| message.id().to_owned())
}

impl ScriptedBroker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn push(&self, content: Result<Message, Undecodable>, attempt: u32) {
        let receipt = Receipt(self.shared.next.fetch_add(1, SeqCst));
        let delivery = Delivery { receipt, topic: "orders".to_owned(), attempt, content };
        self.shared.pending.lock().unwrap().push_back(delivery);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn send(&self, message: Message) {
        self.push(Ok(message), 1);
    }

    pub(crate) fn send_at_attempt(&self, message: Message, attempt: u32) {
        self.push(Ok(message), attempt);
    }

    pub(crate) fn send_garbage(&self, bytes: &[u8]) {
        self.send_undecodable(RawMessage::new("text/plain", bytes));
    }

    pub(crate) fn send_undecodable(&self, raw: RawMessage) {
        let error = MalformedMessage::MissingAttribute { attribute: "id" };
        self.push(Err(Undecodable { error, raw }), 1);
    }

    /// Gives all that is not settled again, under other receipts, as a broker does after a lost connection; those before are void.
    pub(crate) fn redeliver(&self) {
        let mut all: Vec<_> = self.shared.unsettled.lock().unwrap().drain().map(|(_, delivery)| delivery).collect();
        all.sort_by_key(|delivery| delivery.receipt);
        let mut pending = self.shared.pending.lock().unwrap();
        for mut delivery in all.into_iter().rev() {
            delivery.receipt = Receipt(self.shared.next.fetch_add(1, SeqCst));
            delivery.attempt += 1;
            pending.push_front(delivery);
        }
        drop(pending);
        self.shared.changed.notify_waiters();
    }

    async fn hang(&self) {
        if self.shared.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn unsettled(&self) -> usize {
        self.shared.unsettled.lock().unwrap().len()
    }

    pub(crate) fn left(&self) -> usize {
        self.unsettled() + self.shared.pending.lock().unwrap().len()
    }

    pub(crate) fn acked(&self) -> Vec<String> {
        self.shared.acked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Broker for ScriptedBroker {
    fn name(&self) -> &'static str {
        "script"
    }

    async fn declare(&self, _: &Topology) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        Err(away())
    }

    async fn subscriber(&self, _: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        self.shared.subscribed.fetch_add(1, SeqCst);
        self.hang().await;
        Ok(Box::new(ScriptedSubscriber { broker: self.clone() }))
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct ScriptedSubscriber {
    broker: ScriptedBroker,
}

impl ScriptedSubscriber {
    fn take(&self, max: usize) -> Vec<Delivery> {
        let script = &self.broker.shared;
        let mut pending = script.pending.lock().unwrap();
        let count = max.min(pending.len());
        let taken: Vec<Delivery> = pending.drain(..count).collect();
        script.unsettled.lock().unwrap().extend(taken.iter().map(|delivery| (delivery.receipt, delivery.clone())));
        taken
    }
}

#[async_trait]
impl Subscriber for ScriptedSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let script = &self.broker.shared;
        script.receives.fetch_add(1, SeqCst);
        script.largest_ask.fetch_max(max, SeqCst);
        let end = Instant::now() + wait;
        loop {
            let changed = script.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if script.away.load(SeqCst) {
                return Err(away());
            }
            let taken = self.take(max);
            if !taken.is_empty() || Instant::now() >= end {
                return Ok(taken);
            }
            let _ = tokio::time::timeout_at(end, changed).await;
        }
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let script = &self.broker.shared;
        self.broker.hang().await;
        if script.loses_settlements.load(SeqCst) {
            return Err(away());
        }
        for (receipt, settlement) in settlements {
            if matches!(settlement, Settlement::Reject { .. }) && !script.has_dead_letters.load(SeqCst) {
                return Err(BrokerError::Unsupported { broker: "script", what: "dead letters".to_owned() });
            }
            // One that is void does nothing.
            let Some(delivery) = script.unsettled.lock().unwrap().remove(&receipt) else { continue };
            match settlement {
                Settlement::Ack => script.acked.lock().unwrap().push(name_of(&delivery)),
                Settlement::Reject { reason } => script.rejected.lock().unwrap().push(reason),
                _ => panic!("consumers retry by themselves"),
            }
        }
        Ok(())
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        let now = Instant::now();
        self.broker.shared.extended.lock().unwrap().extend(receipts.iter().map(|receipt| (now, *receipt)));
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), BrokerError> {
        self.broker.redeliver();
        Ok(())
    }
}

pub(crate) fn subscription() -> Subscription {
    Subscription::new("shipping", ["orders"])
}

/// A message of the type `order`, with an order number in its content.
pub(crate) fn order(id: &str, key: Option<&str>) -> Message {
    let builder = Message::builder("order", "/shop").id(id).json(&serde_json::json!({ "id": id })).unwrap();
    builder.maybe_extension("partitionkey", key).build().unwrap()
}

pub(crate) fn quick() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_millis(200))
}

pub(crate) fn builder(store: &MemoryStore, broker: &ScriptedBroker) -> ConsumerBuilder<MemoryStore> {
    Consumer::builder("shipping", store, Arc::new(broker.clone()), subscription()).backoff(quick())
}

/// Counts in the table `effects` how often each message took effect, and in `order` for each key which ones, in order.
pub(crate) fn take_effect(message: &Message, unit: &mut MemoryUnit) {
    let tables = unit.connection();
    let times = tables.table("effects").get(message.id()).and_then(serde_json::Value::as_u64).unwrap_or(0);
    tables.table("effects").insert(message.id().to_owned(), (times + 1).into());
    if let Some(key) = message.key() {
        let order = tables.table("order").entry(key.to_owned()).or_insert_with(|| serde_json::json!([]));
        order.as_array_mut().unwrap().push(message.id().into());
    }
}

/// How often each message took effect.
pub(crate) async fn effects(store: &MemoryStore) -> Vec<(String, u64)> {
    let mut tables = store.tables().await;
    tables.table("effects").iter().map(|(id, times)| (id.clone(), times.as_u64().unwrap())).collect()
}

pub(crate) struct Running {
    pub(crate) consumer: Consumer<MemoryStore>,
    shut_down: Option<tokio::sync::oneshot::Sender<()>>,
    pub(crate) task: tokio::task::JoinHandle<Result<(), ConsumerError>>,
}

pub(crate) fn run(consumer: Consumer<MemoryStore>) -> Running {
    let (shut_down, shutdown) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn({
        let consumer = consumer.clone();
        async move { consumer.run(async { _ = shutdown.await }).await }
    });
    Running { consumer, shut_down: Some(shut_down), task }
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.shut_down.take();
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until something is so, in paused time.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..20_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came about: {what}");
}
