//! What a store keeps for consumers of the log: checkpoints, and the documents of views.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    advance::Advance,
    bookmark::Bookmark,
    consumer_name::ConsumerName,
    document_query::DocumentQuery,
    error::{InvalidName, StoreError},
    event::Payload,
    limits,
    name::check_text,
    position::Position,
    view::{View, ViewReader},
};

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Whose.
    pub consumer: ConsumerName,
    /// Every event up to here has taken effect.
    pub position: Position,
    /// The id of the event at the position, if the store knows it. A log that holds another event there is not the one that the
    /// consumer has read.
    pub event_id: Option<Uuid>,
    /// When it was last moved, by the store's clock.
    pub updated_at: OffsetDateTime,
}

impl Checkpoint {
    /// A checkpoint, as stores report it.
    pub fn new(consumer: ConsumerName, position: Position, updated_at: OffsetDateTime) -> Self {
        Self { consumer, position, event_id: None, updated_at }
    }

    /// The same checkpoint with the id of the event at its position.
    #[must_use]
    pub fn at_event(mut self, event_id: Option<Uuid>) -> Self {
        self.event_id = event_id;
        self
    }

    /// Its place in the log.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark::from_parts(self.position, self.event_id)
    }
}

/// One document of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its key.
    pub key: String,
    /// Its content as JSON.
    pub body: Payload,
}

/// A change to one document of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentChange {
    /// Its key.
    pub key: String,
    /// Its new content, or `None` to delete it.
    pub body: Option<Payload>,
}

/// Checks the key of a document.
///
/// # Errors
/// [`InvalidName`] if it is empty, over [`limits::MAX_DOCUMENT_KEY_BYTES`] or holds a control character.
pub fn check_document_key(key: &str) -> Result<(), InvalidName> {
    check_text("document key", key, limits::MAX_DOCUMENT_KEY_BYTES)
}

/// Checks how many documents one call may read.
///
/// # Errors
/// [`StoreError::LimitExceeded`] over [`limits::MAX_DOCUMENTS_PER_READ`].
pub fn check_document_count(count: usize) -> Result<(), StoreError> {
    if count > limits::MAX_DOCUMENTS_PER_READ {
        return Err(StoreError::LimitExceeded {
            what: "documents in one read",
            limit: limits::MAX_DOCUMENTS_PER_READ as u64,
            actual: count as u64,
        });
    }
    Ok(())
}

/// What a store keeps for consumers of the log. Object-safe: a tool that knows no domain type can hold it.
///
/// A checkpoint moves by compare-and-set: whoever moves it names the position it believes in, so two runners can
/// never both apply a page.
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait ConsumerStore: Send + Sync {
    /// The checkpoint of a consumer; `None` if it never started.
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError>;

    /// All checkpoints, by name.
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError>;

    /// Gives the consumer a checkpoint at a position, unless it has one; gives the one it has then. Partitions are started together:
    /// see [`PartitionStore::start_partitions`](crate::PartitionStore::start_partitions).
    ///
    /// # Errors
    /// [`StoreError::StaleGeneration`] for a partition that does not exist, and for the unpartitioned name where there
    /// are partitions.
    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError>;

    /// Moves a checkpoint, forwards or back.
    ///
    /// # Errors
    /// [`StoreError::LogWentBack`] if the log does not hold what the mover has [seen](Advance::seen).
    /// [`StoreError::CheckpointMoved`] if it is not where the move begins, [`StoreError::LeaseLost`] if somebody else has had
    /// the lease under which it moves, [`StoreError::StaleGeneration`] for a generation that is not live any more, and
    /// for a partition epoch that is over, [`StoreError::ParkingChanged`] if its parked events are not what
    /// the move believes, [`StoreError::Refused`] for a move that [`Advance::check`] refuses; nothing was changed.
    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError>;

    /// Makes room for the documents of a view, if that has not been done. It does not start the checkpoint.
    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError>;

    /// The documents of a view with these keys, those that exist, in any order. A view that was never prepared has
    /// none.
    ///
    /// # Errors
    /// [`StoreError::LimitExceeded`] over [`limits::MAX_DOCUMENTS_PER_READ`].
    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError>;

    /// Some documents of a view, in the query's order. A view that was never prepared has none.
    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError>;

    /// Changes documents of a view and moves its checkpoint, both or neither.
    ///
    /// # Errors
    /// Those of [`move_checkpoint`](Self::move_checkpoint); nothing was changed.
    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError>;

    /// Deletes all documents of a view and moves its checkpoint, or those of all its partitions, to [`Position::ZERO`], all or
    /// nothing.
    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError>;
}

/// Typed access to the documents of views, for every [`ConsumerStore`].
pub trait ConsumerStoreExt: ConsumerStore {
    /// Reads the documents of a view: `store.view::<Balance>().get("ann")`.
    fn view<V: View>(&self) -> ViewReader<'_, Self, V> {
        ViewReader::new(self)
    }
}

impl<S: ConsumerStore + ?Sized> ConsumerStoreExt for S {}

#[async_trait]
impl<S: ConsumerStore + ?Sized> ConsumerStore for Arc<S> {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        (**self).checkpoint(consumer).await
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        (**self).checkpoints().await
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        (**self).start_checkpoint(consumer, at).await
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        (**self).move_checkpoint(advance).await
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        (**self).prepare_view(view).await
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        (**self).documents(view, keys).await
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        (**self).list_documents(view, query).await
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        (**self).save_documents(advance, changes).await
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        (**self).clear_view(view).await
    }
}
