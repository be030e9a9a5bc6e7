//! Dead letters, as operators use them.

use es_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterStore, DeadLetterTotals, OperatorRequest, RawMessage,
    StoreError,
};

use crate::{error::MalformedMessage, message::Message};

/// Lets operators list, show, retry, edit, and discard dead letters. Every action is recorded with the operator and the
/// reason ([`ControlStore::operations`](es_core::ControlStore::operations)).
///
/// A retry is requested here, and the process that runs the relay or consumer carries it out within about a second. A
/// consumer handles the message and removes the dead letter in one transaction.
///
/// # Cancel safety
/// If a future is dropped, its action has happened completely or not at all. Each call can be repeated: a retry that is
/// requested twice is one retry.
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

/// A dead letter with everything that is stored about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShownDeadLetter {
    /// The stored dead letter.
    pub dead: DeadLetter,
    /// The message in it, if it can be decoded.
    pub message: Result<Message, MalformedMessage>,
    /// The message before each edit, oldest first.
    pub edits: Vec<RawMessage>,
}

impl<S: DeadLetterStore> DeadLetters<S> {
    /// Returns the dead letters of a store.
    pub fn new(store: S) -> Self {
        Self { store }
    }

    /// Returns the dead letters that match, ordered by ID and starting after an ID; at most
    /// [`MAX_DEAD_LETTERS_PER_READ`](es_core::limits::MAX_DEAD_LETTERS_PER_READ).
    ///
    /// # Errors
    /// Returns an error of the store.
    pub async fn list(
        &self,
        query: &DeadLetterQuery,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(query, after, limit).await
    }

    /// Returns a dead letter with its message and history, or `None` if it no longer exists.
    ///
    /// # Errors
    /// Returns an error of the store.
    pub async fn show(&self, id: DeadLetterId) -> Result<Option<ShownDeadLetter>, StoreError> {
        let found = self.store.dead_letters(&DeadLetterQuery::one(id), None, 1).await?;
        let Some(dead) = found.into_iter().next() else { return Ok(None) };
        let edits = self.store.dead_letter_edits(id).await?;
        let message = Message::from_raw(&dead.letter.message);
        Ok(Some(ShownDeadLetter { dead, message, edits }))
    }

    /// Returns how many dead letters each relay or consumer has and has had, and since when.
    ///
    /// # Errors
    /// Returns an error of the store.
    pub async fn totals(&self) -> Result<Vec<DeadLetterTotals>, StoreError> {
        self.store.dead_letter_totals().await
    }

    /// Requests a retry of a dead letter. Returns whether it exists.
    ///
    /// # Errors
    /// Returns an error of the store.
    pub async fn retry(&self, id: DeadLetterId, request: &OperatorRequest) -> Result<bool, StoreError> {
        self.retry_all(&DeadLetterQuery::one(id), request).await.map(|count| count > 0)
    }

    /// Requests a retry of all dead letters that match. Returns their number.
    ///
    /// # Errors
    /// Returns an error of the store.
    pub async fn retry_all(&self, query: &DeadLetterQuery, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.store.request_dead_letter_retries(query, request).await
    }

    /// Replaces the message of a dead letter and requests a retry. The previous message is kept. Returns whether the
    /// dead letter exists.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if the request has no reason, or an error of the store.
    pub async fn edit_and_retry(
        &self,
        id: DeadLetterId,
        message: &Message,
        request: &OperatorRequest,
    ) -> Result<bool, StoreError> {
        self.store.edit_dead_letter(id, &message.to_raw(), request).await
    }

    /// Discards a dead letter. Returns whether it existed.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if the request has no reason, or an error of the store.
    pub async fn discard(&self, id: DeadLetterId, request: &OperatorRequest) -> Result<bool, StoreError> {
        self.discard_all(&DeadLetterQuery::one(id), request).await.map(|count| count > 0)
    }

    /// Discards all dead letters that match. Returns their number.
    ///
    /// # Errors
    /// Returns [`StoreError::Refused`] if the request has no reason, or an error of the store.
    pub async fn discard_all(&self, query: &DeadLetterQuery, request: &OperatorRequest) -> Result<u64, StoreError> {
        self.store.discard_dead_letters(query, request).await
    }
}
