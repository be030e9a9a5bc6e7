//! Who may, and what goes where: the policies of queues and subscriptions, as JSON.

use es_messaging::BrokerError;
use serde_json::{Value, json};

use crate::{binding::TOPIC, limits, options::config};

/// Lets one topic, and nobody else besides those with permissions of their own, send to a queue.
pub(crate) fn queue_policy(queue_arn: &str, topic_arn: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": "messages",
            "Effect": "Allow",
            "Principal": { "Service": "sns.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": { "ArnEquals": { "aws:SourceArn": topic_arn } },
        }],
    })
    .to_string()
}

/// Puts what was given too often among the dead letters.
pub(crate) fn redrive_policy(dead_arn: &str, max_receives: u16) -> String {
    json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": max_receives }).to_string()
}

/// Which messages a subscription gets. SNS knows the beginnings of texts, not words; whoever receives drops what goes beyond.
pub(crate) fn filter_policy(topics: &[String]) -> Result<Value, BrokerError> {
    if topics.is_empty() || topics.len() > limits::MAX_TOPICS {
        return Err(config("the topics of a subscription", format!("there are 1 to {} of them", limits::MAX_TOPICS)));
    }
    let mut values = Vec::new();
    for topic in topics {
        let words: Vec<&str> = topic.split('.').collect();
        if words.iter().rev().skip(1).any(|word| *word == "#") || words.iter().any(|word| word.is_empty()) {
            return Err(config(
                format!("topic {topic:?}"),
                "it is words with dots between, and `#` stands at the end alone",
            ));
        }
        let Some(first) = words.iter().position(|word| matches!(*word, "*" | "#")) else {
            values.push(json!(topic));
            continue;
        };
        let before = words[..first].join(".");
        if before.is_empty() {
            values.push(json!({ "exists": true }));
            continue;
        }
        values.push(json!({ "prefix": format!("{before}.") }));
        if words[first] == "#" {
            values.push(json!(before));
        }
    }
    Ok(json!({ TOPIC: values }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_names_and_the_beginnings_of_patterns() {
        let filter = |topics: &[&str]| filter_policy(&topics.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(filter(&["order.placed"]).unwrap(), json!({ "topic": ["order.placed"] }));
        assert_eq!(
            filter(&["order.*", "a.b.#", "*.placed"]).unwrap(),
            json!({ "topic": [{ "prefix": "order." }, { "prefix": "a.b." }, "a.b", { "exists": true }] })
        );
        assert!(filter(&["#.order"]).is_err());
        assert!(filter(&["order..placed"]).is_err());
        assert!(filter(&[]).is_err());
    }
}
