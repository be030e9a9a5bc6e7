//! Receiving: a member of a consumer group.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use es_messaging::{BrokerError, Delivery, PublishError, Receipt, Settlement, Subscriber, Subscription};
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{CommitMode, Consumer},
    error::KafkaError,
    message::{Header, OwnedHeaders},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::watch;

use crate::{
    admin::{dead_topic, is_wildcard, topic_or_expression},
    binding::Record,
    client::{Said, member_config},
    error::KAFKA,
    limits,
    options::Target,
    poller::{Following, Member, Partition, Shared, offset_list, run},
    publisher::{KafkaPublisher, Outbound},
};

/// Receives as a member of a group. Dropped, it leaves the group, and the others take over.
pub(crate) struct KafkaSubscriber {
    member: Option<Arc<Member>>,
    shared: Arc<Shared>,
    prefetch: usize,
    dead_topic: String,
    /// For what is put aside.
    publisher: KafkaPublisher,
    /// One commit at a time, so that none goes back behind another.
    committing: Arc<tokio::sync::Mutex<()>>,
    closed: watch::Receiver<bool>,
}

impl KafkaSubscriber {
    pub(crate) fn start(
        target: &Target,
        subscription: &Subscription,
        publisher: KafkaPublisher,
        closed: watch::Receiver<bool>,
    ) -> Result<Self, BrokerError> {
        let shared = Shared::new(subscription.prefetch);
        let context = Following { shared: shared.clone(), said: Said::default() };
        let explain = |error| Said::default().explain(error);
        let has_wildcards = subscription.topics.iter().any(|topic| is_wildcard(topic));
        let config = member_config(target, &subscription.name, has_wildcards);
        let mut member = Member::from_config_and_context(&config, context).map_err(explain)?;
        let wake = shared.clone();
        member.set_nonempty_callback(move || wake.wake());
        let topics: Vec<String> = subscription.topics.iter().map(|topic| topic_or_expression(topic)).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        member.subscribe(&topics).map_err(explain)?;
        let member = Arc::new(member);
        let (of_thread, state) = (member.clone(), shared.clone());
        std::thread::Builder::new()
            .name(format!("kafka-{}", subscription.name))
            .spawn(move || run(of_thread, &state))
            .map_err(|error| BrokerError::Unavailable { broker: KAFKA, source: error.into() })?;
        Ok(Self {
            member: Some(member),
            shared,
            prefetch: subscription.prefetch,
            dead_topic: dead_topic(&subscription.name),
            publisher,
            committing: Arc::default(),
            closed,
        })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if *self.closed.borrow() {
            self.end();
            return Err(BrokerError::Closed);
        }
        Ok(())
    }

    fn end(&self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.wake();
    }

    /// What may be given now, and when there may be more.
    fn take(&self, max: usize) -> Result<(Vec<Delivery>, Option<Instant>), BrokerError> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        let (now, mut given) = (Instant::now(), Vec::new());
        let room = self.prefetch.saturating_sub(state.receipts.len()).min(max);
        // Whoever is first today is not first the next time.
        let partitions: Vec<Partition> = state.partitions.keys().cloned().collect();
        let first = usize::try_from(self.shared.receipt()).unwrap_or_default() % partitions.len().max(1);
        let mut due = None;
        for partition in partitions[first..].iter().chain(&partitions[..first]) {
            let Some(window) = state.partitions.get_mut(partition) else { continue };
            let mut receipts = Vec::new();
            let records = window.give(room - given.len(), now, || {
                let receipt = self.shared.receipt();
                receipts.push(receipt);
                receipt
            });
            for (receipt, record) in receipts.into_iter().zip(records) {
                state.receipts.insert(receipt, (partition.clone(), record.offset));
                given.push((receipt, partition.0.clone(), record));
            }
            due = due.into_iter().chain(window.next_due()).min();
        }
        drop(guard);
        let delivery = |(receipt, topic, given): (u64, Arc<str>, crate::window::Given)| Delivery {
            receipt: Receipt(receipt),
            topic: topic.as_ref().to_owned(),
            attempt: given.attempt,
            content: given.record.decode(),
        };
        Ok((given.into_iter().map(delivery).collect(), due))
    }

    /// Commits what is settled, and waits until the broker knows.
    async fn commit(&self, touched: &[Partition]) -> Result<(), BrokerError> {
        let Some(member) = self.member.clone() else { return Err(BrokerError::Closed) };
        let late = || BrokerError::Unavailable { broker: KAFKA, source: "offsets were not committed in time".into() };
        let committing = tokio::time::timeout(limits::COMMIT_TIMEOUT, self.committing.clone().lock_owned());
        let guard = committing.await.map_err(|_| late())?;
        // Whoever came before may have committed this too.
        let offsets = self.shared.lock().to_commit(touched.iter());
        if offsets.is_empty() {
            return Ok(());
        }
        let shared = self.shared.clone();
        let commit = tokio::task::spawn_blocking(move || {
            // Until the broker has answered, whoever still waits for that.
            let _guard = guard;
            let result = member.commit(&offset_list(&offsets), CommitMode::Sync);
            let mut state = shared.lock();
            match result {
                Ok(()) => {
                    state.committed(&offsets);
                    Ok(())
                }
                // Somebody else has these partitions now, and gets the messages again.
                Err(_) if offsets.iter().all(|(partition, _)| !state.partitions.contains_key(partition)) => Ok(()),
                Err(error) => Err(error),
            }
        });
        let error = match tokio::time::timeout(limits::COMMIT_TIMEOUT, commit).await {
            Err(_) => return Err(late()),
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => return Err(BrokerError::Closed),
        };
        match error.rdkafka_error_code() {
            // The group is about to share anew. If the partitions stay here, the next commit tells; if not, the messages come again.
            Some(Code::RebalanceInProgress | Code::IllegalGeneration | Code::UnknownMemberId | Code::NoOffset) => {
                Ok(())
            }
            _ => Err(self.explain(error)),
        }
    }

    fn explain(&self, error: KafkaError) -> BrokerError {
        match &self.member {
            Some(member) => member.context().said.explain(error),
            None => BrokerError::Closed,
        }
    }

    /// Publishes a record to the group's dead letters.
    async fn put_aside(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        record: &Record,
        reason: &str,
    ) -> Result<(), BrokerError> {
        let missing =
            |reason| BrokerError::Missing { broker: KAFKA, what: format!("topic {}", self.dead_topic), reason };
        let (number, position) = (partition.to_string(), offset.to_string());
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 4);
        for (name, value) in &record.headers {
            headers = headers.insert(Header { key: name, value: value.as_ref() });
        }
        for (key, value) in
            [("dead-reason", reason), ("dead-topic", topic), ("dead-partition", &number), ("dead-offset", &position)]
        {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let outbound = Outbound {
            topic: &self.dead_topic,
            key: record.key.as_deref(),
            headers,
            value: record.value.as_deref().map(Into::into),
        };
        let sent = match self.publisher.check_topic(&self.dead_topic).await {
            Ok(()) => self.publisher.send(vec![Ok(outbound)]).await.pop(),
            Err(error) => Some(Err(error)),
        };
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(PublishError::Refused { reason, .. })) => Err(missing(reason)),
            Some(Err(error)) => Err(BrokerError::Unavailable { broker: KAFKA, source: error.into() }),
            None => Err(BrokerError::Closed),
        }
    }
}

#[async_trait]
impl Subscriber for KafkaSubscriber {
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, BrokerError> {
        let end = tokio::time::Instant::now() + wait;
        let mut closed = self.closed.clone();
        loop {
            self.check_open()?;
            let (given, due) = self.take(max)?;
            if !given.is_empty() || tokio::time::Instant::now() >= end {
                return Ok(given);
            }
            let until = due.map_or(end, |due| end.min(due.into()));
            tokio::select! {
                () = self.shared.arrived.notified() => {}
                () = tokio::time::sleep_until(until) => {}
                _ = closed.changed() => {}
            }
        }
    }

    async fn settle(&self, settlements: Vec<(Receipt, Settlement)>) -> Result<(), BrokerError> {
        let mut touched: Vec<Partition> = Vec::new();
        let mut failed = None;
        for (Receipt(receipt), settlement) in settlements {
            // A receipt that is not known is of a partition that was revoked: somebody else has the message.
            let found = self.shared.lock().receipts.get(&receipt).cloned();
            let Some((partition, offset)) = found else { continue };
            if let Settlement::Reject { reason } = &settlement {
                let record = self
                    .shared
                    .lock()
                    .partitions
                    .get_mut(&partition)
                    .and_then(|window| window.in_hand(offset, receipt));
                let Some(record) = record else { continue };
                if let Err(error) = self.put_aside(&partition.0, partition.1, offset, &record, reason).await {
                    failed = Some(error);
                    continue;
                }
            }
            let mut state = self.shared.lock();
            let Some(window) = state.partitions.get_mut(&partition) else { continue };
            if window.in_hand(offset, receipt).is_none() {
                continue;
            }
            match settlement {
                Settlement::Retry { after } => window.hold(offset, Instant::now() + after),
                _ => window.settle(offset),
            }
            state.receipts.remove(&receipt);
            if !touched.contains(&partition) {
                touched.push(partition);
            }
        }
        self.shared.wake();
        // Somebody may wait for room, or for a message to come again.
        self.shared.arrived.notify_one();
        self.commit(&touched).await?;
        failed.map_or(Ok(()), Err)
    }

    async fn extend(&self, _: &[Receipt]) -> Result<(), BrokerError> {
        // The group's thread goes on whatever the handlers do: there is no time that could run out.
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<(), BrokerError> {
        self.end();
        self.member = None;
        // Leaving takes an answer of the brokers, where there are some.
        let _ = tokio::time::timeout(limits::COMMIT_TIMEOUT, self.shared.left.notified()).await;
        Ok(())
    }
}

impl Drop for KafkaSubscriber {
    fn drop(&mut self) {
        self.member = None;
        self.end();
    }
}

impl fmt::Debug for KafkaSubscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSubscriber").field("dead_topic", &self.dead_topic).finish_non_exhaustive()
    }
}
