//! The streams and durable consumers.

use async_nats::jetstream::{
    ErrorCode,
    consumer::{self, AckPolicy, DeliverPolicy},
    stream::{self, DiscardPolicy, RetentionPolicy, StorageType},
};
use es_messaging::{BrokerError, Subscription, Topology, limits::MAX_PREFETCH};
use serde::Serialize;

use crate::{
    api::{missing, refused},
    broker::Nats,
    options::NatsOptions,
    subjects,
};

/// The name of the stream of dead letters.
pub(crate) fn dead_stream(options: &NatsOptions) -> String {
    format!("{}_DEAD", options.stream)
}

/// The subject of a dead letter. It is not under the prefix, so that nobody who receives messages receives it.
pub(crate) fn dead_subject(options: &NatsOptions, subscription: &str, topic: &str) -> String {
    format!("{}_dead.{subscription}.{topic}", options.subject_prefix())
}

pub(crate) async fn declare(nats: &Nats, topology: &Topology) -> Result<(), BrokerError> {
    let options = &*nats.options;
    let prefix = options.subject_prefix();
    for topic in &topology.topics {
        if subjects::subject_of(&prefix, topic).is_none() {
            let reason = "a topic has words with dots between, and no wildcards".to_owned();
            return Err(BrokerError::Config { what: format!("the topic {topic:?}"), reason });
        }
    }
    declare_stream(nats, events(options)).await?;
    declare_stream(nats, dead_letters(options)).await?;
    for subscription in &topology.subscriptions {
        declare_consumer(nats, subscription).await?;
    }
    Ok(())
}

/// The stream of messages as it should be.
fn events(options: &NatsOptions) -> stream::Config {
    stream::Config {
        name: options.stream.clone(),
        subjects: vec![format!("{}.>", options.subject_prefix())],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: if options.discard_old { DiscardPolicy::Old } else { DiscardPolicy::New },
        num_replicas: options.replicas,
        max_bytes: options.max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_age: options.max_age.unwrap_or_default(),
        // A window is not longer than messages live.
        duplicate_window: options.max_age.map_or(options.duplicate_window, |age| age.min(options.duplicate_window)),
        ..stream::Config::default()
    }
}

/// The stream of dead letters as it should be: kept until somebody removes them.
fn dead_letters(options: &NatsOptions) -> stream::Config {
    let subject = format!("{}_dead.>", options.subject_prefix());
    let (name, max_bytes, max_age) = (dead_stream(options), -1, std::time::Duration::ZERO);
    stream::Config { name, subjects: vec![subject], max_bytes, max_age, ..events(options) }
}

async fn declare_stream(nats: &Nats, wanted: stream::Config) -> Result<(), BrokerError> {
    let what = format!("the stream {}", wanted.name);
    let question = format!("STREAM.INFO.{}", wanted.name);
    let found = match nats.api.ask::<stream::Info>(&question, &serde_json::json!({})).await? {
        Ok(found) => found,
        Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            let created = nats.api.ask::<stream::Info>(&format!("STREAM.CREATE.{}", wanted.name), &wanted).await?;
            match created {
                Ok(created) => created,
                // Somebody else was faster, with other settings.
                Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    return Err(missing(what, "it is there with other settings".to_owned()));
                }
                Err(error) => return Err(refused(what, error)),
            }
        }
        Err(error) => return Err(refused(what, error)),
    };
    let found = found.config;
    let differs = [
        ("subjects", format!("{:?}", found.subjects), format!("{:?}", wanted.subjects)),
        ("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage)),
        ("replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string()),
        ("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention)),
        ("discard", format!("{:?}", found.discard), format!("{:?}", wanted.discard)),
        ("max_bytes", found.max_bytes.to_string(), wanted.max_bytes.to_string()),
        ("max_age", format!("{:?}", found.max_age), format!("{:?}", wanted.max_age)),
        ("duplicate_window", format!("{:?}", found.duplicate_window), format!("{:?}", wanted.duplicate_window)),
    ];
    settled(what, &differs)
}

/// What a consumer is created by.
#[derive(Serialize)]
struct CreateConsumer<'a> {
    stream_name: &'a str,
    config: consumer::pull::Config,
    action: &'a str,
}

async fn declare_consumer(nats: &Nats, subscription: &Subscription) -> Result<(), BrokerError> {
    let what = format!("the consumer {}", subscription.name);
    let options = &*nats.options;
    let filters = filters(options, subscription)?;
    let config = wanted(options, subscription, filters.clone());
    // `create` gives the same again if it is there as it should be, and an error if it is there otherwise.
    let question = format!("CONSUMER.CREATE.{}.{}", options.stream, subscription.name);
    let create = CreateConsumer { stream_name: &options.stream, config, action: "create" };
    match nats.api.ask::<consumer::Info>(&question, &create).await? {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(error.error_code(), ErrorCode::CONSUMER_ALREADY_EXISTS | ErrorCode::CONSUMER_NAME_EXIST) =>
        {
            let found = consumer(nats, &subscription.name).await?.config;
            let mut there = found.filter_subjects.clone();
            there.extend((!found.filter_subject.is_empty()).then(|| found.filter_subject.clone()));
            there.sort();
            settled(
                what,
                &[
                    ("filters", format!("{there:?}"), format!("{filters:?}")),
                    ("max_ack_pending", found.max_ack_pending.to_string(), max_ack_pending(options).to_string()),
                    ("max_deliver", found.max_deliver.to_string(), "-1".to_owned()),
                    ("ack policy", format!("{:?}", found.ack_policy), format!("{:?}", AckPolicy::Explicit)),
                ],
            )
        }
        Err(error) => Err(refused(what, error)),
    }
}

/// A consumer as it should be.
fn wanted(options: &NatsOptions, subscription: &Subscription, filters: Vec<String>) -> consumer::pull::Config {
    consumer::pull::Config {
        durable_name: Some(subscription.name.clone()),
        name: Some(subscription.name.clone()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: subscription.ack_wait,
        // A message is never passed over in silence: see `NatsOptions::max_deliver`.
        max_deliver: -1,
        max_ack_pending: max_ack_pending(options),
        filter_subjects: filters,
        ..consumer::pull::Config::default()
    }
}

/// The consumer of a subscription, which must be there. Its time for unsettled messages becomes the subscription's: it is the
/// last member that says it.
pub(crate) async fn join(nats: &Nats, subscription: &Subscription) -> Result<(), BrokerError> {
    let options = &*nats.options;
    let found = consumer(nats, &subscription.name).await?.config;
    if found.ack_wait == subscription.ack_wait {
        return Ok(());
    }
    let mut filters = found.filter_subjects;
    filters.extend((!found.filter_subject.is_empty()).then_some(found.filter_subject));
    let config = consumer::pull::Config {
        max_deliver: found.max_deliver,
        max_ack_pending: found.max_ack_pending,
        num_replicas: found.num_replicas,
        ..wanted(options, subscription, filters)
    };
    let update = CreateConsumer { stream_name: &options.stream, config, action: "update" };
    let question = format!("CONSUMER.CREATE.{}.{}", options.stream, subscription.name);
    let answer = nats.api.ask::<consumer::Info>(&question, &update).await?;
    answer.map(|_| ()).map_err(|error| refused(format!("the consumer {}", subscription.name), error))
}

fn filters(options: &NatsOptions, subscription: &Subscription) -> Result<Vec<String>, BrokerError> {
    let what = format!("the subscription {:?}", subscription.name);
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !is_name(&subscription.name) {
        let reason = "a name is of ASCII letters, digits, `_` and `-`".to_owned();
        return Err(BrokerError::Config { what, reason });
    }
    let filters = subjects::filters(&options.subject_prefix(), &subscription.topics);
    match filters {
        Ok(filters) if filters.is_empty() => Err(BrokerError::Config { what, reason: "it has no topic".to_owned() }),
        Ok(filters) => Ok(filters),
        Err(topic) => Err(BrokerError::Config { what, reason: format!("{topic:?} is no topic") }),
    }
}

fn max_ack_pending(options: &NatsOptions) -> i64 {
    i64::try_from(options.max_ack_pending.unwrap_or(MAX_PREFETCH)).unwrap_or(i64::MAX)
}

/// Compares what is there with what should be.
fn settled(what: String, settings: &[(&str, String, String)]) -> Result<(), BrokerError> {
    match settings.iter().find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((name, found, wanted)) => {
            Err(missing(what, format!("its {name} is {found}, not {wanted}; change it there, or the settings here")))
        }
    }
}

/// The stream as it is.
pub(crate) async fn stream(nats: &Nats) -> Result<stream::Info, BrokerError> {
    let name = &nats.options.stream;
    let answer = nats.api.ask::<stream::Info>(&format!("STREAM.INFO.{name}"), &serde_json::json!({})).await?;
    answer.map_err(|error| refused(format!("the stream {name}"), error))
}

/// A durable consumer as it is.
pub(crate) async fn consumer(nats: &Nats, name: &str) -> Result<consumer::Info, BrokerError> {
    let stream = &nats.options.stream;
    let answer =
        nats.api.ask::<consumer::Info>(&format!("CONSUMER.INFO.{stream}.{name}"), &serde_json::json!({})).await?;
    answer.map_err(|error| refused(format!("the consumer {name} of the stream {stream}"), error))
}
