//! Topics and subscriptions, and what follows from them: streams and groups.

use std::{collections::BTreeMap, sync::LazyLock};

use es_messaging::{BrokerError, Subscription, Topology, topic_matches};
use redis::{ErrorKind, Pipeline, RedisError, Script, ServerErrorKind, Value};

use crate::{
    broker::Shared,
    keys, limits,
    link::{REDIS, ask, meaning},
};

/// A group that is there for a moment, so that an empty stream is there.
const NO_GROUP: &str = "es.none";

static TRIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/trim.lua")));

/// The topics of a subscription as they are noted.
fn patterns(subscription: &Subscription) -> String {
    let mut topics = subscription.topics.clone();
    topics.sort();
    topics.dedup();
    topics.join(" ")
}

fn check(topology: &Topology) -> Result<(), BrokerError> {
    let config = |what: String, reason: &str| Err(BrokerError::Config { what, reason: reason.to_owned() });
    for topic in &topology.topics {
        if !keys::is_topic(topic) {
            return config(format!("the topic {topic:?}"), "a topic has words with dots between, and no wildcards");
        }
    }
    for subscription in &topology.subscriptions {
        let what = || format!("the subscription {:?}", subscription.name);
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !is_name(&subscription.name) {
            return config(what(), "a name is of ASCII letters, digits, `_` and `-`");
        }
        if subscription.topics.is_empty() || !subscription.topics.iter().all(|topic| keys::is_pattern(topic)) {
            return config(
                what(),
                "a topic has words with dots between; `*` is one word, and `#` at the end all others",
            );
        }
    }
    Ok(())
}

/// Notes what there should be, and then makes what follows from all that was ever noted. Whoever declares at the same time notes first,
/// too: one of the two sees both.
pub(crate) async fn declare(shared: &Shared, topology: &Topology) -> Result<(), BrokerError> {
    check(topology)?;
    note_subscriptions(shared, &topology.subscriptions).await?;
    let named = topology.subscriptions.iter().flat_map(|subscription| &subscription.topics);
    let topics: Vec<&String> = topology.topics.iter().chain(named.filter(|topic| keys::is_topic(topic))).collect();
    if !topics.is_empty() {
        let mut noting = redis::cmd("SADD");
        noting.arg(shared.keys.topics()).arg(&topics);
        let noted = ask!(&shared.link, |connection| noting.query_async::<u64>(connection));
        noted.map_err(|error| meaning(error, "topics"))?;
    }
    let (topics, subscriptions) = known(shared).await?;
    let mut groups = Vec::new();
    for topic in topics {
        let all = subscriptions.iter();
        let all = all.filter(|(_, patterns)| patterns.split(' ').any(|pattern| topic_matches(pattern, &topic)));
        let count = groups.len();
        groups.extend(all.map(|(name, _)| (topic.clone(), Some(name.clone()))));
        if groups.len() == count {
            groups.push((topic, None));
        }
    }
    for some in groups.chunks(limits::DEFAULT_BATCH) {
        make_groups(shared, some).await?;
    }
    Ok(())
}

/// Notes subscriptions, which must not be there with other topics.
async fn note_subscriptions(shared: &Shared, subscriptions: &[Subscription]) -> Result<(), BrokerError> {
    if subscriptions.is_empty() {
        return Ok(());
    }
    let mut noting = Pipeline::new();
    for subscription in subscriptions {
        let key = shared.keys.subscriptions();
        noting.cmd("HSETNX").arg(&key).arg(&subscription.name).arg(patterns(subscription)).ignore();
        noting.cmd("HGET").arg(&key).arg(&subscription.name);
    }
    let noted: Result<Vec<String>, RedisError> = ask!(&shared.link, |connection| noting.query_async(connection));
    let noted = noted.map_err(|error| meaning(error, "subscriptions"))?;
    for (subscription, found) in subscriptions.iter().zip(&noted) {
        let wanted = patterns(subscription);
        if *found != wanted {
            let what = format!("the subscription {}", subscription.name);
            let reason = format!("its topics are `{found}`, not `{wanted}`; change them there, or here");
            return Err(BrokerError::Missing { broker: REDIS, what, reason });
        }
    }
    Ok(())
}

/// All topics and subscriptions that were noted.
async fn known(shared: &Shared) -> Result<(Vec<String>, BTreeMap<String, String>), BrokerError> {
    let mut asking = Pipeline::new();
    asking.cmd("SMEMBERS").arg(shared.keys.topics());
    asking.cmd("HGETALL").arg(shared.keys.subscriptions());
    let known: Result<(Vec<String>, BTreeMap<String, String>), RedisError> =
        ask!(&shared.link, |connection| asking.query_async(connection));
    known.map_err(|error| meaning(error, "topics and subscriptions"))
}

async fn make_groups(shared: &Shared, groups: &[(String, Option<String>)]) -> Result<(), BrokerError> {
    let mut making = Pipeline::new();
    making.ignore_errors();
    for (topic, group) in groups {
        let stream = shared.keys.stream(topic);
        let name = group.as_deref().unwrap_or(NO_GROUP);
        making.cmd("XGROUP").arg("CREATE").arg(&stream).arg(name).arg("0").arg("MKSTREAM");
        if group.is_none() {
            making.cmd("XGROUP").arg("DESTROY").arg(&stream).arg(name);
        }
    }
    let made: Result<Vec<Value>, RedisError> = ask!(&shared.link, |connection| making.query_async(connection));
    for answer in made.map_err(|error| meaning(error, "groups"))? {
        if let Value::ServerError(error) = answer {
            let error = RedisError::from(error);
            // It was there before.
            if error.code() != Some("BUSYGROUP") {
                return Err(meaning(error, "groups"));
            }
        }
    }
    Ok(())
}

/// The streams that a subscription reads, with their topics; in the same order for everybody.
pub(crate) async fn streams(shared: &Shared, name: &str) -> Result<Vec<(String, String)>, BrokerError> {
    let (topics, subscriptions) = known(shared).await?;
    let Some(patterns) = subscriptions.get(name) else {
        let reason = "it was not declared, or its name is another".to_owned();
        return Err(BrokerError::Missing { broker: REDIS, what: format!("the subscription {name}"), reason });
    };
    let patterns: Vec<&str> = patterns.split(' ').collect();
    let matches = |topic: &String| patterns.iter().any(|pattern| topic_matches(pattern, topic));
    let mut streams: Vec<(String, String)> =
        topics.into_iter().filter(matches).map(|topic| (shared.keys.stream(&topic), topic)).collect();
    streams.sort();
    if streams.len() > limits::MAX_TOPICS {
        let reason = format!("it reads {} topics, at most {} are possible", streams.len(), limits::MAX_TOPICS);
        return Err(BrokerError::Config { what: format!("the subscription {name}"), reason });
    }
    Ok(streams)
}

/// Removes from a stream what every group has settled.
pub(crate) async fn trim(shared: &Shared, stream: &str) -> Result<u64, RedisError> {
    let mut script = TRIM.prepare_invoke();
    script.key(stream);
    match ask!(&shared.link, |connection| script.invoke_async::<u64>(connection)) {
        // There is no such stream.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => Ok(0),
        trimmed => trimmed,
    }
}
