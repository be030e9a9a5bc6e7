//! Dead letters, for people.

use es_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadLetterTotals, OperatorRequest, RawMessage,
    StoreError,
};

use crate::{error::MalformedMessage, message::Message};

/// What people do with dead letters: list, show, try again, mend, discard. Every operation is recorded, with who and why
/// ([`ControlStore::operations`](es_core::ControlStore::operations)).
///
/// A retry is requested here and carried out by the process that runs the relay or consumer, within a second or so: a
/// consumer lets the message take effect, and the dead letter go, in one transaction.
///
/// # Cancel safety
/// A call that is dropped has happened as a whole or not at all. Each can be repeated: a retry that is requested twice
/// is one retry.
///
/// ```
/// use es_core::{DeadLetterQuery, MemoryStore, OperatorRequest};
/// use es_messaging::DeadLetters;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = MemoryStore::new();
/// let dead_letters = DeadLetters::new(store);
/// for dead in dead_letters.list(&DeadLetterQuery::default(), None, 100).await? {
///     println!("{} {} {}: {}", dead.id, dead.letter.consumer, dead.letter.reason, dead.letter.error);
/// }
/// dead_letters.retry_all(&DeadLetterQuery::default(), &OperatorRequest::by("ann")?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DeadLetters<S> {
    store: S,
}

/// A dead letter with everything that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownDeadLetter {
    /// What is kept.
    pub dead: DeadLetter,
    /// The message in it, if it can be read.
    pub message: Result<Message, MalformedMessage>,
    /// What the message was before it was edited, oldest first.
    pub edits: Vec<RawMessage>,
}

impl<S: DeadLetterStore> DeadLetters<S> {
    /// The dead letters of a store.
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Those that match, by id, after an id; at most
    /// [`MAX_DEAD_LETTERS_PER_READ`](es_core::limits::MAX_DEAD_LETTERS_PER_READ).
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(query, after, limit).await
    }

    /// One, with its message and history; `None` if it is gone.
    ///
    /// # Errors
    /// The store's.
    pub async fn show(&self, id: DeadLetterId) -> Result<Option<ShownDeadLetter>, StoreError> {
        let found = self.store.dead_letters(&DeadLetterQuery::one(id), None, 1).await?;
        let Some(dead) = found.into_iter().next() else { return Ok(None) };
        let edits = self.store.dead_letter_edits(id).await?;
        let message = Message::from_raw(&dead.letter.message);
        Ok(Some(ShownDeadLetter { dead, message, edits }))
    }

    /// How many each relay or consumer has and has had, and since when.
    ///
    /// # Errors
    /// The store's.
    pub async fn totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        self.store.dead_letter_totals().await
    }

    /// Requests a retry of one; returns whether it is there.
    ///
    /// # Errors
    /// The store's.
    pub async fn retry(&self, id: DeadLetterId, request: &OperatorRequest) -> Result<bool, StoreError> {
        self.retry_all(&DeadLetterQuery::one(id), request).await.map(|count| count > 0)
    }

    /// Requests a retry of all that match; returns how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn retry_all(&self, query: &DeadLetterQuery, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.store.request_dead_letter_retries(query, request).await
    }

    /// Puts another message in the place of one, and requests its retry. What it was is kept. Returns whether it is
    /// there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason; the store's.
    pub async fn edit_and_retry(
        &self,
        id: DeadLetterId,
        message: &Message,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.store.edit_dead_letter(id, &message.to_raw(), request).await
    }

    /// Throws one away; gives whether it was there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason; the store's.
    pub async fn discard(&self, id: DeadLetterId, request: &OperatorRequest) -> Result<bool, StoreError> {
        self.discard_all(&DeadLetterQuery::one(id), request).await.map(|count| count > 0)
    }

    /// Throws all away that match; gives how many.
    ///
    /// # Errors
    /// [`StoreError::Refused`] without a reason; the store's.
    pub async fn discard_all(&self, query: &DeadLetterQuery, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.store.discard_dead_letters(query, request).await
    }
}
