//! The state that all parts of a consumer share, and the plan for each message.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc};

use es_core::{ConsumerName, DeadReason, InboxStore, timestamp::rfc3339};
use futures_util::FutureExt;
use time::OffsetDateTime;
use tokio::time::timeout;

use super::{
    builder::{ExpiredMessages, Settings, UnknownTypes},
    handler::{AnyHandler, Failure},
    status::ConsumerStateCell,
};
use crate::{
    broker::{Broker, Subscription},
    causes::{panic_words, with_causes},
    claim_check,
    message::Message,
};

pub(crate) struct Shared<S: InboxStore> {
    pub(crate) name: ConsumerName,
    pub(crate) store: S,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) subscription: Subscription,
    pub(crate) handlers: HashMap<String, Arc<dyn AnyHandler<S::Unit>>>,
    pub(crate) settings: Settings,
    pub(crate) consumer_state: Arc<ConsumerStateCell>,
}

/// What to do with a message.
pub(crate) enum Plan<U> {
    /// Call its handler with its content.
    Handle { message: Message, handler: Arc<dyn AnyHandler<U>> },
    /// Store it as a dead letter.
    Dead { reason: DeadReason, error: String },
    /// Skip it, because its type has no handler.
    Skip,
    /// Discard it, because it has expired.
    Drop,
    /// Nothing can be done with it now.
    Failed(Failure),
}

impl<S: InboxStore> Shared<S> {
    /// Plans what to do with a message that has just arrived.
    pub(crate) async fn plan(&self, message: &Message) -> Plan<S::Unit> {
        if let Some(time) = message.expires_at().filter(|time| *time < OffsetDateTime::now_utc()) {
            return match self.settings.expired {
                ExpiredMessages::Drop => Plan::Drop,
                ExpiredMessages::Park => {
                    Plan::Dead { reason: DeadReason::Expired, error: format!("it expired at {}", rfc3339(time)) }
                }
            };
        }
        self.plan_in_time(message).await
    }

    /// Plans what to do with a message, regardless of its expiration. A panic of a validator or blob store fails only
    /// this message.
    pub(crate) async fn plan_in_time(&self, message: &Message) -> Plan<S::Unit> {
        let planning = AssertUnwindSafe(self.plan_by_content(message)).catch_unwind();
        planning.await.unwrap_or_else(|panic| {
            let error = format!("a validator or the blob store panicked: {}", panic_words(&*panic));
            Plan::Failed(Failure::Failed(error))
        })
    }

    async fn plan_by_content(&self, message: &Message) -> Plan<S::Unit> {
        let message_type = message.message_type();
        let Some(handler) = self.handlers.get(message_type) else {
            return match self.settings.unknown {
                UnknownTypes::Park if !self.settings.ignored.contains(message_type) => {
                    let error = format!("no handler for the type {message_type:?}: add one, or ignore the type");
                    Plan::Dead { reason: DeadReason::UnknownType, error }
                }
                UnknownTypes::Park | UnknownTypes::Skip => Plan::Skip,
            };
        };
        let message = match self.resolve(message).await {
            Ok(message) => message,
            Err(failure) => return Plan::Failed(failure),
        };
        for validator in &self.settings.validators {
            if let Err(invalid) = validator.validate(&message) {
                return Plan::Dead { reason: DeadReason::Schema, error: invalid.to_string() };
            }
        }
        Plan::Handle { message, handler: Arc::clone(handler) }
    }

    /// Returns the message with its content, if the content was too large for the broker.
    async fn resolve(&self, message: &Message) -> Result<Message, Failure> {
        let Some(blobs) = &self.settings.blobs else { return Ok(message.clone()) };
        let limit = self.settings.handler_time;
        match timeout(limit, claim_check::resolve(&**blobs, message.clone())).await {
            Ok(resolved) => resolved.map_err(|error| match error.is_transient() {
                true => Failure::Transient(with_causes(&error)),
                false => Failure::Failed(with_causes(&error)),
            }),
            Err(_) => Err(Failure::Transient(format!("the blob store did not answer within {limit:?}"))),
        }
    }

    /// Calls the handler of a message within the time limit. A panic counts as a failure.
    pub(crate) async fn call(
        &self,
        handler: &dyn AnyHandler<S::Unit>,
        message: &Message,
        unit: &mut S::Unit,
    ) -> Result<(), Failure> {
        let limit = self.settings.handler_time;
        // Also catches panics of a closure before it returns its future.
        let handling = AssertUnwindSafe(async { handler.handle(message, unit).await }).catch_unwind();
        match timeout(limit, handling).await {
            Ok(Ok(result)) => result.map_err(Failure::of),
            Ok(Err(panic)) => Err(Failure::Failed(format!("the handler panicked: {}", panic_words(&*panic)))),
            Err(_) => Err(Failure::Failed(format!("the handler did not return within {limit:?}"))),
        }
    }
}
