//! The part of a store that runs projections, which write through its connection.

use async_trait::async_trait;

use crate::{
    advance::Advance, consumer_store::ConsumerStore, error::ProjectionError, event::RecordedEvent,
    projection::PageProjection,
};

/// A store that projections write to within its transactions. A read model and its checkpoint move together, so each
/// event takes effect exactly once (G7).
///
/// # Cancel safety
/// If the future of any method is dropped, the call either takes full effect or has no effect.
#[async_trait]
pub trait ProjectionStore: ConsumerStore {
    /// The connection that projections write with, inside a transaction.
    type Connection: Send;

    /// Runs the projection's `prepare` in a transaction, and also `after_load` for its first generation. If no
    /// generation is live yet, readers find the tables of this one. It does not start the checkpoint.
    async fn prepare_projection(
        &self,
        projection: &dyn PageProjection<Self::Connection>,
    ) -> Result<(), ProjectionError>;

    /// Applies the events of a page and moves the checkpoint, in one transaction. Without events, it only moves the
    /// checkpoint.
    ///
    /// The checkpoint is moved first, which locks it. If two runners apply the same page, one of them succeeds.
    ///
    /// # Errors
    /// Returns [`ProjectionError::Store`] with the errors of [`move_checkpoint`](ConsumerStore::move_checkpoint), or
    /// the error of the handler. In both cases nothing was changed.
    async fn apply_page(
        &self,
        projection: &dyn PageProjection<Self::Connection>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError>;

    /// Runs the projection's `after_load` in a transaction.
    async fn finish_projection(&self, projection: &dyn PageProjection<Self::Connection>)
    -> Result<(), ProjectionError>;

    /// Runs the projection's `clear` and moves the checkpoint, or the checkpoints of all partitions, to
    /// [`Position::ZERO`](crate::Position::ZERO), in one transaction.
    async fn clear_projection(&self, projection: &dyn PageProjection<Self::Connection>) -> Result<(), ProjectionError>;
}
