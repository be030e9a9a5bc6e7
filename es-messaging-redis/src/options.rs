//! How to connect, and how streams are kept small.

use std::time::Duration;

use es_messaging::{BrokerError, ContentMode};

use crate::limits;

/// When entries are removed from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trim {
    /// Never by this side: streams grow until somebody trims them.
    #[default]
    Never,
    /// Every two seconds, by members that receive: what every group of the stream has settled. Nothing is removed that a group has
    /// not received, and nothing of a stream without groups; a group that nobody reads any more keeps everything.
    Settled,
    /// With each message, about all but the newest so many of its topic, **whether they were received or not**.
    MaxLen(u64),
    /// With each message, about all of its topic that are older, **whether they were received or not**.
    MaxAge(Duration),
}

/// Settings beside the URL.
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisOptions {
    pub(crate) prefix: String,
    pub(crate) trim: Trim,
    pub(crate) batch: usize,
    pub(crate) message_bytes: usize,
    pub(crate) content_mode: ContentMode,
    pub(crate) answer_limit: Duration,
    pub(crate) replicas: Option<(u32, Duration)>,
    pub(crate) assume_durable: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "es".to_owned(),
            trim: Trim::default(),
            batch: limits::DEFAULT_BATCH,
            message_bytes: limits::DEFAULT_MESSAGE_BYTES,
            content_mode: ContentMode::Binary,
            answer_limit: limits::DEFAULT_ANSWER_LIMIT,
            replicas: None,
            assume_durable: false,
        }
    }
}

impl RedisOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What all keys begin with; in the URL `prefix=`. By default `es`. For a Redis Cluster put it in braces, so that all keys are on
    /// one node.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// When entries are removed. By default never.
    pub fn trim(mut self, trim: Trim) -> Self {
        self.trim = trim;
        self
    }

    /// The most messages in one transaction, from 1 to [`limits::MAX_BATCH`].
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = messages.clamp(1, limits::MAX_BATCH);
        self
    }

    /// The largest message that is published.
    pub fn message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes;
        self
    }

    /// How messages are published; [`ContentMode::Binary`] if not said. Both modes are received.
    pub fn content_mode(mut self, mode: ContentMode) -> Self {
        self.content_mode = mode;
        self
    }

    /// How long an answer is waited for.
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        self.answer_limit = limit;
        self
    }

    /// Confirms a message only when so many replicas have it too, which is waited for that long (`WAIT`). They have it in memory; it
    /// narrows what a failover may lose, and excludes it only as far as Redis does.
    pub fn wait_for_replicas(mut self, replicas: u32, limit: Duration) -> Self {
        self.replicas = Some((replicas, limit));
        self
    }

    /// Says that the server keeps what it confirms (`appendonly yes`, `appendfsync always`), or that losing some of it is accepted; so
    /// there is no warning.
    pub fn assume_durable(mut self) -> Self {
        self.assume_durable = true;
        self
    }
}

/// Reads the URL: gives it as the client wants it, and as errors show it.
pub(crate) fn parse(url: &str, options: &mut RedisOptions) -> Result<(String, String), BrokerError> {
    let form = "redis://[user:password@]host[:port][/database][?prefix=WORDS]";
    let config = |what: &str, reason: String| BrokerError::Config { what: what.to_owned(), reason };
    let mut parsed = url::Url::parse(url).map_err(|error| config("the URL", format!("{error}; the form is {form}")))?;
    match parsed.scheme() {
        "redis" => {}
        "rediss" if cfg!(feature = "tls") => {}
        "rediss" => return Err(config("the URL", "rediss needs the feature `tls` of es-messaging-redis".to_owned())),
        other => return Err(config("the URL", format!("its scheme is {other:?}, not redis or rediss"))),
    }
    let Some(host) = parsed.host_str().filter(|host| !host.is_empty()) else {
        return Err(config("the URL", format!("it names no server; the form is {form}")));
    };
    let shown = format!("{}://{host}:{}", parsed.scheme(), parsed.port().unwrap_or(6379));
    let settings: Vec<(String, String)> = parsed.query_pairs().into_owned().collect();
    for (name, value) in settings {
        match name.as_str() {
            "prefix" => options.prefix = value,
            other => return Err(config(&shown, format!("it has no setting {other:?}; the form is {form}"))),
        }
    }
    if options.prefix.is_empty()
        || options.prefix.contains(|letter: char| letter.is_whitespace() || letter.is_control())
    {
        return Err(config("prefix", format!("{:?} is empty or holds a space", options.prefix)));
    }
    let database = parsed.path().trim_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(config(&shown, format!("{database:?} is no number of a database")));
    }
    parsed.set_query(None);
    Ok((parsed.to_string(), shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_the_server_and_the_prefix() {
        let mut options = RedisOptions::new();
        let (url, shown) = parse("redis://ann:secret@host:7000/3?prefix=shop", &mut options).unwrap();
        assert_eq!((url.as_str(), options.prefix.as_str()), ("redis://ann:secret@host:7000/3", "shop"));
        assert_eq!(shown, "redis://host:7000");
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        for (url, said) in [
            ("localhost", "relative URL"),
            ("http://localhost", "scheme"),
            ("redis://", "names no server"),
            ("redis://localhost/first", "first"),
            ("redis://localhost?prefx=a", "prefx"),
            ("redis://localhost?prefix=", "prefix"),
        ] {
            let error = parse(url, &mut RedisOptions::new()).unwrap_err();
            assert!(matches!(error, BrokerError::Config { .. }), "{url}: {error:?}");
            assert!(error.to_string().contains(said), "{url}: {error}");
        }
    }
}
