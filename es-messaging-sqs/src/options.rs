//! The URL and the settings of a connection.

use std::fmt;

use es_messaging::{BrokerError, percent_decode};

use crate::limits;

/// Settings of a connection to SQS and SNS.
#[derive(Debug, Clone)]
pub struct SqsOptions {
    pub(crate) fifo: bool,
    pub(crate) prefix: String,
    pub(crate) max_receives: u16,
}

impl Default for SqsOptions {
    fn default() -> Self {
        Self { fifo: false, prefix: "es".to_owned(), max_receives: limits::MAX_RECEIVES }
    }
}

impl SqsOptions {
    /// Standard queues, with names that begin with `es-`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// FIFO queues and a FIFO topic: order within a key, and what is published twice within five minutes is there once.
    #[must_use]
    pub fn fifo(mut self, fifo: bool) -> Self {
        self.fifo = fifo;
        self
    }

    /// What the names of all queues and of the topic begin with: ASCII letters, digits, `_`, `-`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How often SQS gives a message before it puts it among the dead letters by itself. More often than whoever handles messages tries,
    /// so that this only happens to those that end their handler.
    #[must_use]
    pub fn max_receives(mut self, receives: u16) -> Self {
        self.max_receives = receives.clamp(1, 1_000);
        self
    }

    fn ending(&self) -> &'static str {
        if self.fifo { ".fifo" } else { "" }
    }

    /// The name of the topic.
    pub(crate) fn topic_name(&self) -> String {
        format!("{}-messages{}", self.prefix, self.ending())
    }

    /// The names of a subscription's queue and of the one for its dead letters.
    pub(crate) fn queue_names(&self, subscription: &str) -> Result<(String, String), BrokerError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let what = || format!("subscription {subscription:?}");
        if subscription.is_empty() || !subscription.bytes().all(is_allowed) {
            return Err(config(what(), "a name has ASCII letters, digits, `_` and `-`"));
        }
        let name = |ending: &str| format!("{}-{subscription}{ending}{}", self.prefix, self.ending());
        let (queue, dead) = (name(""), name("-dead"));
        if dead.len() > limits::MAX_QUEUE_NAME_BYTES {
            let reason =
                format!("with prefix and ending its queue {dead} has over {} bytes", limits::MAX_QUEUE_NAME_BYTES);
            return Err(config(what(), reason));
        }
        Ok((queue, dead))
    }
}

/// Where to, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) region: String,
    /// Where the services are, if not at Amazon.
    pub(crate) endpoint: Option<String>,
    /// Key and secret, if not by the machine's own means.
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) options: SqsOptions,
}

impl Target {
    /// Reads `sqs://[key:secret@]region-or-host:port[/][?fifo=true&prefix=shop&...]`; what the URL says goes over the options.
    pub(crate) fn parse(url: &str, mut options: SqsOptions) -> Result<Self, BrokerError> {
        let rest = url.strip_prefix("sqs://").ok_or_else(|| config("the URL", "it begins with sqs://"))?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let place = place.trim_end_matches('/');
        let credentials = match user.map(|user| user.split_once(':')) {
            None => None,
            Some(Some((key, secret))) => Some((decoded("the key", key)?, decoded("the secret", secret)?)),
            Some(None) => return Err(config("the URL", "before the @ stands key:secret")),
        };
        let (mut region, mut tls) = (None, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| config("the URL", format!("{pair:?} should be a name and its value")))?;
            let value = decoded(name, value)?;
            match name {
                "fifo" => options = options.fifo(truth(name, &value)?),
                "tls" => tls = truth(name, &value)?,
                "prefix" => options = options.prefix(value),
                "region" => region = Some(value),
                "max_receives" => {
                    let receives = value.parse().map_err(|_| config(name, format!("{value:?} is no number")))?;
                    options = options.max_receives(receives);
                }
                _ => {
                    return Err(config(
                        "the URL",
                        format!("{name:?} is not one of fifo, max_receives, prefix, region, tls"),
                    ));
                }
            }
        }
        let is_region = |text: &str| {
            text.contains('-')
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        let (endpoint, region) = match place.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                let scheme = if tls { "https" } else { "http" };
                (Some(format!("{scheme}://{place}")), region.unwrap_or_else(|| "us-east-1".to_owned()))
            }
            None if is_region(place) => (None, place.to_owned()),
            _ => return Err(config("the URL", format!("{place:?} should be a region, as eu-central-1, or host:port"))),
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if options.prefix.is_empty() || !options.prefix.bytes().all(is_name) {
            return Err(config(
                "prefix",
                format!("{:?} should have ASCII letters, digits, `_` and `-`", options.prefix),
            ));
        }
        Ok(Self { region, endpoint, credentials, options })
    }
}

impl fmt::Debug for Target {
    /// Shows no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn decoded(what: &str, value: &str) -> Result<String, BrokerError> {
    percent_decode(value).ok_or_else(|| config(what, "after percent-decoding it is not UTF-8"))
}

fn truth(what: &str, value: &str) -> Result<bool, BrokerError> {
    value.parse().map_err(|_| config(what, format!("{value:?} should be true or false")))
}

pub(crate) fn config(what: impl Into<String>, reason: impl Into<String>) -> BrokerError {
    BrokerError::Config { what: what.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, BrokerError> {
        Target::parse(url, SqsOptions::new())
    }

    #[test]
    fn a_url_names_a_region_or_an_endpoint() {
        let target = parse("sqs://eu-central-1/?fifo=true&prefix=shop").unwrap();
        assert_eq!((target.region.as_str(), target.endpoint.as_deref()), ("eu-central-1", None));
        assert_eq!(target.options.topic_name(), "shop-messages.fifo");
        assert_eq!(
            target.options.queue_names("shipping").unwrap(),
            ("shop-shipping.fifo".to_owned(), "shop-shipping-dead.fifo".to_owned())
        );
        let target = parse("sqs://key:se%2Fcret@127.0.0.1:4100?region=eu-west-1&tls=true").unwrap();
        assert_eq!(target.endpoint.as_deref(), Some("https://127.0.0.1:4100"));
        assert_eq!(target.region, "eu-west-1");
        assert_eq!(target.credentials, Some(("key".to_owned(), "se/cret".to_owned())));
        assert!(!format!("{target:?}").contains("cret"));
    }

    #[test]
    fn a_wrong_url_says_what_would_be_right() {
        for (url, hint) in [
            ("kafka://a:1", "sqs://"),
            ("sqs://nowhere", "region"),
            ("sqs://host:port", "host:port"),
            ("sqs://eu-central-1?fifo=maybe", "true or false"),
            ("sqs://eu-central-1?colour=red", "fifo"),
            ("sqs://eu-central-1?prefix=a.b", "letters"),
            ("sqs://key@eu-central-1", "key:secret"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        assert!(SqsOptions::new().queue_names(&"x".repeat(80)).unwrap_err().to_string().contains("80"));
    }
}
