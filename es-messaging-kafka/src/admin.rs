//! Topics: their names, and their making.

use std::{collections::BTreeMap, sync::Arc};

use es_messaging::{BrokerError, Topology};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    config::FromClientConfigAndContext,
    types::RDKafkaErrorCode as Code,
};

use crate::{
    catalogue::Catalogue,
    client::{Plain, admin_config},
    error::{KAFKA, is_denied},
    limits,
    options::{Target, config},
};

/// The topic of a group's dead letters.
pub(crate) fn dead_topic(group: &str) -> String {
    format!("{group}.dead")
}

/// Whether a subscription's topic stands for several.
pub(crate) fn is_wildcard(topic: &str) -> bool {
    topic.split('.').any(|word| word == "*" || word == "#")
}

/// A subscription's topic as librdkafka takes it: a name, or a regular expression that begins with `^`.
pub(crate) fn topic_or_expression(topic: &str) -> String {
    if !is_wildcard(topic) {
        return topic.to_owned();
    }
    let mut expression = String::from("^");
    for (index, word) in topic.split('.').enumerate() {
        match (word, index) {
            ("#", 0) => expression.push_str(".+"),
            ("#", _) => expression.push_str(r"(\..+)?"),
            (word, _) => {
                if index > 0 {
                    expression.push_str(r"\.");
                }
                expression.push_str(if word == "*" { "[^.]+" } else { word });
            }
        }
    }
    expression.push('$');
    expression
}

/// Whether Kafka takes a name of a topic or a group, as this crate has them.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), BrokerError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > limits::MAX_TOPIC_BYTES || name == "." || name == ".." {
        let reason = format!("a name has 1 to {} bytes, and is neither . nor ..", limits::MAX_TOPIC_BYTES);
        return Err(config(format!("{what} {name:?}"), reason));
    }
    if !name.bytes().all(is_allowed) {
        return Err(config(format!("{what} {name:?}"), "a name has ASCII letters, digits, `.`, `_` and `-`"));
    }
    Ok(())
}

/// The same for a subscription's topic, which may have wildcards.
pub(crate) fn check_topic(topic: &str) -> Result<(), BrokerError> {
    let words: Vec<&str> = topic.split('.').collect();
    let Some((last, before)) = words.split_last() else { return Ok(()) };
    if before.contains(&"#") {
        return Err(config(format!("topic {topic:?}"), "`#` stands at the end alone"));
    }
    let plain = |word: &&&str| !matches!(**word, "*" | "#");
    before.iter().chain([last]).filter(plain).try_for_each(|word| check_name("topic", word))
}

/// Creates what is missing; what is there with another number of partitions is an error.
pub(crate) async fn declare(
    target: &Target,
    catalogue: &Arc<Catalogue>,
    topology: &Topology,
) -> Result<(), BrokerError> {
    let mut wanted = BTreeMap::new();
    for subscription in &topology.subscriptions {
        check_name("subscription", &subscription.name)?;
        subscription.topics.iter().try_for_each(|topic| check_topic(topic))?;
        let named = subscription.topics.iter().filter(|topic| !is_wildcard(topic));
        wanted.extend(named.map(|topic| (topic.clone(), target.options.partitions)));
        wanted.insert(dead_topic(&subscription.name), 1);
    }
    for topic in &topology.topics {
        check_name("topic", topic)?;
        wanted.insert(topic.clone(), target.options.partitions);
    }
    let mut missing = Vec::new();
    for (topic, partitions) in &wanted {
        match catalogue.ask(topic).await? {
            None => missing.push((topic.as_str(), *partitions)),
            Some(there) => check_partitions(topic, there, *partitions)?,
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    create(target, &missing).await?;
    for (topic, partitions) in missing {
        // Other brokers may learn of it a little later.
        let mut there = catalogue.ask(topic).await?;
        let end = tokio::time::Instant::now() + limits::ANSWER_TIMEOUT;
        while there.is_none() && tokio::time::Instant::now() < end {
            tokio::time::sleep(limits::POLL_INTERVAL).await;
            there = catalogue.ask(topic).await?;
        }
        check_partitions(topic, there.unwrap_or_default(), partitions)?;
    }
    Ok(())
}

fn check_partitions(topic: &str, there: usize, wanted: i32) -> Result<(), BrokerError> {
    if usize::try_from(wanted) == Ok(there) {
        return Ok(());
    }
    let reason = format!(
        "it has {there} partitions, and {wanted} were asked for: ask for {there}, or let nobody publish, empty it and create it anew"
    );
    Err(BrokerError::Missing { broker: KAFKA, what: format!("topic {topic}"), reason })
}

async fn create(target: &Target, topics: &[(&str, i32)]) -> Result<(), BrokerError> {
    let context = Plain::default();
    let said = context.said.clone();
    let admin = AdminClient::from_config_and_context(&admin_config(target), context);
    let admin = admin.map_err(|error| said.explain(error))?;
    let replication = target.options.replication;
    let topics: Vec<_> =
        topics.iter().map(|(name, count)| NewTopic::new(name, *count, TopicReplication::Fixed(replication))).collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(limits::DECLARE_TIMEOUT))
        .request_timeout(Some(limits::DECLARE_TIMEOUT));
    let results = admin.create_topics(&topics, &options).await.map_err(|error| said.explain(error))?;
    for result in results {
        match result {
            // Created by somebody else at the same time; its partitions are checked afterwards.
            Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) if is_denied(code) => {
                let reason = format!("topic {topic} cannot be created: {code}");
                return Err(BrokerError::Denied { broker: KAFKA, reason });
            }
            Err((topic, code)) => {
                let reason = format!("it cannot be created: {code}");
                return Err(BrokerError::Missing { broker: KAFKA, what: format!("topic {topic}"), reason });
            }
        }
    }
    // It waits for its thread.
    drop(tokio::task::spawn_blocking(move || drop(admin)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_become_expressions_and_names_stay() {
        for (topic, expected) in [
            ("order.placed", "order.placed"),
            ("order.*", r"^order\.[^.]+$"),
            ("order.#", r"^order(\..+)?$"),
            ("*.placed", r"^[^.]+\.placed$"),
            ("#", r"^.+$"),
        ] {
            assert_eq!(topic_or_expression(topic), expected);
        }
    }

    #[test]
    fn names_that_kafka_does_not_take_are_refused_beforehand() {
        assert!(check_topic("order.*").is_ok());
        assert!(check_topic("order.#").is_ok());
        for topic in ["#.order", "order placed", "", "order..placed"] {
            assert!(check_topic(topic).is_err(), "{topic}");
        }
        assert!(check_name("topic", &"x".repeat(250)).is_err());
    }
}
