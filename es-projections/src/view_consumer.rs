//! Views as consumers: load the documents of a page, fold, and save them with the checkpoint.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use es_core::{
    Advance, ConsumerName, DecodeError, DocumentFold, EventFilter, EventKey, EventPage, Generation, InvalidName,
    PageFold, Parking, ProjectionError, ReadModelDefinition, RecordedEvent, RunnerStore,
};

use crate::{
    consumer::{Applied, Consumer, PageFailure, Stopwatch},
    limits,
    partition_slice::PartitionSlice,
    status::ConsumerKind,
    stop::Stop,
};

pub(crate) struct ViewConsumer {
    store: Arc<dyn RunnerStore>,
    fold: Arc<dyn DocumentFold>,
    /// The name of the view in its generation.
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

    fn definition(&self) -> Option<ReadModelDefinition> {
        Some(self.fold.definition())
    }

    fn kind(&self) -> ConsumerKind {
        ConsumerKind::View
    }

    fn filter(&self) -> &EventFilter {
        self.fold.filter()
    }

    fn check(&self) -> Result<(), DecodeError> {
        self.fold.check()
    }

    fn knows(&self, event: &RecordedEvent) -> bool {
        self.fold.knows(event)
    }

    async fn prepare(&self) -> Result<(), ProjectionError> {
        Ok(self.store.prepare_view(self.name()).await?)
    }

    /// The documents are read outside the transaction that saves them. This is safe because documents change only
    /// together with the checkpoint, and nothing is saved if the checkpoint is no longer at `from`.
    async fn apply(
        &self,
        advance: Advance,
        page: EventPage,
        slice: &PartitionSlice,
        _: &Stop,
    ) -> Result<Applied, PageFailure> {
        let can_shrink = page.events.len() > 1;
        let mut page = self.fold.open_page(page.events)?;
        if !advance.parking.is_empty() {
            leave_out_parked(&mut *page, &advance.parking);
        }
        if !slice.is_everything() {
            page.retain(&|key| slice.owns(&EventKey::Document(key.to_owned()), advance.to));
        }
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

    fn try_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError> {
        let keys = self.fold.keys(event)?;
        Ok(keys.into_iter().map(EventKey::Document).collect())
    }

    async fn failing_keys(&self, event: &RecordedEvent) -> Result<Vec<EventKey>, ProjectionError> {
        let keys = self.keys(event);
        let mut failing = Vec::new();
        for key in &keys {
            let EventKey::Document(name) = key else { return Ok(keys) };
            let documents = self.store.documents(self.name(), std::slice::from_ref(name)).await?;
            let fold = || {
                let mut page = self.fold.open_page(vec![event.clone()])?;
                page.retain(&|other| other == name);
                page.fold(documents)
            };
            if !matches!(catch_unwind(AssertUnwindSafe(fold)), Ok(Ok(_))) {
                failing.push(key.clone());
            }
        }
        match (failing.is_empty(), keys.is_empty()) {
            (false, _) => Ok(failing),
            (true, false) => Ok(keys),
            (true, true) => Ok(vec![EventKey::Stream(event.stream().clone())]),
        }
    }

    fn held_for(&self) -> Option<Duration> {
        Some(self.saving.last())
    }

    async fn clear(&self) -> Result<(), ProjectionError> {
        Ok(self.store.clear_view(self.name()).await?)
    }
}

/// Removes from a page the documents for which its events are parked. An event that was parked for one document applies
/// only to that document.
fn leave_out_parked(page: &mut dyn PageFold, parking: &Parking) {
    let held: HashSet<&str> = parking.park.iter().filter_map(|park| document(&park.key)).collect();
    let only: HashSet<&str> = parking.unpark.iter().filter_map(|gone| document(&gone.key)).collect();
    page.retain(&|key| !held.contains(key) && (only.is_empty() || only.contains(key)));
}

fn document(key: &EventKey) -> Option<&str> {
    match key {
        EventKey::Document(name) => Some(name),
        _ => None,
    }
}
