//! Checkpoints, documents, and projections in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Consumers, MemoryStore, MemoryTables, lock, partition_store::Kept};
use crate::{
    advance::Advance,
    consumer_name::{ConsumerName, Generation},
    consumer_store::{Checkpoint, ConsumerStore, Document, DocumentChange, check_document_count},
    document_query::{DocumentQuery, DocumentSelection},
    error::{ProjectionError, StoreError},
    event::{Payload, RecordedEvent},
    generation_store::TableNames,
    position::Position,
    projection::PageProjection,
    projection_store::ProjectionStore,
};

impl Consumers {
    /// Returns the documents of a view. The name of the live generation stands for the current one.
    fn documents_of(&self, view: &ConsumerName) -> Option<&BTreeMap<String, Payload>> {
        match view.generation() {
            Some(_) => self.documents.get(&view.unpartitioned()),
            None => self.documents.get(&self.live(view).map_or(view.base(), |live| live.name.clone())),
        }
    }
}

/// All methods need the locks of the log and of the consumers, acquired in that order.
impl MemoryStore {
    fn check(&self, advance: &Advance) -> Result<(), StoreError> {
        let log = lock(&self.shared.log);
        lock(&self.shared.consumers).check(&log, advance)
    }

    fn advance(&self, advance: &Advance) -> Result<(), StoreError> {
        let log = lock(&self.shared.log);
        lock(&self.shared.consumers).advance(&log, advance)
    }

    fn reset(&self, generation: &ConsumerName) -> Result<(), StoreError> {
        let log = lock(&self.shared.log);
        lock(&self.shared.consumers).reset(&log, generation)
    }
}

#[async_trait]
impl ConsumerStore for MemoryStore {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        Ok(lock(&self.shared.consumers).checkpoints.get(consumer).map(Kept::checkpoint))
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(lock(&self.shared.consumers).checkpoints.values().map(Kept::checkpoint).collect())
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        let log = lock(&self.shared.log);
        lock(&self.shared.consumers).start(&log, consumer, at)
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        self.advance(advance)
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        lock(&self.shared.consumers).documents.entry(view.unpartitioned()).or_default();
        Ok(())
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        check_document_count(keys.len())?;
        let consumers = lock(&self.shared.consumers);
        let Some(documents) = consumers.documents_of(view) else { return Ok(Vec::new()) };
        let found = keys.iter().filter_map(|key| documents.get_key_value(key));
        Ok(found.map(to_document).collect())
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        query.check()?;
        let consumers = lock(&self.shared.consumers);
        let Some(documents) = consumers.documents_of(view) else { return Ok(Vec::new()) };
        match query {
            DocumentQuery::ByKey { after, limit } => {
                let after = after.as_deref().unwrap_or("");
                let later = documents.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
                Ok(later.take(*limit).map(to_document).collect())
            }
            DocumentQuery::TopByField { .. } | DocumentQuery::ByField(_) => {
                let mut selection = DocumentSelection::new(query);
                documents.iter().for_each(|(key, body)| selection.offer(key, body));
                Ok(selection.finish())
            }
        }
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        let log = lock(&self.shared.log);
        let mut consumers = lock(&self.shared.consumers);
        consumers.advance(&log, advance)?;
        let documents = consumers.documents.entry(advance.consumer.unpartitioned()).or_default();
        for DocumentChange { key, body } in changes {
            match body {
                Some(body) => documents.insert(key.clone(), body.clone()),
                None => documents.remove(key),
            };
        }
        Ok(())
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        let log = lock(&self.shared.log);
        let mut consumers = lock(&self.shared.consumers);
        consumers.reset(&log, view)?;
        consumers.documents.remove(&view.unpartitioned());
        Ok(())
    }
}

fn to_document((key, body): (&String, &Payload)) -> Document {
    Document { key: key.clone(), body: body.clone() }
}

#[async_trait]
impl ProjectionStore for MemoryStore {
    type Connection = MemoryTables;

    async fn prepare_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        let mut tables = self.shared.tables.lock().await;
        let mut changed = tables.clone();
        projection.prepare(&mut changed).await?;
        if projection.name().generation() == Some(Generation::FIRST) {
            projection.after_load(&mut changed).await?;
        }
        for table in &projection.definition().tables {
            let own = TableNames::of(projection.name(), table);
            changed.live.entry(table.clone()).or_insert(own);
        }
        self.commit(&mut tables, changed);
        Ok(())
    }

    async fn apply_page(
        &self,
        projection: &dyn PageProjection<MemoryTables>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        let mut tables = self.shared.tables.lock().await;
        self.check(advance)?;
        let mut changed = tables.clone();
        if !events.is_empty() {
            projection.apply_page(&mut changed, events).await?;
        }
        // Nothing is awaited after this, so either both happen or neither.
        self.advance(advance)?;
        self.commit(&mut tables, changed);
        Ok(())
    }

    async fn finish_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        let mut tables = self.shared.tables.lock().await;
        let mut changed = tables.clone();
        projection.after_load(&mut changed).await?;
        self.commit(&mut tables, changed);
        Ok(())
    }

    async fn clear_projection(&self, projection: &dyn PageProjection<MemoryTables>) -> Result<(), ProjectionError> {
        let mut tables = self.shared.tables.lock().await;
        lock(&self.shared.consumers).check_not_retired(projection.name())?;
        let mut changed = tables.clone();
        projection.clear(&mut changed).await?;
        self.reset(projection.name())?;
        self.commit(&mut tables, changed);
        Ok(())
    }
}
