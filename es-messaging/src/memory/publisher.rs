//! The publisher of the in-process broker.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use es_core::DeadReason;

use super::{BROKER, Connection, Shared, State, away};
use crate::{
    broker::{Outgoing, Publisher, PublisherLimits, topic_matches},
    error::{BrokerError, PublishError},
    limits,
};

/// Puts messages into the queues immediately.
#[derive(Debug)]
pub(crate) struct MemoryPublisher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<Connection>,
}

impl MemoryPublisher {
    fn publish_one(&self, state: &mut State, outgoing: &Outgoing) -> Result<(), PublishError> {
        let unconfirmed = |error: BrokerError| PublishError::Unconfirmed { broker: BROKER, source: error.into() };
        if self.connection.is_closed() {
            return Err(unconfirmed(BrokerError::Closed));
        }
        if !state.available {
            return Err(unconfirmed(away()));
        }
        let (size, most) = (outgoing.message.size(), self.shared.settings.message_bytes);
        if size > most {
            let reason = format!("{size} bytes, at most {most}");
            return Err(PublishError::Refused { broker: BROKER, kind: DeadReason::Refused, reason });
        }
        let takes = |topics: &[String]| topics.iter().any(|pattern| topic_matches(pattern, &outgoing.topic));
        let mut routed: Vec<_> = state.queues.values_mut().filter(|queue| takes(&queue.topics)).collect();
        if routed.is_empty() {
            let reason = format!("no declared subscription takes the topic {}", outgoing.topic);
            return Err(PublishError::Refused { broker: BROKER, kind: DeadReason::Unroutable, reason });
        }
        if routed.iter().any(|queue| queue.depth() + queue.dead.len() >= self.shared.settings.queue_messages) {
            return Err(PublishError::Throttled { broker: BROKER, after: None });
        }
        for queue in &mut routed {
            queue.push(&outgoing.topic, outgoing.message.clone());
            queue.changed.notify_waiters();
        }
        Ok(())
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    fn limits(&self) -> PublisherLimits {
        PublisherLimits { message_bytes: self.shared.settings.message_bytes, batch: limits::MEMORY_BATCH }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let mut failed: HashSet<&str> = HashSet::new();
        let mut results = Vec::with_capacity(batch.len());
        let mut state = self.shared.lock();
        for outgoing in batch {
            let key = outgoing.message.key();
            let result = match key.filter(|key| failed.contains(key)) {
                Some(_) => Err(PublishError::Behind),
                None => self.publish_one(&mut state, outgoing),
            };
            if result.is_err() {
                failed.extend(key);
            }
            results.push(result);
        }
        results
    }
}
