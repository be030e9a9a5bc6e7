//! Projections and views that are applied in the transaction of the append.

use std::{panic::AssertUnwindSafe, sync::Arc};

use es_core::{
    Advance, ConsumerName, DocumentFold, EventFilter, PageProjection, Position, ProjectionError, RecordedEvent,
    StoreError,
};
use futures_util::FutureExt;
use sqlx::SqliteConnection;

use crate::{
    documents,
    error::store_error,
    handler_scope::in_handler,
    projections::move_in_transaction,
    store::Shared,
    writer::{depth, roll_back_to},
};

const SAVEPOINT: &str = include_str!("../sql/inline_begin.sql");
const RELEASE: &str = include_str!("../sql/inline_keep.sql");
const ROLLBACK: &str = include_str!("../sql/inline_undo.sql");

/// A projection or view that is applied in the transaction of the append.
#[derive(Clone)]
pub(crate) enum Inline {
    Projection(Arc<dyn PageProjection<SqliteConnection>>),
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

    /// Returns whether the projection's code does not know the type of an event. The runner handles such events.
    fn is_unknown(&self, event: &RecordedEvent) -> bool {
        let knows = match self {
            Self::Projection(projection) => projection.knows(event),
            Self::View(view) => view.knows(event),
        };
        self.filter().matches(event.stream(), event.event_type()) && !knows
    }
}

/// Applies new events, which were just stored in this transaction, to every inline projection whose checkpoint is
/// directly before them. Other projections are left to their runners. If a handler fails, its writes are undone, its
/// projection is left to its runner too, and the append continues.
pub(crate) async fn apply(
    shared: &Shared,
    connection: &mut SqliteConnection,
    checkpoints: &[i64],
    events: &[RecordedEvent],
) -> Result<(), StoreError> {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
    for (inline, &checkpoint) in shared.inline.iter().zip(checkpoints) {
        let from = Position::new(checkpoint.unsigned_abs());
        if from.advanced_by(1) != first.position() {
            tracing::debug!(consumer = %inline.name(), %from, first = %first.position(), "left to the runner: it is behind");
            continue;
        }
        if let Some(unknown) = events.iter().find(|event| inline.is_unknown(event)) {
            tracing::debug!(consumer = %inline.name(), event_type = unknown.event_type(), "left to the runner: its code does not know a type");
            continue;
        }
        run(connection, SAVEPOINT).await?;
        let depth_before = depth(connection);
        let applied = in_handler(&shared.file, apply_one(connection, inline, from, last.position(), events));
        // A handler that panics must not fail the append, just like one that returns an error.
        let applied = AssertUnwindSafe(applied).catch_unwind().await;
        let left_open = roll_back_to(depth_before, connection).await?;
        let problem = match &applied {
            Ok(Ok(())) if left_open => "its handler left a nested transaction open".to_owned(),
            Ok(Ok(())) => {
                run(connection, RELEASE).await?;
                continue;
            }
            Ok(Err(ProjectionError::Store(StoreError::StaleGeneration { generation }))) => {
                run(connection, ROLLBACK).await?;
                tracing::debug!(%generation, "left to the runner: another generation or its partitions are live");
                continue;
            }
            Ok(Err(error)) => describe(error),
            Err(_) => "its handler panicked".to_owned(),
        };
        run(connection, ROLLBACK).await?;
        tracing::error!(
            consumer = %inline.name(), first = %first.position(), last = %last.position(), problem,
            "an inline projection failed: it is left to its runner from here on, the append is stored without it"
        );
    }
    Ok(())
}

async fn apply_one(
    connection: &mut SqliteConnection,
    inline: &Inline,
    from: Position,
    to: Position,
    events: &[RecordedEvent],
) -> Result<(), ProjectionError> {
    move_in_transaction(connection, &Advance::new(inline.name(), from, to)).await?;
    let filter = inline.filter();
    let wanted: Vec<_> =
        events.iter().filter(|event| filter.matches(event.stream(), event.event_type())).cloned().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    match inline {
        Inline::Projection(projection) => projection.apply_page(connection, &wanted).await,
        Inline::View(view) => {
            let page = view.open_page(wanted)?;
            let documents = documents::get(connection, view.name(), &page.keys()).await.map_err(store_error)?;
            let changes = documents::Changes::new(view.name(), &page.fold(documents)?)?;
            changes.write(connection).await.map_err(store_error)?;
            Ok(())
        }
    }
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(connection).await.map_err(store_error)?;
    Ok(())
}

/// Formats an error with its causes, for the log.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
