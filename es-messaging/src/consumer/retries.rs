//! Retries dead letters on request.

use es_core::{DeadLetter, DeadLetterQuery, DeadLetterStore, DeadReason, InboxStore, MessageUnit, StoreError};

use super::{
    handler::Failure,
    shared::{Plan, Shared},
    status::Count,
};
use crate::{causes::with_causes, limits, message::Message};

/// How an attempt ended without a failure.
enum Revival {
    Done,
    /// Another process removed the dead letter.
    Gone,
    /// Its append met a conflict and can be retried immediately.
    Conflict(String),
}

impl<S: InboxStore + DeadLetterStore> Shared<S> {
    /// Retries all dead letters whose retry is requested, each once and in a separate transaction.
    ///
    /// # Errors
    /// Returns an error of the store. The requests then remain.
    pub(crate) async fn retry_requested(&self) -> Result<(), StoreError> {
        let mut query = DeadLetterQuery::of(self.name.clone());
        query.is_retry_requested = Some(true);
        let mut after = None;
        loop {
            let requested = self.store.dead_letters(&query, after, limits::RETRIES_PER_LOOK).await?;
            let Some(last) = requested.last() else { return Ok(()) };
            after = Some(last.id);
            for dead in requested {
                self.retry(dead).await?;
            }
        }
    }

    async fn retry(&self, dead: DeadLetter) -> Result<(), StoreError> {
        let mut conflicts = 0;
        let failure = loop {
            match self.revive(&dead).await? {
                Ok(Revival::Done) => {
                    tracing::info!(consumer = %self.name, dead_letter = %dead.id, "a dead letter took effect");
                    self.consumer_state.count(Count::Revived);
                    return Ok(());
                }
                Ok(Revival::Gone) => return Ok(()),
                Ok(Revival::Conflict(error)) if conflicts >= limits::CONFLICT_RETRIES => break Failure::Failed(error),
                Ok(Revival::Conflict(_)) => conflicts += 1,
                Err(failure) => break failure,
            }
        };
        tracing::warn!(consumer = %self.name, dead_letter = %dead.id, error = failure.text(), "a dead letter failed again");
        self.consumer_state.set_error(failure.text().to_owned());
        let (reason, error) = match failure {
            // The request remains.
            Failure::Transient(_) => return Ok(()),
            Failure::Failed(error) | Failure::TooMuch(error) => (DeadReason::Failed, error),
            Failure::Never(reason, error) => (reason, error),
        };
        // This has no effect if an operator has discarded or edited the dead letter in the meantime.
        self.store.fail_dead_letter(&dead, reason, &error).await.map(drop)
    }

    /// Makes one attempt, in one transaction with the removal of the dead letter.
    async fn revive(&self, dead: &DeadLetter) -> Result<Result<Revival, Failure>, StoreError> {
        let message = match Message::from_raw(&dead.letter.message) {
            Ok(message) => message,
            Err(error) => return Ok(Err(Failure::Never(DeadReason::Undecodable, error.to_string()))),
        };
        let (message, handler) = match self.plan_in_time(&message).await {
            Plan::Handle { message, handler } => (message, handler),
            Plan::Dead { reason, error } => return Ok(Err(Failure::Never(reason, error))),
            Plan::Failed(failure) => return Ok(Err(failure)),
            Plan::Skip | Plan::Drop => {
                let error = format!("nobody handles messages of the type {:?}", message.message_type());
                return Ok(Err(Failure::Never(DeadReason::UnknownType, error)));
            }
        };
        let mut unit = self.store.begin_unit().await?;
        if !unit.resolve_dead_letter(dead).await? {
            unit.rollback().await?;
            return Ok(Ok(Revival::Gone));
        }
        if let Err(failure) = self.call(&*handler, &message, &mut unit).await {
            return match unit.rollback().await {
                Err(error) if error.is_transient() => Err(error),
                _ => Ok(Err(failure)),
            };
        }
        match unit.commit().await {
            Ok(_) => Ok(Ok(Revival::Done)),
            Err(error) if error.is_transient() => Err(error),
            Err(error @ StoreError::Conflict { .. }) => Ok(Ok(Revival::Conflict(with_causes(&error)))),
            Err(error) => Ok(Err(Failure::Failed(with_causes(&error)))),
        }
    }
}
