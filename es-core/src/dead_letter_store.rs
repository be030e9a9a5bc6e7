//! The part of a store that keeps dead letters.

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

/// The dead letters of relays and consumers. The trait is object-safe, like [`ConsumerStore`].
///
/// A retry is requested here. The process that runs the relay or consumer carries it out, because it has the broker and
/// the handler. Each operation writes to the operations log
/// ([`ControlStore::operations`](crate::ControlStore::operations)) in its own transaction, with one entry for each
/// relay or consumer whose dead letters it affects: [`OperationKind::DEAD_LETTER_RETRY`],
/// [`OperationKind::DEAD_LETTER_EDIT`], [`OperationKind::DEAD_LETTER_DISCARD`]. The reason of an entry begins with the
/// number of dead letters, or with the ID if there is only one ([`NewOperation::on_dead_letters`]).
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait DeadLetterStore: ConsumerStore {
    /// Stores dead letters. If a dead letter already exists ([`NewDeadLetter::identity`]), it gets the new failure and
    /// the higher number of attempts. Everything else is kept: its ID, its message, which may have been edited, and a
    /// requested retry.
    ///
    /// # Errors
    /// Returns the errors of [`check_dead_letters`].
    async fn add_dead_letters(&self, dead_letters: &[NewDeadLetter]) -> Result<(), StoreError>;

    /// Returns dead letters in the order of their IDs, after an ID, with their messages.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over
    /// [`limits::MAX_DEAD_LETTERS_PER_READ`](crate::limits::MAX_DEAD_LETTERS_PER_READ).
    async fn dead_letters(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Returns the totals of each relay or consumer, ordered by name, including those that have no dead letters left.
    async fn dead_letter_totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError>;

    /// Requests a retry of all matching dead letters. Returns how many match, including those whose retry was requested
    /// before.
    async fn request_dead_letter_retries(
        &self,
        query: &DeadLetterQuery,
        request: &OperatorRequest,
    ) -> Result<u64, StoreError>;

    /// Replaces the message of a dead letter and requests a retry. The previous message is kept in a history. Returns
    /// whether the dead letter exists.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a reason, and [`StoreError::LimitExceeded`] as [`RawMessage::check`]
    /// does.
    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError>;

    /// Returns the messages that a dead letter had before each edit, oldest first. They are kept when the dead letter
    /// is removed.
    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError>;

    /// Discards all matching dead letters. Returns their number.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] without a reason.
    async fn discard_dead_letters(&self, query: &DeadLetterQuery, request: &OperatorRequest)
    -> Result<u64, StoreError>;

    /// Removes a dead letter because its message was published. Returns whether it was removed. If the dead letter no
    /// longer exists, nothing happens. If its message was edited after it was read, it is kept, so that the edited
    /// message is tried. A consumer resolves a dead letter within its transaction:
    /// [`MessageUnit::resolve_dead_letter`](crate::MessageUnit::resolve_dead_letter).
    async fn resolve_dead_letter(&self, published: &DeadLetter) -> Result<bool, StoreError>;

    /// Records that a retry of a dead letter failed. The dead letter keeps its message, gets the new failure and one
    /// more attempt, and its requested retry counts as carried out. Returns whether it was changed. A dead letter that
    /// no longer exists is not restored, and one whose message was edited after it was read is not changed.
    async fn fail_dead_letter(&self, tried: &DeadLetter, reason: DeadReason, error: &str) -> Result<bool, StoreError>;
}

/// Checks dead letters before they are stored. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_DEAD_LETTERS_PER_READ`] dead letters, and as
/// [`NewDeadLetter::check`] does.
pub fn check_dead_letters(dead_letters: &[NewDeadLetter]) -> Result<(), StoreError> {
    check_dead_letter_count(dead_letters.len())?;
    dead_letters.iter().try_for_each(NewDeadLetter::check)
}

/// Checks how many dead letters one call may write or read. Stores call it.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_DEAD_LETTERS_PER_READ`].
pub fn check_dead_letter_count(count: usize) -> Result<(), StoreError> {
    let (limit, actual) = (limits::MAX_DEAD_LETTERS_PER_READ as u64, count as u64);
    match actual > limit {
        true => Err(StoreError::LimitExceeded { what: "dead letters in one call", limit, actual }),
        false => Ok(()),
    }
}

impl NewOperation {
    /// Creates an operation on several dead letters of a relay or consumer, or on one. Stores record it.
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
