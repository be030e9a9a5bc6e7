//! A broker with a defect, over an intact one.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use es_core::DeadReason;
use es_messaging::{
    Broker, BrokerError, Delivery, MemoryBroker, Message, Outgoing, PublishError, Publisher, PublisherLimits, Receipt,
    Settlement, Subscriber, Subscription, Topology, extension,
};

use crate::defect::Defect;

/// Where the key is hidden from a broker that is to forget it.
const HIDDEN_KEY: &str = "hiddenkey";

#[derive(Debug)]
pub(crate) struct BrokenBroker {
    pub(crate) inner: MemoryBroker,
    pub(crate) defect: Defect,
    pub(crate) members: Arc<AtomicU64>,
    pub(crate) declared: Arc<Mutex<Vec<Subscription>>>,
}

impl BrokenBroker {
    fn changed(&self, subscription: &Subscription) -> Subscription {
        let mut changed = subscription.clone();
        match self.defect {
            Defect::NeverTakesBack => changed.ack_wait = Duration::from_secs(3_600),
            Defect::IgnoresPrefetch => changed.prefetch = 10_000,
            Defect::SharesOneQueue => {
                changed.name = "one".to_owned();
            }
            Defect::WidensWildcards => {
                for topic in &mut changed.topics {
                    if topic.contains('*') {
                        *topic = "#".to_owned();
                    }
                }
            }
            _ => {}
        }
        changed
    }
}

#[async_trait]
impl Broker for BrokenBroker {
    fn name(&self) -> &'static str {
        "broken"
    }

    async fn declare(&self, topology: &Topology) -> Result<(), BrokerError> {
        let subscriptions: Vec<_> = topology.subscriptions.iter().map(|one| self.changed(one)).collect();
        self.declared.lock().unwrap().extend(subscriptions.clone());
        self.inner.declare(&Topology::new(topology.topics.clone(), subscriptions)).await
    }

    async fn publisher(&self) -> Result<Box<dyn Publisher>, BrokerError> {
        let inner = self.inner.publisher().await?;
        let (count, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Box::new(BrokenPublisher { inner, defect: self.defect, count, failed }))
    }

    async fn subscriber(&self, subscription: &Subscription) -> Result<Box<dyn Subscriber>, BrokerError> {
        let mut subscription = self.changed(subscription);
        if self.defect == Defect::CopiesToMembers {
            let number = self.members.fetch_add(1, Ordering::Relaxed);
            subscription.name = format!("{}-{number}", subscription.name);
        }
        if matches!(self.defect, Defect::CopiesToMembers | Defect::MakesWhatIsMissing) {
            self.inner.declare(&Topology::new([""; 0], vec![subscription.clone()])).await?;
        }
        let inner = Some(self.inner.subscriber(&subscription).await?);
        let (held, failed) = (Arc::default(), AtomicBool::new(false));
        Ok(Box::new(BrokenSubscriber { inner, defect: self.defect, held, failed }))
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[derive(Debug)]
struct BrokenPublisher {
    inner: Box<dyn Publisher>,
    defect: Defect,
    count: AtomicU64,
    failed: AtomicBool,
}

fn unconfirmed() -> PublishError {
    PublishError::Unconfirmed { broker: "broken", source: "it is broken".into() }
}

impl BrokenPublisher {
    fn changed(&self, message: &Message) -> Message {
        let builder = message.to_builder();
        let builder = match self.defect {
            Defect::LosesHeaders => builder.without_extension(extension::TRACE_PARENT),
            Defect::RewritesContent if message.is_json() && message.has_data() => {
                builder.json(&message.json::<serde_json::Value>().unwrap()).unwrap()
            }
            Defect::ForgetsKeys => {
                builder.maybe_extension(HIDDEN_KEY, message.key()).without_extension(extension::PARTITION_KEY)
            }
            _ => builder,
        };
        builder.build().unwrap()
    }
}

#[async_trait]
impl Publisher for BrokenPublisher {
    fn limits(&self) -> PublisherLimits {
        let mut limits = self.inner.limits();
        if self.defect == Defect::TakesTooLarge {
            limits.message_bytes /= 2;
        }
        limits
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let mut batch = batch.to_vec();
        for outgoing in &mut batch {
            outgoing.message = self.changed(&outgoing.message);
        }
        let mut results = match self.defect {
            Defect::PublisherNeverComesBack if self.failed.load(Ordering::Relaxed) => {
                batch.iter().map(|_| Err(unconfirmed())).collect()
            }
            Defect::ConfirmsWhatItDrops => {
                let mut results = Vec::new();
                for outgoing in &batch {
                    if self.count.fetch_add(1, Ordering::Relaxed) % 50 == 49 {
                        results.push(Ok(()));
                    } else {
                        results.extend(self.inner.publish(std::slice::from_ref(outgoing)).await);
                    }
                }
                results
            }
            Defect::ConfusesTopics => {
                let mut results = Vec::new();
                for outgoing in &batch {
                    let is_new =
                        batch.iter().all(|other| other.message.id() != outgoing.message.id() || other == outgoing);
                    match is_new || outgoing.topic == batch[0].topic {
                        true => results.extend(self.inner.publish(std::slice::from_ref(outgoing)).await),
                        false => results.push(Ok(())),
                    }
                }
                results
            }
            Defect::PassesTheFailed => {
                let mut results = Vec::new();
                for outgoing in &batch {
                    results.extend(self.inner.publish(std::slice::from_ref(outgoing)).await);
                }
                results
            }
            Defect::ReordersAKey => {
                batch.reverse();
                let mut results = self.inner.publish(&batch).await;
                results.reverse();
                results
            }
            _ => self.inner.publish(&batch).await,
        };
        if results.iter().any(Result::is_err) {
            self.failed.store(true, Ordering::Relaxed);
        }
        for result in &mut results {
            match result {
                Err(PublishError::Unconfirmed { .. } | PublishError::Behind)
                    if self.defect == Defect::ConfirmsDuringOutages =>
                {
                    *result = Ok(());
                }
                Err(PublishError::Refused { kind: DeadReason::Unroutable, .. })
                    if self.defect == Defect::ConfirmsUnroutable =>
                {
                    *result = Ok(());
                }
                Err(PublishError::Unconfirmed { .. }) if self.defect == Defect::PublisherHangs => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                _ => {}
            }
        }
        results
    }
}

#[derive(Debug)]
struct BrokenSubscriber {
    inner: Option<Box<dyn Subscriber>>,
    defect: Defect,
    held: Arc<Mutex<BTreeSet<Receipt>>>,
    failed: AtomicBool,
}

impl BrokenSubscriber {
    fn inner(&self) -> &dyn Subscriber {
        &**self.inner.as_ref().unwrap()
    }

    fn all_held(&self) -> Vec<(Receipt, Settlement)> {
        std::mem::take(&mut *self.held.lock().unwrap()).into_iter().map(|one| (one, Settlement::Ack)).collect()
    }
}

#[async_trait]
impl Subscriber for BrokenSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        if self.failed.load(Ordering::Relaxed) && self.defect == Defect::MemberNeverComesBack {
            return Err(BrokerError::Closed);
        }
        let asked = if self.defect == Defect::GivesTooMany { max * 2 } else { max };
        let mut came = self.inner().receive(asked, wait).await.inspect_err(|_| {
            self.failed.store(true, Ordering::Relaxed);
        })?;
        self.held.lock().unwrap().extend(came.iter().map(|delivery| delivery.receipt));
        for delivery in &mut came {
            if self.defect == Defect::CountsNothing {
                delivery.attempt = 1;
            }
            if let (Defect::ForgetsKeys, Ok(message)) = (self.defect, &mut delivery.content) {
                let key = message.extension(HIDDEN_KEY).map(str::to_owned);
                let builder = message.to_builder().without_extension(HIDDEN_KEY);
                *message = builder.maybe_extension(extension::PARTITION_KEY, key).build().unwrap();
            }
        }
        if self.defect == Defect::AcksOnReceipt {
            self.inner().settle(self.all_held()).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(came)
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let mut passed = Vec::new();
        for (receipt, settlement) in settlements {
            self.held.lock().unwrap().remove(&receipt);
            passed.push(match (self.defect, settlement) {
                (Defect::ForgetsAcks, Settlement::Ack) => continue,
                (Defect::IgnoresDelay, Settlement::Retry { .. }) => {
                    (receipt, Settlement::Retry { after: Duration::ZERO })
                }
                (Defect::ForgetsRetries, Settlement::Retry { .. })
                | (Defect::LosesRejected, Settlement::Reject { .. }) => (receipt, Settlement::Ack),
                (_, settlement) => (receipt, settlement),
            });
        }
        self.inner().settle(passed).await
    }

    async fn extend(&self, receipts: &[Receipt]) -> Result<(), BrokerError> {
        if self.defect == Defect::IgnoresExtend { Ok(()) } else { self.inner().extend(receipts).await }
    }

    async fn close(mut self: Box<Self>) -> Result<(), BrokerError> {
        let inner = self.inner.take().unwrap();
        if self.defect == Defect::LosesOnClose {
            inner.settle(self.all_held()).await?;
        }
        inner.close().await
    }
}

impl Drop for BrokenSubscriber {
    fn drop(&mut self) {
        if let (Some(inner), Defect::LosesOnDrop) = (self.inner.take(), self.defect) {
            let held = self.all_held();
            // It waits for nothing.
            let mut settling = inner.settle(held);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = settling.as_mut().poll(&mut context);
        }
    }
}
