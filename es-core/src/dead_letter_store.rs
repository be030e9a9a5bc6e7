//! What a store does for dead letters.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    consumer_name::ConsumerName,
    consumer_store::ConsumerStore,
    dead_letter::{DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterTotals, DeadReason, NewDeadLetter},
    error::StoreError,
    limits,
    operation::{NewOperation, OperationKind, OperatorRequest},
    raw_message::RawMessage,
};

/// The dead letters of relays and consumers. Object-safe, as [`ConsumerStore`].
///
/// A retry is requested here and carried out by the process that runs the relay or consumer, since it has the broker
/// and the handler. Each operation is written to the log of operations
/// ([`ControlStore::operations`](crate::ControlStore::operations)) in its own transaction, a line for each relay or
/// consumer whose dead letters it concerns: [`OperationKind::DEAD_LETTER_RETRY`], [`OperationKind::DEAD_LETTER_EDIT`],
/// [`OperationKind::DEAD_LETTER_DISCARD`], with the number of dead letters, or the id of the one, at the beginning of
/// its reason ([`NewOperation::on_dead_letters`]).
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait DeadLetterStore: ConsumerStore {
    /// Puts messages aside. One that is there already ([`NewDeadLetter::identity`]) gets the new failure, and the higher number of
    /// attempts. Everything else of it stands: its place, its message, which may have been edited, and a requested
    /// retry.
    ///
    /// # Errors
    /// As [`check_dead_letters`].
    async fn add_dead_letters(&self, dead_letters: &[NewDeadLetter]) -> Result<(), StoreError>;

    /// Dead letters by id, after an id, with their messages.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_DEAD_LETTERS_PER_READ`](crate::limits::MAX_DEAD_LETTERS_PER_READ).
    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// How many each relay or consumer has, by name; with those that have none left.
    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError>;

    /// Requests a retry of all that match. Returns how many match, including those whose retry was requested before.
    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError>;

    /// Gives a dead letter another message and requests its retry. What it was stays in a history. Returns whether it
    /// is there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason; [`StoreError::LimitExceeded`] as [`RawMessage::check`].
    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// What a dead letter was before it was edited, oldest first; kept when the dead letter is gone.
    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError>;

    /// Throws away all that match. Gives how many.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason.
    async fn discard_dead_letters(&self, query: &DeadLetterQuery, request: &OperatorRequest)
    -> Result<u64, StoreError>;

    /// Takes a dead letter away because its message was published. Gives whether it did: one that is gone is none, and one whose
    /// message was edited since it was read stays, still to be tried. A consumer does so within its transaction:
    /// [`MessageUnit::resolve_dead_letter`](crate::MessageUnit::resolve_dead_letter).
    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError>;

    /// Notes that a dead letter was tried again in vain: it keeps its message, has the new failure and one attempt
    /// more, and its requested retry counts as carried out. Returns whether it did: one that is gone stays gone, and
    /// one whose message was edited since it was read stays as it is.
    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError>;
}

/// Checks dead letters that are to be put aside. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_DEAD_LETTERS_PER_READ`] dead letters, and as
/// [`NewDeadLetter::check`].
pub fn check_dead_letters(dead_letters: &[NewDeadLetter]) -> Result<(), StoreError> {
    check_dead_letter_count(dead_letters.len())?;
    dead_letters.iter().try_for_each(NewDeadLetter::check)
}

/// Checks how many dead letters one call may write or read. Stores call it.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_DEAD_LETTERS_PER_READ`].
pub fn check_dead_letter_count(count: usize) -> Result<(), StoreError> {
    let (limit, actual) = (limits::MAX_DEAD_LETTERS_PER_READ as u64, count as u64);
    match actual > limit {
        true => Err(StoreError::LimitExceeded { what: "dead letters in one call", limit, actual }),
        false => Ok(()),
    }
}

impl NewOperation {
    /// An operation on so many dead letters of a relay or consumer, or on one. Stores note it.
    pub fn on_dead_letters(
        kind: OperationKind,
        consumer: ConsumerName,
        one: Option<DeadLetterId>,
        count: u64,
        request: &OperatorRequest,
    ) -> Self {
        let which = match one {
            Some(id) => format!("dead letter {id}"),
            None => format!("{count} dead letters"),
        };
        Self::new(kind, consumer, request.clone().about(&which))
    }
}

#[async_trait]
impl<S: DeadLetterStore + ?Sized> DeadLetterStore for Arc<S> {
    async fn add_dead_letters(&self, dead_letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        (**self).add_dead_letters(dead_letters).await
    }

    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        (**self).dead_letters(query, after, limit).await
    }

    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        (**self).dead_letter_totals().await
    }

    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        (**self).request_dead_letter_retries(query, request).await
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        (**self).edit_dead_letter(id, message, request).await
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        (**self).dead_letter_edits(id).await
    }

    async fn discard_dead_letters(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError> {
        (**self).discard_dead_letters(query, request).await
    }

    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError> {
        (**self).resolve_dead_letter(published).await
    }

    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError> {
        (**self).fail_dead_letter(tried, reason, error).await
    }
}
