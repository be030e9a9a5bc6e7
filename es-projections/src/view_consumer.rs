//! Views as consumers: load the documents of a page, fold, save them with the checkpoint.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, DocumentFold, EventFilter, EventPage, Generation, InvalidName, ProjectionError,
    ReadModelCode, RunnerStore,
};

use crate::{
    consumer::{Applied, Consumer, PageFailure, Stopwatch},
    limits,
    status::ConsumerKind,
    stop::Stop,
};

pub(crate) struct ViewConsumer {
    store: Arc<dyn RunnerStore>,
    fold: Arc<dyn DocumentFold>,
    /// The view in its generation.
    name: ConsumerName,
    saving: Stopwatch,
}

impl ViewConsumer {
    pub(crate) fn new(store: Arc<dyn RunnerStore>, fold: Arc<dyn DocumentFold>) -> Self {
        let name = fold.name().clone();
        Self { store, fold, name, saving: Stopwatch::default() }
    }
}

#[async_trait]
impl Consumer for ViewConsumer {
    fn name(&self) -> &ConsumerName {
        &self.name
    }

    fn in_generation(&self, generation: Generation) -> Result<Option<Box<dyn Consumer>>, InvalidName> {
        let mut other = Self::new(Arc::clone(&self.store), Arc::clone(&self.fold));
        other.name = self.name.in_generation(generation);
        Ok(Some(Box::new(other)))
    }

    fn code(&self) -> Option<ReadModelCode> {
        Some(self.fold.code())
    }

    fn kind(&self) -> ConsumerKind {
        ConsumerKind::View
    }

    fn filter(&self) -> &EventFilter {
        self.fold.filter()
    }

    async fn prepare(&self) -> Result<(), ProjectionError> {
        Ok(self.store.prepare_view(self.name()).await?)
    }

    /// The documents are read outside the transaction that saves them. That is safe: they change with the checkpoint
    /// alone, and if that is no longer at `from`, nothing is saved.
    async fn apply(&self, advance: Advance, page: EventPage, _: &Stop) -> Result<Applied, PageFailure> {
        let can_shrink = page.events.len() > 1;
        let page = self.fold.open_page(page.events)?;
        let keys = page.keys();
        if can_shrink && keys.len() > limits::MAX_DOCUMENTS_PER_PAGE {
            return Ok(Applied::TooLarge);
        }
        let (mut documents, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for keys in keys.chunks(limits::DOCUMENTS_PER_READ) {
            let found = self.store.documents(self.name(), keys).await?;
            bytes += found.iter().map(|document| document.body.as_str().len()).sum::<usize>();
            if can_shrink && bytes > limits::MAX_DOCUMENT_BYTES_PER_PAGE {
                return Ok(Applied::TooLarge);
            }
            documents.extend(found);
        }
        let changes = page.fold(documents)?;
        self.saving.time(self.store.save_documents(&advance, &changes)).await?;
        Ok(Applied::UpTo(advance.to))
    }

    fn held_for(&self) -> Option<Duration> {
        Some(self.saving.last())
    }

    async fn clear(&self) -> Result<(), ProjectionError> {
        Ok(self.store.clear_view(self.name()).await?)
    }
}
