//! What the cases share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use es_messaging::{
    Broker, Delivery, Message, Outgoing, PublishError, Publisher, Receipt, Settlement, Subscriber, Subscription,
    Topology,
};
use tokio::time::{Instant, timeout};

use super::harness::BrokerHarness;

/// Whether a case is skipped, for want of what it is about.
pub(super) fn skipped(able: bool, what: &str) -> bool {
    if !able {
        println!("skipped: this broker {what}");
    }
    !able
}

/// A broker, and the names of this case.
pub(super) struct Stage<'a> {
    pub(super) harness: &'a dyn BrokerHarness,
    pub(super) broker: Arc<dyn Broker>,
}

impl<'a> Stage<'a> {
    pub(super) async fn set(harness: &'a dyn BrokerHarness) -> Self {
        Self { harness, broker: harness.connect().await }
    }

    /// With one topic, `events`, and one subscription to it, `all`.
    pub(super) async fn simple(harness: &'a dyn BrokerHarness) -> (Self, Subscription) {
        let stage = Self::set(harness).await;
        let all = stage.subscription("all", &["events"]);
        stage.declare(&["events"], &[&all]).await;
        (stage, all)
    }

    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.harness.prefix())
    }

    pub(super) fn subscription(&self, name: &str, topics: &[&str]) -> Subscription {
        Subscription::new(format!("{}-{name}", self.harness.prefix()), topics.iter().map(|topic| self.topic(topic)))
    }

    pub(super) async fn declare(&self, topics: &[&str], subscriptions: &[&Subscription]) {
        let topology = Topology::new(
            topics.iter().map(|topic| self.topic(topic)),
            subscriptions.iter().copied().cloned().collect(),
        );
        self.broker.declare(&topology).await.expect("what is not there is declared");
    }

    pub(super) async fn publisher(&self) -> Box<dyn Publisher> {
        self.broker.publisher().await.expect("there is a publisher")
    }

    pub(super) async fn member(&self, subscription: &Subscription) -> Member<'a> {
        let subscriber = subscribe(self.harness, &*self.broker, subscription).await;
        Member { harness: self.harness, subscriber }
    }

    /// A member in what would be another process.
    pub(super) async fn member_elsewhere(&self, subscription: &Subscription) -> (Arc<dyn Broker>, Member<'a>) {
        let broker = self.harness.connect().await;
        let subscriber = subscribe(self.harness, &*broker, subscription).await;
        (broker, Member { harness: self.harness, subscriber })
    }

    /// A message to be published under `name`.
    pub(super) fn to(&self, name: &str, message: Message) -> Outgoing {
        Outgoing { topic: self.topic(name), message }
    }

    /// Messages without a key, numbered from 0, to `events`.
    pub(super) fn numbered(&self, count: usize) -> Vec<Outgoing> {
        (0..count).map(|number| self.to("events", message(number, None))).collect()
    }

    /// Messages numbered from 0, of so many keys in turn, to `events`.
    pub(super) fn keyed(&self, count: usize, keys: usize) -> Vec<Outgoing> {
        (0..count).map(|number| self.to("events", message(number, Some(number % keys)))).collect()
    }

    /// Publishes to `events` without a key, confirmed.
    pub(super) async fn publish_numbered(&self, count: usize) {
        publish_all(&*self.publisher().await, &self.numbered(count)).await;
    }
}

/// A subscriber; a server that has just been started may need some time for it.
async fn subscribe(
    harness: &dyn BrokerHarness,
    broker: &dyn Broker,
    subscription: &Subscription,
) -> Box<dyn Subscriber> {
    let end = Instant::now() + harness.patience();
    loop {
        match broker.subscriber(subscription).await {
            Ok(subscriber) => return subscriber,
            Err(error) if error.is_transient() && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("there is no subscriber: {error:?}"),
        }
    }
}

/// A message whose id is a number.
pub(super) fn message(number: usize, key: Option<usize>) -> Message {
    let builder = Message::builder("conformance.happened", "/conformance").id(number.to_string());
    let builder = builder.json(&number).expect("a number is JSON");
    let builder = match key {
        Some(key) => builder.key(format!("key-{key}")),
        None => builder,
    };
    builder.build().expect("a message")
}

/// Publishes, and every message is confirmed.
pub(super) async fn publish_all(publisher: &dyn Publisher, batch: &[Outgoing]) {
    let results = publisher.publish(batch).await;
    assert_eq!(results.len(), batch.len(), "one result for each message");
    for (outgoing, result) in batch.iter().zip(results) {
        result.unwrap_or_else(|error| panic!("message {} was not confirmed: {error:?}", outgoing.message.id()));
    }
}

/// Publishes what is not confirmed again and again, as a relay does, and gives back how often something was not.
pub(super) async fn publish_at_last(publisher: &dyn Publisher, batch: &[Outgoing], patience: Duration) -> usize {
    let end = Instant::now() + patience;
    let (mut left, mut failures, mut last) = (batch.to_vec(), 0, None);
    while !left.is_empty() {
        assert!(Instant::now() < end, "{} messages were never confirmed, last: {last:?}", left.len());
        let results = publisher.publish(&left).await;
        assert_eq!(results.len(), left.len(), "one result for each message");
        let mut results = results.into_iter();
        left.retain(|_| match results.next() {
            Some(Ok(())) => false,
            Some(Err(error @ PublishError::Refused { .. })) => panic!("refused: {error:?}"),
            Some(Err(PublishError::Behind)) | None => true,
            Some(Err(error)) => {
                last = Some(error);
                true
            }
        });
        if !left.is_empty() {
            failures += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    failures
}

/// The message of a delivery.
pub(super) fn content(delivery: &Delivery) -> &Message {
    delivery.content.as_ref().unwrap_or_else(|error| panic!("a message came that cannot be read: {error:?}"))
}

/// The number of a message of this suite.
pub(super) fn number(delivery: &Delivery) -> usize {
    content(delivery).id().parse().expect("its id is a number")
}

pub(super) fn numbers(deliveries: &[Delivery]) -> Vec<usize> {
    deliveries.iter().map(number).collect()
}

pub(super) fn set(deliveries: &[Delivery]) -> BTreeSet<usize> {
    deliveries.iter().map(number).collect()
}

/// The numbers below a bound.
pub(super) fn below(count: usize) -> BTreeSet<usize> {
    (0..count).collect()
}

/// A member of a subscription.
pub(super) struct Member<'a> {
    pub(super) harness: &'a dyn BrokerHarness,
    pub(super) subscriber: Box<dyn Subscriber>,
}

impl Member<'_> {
    /// What comes next, whatever happens to the connection meanwhile.
    pub(super) async fn next(&self, max: usize, wait: Duration) -> Vec<Delivery> {
        match self.subscriber.receive(max, wait).await {
            Ok(deliveries) => {
                assert!(deliveries.len() <= max, "{} messages came, at most {max} were asked for", deliveries.len());
                deliveries
            }
            Err(error) if error.is_transient() => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Vec::new()
            }
            Err(error) => panic!("receiving failed for good: {error:?}"),
        }
    }

    /// Receives until so many deliveries are there, and settles none.
    pub(super) async fn hold(&self, count: usize) -> Vec<Delivery> {
        let end = Instant::now() + self.harness.patience();
        let mut held = Vec::new();
        while held.len() < count {
            assert!(
                Instant::now() < end,
                "{count} messages were expected, and {} came: {:?}",
                held.len(),
                numbers(&held)
            );
            held.extend(self.next(count - held.len(), Duration::from_millis(200)).await);
        }
        held
    }

    /// Receives and acknowledges until so many different messages were there.
    pub(super) async fn drain(&self, count: usize) -> Vec<Delivery> {
        let end = Instant::now() + self.harness.patience();
        let mut seen: Vec<Delivery> = Vec::new();
        while set(&seen).len() < count {
            let missing: Vec<_> = below(count).difference(&set(&seen)).copied().take(20).collect();
            assert!(Instant::now() < end, "{count} messages were expected; {missing:?} and maybe others are missing");
            let came = self.next(256, Duration::from_millis(200)).await;
            self.ack(&came).await;
            seen.extend(came);
        }
        seen
    }

    pub(super) async fn settle(&self, deliveries: &[Delivery], settlement: Settlement) {
        let all: Vec<(Receipt, Settlement)> =
            deliveries.iter().map(|delivery| (delivery.receipt, settlement.clone())).collect();
        if all.is_empty() {
            return;
        }
        match self.subscriber.settle(all).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => panic!("settling failed for good: {error:?}"),
        }
    }

    pub(super) async fn ack(&self, deliveries: &[Delivery]) {
        self.settle(deliveries, Settlement::Ack).await;
    }

    /// Nothing comes for a while.
    pub(super) async fn expect_nothing(&self) {
        let came = self.next(100, self.harness.quiet()).await;
        assert!(came.is_empty(), "these messages came though none should: {:?}", numbers(&came));
    }

    pub(super) async fn close(self) {
        self.subscriber.close().await.expect("a member can be closed");
    }
}

/// The first delivery of every message comes in order within its key.
pub(super) fn assert_keys_in_order(deliveries: &[Delivery]) {
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for delivery in deliveries.iter().filter(|delivery| seen.insert(number(delivery))) {
        let key = content(delivery).key().unwrap_or_default().to_owned();
        let this = number(delivery);
        if let Some(before) = last.insert(key.clone(), this) {
            assert!(before < this, "message {this} of {key} came after {before}");
        }
    }
}

/// Waits for something, as long as the harness has patience.
pub(super) async fn within<T>(harness: &dyn BrokerHarness, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(harness.patience(), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {:?}", harness.patience()),
    }
}

impl Member<'_> {
    /// Receives and acknowledges until these were there; gives all that came.
    pub(super) async fn drain_some(&self, expected: &BTreeSet<usize>) -> BTreeSet<usize> {
        let end = Instant::now() + self.harness.patience();
        let mut seen = BTreeSet::new();
        // One of them may have been acknowledged just before the connection was lost.
        while expected.difference(&seen).count() > 1 {
            assert!(Instant::now() < end, "{:?} did not come again", expected.difference(&seen));
            let came = self.next(256, Duration::from_millis(200)).await;
            self.ack(&came).await;
            seen.extend(set(&came));
        }
        seen
    }
}
