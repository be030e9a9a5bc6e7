//! Projections as consumers: the store applies a page and moves the checkpoint in one transaction.

use async_trait::async_trait;
use es_core::{ConsumerName, EventFilter, EventPage, PageProjection, Position, ProjectionError, ProjectionStore};

use crate::{
    consumer::{Applied, Consumer, PageFailure},
    status::ConsumerKind,
    stop::Stop,
};

pub(crate) struct ProjectionConsumer<S: ProjectionStore> {
    store: S,
    projection: Box<dyn PageProjection<S::Connection>>,
}

impl<S: ProjectionStore> ProjectionConsumer<S> {
    pub(crate) fn new(store: S, projection: Box<dyn PageProjection<S::Connection>>) -> Self {
        Self { store, projection }
    }
}

#[async_trait]
impl<S: ProjectionStore> Consumer for ProjectionConsumer<S> {
    fn name(&self) -> &ConsumerName {
        self.projection.name()
    }

    fn kind(&self) -> ConsumerKind {
        ConsumerKind::Projection
    }

    fn filter(&self) -> &EventFilter {
        self.projection.filter()
    }

    async fn prepare(&self) -> Result<(), ProjectionError> {
        self.store.prepare_projection(&*self.projection).await
    }

    async fn apply(&self, from: Position, page: EventPage, _: &Stop) -> Result<Applied, PageFailure> {
        self.store.apply_page(&*self.projection, from, &page).await?;
        Ok(Applied::UpTo(page.scanned_to))
    }

    async fn clear(&self) -> Result<(), ProjectionError> {
        self.store.clear_projection(&*self.projection).await
    }
}
