//! The URL and the settings of a connection.

use std::{collections::BTreeMap, fmt, time::Duration};

use es_messaging::{BrokerError, ContentMode, percent_decode};

use crate::limits;

/// Properties that the guarantees of this crate rest on.
const OWN: [&str; 12] = [
    "acks",
    "allow.auto.create.topics",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "request.required.acks",
    "topic.blacklist",
];

/// Settings of a connection to Kafka.
#[derive(Clone)]
pub struct KafkaOptions {
    pub(crate) partitions: i32,
    pub(crate) replication: i32,
    pub(crate) publish_timeout: Duration,
    pub(crate) content_mode: ContentMode,
    pub(crate) properties: BTreeMap<String, String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            partitions: 6,
            replication: -1,
            publish_timeout: limits::PUBLISH_TIMEOUT,
            content_mode: ContentMode::Binary,
            properties: BTreeMap::new(),
        }
    }
}

impl KafkaOptions {
    /// The usual ones: topics of six partitions, with as many copies as the brokers give by themselves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many partitions a declared topic has: as many members of a group can share it. More partitions later would break the order of
    /// keys once, so begin with enough.
    #[must_use]
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = i32::from(partitions.max(1));
        self
    }

    /// On how many brokers a declared topic is kept.
    #[must_use]
    pub fn replication(mut self, copies: u8) -> Self {
        self.replication = i32::from(copies.max(1));
        self
    }

    /// How long a batch waits for its confirmations before it counts as not confirmed.
    #[must_use]
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// How messages are published; [`ContentMode::Binary`] if not said. Both modes are received.
    #[must_use]
    pub fn content_mode(mut self, mode: ContentMode) -> Self {
        self.content_mode = mode;
        self
    }

    /// A property of librdkafka, as its page of properties has it: `security.protocol`, `ssl.ca.location`, `sasl.mechanism` and so on.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}

impl fmt::Debug for KafkaOptions {
    /// Shows the names of the properties alone: some values are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("partitions", &self.partitions)
            .field("replication", &self.replication)
            .field("publish_timeout", &self.publish_timeout)
            .field("content_mode", &self.content_mode)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// Where to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `host:port`, with commas between.
    pub(crate) servers: String,
    pub(crate) options: KafkaOptions,
}

impl Target {
    /// Reads `kafka://[user:password@]host:port[,host:port][?property=value&...]`; what the URL says goes over the options.
    pub(crate) fn parse(url: &str, mut options: KafkaOptions) -> Result<Self, BrokerError> {
        let rest = url.strip_prefix("kafka://").ok_or_else(|| config("the URL", "it begins with kafka://"))?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, servers) = match authority.rsplit_once('@') {
            Some((user, servers)) => (Some(user), servers),
            None => (None, authority),
        };
        let servers = servers.trim_end_matches('/');
        let is_server = |server: &str| {
            server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !servers.split(',').all(is_server) {
            return Err(config("the URL", format!("{servers:?} should be host:port, with commas between several")));
        }
        if let Some(user) = user {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            for (property, value) in [("sasl.username", name), ("sasl.password", password)] {
                options.properties.insert(property.to_owned(), decoded(property, value)?);
            }
            options.properties.entry("sasl.mechanism".to_owned()).or_insert_with(|| "PLAIN".to_owned());
            let protocol = options.properties.entry("security.protocol".to_owned());
            protocol.or_insert_with(|| "sasl_plaintext".to_owned());
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| config("the URL", format!("{pair:?} should be a property and its value")))?;
            let value = decoded(name, value)?;
            match name {
                "partitions" => options = options.partitions(number(name, &value)?),
                "replication" => options = options.replication(number(name, &value)?),
                "publish_timeout_ms" => {
                    options = options.publish_timeout(Duration::from_millis(number(name, &value)?));
                }
                _ => options = options.property(name, value),
            }
        }
        if let Some(name) = options.properties.keys().find(|name| OWN.contains(&name.as_str())) {
            return Err(config(name, "it is set by this crate: what it guarantees depends on it"));
        }
        Ok(Self { servers: servers.to_owned(), options })
    }

    /// Largest record.
    pub(crate) fn message_bytes(&self) -> usize {
        let given = self.options.properties.get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
        given.unwrap_or(limits::MESSAGE_BYTES)
    }
}

fn decoded(what: &str, value: &str) -> Result<String, BrokerError> {
    percent_decode(value).ok_or_else(|| config(what, "after percent-decoding it is not UTF-8"))
}

fn number<T: std::str::FromStr>(what: &str, value: &str) -> Result<T, BrokerError> {
    value.parse().map_err(|_| config(what, format!("{value:?} is no number that it can have")))
}

pub(crate) fn config(what: impl Into<String>, reason: impl Into<String>) -> BrokerError {
    BrokerError::Config { what: what.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, BrokerError> {
        Target::parse(url, KafkaOptions::new())
    }

    #[test]
    fn a_url_gives_servers_credentials_and_properties() {
        let target = parse("kafka://ann:se%40cret@a:9092,b:9093/?session.timeout.ms=6000&partitions=3").unwrap();
        assert_eq!(target.servers, "a:9092,b:9093");
        assert_eq!(target.options.partitions, 3);
        let property = |name: &str| target.options.properties.get(name).map(String::as_str);
        assert_eq!(property("sasl.username"), Some("ann"));
        assert_eq!(property("sasl.password"), Some("se@cret"));
        assert_eq!(property("sasl.mechanism"), Some("PLAIN"));
        assert_eq!(property("session.timeout.ms"), Some("6000"));
        assert!(!format!("{target:?}").contains("cret"));
    }

    #[test]
    fn a_wrong_url_says_what_would_be_right() {
        for (url, hint) in [
            ("amqp://a:1", "kafka://"),
            ("kafka://a", "host:port"),
            ("kafka://a:x", "host:port"),
            ("kafka://a:1?partitions=many", "number"),
            ("kafka://a:1?partitions", "property"),
            ("kafka://a:1?acks=0", "depends on it"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }
}
