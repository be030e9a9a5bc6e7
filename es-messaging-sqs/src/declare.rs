//! Making the topic, the queues, and the ways between them.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName as Name;
use es_messaging::{BrokerError, Subscription, Topology};
use serde_json::Value;

use crate::{
    connection::Connection,
    error::{SQS, broker_error},
    limits,
    options::config,
    policy::{filter_policy, queue_policy, redrive_policy},
};

/// A queue that is there.
struct Queue {
    url: String,
    arn: String,
}

/// Creates what is missing; what is there with other settings is an error.
pub(crate) async fn declare(connection: &Connection, topology: &Topology) -> Result<(), BrokerError> {
    let topic_arn = topic(connection).await?;
    for subscription in &topology.subscriptions {
        let filter = filter_policy(&subscription.topics)?;
        let (queue, dead) = queues(connection, subscription, &topic_arn).await?;
        subscribe(connection, &topic_arn, &queue, &filter).await?;
        drop(dead);
    }
    Ok(())
}

async fn topic(connection: &Connection) -> Result<String, BrokerError> {
    match connection.topic_arn().await {
        Err(BrokerError::Missing { .. }) => {}
        result => return result.map(str::to_owned),
    }
    let options = &connection.target.options;
    let mut create = connection.sns.create_topic().name(options.topic_name());
    if options.fifo {
        create = create.attributes("FifoTopic", "true").attributes("ContentBasedDeduplication", "false");
    }
    create.send().await.map_err(|error| broker_error("the topic", error))?;
    connection.topic_arn().await.map(str::to_owned)
}

/// The queue of a subscription, and the one for its dead letters.
async fn queues(
    connection: &Connection,
    subscription: &Subscription,
    topic_arn: &str,
) -> Result<(Queue, Queue), BrokerError> {
    let options = &connection.target.options;
    let (name, dead_name) = options.queue_names(&subscription.name)?;
    let visibility = visibility_seconds(subscription)?.to_string();
    let retention = limits::RETENTION.as_secs().to_string();
    let mut common = HashMap::from([(Name::MessageRetentionPeriod, retention)]);
    if options.fifo {
        common.insert(Name::FifoQueue, "true".to_owned());
    }
    let dead = queue(connection, &dead_name, common.clone()).await?;
    common.insert(Name::VisibilityTimeout, visibility);
    common.insert(Name::RedrivePolicy, redrive_policy(&dead.arn, options.max_receives));
    let made = queue(connection, &name, common).await?;
    // A policy names the queue itself, so there has to be one first.
    let policy = queue_policy(&made.arn, topic_arn);
    let set = connection.sqs.set_queue_attributes().queue_url(&made.url).attributes(Name::Policy, policy);
    set.send().await.map_err(|error| broker_error(&format!("queue {name}"), error))?;
    Ok((made, dead))
}

/// How long a received message is hidden from others.
pub(crate) fn visibility_seconds(subscription: &Subscription) -> Result<u64, BrokerError> {
    let seconds = subscription.ack_wait.as_secs() + u64::from(subscription.ack_wait.subsec_nanos() > 0);
    if (1..=limits::MAX_VISIBILITY.as_secs()).contains(&seconds) {
        return Ok(seconds);
    }
    let reason = format!("{:?} should be 1 to {} seconds", subscription.ack_wait, limits::MAX_VISIBILITY.as_secs());
    Err(config(format!("ack_wait of subscription {}", subscription.name), reason))
}

async fn queue(connection: &Connection, name: &str, wanted: HashMap<Name, String>) -> Result<Queue, BrokerError> {
    let what = format!("queue {name}");
    let url = match connection.queue_url(name).await {
        Ok(url) => {
            check(connection, &what, &url, &wanted).await?;
            url
        }
        Err(BrokerError::Missing { .. }) => {
            let created = connection.sqs.create_queue().queue_name(name).set_attributes(Some(wanted)).send().await;
            let created = created.map_err(|error| broker_error(&what, error))?;
            created.queue_url.unwrap_or_default()
        }
        Err(error) => return Err(error),
    };
    let arn = attributes(connection, &what, &url).await?.remove(&Name::QueueArn).unwrap_or_default();
    Ok(Queue { url, arn })
}

async fn attributes(connection: &Connection, what: &str, url: &str) -> Result<HashMap<Name, String>, BrokerError> {
    let found = connection.sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All).send().await;
    Ok(found.map_err(|error| broker_error(what, error))?.attributes.unwrap_or_default())
}

async fn check(
    connection: &Connection,
    what: &str,
    url: &str,
    wanted: &HashMap<Name, String>,
) -> Result<(), BrokerError> {
    let there = attributes(connection, what, url).await?;
    for (name, wanted) in wanted {
        let found = there.get(name).map(String::as_str).unwrap_or_default();
        if !is_same(wanted, found) {
            let reason =
                format!("its {} is {found:?}, not {wanted:?}: change it there, or what is declared", name.as_str());
            return Err(BrokerError::Missing { broker: SQS, what: what.to_owned(), reason });
        }
    }
    Ok(())
}

/// Whether two settings mean the same: as text, or as JSON.
fn is_same(wanted: &str, found: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok().map(numbers_as_text);
    wanted == found || json(wanted).is_some_and(|wanted| Some(wanted) == json(found))
}

/// The services give some numbers back as texts.
fn numbers_as_text(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, numbers_as_text(value))).collect(),
        other => other,
    }
}

async fn subscribe(connection: &Connection, topic_arn: &str, queue: &Queue, filter: &Value) -> Result<(), BrokerError> {
    let what = format!("the subscription of {}", queue.arn);
    if let Some(found) = find_subscription(connection, topic_arn, &queue.arn).await? {
        let there = connection.sns.get_subscription_attributes().subscription_arn(found).send().await;
        let there = there.map_err(|error| broker_error(&what, error))?;
        let attribute = |name: &str| there.attributes().and_then(|all| all.get(name)).map(String::as_str);
        for (name, wanted) in [("FilterPolicy", filter.to_string()), ("RawMessageDelivery", "true".to_owned())] {
            let found = attribute(name).unwrap_or_default();
            if !is_same(&wanted, found) {
                let reason = format!("its {name} is {found}, not {wanted}: change it there, or what is declared");
                return Err(BrokerError::Missing { broker: SQS, what, reason });
            }
        }
        return Ok(());
    }
    let subscribe = connection.sns.subscribe().topic_arn(topic_arn).protocol("sqs").endpoint(&queue.arn);
    let subscribe = subscribe.attributes("RawMessageDelivery", "true").attributes("FilterPolicy", filter.to_string());
    subscribe.send().await.map_err(|error| broker_error(&what, error))?;
    Ok(())
}

async fn find_subscription(
    connection: &Connection,
    topic_arn: &str,
    queue_arn: &str,
) -> Result<Option<String>, BrokerError> {
    let mut next = None;
    for _ in 0..limits::MAX_PAGES {
        let page = connection.sns.list_subscriptions_by_topic().topic_arn(topic_arn).set_next_token(next).send().await;
        let page = page.map_err(|error| broker_error("the topic", error))?;
        let found = page.subscriptions().iter().find(|found| found.endpoint() == Some(queue_arn));
        if let Some(arn) = found.and_then(|found| found.subscription_arn()) {
            return Ok(Some(arn.to_owned()));
        }
        next = page.next_token().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_compared_by_what_they_mean() {
        assert!(is_same(r#"{"a":1,"b":"x"}"#, r#"{ "b": "x", "a": "1" }"#));
        assert!(!is_same(r#"{"a":1}"#, r#"{"a":2}"#));
        assert!(is_same("30", "30"));
        assert!(!is_same("30", "60"));
    }
}
