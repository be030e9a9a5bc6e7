//! The receiving side of a webhook.

use std::time::Duration;

use es_messaging::{MalformedMessage, Message, ReceivedMode};
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
    /// A message in binary mode has another id than the one that was signed: its own stands in a header that no signature covers.
    #[error("the message's id is not the one that was signed")]
    Id,
    /// What is signed is no message.
    #[error("{0}")]
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

/// What the signature of a request covers, beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedRequest {
    /// The request's `webhook-id`, which is the same whenever the sender repeats it. Senders that do not send CloudEvents know what they
    /// sent by this id alone.
    pub id: String,
    /// When the request was sent, by the sender's clock.
    pub sent_at: OffsetDateTime,
}

/// Checks requests of webhooks and gives their messages.
///
/// The signature is that of Standard Webhooks, whose `webhook-id` is any text. A CloudEvent in structured mode has its id in the signed body,
/// so the two may differ.
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

    /// Checks the signature and the time of a request alone, whatever its body is: for senders of Standard Webhooks that do not send
    /// CloudEvents.
    ///
    /// # Errors
    /// [`WebhookError`]; answer with its status.
    pub fn verify_signature<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
    ) -> Result<SignedRequest, WebhookError> {
        self.signed(&self.relevant(headers, body)?, body, OffsetDateTime::now_utc())
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
        let headers = self.relevant(headers, body)?;
        let SignedRequest { id, .. } = self.signed(&headers, body, now)?;
        let content_type = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        match ReceivedMode::of(content_type) {
            ReceivedMode::Structured => Ok(Message::from_structured(body)?),
            ReceivedMode::Binary if self.binary => {
                let message = binding::from_binary(&headers, content_type, body)?;
                let is_signed = id == message.id() || id == signature::encode_id(message.id());
                if is_signed && signature::is_unambiguous(&id, body) { Ok(message) } else { Err(WebhookError::Id) }
            }
            ReceivedMode::Binary => Err(WebhookError::Mode { mode: "binary" }),
            ReceivedMode::Batched => Err(WebhookError::Mode { mode: "batched" }),
            _ => Err(WebhookError::Mode { mode: "structured, but not JSON," }),
        }
    }

    /// The headers that matter here, by their lower-case names, of a request that is not too large.
    fn relevant<N: AsRef<str>, V: AsRef<[u8]>>(
        &self,
        headers: impl IntoIterator<Item = (N, V)>,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, WebhookError> {
        if body.len() > self.body_bytes {
            return Err(WebhookError::TooLarge { limit: self.body_bytes, actual: body.len() });
        }
        relevant(headers)
    }

    /// What is signed, if it is by a secret that is known here and of about now.
    fn signed(
        &self,
        headers: &[(String, String)],
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<SignedRequest, WebhookError> {
        let (id, timestamp) = (one(headers, signature::ID)?, one(headers, signature::TIMESTAMP)?);
        let signatures = one(headers, signature::SIGNATURE)?;
        let wrong = |name| WebhookError::Header { name, problem: "not as it should be" };
        if id.is_empty() {
            return Err(wrong(signature::ID));
        }
        let is_number = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent: Option<i64> = timestamp.parse().ok().filter(|_| is_number);
        let sent = sent.ok_or(wrong(signature::TIMESTAMP))?;
        let sent_at = OffsetDateTime::from_unix_timestamp(sent).map_err(|_| wrong(signature::TIMESTAMP))?;
        if !signature::verify(&self.secrets, id, timestamp, body, signatures) {
            return Err(WebhookError::Signature);
        }
        let seconds = sent.saturating_sub(now.unix_timestamp());
        if seconds.unsigned_abs() > self.tolerance.as_secs() {
            return Err(WebhookError::Time { seconds, tolerance: self.tolerance });
        }
        Ok(SignedRequest { id: id.to_owned(), sent_at })
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
