//! Publishes by HTTP POST.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use es_core::DeadReason;
use es_messaging::{BrokerError, Message, Outgoing, PublishError, Publisher, PublisherLimits};
use futures_util::{StreamExt, stream};
use http::HeaderValue;

use crate::{
    answer::{Outcome, outcome, refused, unconfirmed},
    binding,
    client::{HttpClient, HttpClientConfig, HttpError, HttpRequest},
    config::WebhookConfig,
    endpoint::Endpoint,
    limits,
    secret::SecretError,
    signature,
};

pub(crate) const NAME: &str = "webhook";

/// Publishes messages by signed HTTP POST to one URL. The topic of a message is not part of the request.
///
/// A message is confirmed by a status of success; 408, 425, 429, those from 500 on and whatever breaks a connection are tried
/// again by the relay, all others make it a dead letter. Messages of one key are sent one after the other. Delivered at least
/// once: the receiver knows a message again by its id, which is in `webhook-id` too.
#[derive(Debug)]
pub struct Webhook {
    config: WebhookConfig,
    endpoint: Endpoint,
    client: HttpClient,
}

/// Why a request was not tried.
#[derive(Debug, thiserror::Error)]
#[error("it was not tried: the receiver did not answer a request before")]
struct NotTried;

/// What all keys of a batch should know: that the receiver is away, and for how long it asks to be left alone.
#[derive(Debug, Clone, Copy)]
enum Away {
    No,
    Silent,
    Throttles(Option<Duration>),
}

impl Webhook {
    /// A webhook. Connects at the first message.
    ///
    /// # Errors
    /// [`BrokerError::Config`] for a wrong URL, no secret or too many, or TLS that does not work.
    pub fn new(config: WebhookConfig) -> Result<Self, BrokerError> {
        let endpoint = Endpoint::parse(&config.url, config.addresses, config.allow_http)?;
        let secrets = config.secrets.len();
        if config.unsigned == (secrets > 0) || secrets > limits::MAX_SECRETS {
            let reason = if config.unsigned {
                "an unsigned webhook has none".to_owned()
            } else {
                SecretError::Count { actual: secrets }.to_string()
            };
            return Err(BrokerError::Config { what: "the secrets of a webhook".to_owned(), reason });
        }
        let client = HttpClient::new(HttpClientConfig {
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            answer_wait: limits::ANSWER_BODY_WAIT,
            answer_bytes: limits::WEBHOOK_ANSWER_BYTES,
            idle_connections: config.parallel,
            addresses: config.addresses,
            tls: config.tls.clone(),
        })?;
        Ok(Self { config, endpoint, client })
    }

    /// Where it publishes to; without path and query.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn request(&self, message: &Message, now: SystemTime) -> Result<HttpRequest, PublishError> {
        let size = message.size();
        if size > self.config.message_bytes {
            let reason = format!("it has {size} bytes, at most {}", self.config.message_bytes);
            return Err(refused(DeadReason::Refused, reason));
        }
        let malformed = |reason: String| refused(DeadReason::Refused, reason);
        let (mut headers, body) =
            binding::to_http(message, self.config.mode).map_err(|error| malformed(error.to_string()))?;
        if !self.config.secrets.is_empty() {
            let id = signature::encode_id(message.id());
            let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
            let signatures = signature::sign(&self.config.secrets, &id, &timestamp, &body);
            for (name, value) in
                [(signature::ID, id), (signature::TIMESTAMP, timestamp), (signature::SIGNATURE, signatures)]
            {
                let value = HeaderValue::from_str(&value).map_err(|_| malformed(format!("{name} is no header")))?;
                headers.insert(name, value);
            }
        }
        for (name, value) in &self.config.headers {
            headers.insert(name, value.clone());
        }
        Ok(HttpRequest { method: http::Method::POST, endpoint: self.endpoint.clone(), headers, body: body.into() })
    }

    async fn send(&self, message: &Message) -> Outcome {
        let now = SystemTime::now();
        let request = match self.request(message, now) {
            Ok(request) => request,
            Err(error) => return Outcome { result: Err(error), is_away: false },
        };
        let answer = self.client.call(request).await;
        if let Err(error @ (HttpError::Connect { .. } | HttpError::Broken { .. } | HttpError::Timeout { .. })) = &answer
        {
            tracing::debug!(id = message.id(), endpoint = %self.endpoint, %error, "no answer to a webhook");
        }
        outcome(answer, SystemTime::now())
    }

    /// Sends the messages of one key, one after the other, until one of them is not confirmed.
    async fn send_key(
        &self,
        batch: &[Outgoing],
        indexes: Vec<usize>,
        away: &Mutex<Away>,
    ) -> Vec<(usize, Result<(), PublishError>)> {
        let mut results = Vec::with_capacity(indexes.len());
        let mut indexes = indexes.into_iter();
        for index in indexes.by_ref() {
            let known = *away.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let result = match known {
                Away::Silent => Err(unconfirmed(NotTried)),
                Away::Throttles(after) => Err(PublishError::Throttled { broker: NAME, after }),
                Away::No => {
                    let Outcome { result, is_away } = self.send(&batch[index].message).await;
                    if is_away {
                        *away.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = match &result {
                            Err(PublishError::Throttled { after, .. }) => Away::Throttles(*after),
                            _ => Away::Silent,
                        };
                    }
                    result
                }
            };
            let failed = result.is_err();
            results.push((index, result));
            if failed {
                break;
            }
        }
        results.extend(indexes.map(|index| (index, Err(PublishError::Behind))));
        results
    }
}

#[async_trait]
impl Publisher for Webhook {
    fn limits(&self) -> PublisherLimits {
        PublisherLimits { message_bytes: self.config.message_bytes, batch: limits::BATCH }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let away = Mutex::new(Away::No);
        let sending = by_key(batch).into_iter().map(|indexes| self.send_key(batch, indexes, &away));
        let sending: Vec<_> = sending.collect();
        let mut results: Vec<_> = batch.iter().map(|_| Err(unconfirmed(NotTried))).collect();
        let mut done = stream::iter(sending).buffer_unordered(self.config.parallel);
        while let Some(of_key) = done.next().await {
            for (index, result) in of_key {
                results[index] = result;
            }
        }
        results
    }
}

/// The indexes of each key's messages, in order; each message without a key is alone.
fn by_key(batch: &[Outgoing]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut of_key: HashMap<&str, usize> = HashMap::new();
    for (index, outgoing) in batch.iter().enumerate() {
        match outgoing.message.key() {
            None => groups.push(vec![index]),
            Some(key) => match of_key.get(key) {
                Some(&group) => groups[group].push(index),
                None => {
                    of_key.insert(key, groups.len());
                    groups.push(vec![index]);
                }
            },
        }
    }
    groups
}
