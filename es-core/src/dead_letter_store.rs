//! What a store does for dead letters.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    consumer_store::ConsumerStore,
    dead_letter::{DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterTotals, NewDeadLetter},
    error::StoreError,
    operation::Order,
    raw_message::RawMessage,
};

/// The dead letters of relays and consumers. Object-safe, as [`ConsumerStore`].
///
/// A retry is asked for here and carried out by whoever runs the relay or consumer, since they have the broker and the handler. Each
/// operation is written to the log of operations ([`ControlStore::operations`](crate::ControlStore::operations)) in its own
/// transaction: `dead_letter_retry`, `dead_letter_edit`, `dead_letter_discard`, with the number of letters, or the id of the one, in
/// its reason.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait DeadLetterStore: ConsumerStore {
    /// Puts messages aside. One that is there already keeps its place and gets the new failure and message; a retry that was
    /// asked for it counts as carried out.
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError>;

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

    /// Asks for all that match to be tried again. Gives how many.
    async fn ask_dead_letter_retries(&self, query: &DeadLetterQuery, order: &Order) -> Result<u64, StoreError>;

    /// Gives a dead letter another message and asks for it to be tried again. What it was stays in a history. Gives whether
    /// it is there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason; [`StoreError::LimitExceeded`].
    async fn edit_dead_letter(&self, id: DeadLetterId, message: &RawMessage, order: &Order)
    -> Result<bool, StoreError>;

    /// What a dead letter was before it was edited, oldest first.
    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError>;

    /// Throws away all that match. Gives how many.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason.
    async fn discard_dead_letters(&self, query: &DeadLetterQuery, order: &Order) -> Result<u64, StoreError>;

    /// Takes a dead letter away because its message was published. Gives whether it was still there. A consumer does so within
    /// its transaction: [`MessageUnit::resolve_dead_letter`](crate::MessageUnit::resolve_dead_letter).
    async fn resolve_dead_letter(&self, id: DeadLetterId) -> Result<bool, StoreError>;
}

#[async_trait]
impl<S: DeadLetterStore + ?Sized> DeadLetterStore for Arc<S> {
    async fn add_dead_letters(&self, letters: &[NewDeadLetter]) -> Result<(), StoreError> {
        (**self).add_dead_letters(letters).await
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

    async fn ask_dead_letter_retries(&self, query: &DeadLetterQuery, order: &Order) -> Result<u64, StoreError> {
        (**self).ask_dead_letter_retries(query, order).await
    }

    async fn edit_dead_letter(
        &self,
        id: DeadLetterId,
        message: &RawMessage,
        order: &Order,
    ) -> Result<bool, StoreError> {
        (**self).edit_dead_letter(id, message, order).await
    }

    async fn dead_letter_edits(&self, id: DeadLetterId) -> Result<Vec<RawMessage>, StoreError> {
        (**self).dead_letter_edits(id).await
    }

    async fn discard_dead_letters(&self, query: &DeadLetterQuery, order: &Order) -> Result<u64, StoreError> {
        (**self).discard_dead_letters(query, order).await
    }

    async fn resolve_dead_letter(&self, id: DeadLetterId) -> Result<bool, StoreError> {
        (**self).resolve_dead_letter(id).await
    }
}
