//! The store's data for consumers of the log: checkpoints, and the documents of views.

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

/// How far a consumer has processed the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The consumer.
    pub consumer: ConsumerName,
    /// The position up to which every event has taken effect.
    pub position: Position,
    /// The ID of the event at the position, if the store knows it. If a log has another event there, it is not the log
    /// that the consumer has read.
    pub event_id: Option<Uuid>,
    /// When the checkpoint was last moved, by the store's clock.
    pub updated_at: OffsetDateTime,
}

impl Checkpoint {
    /// Creates a checkpoint. Stores report checkpoints in this way.
    pub fn new(consumer: ConsumerName, position: Position, updated_at: OffsetDateTime) -> Self {
        Self { consumer, position, event_id: None, updated_at }
    }

    /// Returns the checkpoint with the ID of the event at its position.
    #[must_use]
    pub fn at_event(mut self, event_id: Option<Uuid>) -> Self {
        self.event_id = event_id;
        self
    }

    /// Returns the checkpoint's place in the log.
    pub fn bookmark(&self) -> Bookmark {
        Bookmark::from_parts(self.position, self.event_id)
    }
}

/// One document of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The key.
    pub key: String,
    /// The content as JSON.
    pub body: Payload,
}

/// A change to one document of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentChange {
    /// The key.
    pub key: String,
    /// The new content, or `None` to delete the document.
    pub body: Option<Payload>,
}

/// Checks the key of a document.
///
/// # Errors
/// Returns [`InvalidName`] if it is empty, longer than [`limits::MAX_DOCUMENT_KEY_BYTES`], or contains a control
/// character.
pub fn check_document_key(key: &str) -> Result<(), InvalidName> {
    check_text("document key", key, limits::MAX_DOCUMENT_KEY_BYTES)
}

/// Checks how many documents one call may read.
///
/// # Errors
/// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_DOCUMENTS_PER_READ`].
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

/// The part of a store that keeps checkpoints and documents for consumers of the log. The trait is object-safe, so a
/// tool that knows no domain types can use it.
///
/// A checkpoint moves by compare-and-set: the runner passes the position that it expects, so two runners can never both
/// apply a page.
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait ConsumerStore: Send + Sync {
    /// Returns the checkpoint of a consumer, or `None` if the consumer has never started.
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError>;

    /// Returns all checkpoints, ordered by name.
    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError>;

    /// Creates a checkpoint for the consumer at a position, unless it has one. Returns the checkpoint that the consumer
    /// has then. Partitions are started together: see
    /// [`PartitionStore::start_partitions`](crate::PartitionStore::start_partitions).
    ///
    /// # Errors
    /// Returns [`StoreError::StaleGeneration`] for a partition that does not exist, and for the unpartitioned name of a
    /// consumer that has partitions.
    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError>;

    /// Moves a checkpoint, forward or back.
    ///
    /// # Errors
    /// If the method fails, nothing was changed.
    ///
    /// - [`StoreError::LogWentBack`] if the log does not contain what the runner has [seen](Advance::seen).
    /// - [`StoreError::CheckpointMoved`] if the checkpoint is not at the position where the move begins.
    /// - [`StoreError::LeaseLost`] if another process has held the lease since.
    /// - [`StoreError::StaleGeneration`] for a generation that is no longer live, and for a partition epoch that is
    ///   over.
    /// - [`StoreError::ParkingChanged`] if the parked events are not those that the move expects.
    /// - [`StoreError::Refused`] for a move that [`Advance::check`] refuses.
    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError>;

    /// Creates the storage for the documents of a view, if it is missing. This does not start the checkpoint.
    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError>;

    /// Returns the documents of a view with these keys that exist, in any order. A view that was never prepared has
    /// none.
    ///
    /// # Errors
    /// Returns [`StoreError::LimitExceeded`] over [`limits::MAX_DOCUMENTS_PER_READ`].
    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError>;

    /// Returns documents of a view, in the order of the query. A view that was never prepared has none.
    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError>;

    /// Changes documents of a view and moves its checkpoint in one transaction.
    ///
    /// # Errors
    /// Returns the errors of [`move_checkpoint`](Self::move_checkpoint). In this case nothing was changed.
    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError>;

    /// Deletes all documents of a view and moves the checkpoint, or the checkpoints of all partitions, to
    /// [`Position::ZERO`], in one transaction.
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
