//! Settings of a webhook.

use std::{fmt, time::Duration};

use es_messaging::{BrokerError, ContentMode};
use http::{HeaderName, HeaderValue, header};

use crate::{addresses::Addresses, binding, limits, secret::WebhookSecret, signature, tls::Tls};

/// Settings of a [`Webhook`](crate::Webhook).
#[derive(Clone)]
#[must_use]
pub struct WebhookConfig {
    pub(crate) url: String,
    pub(crate) secrets: Vec<WebhookSecret>,
    pub(crate) unsigned: bool,
    pub(crate) mode: ContentMode,
    pub(crate) parallel: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) message_bytes: usize,
    pub(crate) addresses: Addresses,
    pub(crate) allow_http: bool,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) tls: Option<Tls>,
}

impl WebhookConfig {
    /// A webhook to a URL: `https`, or `http` to this machine. Needs a [`secret`](Self::secret) before it can be used.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secrets: Vec::new(),
            unsigned: false,
            mode: ContentMode::Structured,
            parallel: limits::DEFAULT_PARALLEL,
            connect_timeout: limits::DEFAULT_CONNECT_TIMEOUT,
            timeout: limits::DEFAULT_TIMEOUT,
            message_bytes: limits::DEFAULT_MESSAGE_BYTES,
            addresses: Addresses::Any,
            allow_http: false,
            headers: Vec::new(),
            tls: None,
        }
    }

    /// Signs with this secret too, at most [`limits::MAX_SECRETS`]. To change a secret: sign with the old and the new one until
    /// the other side knows the new one.
    pub fn secret(mut self, secret: WebhookSecret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Signs nothing, for a receiver that needs no proof.
    pub fn unsigned(mut self) -> Self {
        self.unsigned = true;
        self
    }

    /// How a message lies in a request; [`ContentMode::Structured`] if not said, of which a signature covers all. In binary mode it covers
    /// the id and the content, and no other attribute.
    pub fn mode(mut self, mode: ContentMode) -> Self {
        self.mode = mode;
        self
    }

    /// At most so many requests at a time, from 1 to [`limits::MAX_PARALLEL`]. Messages of one key are sent one after the other.
    pub fn parallel(mut self, requests: usize) -> Self {
        self.parallel = requests.clamp(1, limits::MAX_PARALLEL);
        self
    }

    /// How long a connection may take.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How long a request may take until its status is there.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// Largest message; what is larger is refused before it is sent.
    pub fn message_bytes(mut self, bytes: usize) -> Self {
        self.message_bytes = bytes;
        self
    }

    /// Connects to public addresses alone: for URLs that strangers give.
    pub fn public_addresses_only(mut self) -> Self {
        self.addresses = Addresses::Public;
        self
    }

    /// Allows plain `http` to other machines: inside a network that is trusted.
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// TLS of one's own.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// One more header of each request, such as `authorization`. Its value is not shown.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for what is no header, or one that a webhook gives itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, BrokerError> {
        let what = || format!("the header {name:?}");
        let wrong = |reason: &str| BrokerError::Config { what: what(), reason: reason.to_owned() };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("it is no name of a header"))?;
        let own = [header::HOST, header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONNECTION];
        let own = own.contains(&parsed)
            || [signature::ID, signature::TIMESTAMP, signature::SIGNATURE, "transfer-encoding"]
                .contains(&parsed.as_str())
            || parsed.as_str().starts_with(binding::PREFIX);
        if own {
            return Err(wrong("webhooks give it themselves"));
        }
        if self.headers.len() >= limits::MAX_HEADERS {
            return Err(wrong(&format!("there are at most {}", limits::MAX_HEADERS)));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong("its value holds what no header may"))?;
        value.set_sensitive(true);
        self.headers.push((parsed, value));
        Ok(self)
    }
}

impl fmt::Debug for WebhookConfig {
    /// Shows neither the URL, which may hold a secret, nor headers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig")
            .field("secrets", &self.secrets.len())
            .field("mode", &self.mode)
            .field("parallel", &self.parallel)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
