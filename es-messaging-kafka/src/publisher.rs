//! Publishing: an idempotent producer, and the reports of what it delivered.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use es_core::DeadReason;
use es_messaging::{BrokerError, Message, Outgoing, PublishError, Publisher, PublisherLimits};
use rdkafka::{
    config::FromClientConfigAndContext,
    error::KafkaError,
    message::OwnedHeaders,
    producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};

use crate::{
    binding,
    catalogue::Catalogue,
    client::producer_config,
    error::{KAFKA, publish_error, unroutable},
    limits,
    options::Target,
    ticket::{Batch, Reporting},
};

type Native = ThreadedProducer<Reporting>;

/// What publishes, shared by a publisher and the subscribers that put messages aside.
pub(crate) struct KafkaPublisher {
    target: Target,
    catalogue: Arc<Catalogue>,
    /// Made anew after it had to give up messages.
    producer: Mutex<Option<Native>>,
}

/// A record on its way.
pub(crate) struct Outbound<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
    pub(crate) value: Option<Cow<'a, [u8]>>,
}

impl KafkaPublisher {
    pub(crate) fn new(target: Target, catalogue: Arc<Catalogue>) -> Result<Self, BrokerError> {
        let this = Self { target, catalogue, producer: Mutex::default() };
        // Wrong properties are found at once.
        drop(this.producer().map_err(|error| Reporting::default().said.explain(error))?);
        Ok(this)
    }

    fn producer(&self) -> Result<Native, KafkaError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let made = Native::from_config_and_context(&producer_config(&self.target), Reporting::default())?;
        Ok(producer.insert(made).clone())
    }

    /// Gives up all that a producer still has to send, so that nothing of it is sent later, and lets the next call have a new one.
    ///
    /// What was on its way at this moment may arrive; a later producer is another one to the broker.
    fn retire(&self, retired: Native) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |current: &Native| {
            std::ptr::eq(&raw const **current.client().context(), &raw const **retired.client().context())
        };
        if producer.as_ref().is_some_and(is_same) {
            *producer = None;
        }
        drop(producer);
        retired.purge(PurgeConfig::default().queue().inflight());
        // Its end waits for its threads.
        drop(tokio::task::spawn_blocking(move || drop(retired)));
    }

    /// Publishes records in their order, and waits for the reports. `keys` tells which of them belong together.
    pub(crate) async fn send(&self, records: Vec<Result<Outbound<'_>, PublishError>>) -> Vec<Result<(), PublishError>> {
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(error) => {
                let text = error.to_string();
                let failed = |_| Err(PublishError::Unconfirmed { broker: KAFKA, source: text.clone().into() });
                return records.iter().map(failed).collect();
            }
        };
        let batch = Batch::new(records.len());
        let mut stopped: HashSet<&[u8]> = HashSet::new();
        let mut topics = Vec::with_capacity(records.len());
        let mut early = Vec::with_capacity(records.len());
        let keys: Vec<Option<&[u8]>> = records.iter().map(|record| record.as_ref().ok().and_then(|r| r.key)).collect();
        for (index, record) in records.into_iter().enumerate() {
            let outcome = match record {
                Err(error) => Err(error),
                Ok(record) if record.key.is_some_and(|key| stopped.contains(key)) => {
                    topics.push(record.topic);
                    early.push(Some(PublishError::Behind));
                    continue;
                }
                Ok(record) => {
                    topics.push(record.topic);
                    hand_over(&producer, &batch, index, record)
                }
            };
            if topics.len() == index {
                topics.push("");
            }
            if outcome.is_err() {
                stopped.extend(keys[index]);
            }
            early.push(outcome.err());
        }
        let in_time = tokio::time::timeout(self.target.options.publish_timeout, batch.wait()).await.is_ok();
        if !in_time || producer.client().fatal_error().is_some() {
            self.retire(producer);
            // Giving up reports at once.
            let _ = tokio::time::timeout(limits::ANSWER_TIMEOUT, batch.wait()).await;
        }
        let outcome = |(index, early): (usize, Option<PublishError>)| match (early, batch.report(index)) {
            (Some(error), _) => Err(error),
            (None, Some(Ok(()))) => Ok(()),
            (None, Some(Err(code))) => {
                if matches!(code, Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition) {
                    self.catalogue.forget(topics[index]);
                }
                Err(publish_error(code, topics[index]))
            }
            (None, None) => Err(PublishError::Unconfirmed { broker: KAFKA, source: "no delivery report".into() }),
        };
        early.into_iter().enumerate().map(outcome).collect()
    }

    /// What is known beforehand to be wrong with a message.
    fn refusal(&self, message: &Message) -> Option<PublishError> {
        let (bytes, limit) = (message.size(), self.limits().message_bytes);
        let reason = format!(
            "{bytes} bytes, at most {limit}: raise message.max.bytes here and on the topic, or send a reference"
        );
        (bytes > limit).then_some(PublishError::Refused { broker: KAFKA, kind: DeadReason::Refused, reason })
    }

    fn record<'a>(&self, topic: &'a str, message: &'a Message) -> Result<Outbound<'a>, PublishError> {
        let encoded = binding::encode(message, self.target.options.content_mode);
        let (headers, value) = encoded.map_err(|error| PublishError::Refused {
            broker: KAFKA,
            kind: DeadReason::Refused,
            reason: error.to_string(),
        })?;
        Ok(Outbound { topic, key: message.key().map(str::as_bytes), headers, value })
    }

    /// Whether messages can be published to a topic.
    pub(crate) async fn check_topic(&self, topic: &str) -> Result<(), PublishError> {
        match self.catalogue.partitions(topic).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(unroutable(topic)),
            Err(error) => Err(PublishError::Unconfirmed { broker: KAFKA, source: error.into() }),
        }
    }

    /// What becomes of each topic of a batch, asked once for each.
    async fn check_topics<'a>(&self, batch: &'a [Outgoing]) -> Vec<(&'a str, Option<PublishError>)> {
        let mut checked: Vec<(&str, Option<PublishError>)> = Vec::new();
        let mut away = false;
        for outgoing in batch {
            if checked.iter().any(|(topic, _)| *topic == outgoing.topic) {
                continue;
            }
            let error = if away {
                // One silence is enough.
                Some(PublishError::Unconfirmed { broker: KAFKA, source: "no broker answers".into() })
            } else {
                self.check_topic(&outgoing.topic).await.err()
            };
            away |= matches!(error, Some(PublishError::Unconfirmed { .. }));
            checked.push((&outgoing.topic, error));
        }
        checked
    }
}

fn hand_over(producer: &Native, batch: &Arc<Batch>, index: usize, outbound: Outbound<'_>) -> Result<(), PublishError> {
    let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(outbound.topic, batch.ticket(index));
    record = record.headers(outbound.headers);
    record.key = outbound.key;
    record.payload = outbound.value.as_deref();
    producer.send(record).map_err(|(error, record)| {
        let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
        record.delivery_opaque.report(Err(code));
        publish_error(code, outbound.topic)
    })
}

/// The same error once more: errors cannot be cloned.
fn again(error: &PublishError) -> PublishError {
    match error {
        PublishError::Refused { broker, kind, reason } => {
            PublishError::Refused { broker, kind: *kind, reason: reason.clone() }
        }
        PublishError::Throttled { broker, after } => PublishError::Throttled { broker, after: *after },
        PublishError::Unconfirmed { broker, source } => {
            PublishError::Unconfirmed { broker, source: source.to_string().into() }
        }
        _ => PublishError::Behind,
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    fn limits(&self) -> PublisherLimits {
        let message_bytes = self.target.message_bytes().saturating_sub(limits::RECORD_OVERHEAD_BYTES);
        let message_bytes = self.target.options.content_mode.largest_message(message_bytes);
        PublisherLimits { message_bytes, batch: limits::MAX_BATCH }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let mut results = Vec::with_capacity(batch.len());
        let mut stopped: HashSet<&str> = HashSet::new();
        for part in batch.chunks(limits::MAX_BATCH) {
            let topics = self.check_topics(part).await;
            let mut records = Vec::with_capacity(part.len());
            for Outgoing { topic, message } in part {
                let wrong =
                    topics.iter().find(|(name, _)| name == topic).and_then(|(_, error)| error.as_ref().map(again));
                let wrong = match message.key() {
                    Some(key) if stopped.contains(key) => Some(PublishError::Behind),
                    _ => wrong.or_else(|| self.refusal(message)),
                };
                let record = wrong.map_or_else(|| self.record(topic, message), Err);
                if record.is_err() {
                    stopped.extend(message.key());
                }
                records.push(record);
            }
            let outcomes = self.send(records).await;
            for (outgoing, outcome) in part.iter().zip(&outcomes) {
                if outcome.is_err() {
                    stopped.extend(outgoing.message.key());
                }
            }
            results.extend(outcomes);
        }
        results
    }
}

impl Drop for KafkaPublisher {
    fn drop(&mut self) {
        let producer = self.producer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Its end waits for its threads, and whoever drops this may be one of the runtime's.
        drop(std::thread::Builder::new().name("kafka-end".to_owned()).spawn(move || drop(producer)));
    }
}

impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher").field("target", &self.target).finish_non_exhaustive()
    }
}
