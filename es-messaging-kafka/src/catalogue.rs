//! Which topics there are.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use es_messaging::BrokerError;
use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    types::RDKafkaRespErr,
};

use crate::{
    client::{Plain, question_config},
    limits,
    options::Target,
};

/// Most events of the connections that are served around a question: each lost connection has several.
const EVENTS: usize = 256;
/// How long one more of them is waited for when there was no answer.
const EVENT_WAIT: Duration = Duration::from_millis(1);

/// Asks the brokers about topics, and remembers what they said.
pub(crate) struct Catalogue {
    // A consumer, since a producer's question would create the topic where brokers do so by themselves.
    client: BaseConsumer<Plain>,
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    partitions: Option<usize>,
    since: Instant,
}

impl Catalogue {
    pub(crate) fn new(target: &Target) -> Result<Arc<Self>, BrokerError> {
        let context = Plain::default();
        let said = context.said.clone();
        let client = BaseConsumer::from_config_and_context(&question_config(target), context);
        let client = client.map_err(|error| said.explain(error))?;
        Ok(Arc::new(Self { client, known: Mutex::default() }))
    }

    /// Whether the brokers answer, and if not, why.
    pub(crate) async fn check(self: &Arc<Self>) -> Result<(), BrokerError> {
        // Some topic that is not there: the answer is what counts, and stays small.
        self.ask("es-messaging-is-it-there").await.map(|_| ())
    }

    /// How many partitions a topic has; `None` if it is not there.
    pub(crate) async fn partitions(self: &Arc<Self>, topic: &str) -> Result<Option<usize>, BrokerError> {
        if let Some(known) = self.lock().get(topic).copied()
            && (known.partitions.is_some() || known.since.elapsed() < limits::UNKNOWN_TOPIC_TTL)
        {
            return Ok(known.partitions);
        }
        self.ask(topic).await
    }

    /// The same, not out of memory.
    pub(crate) async fn ask(self: &Arc<Self>, topic: &str) -> Result<Option<usize>, BrokerError> {
        let (this, name) = (self.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || this.ask_blocking(&name)).await;
        let partitions = asked.map_err(|_| BrokerError::Closed)??;
        let mut known = self.lock();
        if known.len() >= limits::MAX_KNOWN_TOPICS {
            known.clear();
        }
        known.insert(topic.to_owned(), Known { partitions, since: Instant::now() });
        Ok(partitions)
    }

    fn ask_blocking(&self, topic: &str) -> Result<Option<usize>, BrokerError> {
        // Serves what the connections have to say.
        let serve = |wait| (0..EVENTS).for_each(|_| drop(self.client.poll(wait)));
        serve(Duration::ZERO);
        let answer = self.client.fetch_metadata(Some(topic), limits::ANSWER_TIMEOUT);
        serve(if answer.is_ok() { Duration::ZERO } else { EVENT_WAIT });
        let said = &self.client.client().context().said;
        let answer = answer.map_err(|error| said.explain(error))?;
        said.forget();
        let Some(topic) = answer.topics().first() else { return Ok(None) };
        match topic.error() {
            None => Ok(Some(topic.partitions().len()).filter(|partitions| *partitions > 0)),
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
            ) => Ok(None),
            // Just created, and its leader not yet chosen.
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => Ok(Some(topic.partitions().len().max(1))),
            Some(error) => Err(said.explain(rdkafka::error::KafkaError::MetadataFetch(error.into()))),
        }
    }

    /// What was known of it may be wrong.
    pub(crate) fn forget(&self, topic: &str) {
        self.lock().remove(topic);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("known", &self.lock().len()).finish_non_exhaustive()
    }
}
