//! Projections as consumers: the store applies a page and moves the checkpoint in one transaction.

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, DecodeError, EventFilter, EventKey, EventPage, Generation, InvalidName, PageProjection,
    ProjectionError, ProjectionStore, ReadModelDefinition, RecordedEvent,
};

use crate::{
    consumer::{Applied, Consumer, PageFailure, Stopwatch},
    partition_slice::PartitionSlice,
    status::ConsumerKind,
    stop::Stop,
};

pub(crate) struct ProjectionConsumer<S: ProjectionStore> {
    store: S,
    projection: Timed<S::Connection>,
}

/// A projection, and a stopwatch for its handler within the transaction.
struct Timed<C> {
    projection: Box<dyn PageProjection<C>>,
    handler: Stopwatch,
}

impl<S: ProjectionStore> ProjectionConsumer<S> {
    pub(crate) fn new(store: S, projection: Box<dyn PageProjection<S::Connection>>) -> Self {
        Self { store, projection: Timed { projection, handler: Stopwatch::default() } }
    }
}

#[async_trait]
impl<C: Send> PageProjection<C> for Timed<C> {
    fn name(&self) -> &ConsumerName {
        self.projection.name()
    }

    fn definition(&self) -> ReadModelDefinition {
        self.projection.definition()
    }

    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn PageProjection<C>>>, InvalidName> {
        self.projection.in_generation(generation)
    }

    fn key(&self, event: &RecordedEvent) -> Result<Option<EventKey>, DecodeError> {
        self.projection.key(event)
    }

    async fn after_load(&self, connection: &mut C) -> Result<(), ProjectionError> {
        self.projection.after_load(connection).await
    }

    fn filter(&self) -> &EventFilter {
        self.projection.filter()
    }

    fn check(&self) -> Result<(), DecodeError> {
        self.projection.check()
    }

    fn knows(&self, event: &RecordedEvent) -> bool {
        self.projection.knows(event)
    }

    async fn prepare(&self, connection: &mut C) -> Result<(), ProjectionError> {
        self.projection.prepare(connection).await
    }

    async fn apply_page(&self, connection: &mut C, events: &[RecordedEvent]) -> Result<(), ProjectionError> {
        self.handler.time(self.projection.apply_page(connection, events)).await
    }

    async fn clear(&self, connection: &mut C) -> Result<(), ProjectionError> {
        self.projection.clear(connection).await
    }
}

#[async_trait]
impl<S: ProjectionStore + Clone + 'static> Consumer for ProjectionConsumer<S> {
    fn name(&self) -> &ConsumerName {
        self.projection.name()
    }

    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn Consumer>>, InvalidName> {
        let other = self.projection.in_generation(generation)?;
        Ok(other.map(|projection| Box::new(Self::new(self.store.clone(), projection)) as Box<dyn Consumer>))
    }

    fn definition(&self) -> Option<ReadModelDefinition> {
        Some(self.projection.definition())
    }

    async fn finish(&self) -> Result<(), ProjectionError> {
        self.store.finish_projection(&self.projection).await
    }

    fn kind(&self) -> ConsumerKind {
        ConsumerKind::Projection
    }

    fn filter(&self) -> &EventFilter {
        self.projection.filter()
    }

    fn check(&self) -> Result<(), DecodeError> {
        self.projection.check()
    }

    fn knows(&self, event: &RecordedEvent) -> bool {
        self.projection.knows(event)
    }

    async fn prepare(&self) -> Result<(), ProjectionError> {
        self.store.prepare_projection(&self.projection).await
    }

    async fn apply(
        &self,
        advance: Advance,
        page: EventPage,
        _: &PartitionSlice,
        _: &Stop,
    ) -> Result<Applied, PageFailure> {
        self.store.apply_page(&self.projection, &advance, &page.events).await?;
        Ok(Applied::UpTo(advance.to))
    }

    fn try_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError> {
        Ok(self.projection.key(event)?.into_iter().collect())
    }

    fn held_for(&self) -> Option<Duration> {
        Some(self.projection.handler.last())
    }

    async fn clear(&self) -> Result<(), ProjectionError> {
        self.store.clear_projection(&self.projection).await
    }
}
