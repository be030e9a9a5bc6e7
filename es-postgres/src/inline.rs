//! Inline projections: applied in the transaction of the append itself.

use std::sync::Arc;

use es_core::{
    Append, Bookmark, ConsumerName, Document, DocumentFold, EventFilter, PageProjection, ProjectionError,
    RecordedEvent, StoreError, check_document_count,
};
use sqlx::{Connection, PgConnection};

use crate::{
    append::Batch,
    error::{projection_error, store_error},
    handler_scope::in_handler,
    projections::{change_documents, load_documents},
    rows::to_bigint,
    store::Shared,
};

/// A read model that is kept up to date by the appends themselves.
#[derive(Clone)]
pub(crate) enum Inline {
    Projection(Arc<dyn PageProjection<PgConnection>>),
    View(Arc<dyn DocumentFold>),
}

impl Inline {
    pub(crate) fn name(&self) -> &ConsumerName {
        match self {
            Self::Projection(projection) => projection.name(),
            Self::View(view) => view.name(),
        }
    }

    fn filter(&self) -> &EventFilter {
        match self {
            Self::Projection(projection) => projection.filter(),
            Self::View(view) => view.filter(),
        }
    }

    /// Whether an event is of a type that its code does not know: the runner sees to those.
    fn is_unknown(&self, event: &RecordedEvent) -> bool {
        let knows = match self {
            Self::Projection(projection) => projection.knows(event),
            Self::View(view) => view.knows(event),
        };
        self.filter().matches(event.stream(), event.event_type()) && !knows
    }

    async fn write(
        &self,
        shared: &Shared,
        connection: &mut PgConnection,
        events: Vec<RecordedEvent>,
    ) -> Result<(), ProjectionError> {
        match self {
            Self::Projection(projection) => in_handler(shared, projection.apply_page(connection, &events)).await,
            Self::View(view) => {
                let page = view.open_page(events)?;
                let keys = page.keys();
                check_document_count(keys.len())?;
                let documents: Vec<Document> = load_documents(shared, connection, view.name(), &keys).await?;
                let changes = page.fold(documents)?;
                Ok(change_documents(shared, connection, view.name(), &changes).await?)
            }
        }
    }
}

/// Applies what a call stored to every inline projection whose checkpoint stands right before it. The others are left
/// to the runner, and so is one that fails: the appends go on without it.
///
/// # Errors
/// Only if the transaction itself cannot go on.
pub(crate) async fn apply(
    shared: &Shared,
    connection: &mut PgConnection,
    appends: &[&Append],
    batch: &Batch,
) -> Result<(), StoreError> {
    let Some((from, to)) = batch.stored else { return Ok(()) };
    // Without a transaction the appends have been committed already.
    if shared.inline.is_empty() || !connection.is_in_transaction() {
        return Ok(());
    }
    let events = batch.recorded(appends);
    for inline in &shared.inline {
        if let Some(unknown) = events.iter().find(|event| inline.is_unknown(event)) {
            tracing::debug!(consumer = %inline.name(), event_type = unknown.event_type(), "left to the runner: its code does not know a type");
            continue;
        }
        // Within a transaction this is a savepoint.
        let mut savepoint = connection.begin().await.map_err(store_error)?;
        let result = apply_one(shared, &mut savepoint, inline, from, to, &events).await;
        let result = match result {
            // This fails too if the handler ignored the failure of a statement; the savepoint is rolled back then.
            Ok(()) => savepoint.commit().await.map_err(projection_error),
            Err(error) => savepoint.rollback().await.map_err(store_error).map(|()| Err(error))?,
        };
        if let Err(error) = result {
            let (consumer, position) = (inline.name(), from.position().advanced_by(1));
            tracing::error!(
                %consumer, %position, error = &error as &dyn std::error::Error,
                "an inline projection failed and stays behind; the append is stored, and the runner has to catch up"
            );
        }
        if !connection.is_in_transaction() {
            return Err(StoreError::Refused { reason: "an inline projection ended the transaction of its append" });
        }
    }
    Ok(())
}

async fn apply_one(
    shared: &Shared,
    connection: &mut PgConnection,
    inline: &Inline,
    from: Bookmark,
    to: Bookmark,
    events: &[RecordedEvent],
) -> Result<(), ProjectionError> {
    let claim = shared.query(&shared.statements.claim_checkpoint);
    let (from_position, to_position) = (to_bigint(from.position().get()), to_bigint(to.position().get()));
    let claim = claim.bind(inline.name().as_str()).bind(from_position).bind(to_position);
    let claim = claim.bind(from.event_id()).bind(to.event_id());
    let row = claim.fetch_one(&mut *connection).await.map_err(projection_error)?;
    let is_claimed: bool = crate::rows::get(&row, 0)?;
    if !is_claimed {
        return Ok(());
    }
    let wanted = |event: &&RecordedEvent| inline.filter().matches(event.stream(), event.event_type());
    let wanted: Vec<RecordedEvent> = events.iter().filter(wanted).cloned().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    inline.write(shared, connection, wanted).await
}
