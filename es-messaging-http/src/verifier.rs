//! The receiving side of a webhook.

use std::time::Duration;

use es_messaging::{ContentMode, MalformedMessage, Message};
use time::OffsetDateTime;

use crate::{
    binding, limits,
    secret::{SecretError, WebhookSecret},
    signature,
};

/// Why a request is not taken. [`status`](Self::status) is what to answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// A header is missing, twice there, or not as it should be.
    #[error("the header {name} is {problem}")]
    Header {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Its time is too far from the time here: it is an old request that somebody sends again, or one of the two clocks is wrong.
    #[error(
        "the request's time is {seconds} s from the time here, at most {tolerance:?} is allowed; look at both clocks"
    )]
    Time {
        /// How far it is: negative if it is from the past.
        seconds: i64,
        /// What is allowed.
        tolerance: Duration,
    },
    /// No signature is right: another secret, or somebody changed the request.
    #[error("no signature of the request is by a secret that is known here")]
    Signature,
    /// The body is larger than allowed.
    #[error("the body has {actual} bytes, at most {limit}")]
    TooLarge {
        /// How much is allowed.
        limit: usize,
        /// How much there is.
        actual: usize,
    },
    /// The attributes are in headers, which the signature does not cover, and that was not allowed; or it is a batch.
    #[error("the request is in {mode} mode, which is not taken here; it should be a CloudEvent in structured mode")]
    Mode {
        /// Which mode.
        mode: &'static str,
    },
    /// It is signed for another id than the message has.
    #[error("the message's id is not the one that was signed")]
    Id,
    /// What is signed is no message.
    #[error(transparent)]
    Malformed(#[from] MalformedMessage),
}

impl WebhookError {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Header { .. } | Self::Malformed(_) | Self::Id => 400,
            Self::Time { .. } | Self::Signature => 401,
            Self::TooLarge { .. } => 413,
            Self::Mode { .. } => 415,
        }
    }
}

/// Checks requests of webhooks and gives their messages.
///
/// A request is good for as long as its tolerance of time: who sees it can send it again within that. So let an inbox know messages again by their
/// ids, as it must anyway: webhooks come at least once.
#[derive(Debug, Clone)]
pub struct WebhookVerifier {
    secrets: Vec<WebhookSecret>,
    tolerance: Duration,
    body_bytes: usize,
    binary: bool,
}

impl WebhookVerifier {
    /// A verifier that knows some secrets: the one in use, and others while it is being changed.
    ///
    /// # Errors
    /// [`SecretError::Count`] for none, or more than [`limits::MAX_SECRETS`].
    pub fn new(secrets: impl IntoIterator<Item = WebhookSecret>) -> Result<Self, SecretError> {
        let secrets: Vec<WebhookSecret> = secrets.into_iter().take(limits::MAX_SECRETS + 1).collect();
        if secrets.is_empty() || secrets.len() > limits::MAX_SECRETS {
            return Err(SecretError::Count { actual: secrets.len() });
        }
        let (tolerance, body_bytes) = (limits::DEFAULT_TOLERANCE, limits::DEFAULT_BODY_BYTES);
        Ok(Self { secrets, tolerance, body_bytes, binary: false })
    }

    /// The same with another tolerance of time, in both directions.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The same with another bound on bodies.
    #[must_use]
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// The same, taking binary mode too. The signature covers the id and the content of such a message; its type, source, subject and the
    /// rest are only as safe as the connection that they came through.
    #[must_use]
    pub fn accept_binary_mode(mut self) -> Self {
        self.binary = true;
        self
    }

    /// Checks a request as it came: its headers (of `http` and of whatever is made of it, a reference to the map will do) and the exact
    /// bytes of its body.
    ///
    /// # Errors
    /// [`WebhookError`]; answer with its status.
    pub fn verify<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
    ) -> Result<Message, WebhookError> {
        self.verify_at(headers, body, OffsetDateTime::now_utc())
    }

    /// [`verify`](Self::verify) at another time than now.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn verify_at<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Message, WebhookError> {
        if body.len() > self.body_bytes {
            return Err(WebhookError::TooLarge { limit: self.body_bytes, actual: body.len() });
        }
        let headers = relevant(headers)?;
        let header = |name: &'static str| one(&headers, name);
        let (id, timestamp) = (header(signature::ID)?, header(signature::TIMESTAMP)?);
        let signatures = header(signature::SIGNATURE)?;
        if id.contains('.') || !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            let name = if id.contains('.') { signature::ID } else { signature::TIMESTAMP };
            return Err(WebhookError::Header { name, problem: "not as it should be" });
        }
        let sent: i64 = timestamp
            .parse()
            .map_err(|_| WebhookError::Header { name: signature::TIMESTAMP, problem: "not as it should be" })?;
        if !signature::verify(&self.secrets, id, timestamp, body, signatures) {
            return Err(WebhookError::Signature);
        }
        let seconds = sent.saturating_sub(now.unix_timestamp());
        if seconds.unsigned_abs() > self.tolerance.as_secs() {
            return Err(WebhookError::Time { seconds, tolerance: self.tolerance });
        }
        let content_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        let message = match binding::mode_of(content_type) {
            Some(ContentMode::Structured) => Message::from_structured(body)?,
            Some(ContentMode::Binary) if self.binary => binding::from_binary(&headers, content_type, body)?,
            Some(ContentMode::Binary) => return Err(WebhookError::Mode { mode: "binary" }),
            None => return Err(WebhookError::Mode { mode: "batched" }),
        };
        if signature::encode_id(message.id()) != id {
            return Err(WebhookError::Id);
        }
        Ok(message)
    }
}

/// The headers that matter here, by their lower-case names.
fn relevant<N: AsRef<str>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (N, V)>,
) -> Result<Vec<(String, String)>, WebhookError> {
    let mut relevant: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let name = name.as_ref().to_ascii_lowercase();
        if !(name.starts_with("webhook-") || name.starts_with(binding::PREFIX) || name == "content-type") {
            continue;
        }
        let wrong = |problem| WebhookError::Header { name: kind(&name), problem };
        if relevant.iter().any(|(other, _)| *other == name) {
            return Err(wrong("there twice"));
        }
        let value = std::str::from_utf8(value.as_ref()).map_err(|_| wrong("not UTF-8"))?.to_owned();
        relevant.push((name, value));
    }
    Ok(relevant)
}

fn kind(name: &str) -> &'static str {
    let known = [signature::ID, signature::TIMESTAMP, signature::SIGNATURE, "content-type"];
    known.into_iter().find(|known| *known == name).unwrap_or("of an attribute")
}

fn one<'a>(headers: &'a [(String, String)], name: &'static str) -> Result<&'a str, WebhookError> {
    let found = headers.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str()).ok_or(WebhookError::Header { name, problem: "missing" })
}
