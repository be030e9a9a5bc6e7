//! Checkpoints, the documents of views, and the transactions of projections.

use std::time::Duration;

use async_trait::async_trait;
use es_core::{
    Advance, Bookmark, Checkpoint, ConsumerName, ConsumerStore, Document, DocumentChange, DocumentQuery, Generation,
    Lease, PageProjection, Position, ProjectionError, ProjectionStore, RecordedEvent, StoreError, check_document_count,
};
use sqlx::{Connection, PgConnection, postgres::PgRow};
use uuid::Uuid;

use crate::{
    documents::{bind_field_query, documents_of},
    error::{is_missing_table, of_handler, projection_error, store_error},
    generations,
    handler_scope::in_handler,
    parking,
    read_all::check_places,
    rows::{from_bigint, get, get_position, get_text, to_bigint},
    statements::ViewStatement,
    store::{PgStore, Shared},
};

#[async_trait]
impl ConsumerStore for PgStore {
    async fn checkpoint(&self, consumer: &ConsumerName) -> Result<Option<Checkpoint>, StoreError> {
        let read = || async {
            let mut session = self.shared.session().await?;
            let query = self.shared.query(&self.shared.statements.checkpoint).bind(consumer.as_str());
            let row = query.fetch_optional(&mut *session).await.map_err(store_error)?;
            session.finish().await?;
            row.as_ref().map(checkpoint).transpose()
        };
        self.shared.reading(read).await
    }

    async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        let rows = self.rows(|| self.shared.query(&self.shared.statements.checkpoints)).await?;
        rows.iter().map(checkpoint).collect()
    }

    async fn start_checkpoint(&self, consumer: &ConsumerName, at: Position) -> Result<Checkpoint, StoreError> {
        let at = storable(at)?;
        let mut transaction = self.shared.transaction().await?;
        let start = self.shared.query(&self.shared.statements.start_checkpoint).bind(consumer.as_str()).bind(at);
        start.execute(&mut *transaction).await.map_err(store_error)?;
        let query = self.shared.query(&self.shared.statements.checkpoint).bind(consumer.as_str());
        let row = query.fetch_optional(&mut *transaction).await.map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        // The number of its partitions has changed.
        row.as_ref().map_or_else(|| Err(StoreError::StaleGeneration { generation: consumer.clone() }), checkpoint)
    }

    async fn move_checkpoint(&self, advance: &Advance) -> Result<(), StoreError> {
        if advance.changes_parking() {
            let mut transaction = self.shared.transaction().await?;
            begin_page(&self.shared, &mut transaction, advance).await?;
            parking::follow(&self.shared, &mut transaction, advance).await?;
            return transaction.commit().await.map_err(store_error);
        }
        let write = || async {
            let mut session = self.shared.session().await?;
            begin_page(&self.shared, &mut session, advance).await?;
            session.finish().await
        };
        self.shared.writing(write).await
    }

    async fn prepare_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        let mut transaction = self.shared.transaction().await?;
        // Checked first, because a role that may not create tables can use existing ones.
        if has_all(&self.shared, &mut transaction, view).await? {
            return transaction.commit().await.map_err(store_error);
        }
        let lock = self.shared.query(&self.shared.statements.lock_views);
        lock.execute(&mut *transaction).await.map_err(store_error)?;
        let create = self.shared.statements.of_view(ViewStatement::CREATE, view);
        let create = self.shared.query(&create).persistent(false);
        create.execute(&mut *transaction).await.map_err(store_error)?;
        // What readers use may belong to another generation now.
        if !has_all(&self.shared, &mut transaction, view).await? {
            let show = self.shared.statements.of_view(ViewStatement::SHOW, view);
            let show = self.shared.query(&show).persistent(false);
            show.execute(&mut *transaction).await.map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)
    }

    async fn documents(&self, view: &ConsumerName, keys: &[String]) -> Result<Vec<Document>, StoreError> {
        check_document_count(keys.len())?;
        let read = || async {
            let mut session = self.shared.session().await?;
            let documents = load_documents(&self.shared, &mut session, view, keys).await?;
            session.finish().await?;
            Ok(documents)
        };
        self.shared.reading(read).await
    }

    async fn list_documents(&self, view: &ConsumerName, query: &DocumentQuery) -> Result<Vec<Document>, StoreError> {
        query.check()?;
        let statement = match query {
            DocumentQuery::ByKey { .. } => ViewStatement::LIST,
            DocumentQuery::TopByField { .. } => ViewStatement::TOP,
            DocumentQuery::ByField(query) if query.is_descending() => ViewStatement::BY_FIELD_DOWN,
            DocumentQuery::ByField(_) => ViewStatement::BY_FIELD,
            _ => return Err(StoreError::Refused { reason: "this store does not know that kind of query yet" }),
        };
        let sql = self.shared.statements.of_view(statement, view);
        let bound = || {
            let on_view = self.shared.query(&sql);
            match query {
                // The empty text sorts before every key.
                DocumentQuery::ByKey { after, limit } => {
                    on_view.bind(after.clone().unwrap_or_default()).bind(to_bigint(*limit as u64))
                }
                DocumentQuery::TopByField { field, limit } => {
                    on_view.bind(field.clone()).bind(to_bigint(*limit as u64))
                }
                DocumentQuery::ByField(query) => bind_field_query(on_view, query),
                _ => on_view,
            }
        };
        let read = || async {
            let mut session = self.shared.session().await?;
            let documents = documents_of(bound().fetch_all(&mut *session).await)?;
            session.finish().await?;
            Ok(documents)
        };
        self.shared.reading(read).await
    }

    async fn save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return self.move_checkpoint(advance).await;
        }
        match self.try_save_documents(advance, changes).await {
            // The view has not been prepared.
            Err(SaveError::MissingTable) => {
                self.prepare_view(&advance.consumer).await?;
                self.try_save_documents(advance, changes).await.map_err(SaveError::into_store_error)
            }
            result => result.map_err(SaveError::into_store_error),
        }
    }

    async fn clear_view(&self, view: &ConsumerName) -> Result<(), StoreError> {
        self.prepare_view(view).await?;
        let mut transaction = self.shared.transaction().await?;
        reset_checkpoint(&self.shared, &mut transaction, view).await?;
        // This comes last, because readers wait from here on.
        delete_all(&self.shared, &mut transaction, view).await?;
        transaction.commit().await.map_err(store_error)
    }
}

#[async_trait]
impl ProjectionStore for PgStore {
    type Connection = PgConnection;

    async fn prepare_projection(&self, projection: &dyn PageProjection<PgConnection>) -> Result<(), ProjectionError> {
        let mut transaction = self.shared.transaction().await?;
        // `CREATE TABLE IF NOT EXISTS` fails if two processes run it at the same time.
        let lock = self.shared.query(&self.shared.statements.lock_views);
        lock.execute(&mut *transaction).await.map_err(projection_error)?;
        in_handler(&self.shared, projection.prepare(&mut transaction)).await?;
        if projection.name().generation() == Some(Generation::FIRST) {
            in_handler(&self.shared, projection.after_load(&mut transaction)).await?;
        }
        generations::show_first(&self.shared, &mut transaction, projection.name(), &projection.definition().tables)
            .await?;
        Ok(self.shared.commit(transaction).await?)
    }

    async fn finish_projection(&self, projection: &dyn PageProjection<PgConnection>) -> Result<(), ProjectionError> {
        let mut transaction = self.shared.transaction().await?;
        in_handler(&self.shared, projection.after_load(&mut transaction)).await?;
        Ok(self.shared.commit(transaction).await?)
    }

    async fn apply_page(
        &self,
        projection: &dyn PageProjection<PgConnection>,
        advance: &Advance,
        events: &[RecordedEvent],
    ) -> Result<(), ProjectionError> {
        if events.is_empty() {
            return Ok(self.move_checkpoint(advance).await?);
        }
        let mut transaction = self.shared.transaction().await?;
        begin_page(&self.shared, &mut transaction, advance).await?;
        parking::follow(&self.shared, &mut transaction, advance).await?;
        let applied = in_handler(&self.shared, projection.apply_page(&mut transaction, events)).await;
        applied.map_err(of_handler)?;
        Ok(self.shared.commit(transaction).await?)
    }

    async fn clear_projection(&self, projection: &dyn PageProjection<PgConnection>) -> Result<(), ProjectionError> {
        let mut transaction = self.shared.transaction().await?;
        reset_checkpoint(&self.shared, &mut transaction, projection.name()).await?;
        in_handler(&self.shared, projection.clear(&mut transaction)).await?;
        Ok(self.shared.commit(transaction).await?)
    }
}

/// Returns whether a view's table exists and, for the first generation, what readers use.
async fn has_all(shared: &Shared, connection: &mut PgConnection, view: &ConsumerName) -> Result<bool, StoreError> {
    let live = view.live();
    let names = [Some(view), (view.generation() == Some(Generation::FIRST)).then_some(&live)];
    for name in names.into_iter().flatten() {
        let sql = shared.statements.of_view(ViewStatement::HAS_VIEW, name);
        let row = shared.query(&sql).persistent(false).fetch_one(&mut *connection).await.map_err(store_error)?;
        if !get::<bool>(&row, 0)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The reason why documents could not be saved.
enum SaveError {
    MissingTable,
    Store(StoreError),
}

impl SaveError {
    fn into_store_error(self) -> StoreError {
        match self {
            Self::MissingTable => StoreError::Refused { reason: "the view's table was dropped while it was written" },
            Self::Store(error) => error,
        }
    }
}

impl From<sqlx::Error> for SaveError {
    fn from(error: sqlx::Error) -> Self {
        if is_missing_table(&error) { Self::MissingTable } else { Self::Store(store_error(error)) }
    }
}

impl From<StoreError> for SaveError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl PgStore {
    async fn try_save_documents(&self, advance: &Advance, changes: &[DocumentChange]) -> Result<(), SaveError> {
        let changes = Changes::of(changes);
        if changes.deleted.is_empty() && !advance.changes_parking() {
            let write = || async {
                let mut session = self.shared.session().await?;
                match save(&self.shared, &mut session, advance, &changes).await {
                    Err(SaveError::Store(error)) => return Err(error),
                    Err(SaveError::MissingTable) => return Ok(Err(SaveError::MissingTable)),
                    Ok(()) => {}
                }
                session.finish().await.map(Ok)
            };
            return self.shared.writing(write).await?;
        }
        let mut transaction = self.shared.transaction().await?;
        save(&self.shared, &mut transaction, advance, &changes).await?;
        delete(&self.shared, &mut transaction, &advance.consumer, &changes.deleted).await?;
        parking::follow(&self.shared, &mut transaction, advance).await?;
        Ok(transaction.commit().await?)
    }
}

/// Changes of documents, as arrays.
struct Changes<'a> {
    keys: Vec<&'a str>,
    documents: Vec<&'a str>,
    deleted: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    fn of(changes: &'a [DocumentChange]) -> Self {
        let mut arrays = Self { keys: Vec::new(), documents: Vec::new(), deleted: Vec::new() };
        for DocumentChange { key, body } in changes {
            match body {
                Some(body) => {
                    arrays.keys.push(key);
                    arrays.documents.push(body.as_str());
                }
                None => arrays.deleted.push(key),
            }
        }
        arrays
    }
}

/// Moves a view's checkpoint and writes the documents that are kept, in one statement.
async fn save(
    shared: &Shared,
    connection: &mut PgConnection,
    advance: &Advance,
    changes: &Changes<'_>,
) -> Result<(), SaveError> {
    advance.check()?;
    let sql = shared.statements.of_view(ViewStatement::SAVE, &advance.consumer);
    let query = shared
        .query(&sql)
        .bind(advance.consumer.as_str())
        .bind(comparable(advance.from))
        .bind(storable(advance.to)?)
        .bind(fence_of(advance))
        .bind(to_bigint(advance.partition_epoch))
        .bind(&changes.keys)
        .bind(&changes.documents)
        .bind(advance.lease.map(patience))
        .bind(seen_position(advance))
        .bind(seen_id(advance));
    let row = query.fetch_one(&mut *connection).await?;
    Ok(check_moved(shared, connection, advance, &row).await?)
}

async fn delete(
    shared: &Shared,
    connection: &mut PgConnection,
    view: &ConsumerName,
    keys: &[&str],
) -> Result<(), sqlx::Error> {
    let sql = shared.statements.of_view(ViewStatement::DELETE, view);
    shared.query(&sql).bind(keys).execute(connection).await?;
    Ok(())
}

/// How long a TRUNCATE may wait for readers of the view. All later readers wait behind it.
const TRUNCATE_LOCK_TIMEOUT: &str = "250ms";

/// Deletes all documents of a view: with TRUNCATE if no reader blocks it for long and the role may run it; otherwise
/// one by one.
async fn delete_all(shared: &Shared, transaction: &mut PgConnection, view: &ConsumerName) -> Result<(), StoreError> {
    // In a transaction, this is a savepoint.
    let mut savepoint = transaction.begin().await.map_err(store_error)?;
    let timeout = shared.query(&shared.statements.set_lock_timeout).bind(TRUNCATE_LOCK_TIMEOUT);
    timeout.execute(&mut *savepoint).await.map_err(store_error)?;
    let truncate = shared.statements.of_view(ViewStatement::TRUNCATE, view);
    match shared.query(&truncate).persistent(false).execute(&mut *savepoint).await.map_err(store_error) {
        Ok(_) => savepoint.commit().await.map_err(store_error),
        Err(StoreError::Busy { .. } | StoreError::Setup { .. }) => {
            savepoint.rollback().await.map_err(store_error)?;
            let clear = shared.statements.of_view(ViewStatement::CLEAR, view);
            shared.query(&clear).persistent(false).execute(transaction).await.map_err(store_error)?;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Returns the documents with some keys; none if the view's table does not exist.
pub(crate) async fn load_documents(
    shared: &Shared,
    connection: &mut PgConnection,
    view: &ConsumerName,
    keys: &[String],
) -> Result<Vec<Document>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = shared.statements.of_view(ViewStatement::GET, view);
    documents_of(shared.query(&sql).bind(keys).fetch_all(connection).await)
}

/// Changes documents in a transaction in which the view's checkpoint has moved.
pub(crate) async fn change_documents(
    shared: &Shared,
    connection: &mut PgConnection,
    view: &ConsumerName,
    changes: &[DocumentChange],
) -> Result<(), StoreError> {
    let changes = Changes::of(changes);
    if !changes.keys.is_empty() {
        let sql = shared.statements.of_view(ViewStatement::PUT, view);
        let put = shared.query(&sql).bind(&changes.keys).bind(&changes.documents);
        put.execute(&mut *connection).await.map_err(store_error)?;
    }
    if !changes.deleted.is_empty() {
        delete(shared, connection, view, &changes.deleted).await.map_err(store_error)?;
    }
    Ok(())
}

/// Moves a checkpoint by compare-and-set, which locks it until the end of the transaction.
async fn move_checkpoint(shared: &Shared, connection: &mut PgConnection, advance: &Advance) -> Result<(), StoreError> {
    advance.check()?;
    let query = shared.query(&shared.statements.move_checkpoint).bind(advance.consumer.as_str());
    let query = query.bind(comparable(advance.from)).bind(storable(advance.to)?).bind(fence_of(advance));
    let query = query.bind(to_bigint(advance.partition_epoch)).bind(seen_position(advance)).bind(seen_id(advance));
    let row = query.fetch_one(&mut *connection).await.map_err(store_error)?;
    check_moved(shared, connection, advance, &row).await
}

/// Like [`move_checkpoint`], at the beginning of a transaction in which a handler writes. If the process hangs, the
/// server ends the transaction before the lease expires, so that no other process has to wait for it.
async fn begin_page(shared: &Shared, connection: &mut PgConnection, advance: &Advance) -> Result<(), StoreError> {
    let Some(lease) = advance.lease else { return move_checkpoint(shared, connection, advance).await };
    advance.check()?;
    let query = shared.query(&shared.statements.begin_page).bind(advance.consumer.as_str());
    let query = query.bind(comparable(advance.from)).bind(storable(advance.to)?).bind(fence_of(advance));
    let query = query.bind(to_bigint(advance.partition_epoch));
    let query = query.bind(patience(lease)).bind(seen_position(advance)).bind(seen_id(advance));
    let row = query.fetch_one(&mut *connection).await.map_err(store_error)?;
    check_moved(shared, connection, advance, &row).await
}

/// The minimum for short leases: a transaction of several statements needs time between them.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(100);

/// Returns how long the server waits for the owner of a lease, in milliseconds: well below the lease time.
fn patience(lease: Lease) -> String {
    (lease.time / 2).max(SHORTEST_PATIENCE).as_millis().to_string()
}

/// Returns the position at which the caller has seen an event, if it has.
fn seen_position(advance: &Advance) -> Option<i64> {
    advance.seen.map(|seen| to_bigint(seen.position().get()))
}

/// Returns the ID of the event that the caller has seen there.
fn seen_id(advance: &Advance) -> Option<Uuid> {
    advance.seen.and_then(Bookmark::event_id)
}

fn fence_of(advance: &Advance) -> Option<i64> {
    advance.lease.map(|lease| to_bigint(lease.fence.get()))
}

async fn reset_checkpoint(
    shared: &Shared,
    connection: &mut PgConnection,
    consumer: &ConsumerName,
) -> Result<(), StoreError> {
    let query = shared.query(&shared.statements.reset_checkpoint).bind(consumer.unpartitioned().as_str().to_owned());
    if get::<bool>(&query.fetch_one(&mut *connection).await.map_err(store_error)?, 0)? {
        return parking::forget_after(shared, connection, &consumer.unpartitioned(), Position::ZERO).await;
    }
    Err(StoreError::StaleGeneration { generation: consumer.clone() })
}

/// Reads null, the position at which the checkpoint is instead, or another reason why it was not moved.
async fn check_moved(
    shared: &Shared,
    connection: &mut PgConnection,
    advance: &Advance,
    row: &PgRow,
) -> Result<(), StoreError> {
    let (consumer, expected) = (&advance.consumer, advance.from);
    match get::<Option<i64>>(row, 0)? {
        None => Ok(()),
        Some(-1) => Err(StoreError::StaleGeneration { generation: consumer.clone() }),
        Some(-2) => Err(StoreError::LeaseLost { consumer: consumer.clone() }),
        Some(-3) => {
            shared.signals.recent.clear();
            check_places(shared, connection, advance.seen.into_iter()).await?;
            // The log has grown to that event in the meantime; the next attempt finds it.
            Err(StoreError::Busy { waiting_for: "the log, which has just grown".to_owned(), source: None })
        }
        Some(actual) => {
            let actual = Position::new(from_bigint(actual));
            Err(StoreError::CheckpointMoved { consumer: consumer.clone(), expected, actual })
        }
    }
}

/// Converts a position for a comparison. A position that the database cannot represent equals no stored one.
fn comparable(position: Position) -> i64 {
    i64::try_from(position.get()).unwrap_or(-1)
}

/// Converts a position for storing.
pub(crate) fn storable(position: Position) -> Result<i64, StoreError> {
    i64::try_from(position.get()).map_err(|_| StoreError::LimitExceeded {
        what: "a checkpoint's position",
        limit: i64::MAX.unsigned_abs(),
        actual: position.get(),
    })
}

fn checkpoint(row: &PgRow) -> Result<Checkpoint, StoreError> {
    let consumer = ConsumerName::parse(get_text(row, 0)?)?;
    Ok(Checkpoint::new(consumer, get_position(row, 1)?, get(row, 2)?).at_event(get(row, 3)?))
}
