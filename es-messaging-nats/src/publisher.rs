//! Publishing with acknowledgements.

use std::{
    collections::HashSet,
    error::Error,
    future::IntoFuture,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client, ToSubject,
    connection::State,
    jetstream::{
        self, Context, ContextBuilder, ErrorCode,
        context::{PublishAckFuture, PublishErrorKind},
        message::PublishMessage,
    },
};
use async_trait::async_trait;
use es_core::{BoxError, DeadReason};
use es_messaging::{Outgoing, PublishError, Publisher, PublisherLimits, waves};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    api::{Api, NATS},
    binding,
    broker::Nats,
    limits,
    options::NatsOptions,
    subjects,
};

/// Publishes into the stream.
#[derive(Debug)]
pub(crate) struct NatsPublisher {
    client: Client,
    context: Context,
    api: Api,
    options: Arc<NatsOptions>,
    prefix: String,
}

impl NatsPublisher {
    pub(crate) fn new(nats: &Nats) -> Self {
        let context = ContextBuilder::new()
            .timeout(nats.options.publish_limit)
            .max_ack_inflight(limits::MAX_IN_FLIGHT)
            .backpressure_on_inflight(true)
            .build(nats.client.clone());
        Self {
            client: nats.client.clone(),
            context,
            api: nats.api.clone(),
            options: Arc::clone(&nats.options),
            prefix: nats.options.subject_prefix(),
        }
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<PublishAckFuture, PublishError> {
        let Some(subject) = subjects::subject_of(&self.prefix, &outgoing.topic) else {
            let reason = format!("{:?} is no topic: words with dots between, without wildcards", outgoing.topic);
            return Err(refused(DeadReason::Unroutable, reason));
        };
        let (size, most) = (outgoing.message.size(), self.limits().message_bytes);
        if size > most {
            return Err(refused(DeadReason::Refused, format!("it has {size} bytes, at most {most} are taken")));
        }
        let encoded = binding::encode(outgoing, self.options.content_mode);
        let (headers, payload) = encoded.map_err(|error| refused(DeadReason::Refused, error.to_string()))?;
        let message =
            PublishMessage::build().headers(headers).payload(payload.into()).expected_stream(&self.options.stream);
        match self.context.send_publish(subject.to_subject(), message).await {
            Ok(ack) => Ok(ack),
            Err(error) => Err(self.meaning(error, &subject).await),
        }
    }

    async fn confirmed(&self, ack: PublishAckFuture, sent: &Sent, outgoing: &Outgoing) -> Result<(), PublishError> {
        let mut ack = ack.into_future();
        // Most are there when their turn comes.
        let answer = match (&mut ack).now_or_never() {
            Some(answer) => answer,
            None => {
                let subject = self.subject(outgoing);
                tokio::select! {
                    answer = timeout_at(sent.deadline, ack) => answer.map_err(|_| self.unanswered(&subject))?,
                    said = self.api.events.forbidden(&subject, sent.begin.into_std()) => return Err(unconfirmed(said)),
                    () = self.lost(sent.connects) => {
                        return Err(unconfirmed("the connection was lost before the server acknowledged"));
                    }
                }
            }
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(self.meaning(error, &self.subject(outgoing)).await),
        }
    }

    fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Waits until the connection is not the one that it was: what was sent over that one is not acknowledged any more.
    async fn lost(&self, connects: u64) {
        while self.client.connection_state() == State::Connected && self.connects() == connects {
            sleep(limits::LINK_CHECK).await;
        }
    }

    fn subject(&self, outgoing: &Outgoing) -> String {
        format!("{}.{}", self.prefix, outgoing.topic)
    }

    fn unanswered(&self, subject: &str) -> PublishError {
        let reason = match self.api.events.violation(subject) {
            Some(said) => said,
            None => "the server did not acknowledge in time".to_owned(),
        };
        unconfirmed(reason)
    }

    async fn meaning(&self, error: jetstream::context::PublishError, subject: &str) -> PublishError {
        match error.kind() {
            PublishErrorKind::TimedOut => return self.unanswered(subject),
            PublishErrorKind::StreamNotFound => return self.unroutable(subject).await,
            PublishErrorKind::MaxPayloadExceeded => {
                let source = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                return refused(DeadReason::Refused, source);
            }
            _ => {}
        }
        let Some(said) = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()) else {
            return PublishError::Unconfirmed { broker: NATS, source: error.into() };
        };
        match said.error_code() {
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
            | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
            | ErrorCode::STREAM_SEALED
            | ErrorCode::MESSAGE_TTL_INVALID => refused(DeadReason::Refused, said.to_string()),
            ErrorCode::STREAM_NOT_MATCH => {
                let reason = format!("{subject} belongs to another stream than {}: {said}", self.options.stream);
                refused(DeadReason::Unroutable, reason)
            }
            // Full, or overwhelmed.
            ErrorCode::STREAM_STORE_FAILED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED
            | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::STREAM_TOO_MANY_REQUESTS => PublishError::Throttled { broker: NATS, after: None },
            _ => PublishError::Unconfirmed { broker: NATS, source: said.clone().into() },
        }
    }

    /// Nobody took the message: either no stream has the subject, or its leader is away for the moment.
    async fn unroutable(&self, subject: &str) -> PublishError {
        let question = serde_json::json!({ "subject": subject });
        match self.api.ask::<serde_json::Value>("STREAM.NAMES", &question).await {
            Ok(Ok(answer))
                if answer.get("streams").and_then(|streams| streams.as_array()).is_none_or(Vec::is_empty) =>
            {
                refused(DeadReason::Unroutable, format!("no stream has the subject {subject}"))
            }
            _ => unconfirmed(format!("the stream of {subject} has no leader for now")),
        }
    }
}

fn refused(kind: DeadReason, reason: String) -> PublishError {
    PublishError::Refused { broker: NATS, kind, reason }
}

fn unconfirmed(reason: impl Into<BoxError>) -> PublishError {
    PublishError::Unconfirmed { broker: NATS, source: reason.into() }
}

/// Why the messages of a key, or all, are not tried any more.
fn not_tried() -> PublishError {
    unconfirmed("it was not tried, since the server did not answer")
}

/// When and over which connection messages were sent.
struct Sent {
    begin: Instant,
    deadline: Instant,
    connects: u64,
}

#[async_trait]
impl Publisher for NatsPublisher {
    fn limits(&self) -> PublisherLimits {
        let most = self.client.max_payload();
        PublisherLimits {
            message_bytes: self
                .options
                .content_mode
                .largest_message(most.saturating_sub(limits::HEADER_RESERVE_BYTES).max(most / 2)),
            batch: self.options.in_flight,
        }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        let mut results: Vec<Result<(), PublishError>> = batch.iter().map(|_| Err(not_tried())).collect();
        // The client would keep them until the connection is there again.
        if self.client.connection_state() != State::Connected {
            return results;
        }
        let mut behind: HashSet<&str> = HashSet::new();
        for wave in waves(batch) {
            for part in wave.chunks(self.options.in_flight) {
                let (begin, connects) = (Instant::now(), self.connects());
                let mut acks = Vec::with_capacity(part.len());
                for &index in part {
                    let outgoing = &batch[index];
                    if outgoing.message.key().is_some_and(|key| behind.contains(key)) {
                        results[index] = Err(PublishError::Behind);
                        continue;
                    }
                    match self.send(outgoing).await {
                        Ok(ack) => acks.push((index, ack)),
                        Err(error) => results[index] = Err(error),
                    }
                }
                let deadline = Instant::now() + self.options.publish_limit.max(Duration::from_millis(1));
                let sent = Sent { begin, deadline, connects };
                for (index, ack) in acks {
                    results[index] = self.confirmed(ack, &sent, &batch[index]).await;
                }
                for &index in part {
                    behind.extend(results[index].is_err().then(|| batch[index].message.key()).flatten());
                }
                let away = part.iter().any(|&index| matches!(results[index], Err(PublishError::Unconfirmed { .. })));
                if away {
                    mark_behind(batch, &behind, &mut results);
                    return results;
                }
            }
        }
        results
    }
}

/// Of the messages that were not tried, those behind an unpublished one of their key say so.
fn mark_behind(batch: &[Outgoing], behind: &HashSet<&str>, results: &mut [Result<(), PublishError>]) {
    let mut met: HashSet<&str> = HashSet::new();
    for (outgoing, result) in batch.iter().zip(results) {
        if let Some(key) = outgoing.message.key().filter(|key| behind.contains(key))
            && result.is_err()
            && !met.insert(key)
        {
            *result = Err(PublishError::Behind);
        }
    }
}
