//! What a store does for projections that write with its own connection.

use async_trait::async_trait;

use crate::{
    advance::Advance, consumer_store::ConsumerStore, error::ProjectionError, event::RecordedEvent,
    projection::PageProjection,
};

/// A store in whose transactions projections write: a read model and its checkpoint move together, so that each event
/// takes effect exactly once (G7).
///
/// # Cancel safety
/// Dropping the future of any method leaves the store as if the call had either happened or not.
#[async_trait]
pub trait ProjectionStore: ConsumerStore {
    /// What projections write with: a connection inside a transaction.
    type Connection: Send;

    /// Runs the projection's `prepare` in a transaction, and of its first generation `after_load` too. Where no generation is
    /// live yet, readers find the tables of this one. It does not start the checkpoint.
    async fn prepare_projection(
        &self,
        projection: &dyn PageProjection<Self::Connection>,
    ) -> Result<(), ProjectionError>;

    /// Applies the events of a page and moves the checkpoint, in one transaction. Without events it only moves it.
    ///
    /// The checkpoint is moved first, and so locked: of two runners with the same page one applies it.
    ///
    /// # Errors
    /// [`ProjectionError::Store`] with those of [`move_checkpoint`](ConsumerStore::move_checkpoint); the handler's; nothing was
    /// changed.
    async fn apply_page(
        &self,
        projection: &dyn PageProjection<Self::Connection>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError>;

    /// Runs the projection's `after_load` in a transaction.
    async fn finish_projection(&self, projection: &dyn PageProjection<Self::Connection>)
    -> Result<(), ProjectionError>;

    /// Runs the projection's `clear` and moves its checkpoint, or those of all its partitions, to
    /// [`Position::ZERO`](crate::Position::ZERO), in one transaction.
    async fn clear_projection(&self, projection: &dyn PageProjection<Self::Connection>) -> Result<(), ProjectionError>;
}
