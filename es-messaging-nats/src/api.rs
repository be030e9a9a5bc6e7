//! Questions to JetStream, and what its answers mean.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{
    Event, ServerError,
    jetstream::{self, Context, ErrorCode, context::RequestErrorKind, response::Response},
};
use es_messaging::BrokerError;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Notify;

pub(crate) const NATS: &str = "nats";

/// How long a violation of permissions is remembered, to explain why an answer did not come.
const VIOLATION_LIMIT: Duration = Duration::from_secs(10);
/// Most violations that are remembered.
const MAX_VIOLATIONS: usize = 64;

/// What the connection was told beside the answers to its questions. The server says there whom it forbids what.
#[derive(Debug, Default)]
pub(crate) struct Events {
    violations: Mutex<HashMap<String, Instant>>,
    told: Notify,
}

impl Events {
    pub(crate) fn note(&self, event: Event) {
        if let Event::ServerError(ServerError::Other(said)) = event
            && said.to_ascii_lowercase().contains("permissions violation")
        {
            let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
            if violations.len() >= MAX_VIOLATIONS {
                violations.clear();
            }
            violations.insert(said, Instant::now());
            drop(violations);
            self.told.notify_waiters();
        }
    }

    /// Waits until the server forbids a subject, from a moment on; gives its words. The answer to a question that is not allowed never comes.
    pub(crate) async fn forbidden(&self, subject: &str, since: Instant) -> String {
        loop {
            let told = self.told.notified();
            if let Some(said) = self.said(subject, |at| at >= since) {
                return said;
            }
            told.await;
        }
    }

    /// What the server has said lately of a subject.
    pub(crate) fn violation(&self, subject: &str) -> Option<String> {
        self.said(subject, |at| at.elapsed() < VIOLATION_LIMIT)
    }

    fn said(&self, subject: &str, counts: impl Fn(Instant) -> bool) -> Option<String> {
        let violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        let quoted = format!("\"{}\"", subject.to_ascii_lowercase());
        let recent = violations.iter().filter(|(_, at)| counts(**at));
        recent.map(|(said, _)| said).find(|said| said.to_ascii_lowercase().contains(&quoted)).cloned()
    }
}

/// The interface of JetStream.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) context: Context,
    pub(crate) events: Arc<Events>,
}

impl Api {
    /// Asks; the server's own error comes inside.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        question: &str,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Result<T, jetstream::Error>, BrokerError> {
        let (subject, begin) = (format!("$JS.API.{question}"), Instant::now());
        let answer = tokio::select! {
            answer = self.context.request::<_, _, Response<T>>(question.to_owned(), payload) => answer,
            reason = self.events.forbidden(&subject, begin) => return Err(BrokerError::Denied { broker: NATS, reason }),
        };
        match answer {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(match error.kind() {
                RequestErrorKind::NoResponders => BrokerError::Missing {
                    broker: NATS,
                    what: "JetStream".to_owned(),
                    reason:
                        "no server answers its questions; enable it in the server's configuration (`jetstream {}`) and \
                             for this account"
                            .to_owned(),
                },
                _ => match self.events.violation(&subject) {
                    Some(reason) => BrokerError::Denied { broker: NATS, reason },
                    None => unavailable(error),
                },
            }),
        }
    }
}

pub(crate) fn unavailable(error: impl Into<es_core::BoxError>) -> BrokerError {
    BrokerError::Unavailable { broker: NATS, source: error.into() }
}

pub(crate) fn missing(what: String, reason: impl Into<String>) -> BrokerError {
    BrokerError::Missing { broker: NATS, what, reason: reason.into() }
}

/// What an error of JetStream means for whoever wants to have or use `what`.
pub(crate) fn refused(what: String, error: jetstream::Error) -> BrokerError {
    match error.error_code() {
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND => {
            missing(what, "it is not there; declare it, or correct its name")
        }
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            missing("JetStream".to_owned(), error.to_string())
        }
        ErrorCode::CLUSTER_NOT_AVAILABLE
        | ErrorCode::CLUSTER_NOT_LEADER
        | ErrorCode::CLUSTER_NOT_ACTIVE
        | ErrorCode::CLUSTER_INCOMPLETE
        | ErrorCode::STREAM_OFFLINE
        | ErrorCode::CONSUMER_OFFLINE => unavailable(error),
        _ => BrokerError::Config { what, reason: error.to_string() },
    }
}
