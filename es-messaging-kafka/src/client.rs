//! librdkafka's clients: their settings, and what they say of their connections.

use std::sync::{Arc, Mutex, PoisonError};

use es_messaging::BrokerError;
use rdkafka::{
    ClientConfig, ClientContext, config::RDKafkaLogLevel, error::KafkaError, types::RDKafkaErrorCode as Code,
};

use crate::{
    error::{broker_error, is_silence},
    limits,
    options::Target,
};

/// The last thing that the connections of a client have said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Option<(Code, String)>>>);

impl Said {
    /// An error that nobody waited for.
    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        tracing::debug!(%code, reason, "kafka");
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That a connection is lost, and that all brokers are down, follows whatever is the cause.
        if !is_silence(code) || said.is_none() {
            *said = Some((code, reason.to_owned()));
        }
    }

    /// The error of a call, in the light of that.
    pub(crate) fn explain(&self, error: KafkaError) -> BrokerError {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        broker_error(error, said)
    }

    /// It works again.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What librdkafka logs, for tracing; most of it is also an error of some call.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "librdkafka: {line}");
        }
        _ => tracing::debug!(facility, "librdkafka: {line}"),
    }
}

/// A client that does no more than remember what its connections say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    pub(crate) said: Said,
}

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.said.note(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Plain {}

/// What all clients have in common.
fn base(target: &Target) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &target.servers);
    // A connection on which nobody answers is given up.
    let timeout = limits::COMMIT_TIMEOUT.as_millis().to_string();
    config.set("socket.timeout.ms", timeout).set("socket.keepalive.enable", "true");
    config.set("socket.connection.setup.timeout.ms", limits::ANSWER_TIMEOUT.as_millis().to_string());
    config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
    config
}

/// Whether a property is one of a producer, or of a consumer, and would only be warned about by the other.
fn is_for(name: &str, producer: bool) -> bool {
    const PRODUCER: [&str; 12] = [
        "batch.",
        "compression.",
        "linger.",
        "partitioner",
        "queue.buffering.",
        "queuing.",
        "message.send.",
        "message.max.",
        "request.timeout",
        "retries",
        "retry.",
        "sticky.",
    ];
    const CONSUMER: [&str; 10] = [
        "auto.",
        "check.crcs",
        "coordinator.",
        "fetch.",
        "group.",
        "heartbeat.",
        "isolation.",
        "max.poll.",
        "partition.assignment.",
        "session.",
    ];
    let is = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
    if producer { !is(&CONSUMER) } else { !is(&PRODUCER) }
}

fn with_given(mut config: ClientConfig, target: &Target, producer: bool) -> ClientConfig {
    for (name, value) in target.options.properties.iter().filter(|(name, _)| is_for(name, producer)) {
        config.set(name, value);
    }
    config
}

/// For questions about topics, which create none.
pub(crate) fn question_config(target: &Target) -> ClientConfig {
    let mut config = with_given(base(target), target, false);
    config.set("allow.auto.create.topics", "false");
    config
}

/// For orders to the cluster.
pub(crate) fn admin_config(target: &Target) -> ClientConfig {
    with_given(base(target), target, true)
}

/// For publishing.
pub(crate) fn producer_config(target: &Target) -> ClientConfig {
    let mut config = base(target);
    // Enough to gather what is handed over at once.
    config.set("linger.ms", "1").set("message.max.bytes", target.message_bytes().to_string());
    // As Java's clients do, so that a key is in the same partition whoever writes.
    config.set("partitioner", "murmur2_random");
    let mut config = with_given(config, target, true);
    config.set("acks", "all").set("enable.idempotence", "true");
    // What fails for ever must not be overtaken by what comes behind it.
    config.set("enable.gapless.guarantee", "true");
    // A batch is given up by the publisher, all of it at once; librdkafka alone would give up a message and send the next.
    let patience = target.options.publish_timeout.saturating_mul(4).as_millis().max(5_000);
    config.set("message.timeout.ms", patience.to_string());
    config
}

/// For a member of a group.
pub(crate) fn member_config(target: &Target, group: &str, has_wildcards: bool) -> ClientConfig {
    let mut config = base(target);
    config.set("auto.offset.reset", "earliest").set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1500");
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("fetch.wait.max.ms", "100").set("queued.max.messages.kbytes", "16384");
    // So that new topics are found for wildcards.
    config.set("topic.metadata.refresh.interval.ms", "10000");
    let mut config = with_given(config, target, false);
    config.set("group.id", group).set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("allow.auto.create.topics", "false");
    if has_wildcards {
        // Wildcards are for messages, not for dead ones, nor for what brokers keep for themselves.
        config.set("topic.blacklist", r"^__.*,.*\.dead$");
    }
    config
}
