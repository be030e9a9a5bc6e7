//! Settings.

use std::time::Duration;

use es_messaging::{BrokerError, ContentMode};
use lapin::uri::{AMQPScheme, AMQPUri};

use crate::{BROKER, limits, wire::HeaderPrefix};

/// The exchange, if neither the URL nor the options name one.
const DEFAULT_EXCHANGE: &str = "events";

/// Which kind of queue [`declare`](es_messaging::Broker::declare) makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueKind {
    /// Replicated, flushed before it is confirmed; counts deliveries. The default.
    #[default]
    Quorum,
    /// On one node; knows priorities from 0 to 9. Durable, but a confirmed message can be lost with its node.
    Classic,
}

/// How RabbitMQ is used.
///
/// ```
/// use es_messaging_rabbitmq::RabbitMqOptions;
/// let options = RabbitMqOptions::default().exchange("shop").single_active_consumer(true);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct RabbitMqOptions {
    pub(crate) exchange: Option<String>,
    pub(crate) queue_kind: QueueKind,
    pub(crate) single_active_consumer: bool,
    pub(crate) delivery_limit: Option<u32>,
    pub(crate) allow_unroutable: bool,
    pub(crate) strict_order: bool,
    pub(crate) message_bytes: usize,
    pub(crate) content_mode: ContentMode,
    pub(crate) header_prefix: HeaderPrefix,
    pub(crate) confirm_wait: Duration,
    pub(crate) new_queue_wait: Duration,
    pub(crate) name: String,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::tls::Tls,
}

impl Default for RabbitMqOptions {
    fn default() -> Self {
        Self {
            exchange: None,
            queue_kind: QueueKind::default(),
            single_active_consumer: false,
            delivery_limit: None,
            allow_unroutable: false,
            strict_order: false,
            message_bytes: limits::DEFAULT_MESSAGE_BYTES,
            content_mode: ContentMode::Binary,
            header_prefix: HeaderPrefix::default(),
            confirm_wait: limits::DEFAULT_CONFIRM_WAIT,
            new_queue_wait: limits::DEFAULT_NEW_QUEUE_WAIT,
            name: env!("CARGO_PKG_NAME").to_owned(),
            #[cfg(feature = "tls")]
            tls: crate::tls::Tls::default(),
        }
    }
}

impl RabbitMqOptions {
    /// The topic exchange that is published to; `events` if neither this nor the URL (`?exchange=`) says another.
    pub fn exchange(mut self, name: impl Into<String>) -> Self {
        self.exchange = Some(name.into());
        self
    }

    /// Which kind of queue is declared.
    pub fn queue_kind(mut self, kind: QueueKind) -> Self {
        self.queue_kind = kind;
        self
    }

    /// Whether queues are declared such that one member at a time gets messages, and another takes over when it is gone. That is what
    /// keeps the order of a key among several members.
    pub fn single_active_consumer(mut self, on: bool) -> Self {
        self.single_active_consumer = on;
        self
    }

    /// How often a message may come again before a quorum queue makes it a dead letter. RabbitMQ 3 has no limit of its own, RabbitMQ 4
    /// has 20.
    pub fn delivery_limit(mut self, times: u32) -> Self {
        self.delivery_limit = Some(times);
        self
    }

    /// Whether a message that no queue takes counts as published. Otherwise it is refused as unroutable.
    pub fn allow_unroutable(mut self, allow: bool) -> Self {
        self.allow_unroutable = allow;
        self
    }

    /// Whether each message waits until the one before it of the same key is confirmed. Needed only where a queue may refuse a message and
    /// take the next one (`overflow: reject-publish`); it costs a round trip for every repetition of a key in a batch.
    pub fn strict_order(mut self, on: bool) -> Self {
        self.strict_order = on;
        self
    }

    /// Largest message that is sent, in bytes; the server's `max_message_size` must not be smaller.
    pub fn message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes;
        self
    }

    /// How messages are published; [`ContentMode::Binary`] if not said. Both modes are received.
    pub fn content_mode(mut self, mode: ContentMode) -> Self {
        self.content_mode = mode;
        self
    }

    /// What the names of the headers begin with that attributes are published in; [`HeaderPrefix::Colon`] if not said. All of them are
    /// received.
    pub fn header_prefix(mut self, prefix: HeaderPrefix) -> Self {
        self.header_prefix = prefix;
        self
    }

    /// How long to wait for the next confirmation before the connection counts as lost.
    pub fn confirm_wait(mut self, time: Duration) -> Self {
        self.confirm_wait = time;
        self
    }

    /// How long [`declare`](es_messaging::Broker::declare) waits after it has made a quorum queue. A server that is killed before it has
    /// flushed where the queue is kept loses the queue, with all that it has confirmed; see
    /// [`DEFAULT_NEW_QUEUE_WAIT`](limits::DEFAULT_NEW_QUEUE_WAIT).
    pub fn new_queue_wait(mut self, time: Duration) -> Self {
        self.new_queue_wait = time;
        self
    }

    /// The name under which the server lists the connections.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Authorities that the server's certificate may come from, in PEM, besides the public ones. Those of the machine are not looked at.
    #[cfg(feature = "tls")]
    pub fn trust(mut self, authorities_pem: impl Into<String>) -> Self {
        self.tls.authorities = Some(authorities_pem.into());
        self
    }

    /// The certificate of this client and its private key, in PEM.
    #[cfg(feature = "tls")]
    pub fn client_certificate(mut self, certificate_pem: impl Into<String>, key_pem: impl Into<String>) -> Self {
        self.tls.identity = Some((certificate_pem.into(), key_pem.into()));
        self
    }
}

/// Where the server is, and what is used there.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) uri: AMQPUri,
    pub(crate) exchange: String,
}

impl Address {
    /// Reads a URL: `amqp://user:pass@host:port/vhost?exchange=events`.
    pub(crate) fn parse(url: &str, options: &RabbitMqOptions) -> Result<Self, BrokerError> {
        let config = |reason: String| BrokerError::Config { what: without_password(url), reason };
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut rest, mut exchange) = (Vec::new(), None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("exchange", name)) => {
                    let name = es_messaging::percent_decode(name);
                    exchange = Some(name.ok_or_else(|| config("its exchange is not UTF-8".to_owned()))?);
                }
                Some(("heartbeat" | "frame_max" | "channel_max" | "connection_timeout" | "auth_mechanism", _)) => {
                    rest.push(part);
                }
                _ => {
                    let reason = format!(
                        "{part:?} is no setting; there are exchange, heartbeat, frame_max, channel_max, connection_timeout \
                         and auth_mechanism"
                    );
                    return Err(config(reason));
                }
            }
        }
        let text = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        let mut uri: AMQPUri = text.parse().map_err(|reason: String| {
            config(format!("{reason}; it is to be like amqp://user:password@host:5672/vhost?exchange=events"))
        })?;
        uri.query.heartbeat.get_or_insert(limits::HEARTBEAT_SECONDS);
        // A lone slash is how most people end a URL. A virtual host without a name can be written nowhere else either.
        if uri.vhost.is_empty() {
            uri.vhost = AMQPUri::default().vhost;
        }
        // The library would go to localhost.
        if let Some(address) = ip_6(base) {
            uri.authority.host = address.to_owned();
        }
        #[cfg(not(feature = "tls"))]
        if uri.scheme == AMQPScheme::AMQPS {
            return Err(config("amqps:// needs the feature `tls` of this crate".to_owned()));
        }
        let exchange = options.exchange.clone().or(exchange).unwrap_or_else(|| DEFAULT_EXCHANGE.to_owned());
        if exchange.is_empty() || exchange.len() + DEAD.len() > limits::SHORT_STRING_BYTES {
            return Err(config(format!(
                "an exchange has a name of 1 to {} bytes",
                limits::SHORT_STRING_BYTES - DEAD.len()
            )));
        }
        Ok(Self { uri, exchange })
    }

    /// Whether it is spoken to over TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

/// The IPv6 address that a URL has in brackets, if it has one.
fn ip_6(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(host.strip_prefix('[')?.split_once(']')?.0)
}

/// What the names of the dead letters' exchange and queues end with.
pub(crate) const DEAD: &str = ".dead";

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return format!("the URL of {BROKER}") };
    match rest.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, BrokerError> {
        Address::parse(url, &RabbitMqOptions::default())
    }

    #[test]
    fn a_url_names_server_virtual_host_and_exchange() {
        let address = parse("amqp://me:secret@broker:5673/shop?exchange=orders&heartbeat=5").unwrap();
        assert_eq!((address.uri.authority.host.as_str(), address.uri.authority.port), ("broker", 5673));
        assert_eq!((address.uri.vhost.as_str(), address.exchange.as_str()), ("shop", "orders"));
        assert_eq!(address.uri.query.heartbeat, Some(5));
        let address = parse("amqp://broker").unwrap();
        assert_eq!((address.uri.vhost.as_str(), address.exchange.as_str()), ("/", "events"));
    }

    #[test]
    fn whatever_a_url_leaves_out_has_its_usual_value() {
        for (url, host, port, vhost) in [
            ("amqp://guest:guest@127.0.0.1:5672/", "127.0.0.1", 5672, "/"),
            ("amqp://guest:guest@broker", "broker", 5672, "/"),
            ("amqp://guest:guest@broker/?exchange=shop", "broker", 5672, "/"),
            ("amqp://guest:guest@broker?exchange=shop", "broker", 5672, "/"),
            ("amqp://guest:guest@broker/%2f", "broker", 5672, "/"),
            ("amqp://guest:guest@broker/%2F?heartbeat=5", "broker", 5672, "/"),
            ("amqp://broker/%2Fshop", "broker", 5672, "/shop"),
            ("amqp://broker/gr%C3%B6%C3%9Fe%20%25", "broker", 5672, "größe %"),
            ("amqp://[::1]:5673/", "::1", 5673, "/"),
            ("amqp://me:p%40ss@[2001:db8::1]/shop", "2001:db8::1", 5672, "shop"),
        ] {
            let uri = parse(url).unwrap().uri;
            assert_eq!((&*uri.authority.host, uri.authority.port, &*uri.vhost), (host, port, vhost), "{url}");
        }
        let user = |url: &str| {
            let user = parse(url).unwrap().uri.authority.userinfo;
            (user.username, user.password)
        };
        assert_eq!(user("amqp://m%C3%A9:p%40%2Fss@broker/"), ("mé".to_owned(), "p@/ss".to_owned()));
        assert_eq!(user("amqp://broker/"), ("guest".to_owned(), "guest".to_owned()));
        // As RabbitMQ's own clients have it.
        assert_eq!(user("amqp://me@broker/"), ("me".to_owned(), "guest".to_owned()));
    }

    #[test]
    fn a_wrong_url_is_said_to_be_wrong_without_its_password() {
        for url in [
            "",
            "broker:5672",
            "http://me:secret@broker",
            "amqp://me:secret@broker?exchnage=x",
            "amqp://me:secret@broker?exchange=%FF",
            "amqp://me:secret@:x",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, BrokerError::Config { .. }), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
