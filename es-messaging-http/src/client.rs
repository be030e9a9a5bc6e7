//! A small HTTP client: bounded, without redirects.

use std::{fmt, time::Duration};

use es_core::BoxError;
use es_messaging::BrokerError;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    addresses::Addresses,
    connector::{ConnectError, Connector},
    endpoint::Endpoint,
    limits,
    tls::Tls,
};

/// Settings of an [`HttpClient`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpClientConfig {
    /// How long a connection may take, with its TLS.
    pub connect_timeout: Duration,
    /// How long a call may take until its status is there.
    pub timeout: Duration,
    /// How long the content of the answer may take after that.
    pub answer_wait: Duration,
    /// How much of an answer is read.
    pub answer_bytes: usize,
    /// Connections that are kept while nobody uses them.
    pub idle_connections: usize,
    /// Where it may connect to.
    pub addresses: Addresses,
    /// How TLS is done.
    pub tls: Option<Tls>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            connect_timeout: limits::DEFAULT_CONNECT_TIMEOUT,
            timeout: limits::DEFAULT_TIMEOUT,
            answer_wait: limits::DEFAULT_TIMEOUT,
            answer_bytes: limits::DEFAULT_ANSWER_BYTES,
            idle_connections: limits::DEFAULT_PARALLEL,
            addresses: Addresses::Any,
            tls: None,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent: {reason}")]
    Request {
        /// Why not.
        reason: String,
    },
    /// There is no connection; the request was not sent.
    #[error("{source}")]
    Connect {
        /// Why not.
        source: BoxError,
    },
    /// The connection broke; the request may have arrived.
    #[error("the connection broke before the answer was there: {source}")]
    Broken {
        /// What the client says.
        source: BoxError,
    },
    /// There was no answer in time; the request may have arrived.
    #[error("there was no answer within {after:?}")]
    Timeout {
        /// How long it waited.
        after: Duration,
    },
    /// The answer is larger than allowed.
    #[error("the answer has over {limit} bytes")]
    TooLarge {
        /// How much is allowed.
        limit: usize,
    },
}

/// A request.
pub struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HttpRequest {
    /// A request without content.
    pub fn get(endpoint: &Endpoint) -> Self {
        Self { method: Method::GET, endpoint: endpoint.clone(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// A request with content.
    pub fn post(endpoint: &Endpoint, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { method: Method::POST, endpoint: endpoint.clone(), headers, body: Bytes::from(body.into()) }
    }

    /// The same with a header.
    ///
    /// # Errors
    /// [`HttpError::Request`] for what is no header; it does not show the value.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let wrong =
            |_| HttpError::Request { reason: format!("the value of the header {name} holds what no header may") };
        let mut value = HeaderValue::from_str(value).map_err(wrong)?;
        value.set_sensitive(name.eq_ignore_ascii_case("authorization"));
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| HttpError::Request { reason: format!("{name} is no name of a header") })?;
        self.headers.insert(name, value);
        Ok(self)
    }
}

impl fmt::Debug for HttpRequest {
    /// Shows neither headers nor content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpRequest({} {}, {} bytes)", self.method, self.endpoint, self.body.len())
    }
}

/// An answer.
pub struct HttpAnswer {
    pub(crate) headers: HeaderMap,
    /// Its status.
    pub status: u16,
    /// Its content, if that came whole.
    pub body: Result<Vec<u8>, HttpError>,
}

impl fmt::Debug for HttpAnswer {
    /// Shows neither headers nor content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body.as_ref().map(Vec::len);
        f.debug_struct("HttpAnswer").field("status", &self.status).field("bytes", &body).finish_non_exhaustive()
    }
}

impl HttpAnswer {
    /// One of its headers, if that is ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An HTTP client: keeps connections, follows no redirects, bounds all. Cloning is cheap.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    config: HttpClientConfig,
}

impl HttpClient {
    /// A client.
    ///
    /// # Errors
    /// [`BrokerError::Config`] if TLS cannot be set up.
    pub fn new(mut config: HttpClientConfig) -> Result<Self, BrokerError> {
        #[cfg(feature = "tls")]
        if config.tls.is_none() {
            config.tls = Some(Tls::web()?);
        }
        config.idle_connections = config.idle_connections.min(limits::MAX_PARALLEL);
        let connector =
            Connector { addresses: config.addresses, timeout: config.connect_timeout, tls: config.tls.clone() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::IDLE_CONNECTION)
            .pool_max_idle_per_host(config.idle_connections)
            .build(connector);
        Ok(Self { client, config })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// [`HttpError`], if there is not even a status.
    ///
    /// # Cancel safety
    /// The request may have arrived.
    pub async fn call(&self, request: HttpRequest) -> Result<HttpAnswer, HttpError> {
        let mut built = Request::new(Full::new(request.body));
        *built.method_mut() = request.method;
        *built.uri_mut() = request.endpoint.uri().clone();
        *built.headers_mut() = request.headers;
        let deadline = Instant::now() + self.config.timeout;
        let response = match timeout_at(deadline, self.client.request(built)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure(error)),
            Err(_) => return Err(HttpError::Timeout { after: self.config.timeout }),
        };
        let (parts, content) = response.into_parts();
        let wait = self.config.answer_wait;
        let body = match timeout_at(Instant::now() + wait, read(content, self.config.answer_bytes)).await {
            Ok(body) => body,
            Err(_) => Err(HttpError::Timeout { after: wait }),
        };
        Ok(HttpAnswer { headers: parts.headers, status: parts.status.as_u16(), body })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("config", &self.config).finish_non_exhaustive()
    }
}

async fn read(mut content: Incoming, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    while let Some(frame) = content.frame().await {
        let frame = frame.map_err(|error| HttpError::Broken { source: error.into() })?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > limit {
                return Err(HttpError::TooLarge { limit });
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// The cause at the bottom says what happened; what hyper wraps around it does not.
fn failure(error: hyper_util::client::legacy::Error) -> HttpError {
    let is_connect = error.is_connect();
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(source) = cause.source() {
        cause = source;
        if cause.is::<ConnectError>() {
            break;
        }
    }
    let source = cause.to_string().into();
    if is_connect { HttpError::Connect { source } } else { HttpError::Broken { source } }
}
