//! Inline projections, and handlers that do what they must not.

mod common;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Schema, append_to, connection, deposit, deposited, execute, number, stream};
use es_core::{
    Advance, Append, ConsumerName, ConsumerStore, ConsumerStoreExt, DocumentFold, EventFilter, EventKey, EventStore,
    EventType, ExpectedVersion, HandlerError, LeaseStore, NewEvent, PageProjection as _, PageSize, Park, ParkFailure,
    Parking, Payload, Position, Projection, ProjectionError, ProjectionStore, Projector, Recorded, StoreError, Unpark,
    ViewFold,
};
use es_postgres::{
    PgConnection, PgStore,
    sqlx::{self, AssertSqlSafe},
};
use es_testkit::bank::{AccountEvent, Balance};

fn opened(id: &str) -> Append {
    let event = NewEvent::new(EventType::new("Opened").unwrap(), Payload::trusted(r#"{"owner":"Ann"}"#));
    Append::to(stream(id), ExpectedVersion::NoStream, vec![event, deposited(5)]).build().unwrap()
}

fn unrelated() -> Append {
    let stream = es_core::StreamId::new("unrelated", "x").unwrap();
    let event = NewEvent::new(EventType::new("Happened").unwrap(), Payload::trusted("{}"));
    Append::to(stream, ExpectedVersion::Any, vec![event]).build().unwrap()
}

async fn checkpoint(store: &PgStore, name: &str) -> Option<u64> {
    let name = ConsumerName::new(name).unwrap();
    store.checkpoint(&name).await.unwrap().map(|checkpoint| checkpoint.position.get())
}

async fn cents(store: &PgStore, id: &str) -> Option<i64> {
    store.view::<Balance>().get(id).await.unwrap().map(|balance| balance.cents)
}

/// What a runner does for a view.
async fn catch_up(store: &PgStore) {
    let fold = ViewFold::<Balance>::new().unwrap();
    let from = Position::new(checkpoint(store, "balance").await.unwrap_or(0));
    let page = store.read_all(from, fold.filter(), PageSize::default()).await.unwrap();
    let page_fold = fold.open_page(page.events).unwrap();
    let documents = store.documents(fold.name(), &page_fold.keys()).await.unwrap();
    let changes = page_fold.fold(documents).unwrap();
    store.save_documents(&Advance::new(fold.name(), from, page.scanned_to), &changes).await.unwrap();
}

#[tokio::test]
async fn an_inline_view_shows_every_append_at_once() {
    let schema = Schema::new();
    let store = schema.options().inline_view::<Balance>().connect().await.unwrap();
    store.append(&opened("ann")).await.unwrap();
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(5), Some(2)));
    // What does not concern it moves its checkpoint all the same.
    store.append(&unrelated()).await.unwrap();
    assert_eq!(checkpoint(&store, "balance").await, Some(3));
    // Sent again, it takes no effect again.
    let append = append_to("ann", ExpectedVersion::Any);
    store.append(&append).await.unwrap();
    assert!(store.append(&append).await.unwrap().repeated);
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(6), Some(4)));
    // A refused append leaves it alone.
    assert!(store.append(&opened("ann")).await.is_err());
    assert_eq!(checkpoint(&store, "balance").await, Some(4));
}

#[tokio::test]
async fn an_append_of_a_type_that_the_inline_code_does_not_know_is_stored_and_left_to_the_runner() {
    let schema = Schema::new();
    let store = schema.options().inline_view::<Balance>().connect().await.unwrap();
    store.append(&opened("ann")).await.unwrap();
    let frozen = NewEvent::new(EventType::new("Frozen").unwrap(), Payload::trusted("{}"));
    let append = Append::to(stream("ann"), ExpectedVersion::Any, vec![deposited(1), frozen]).build().unwrap();
    store.append(&append).await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    // It stands before the append, so that newer code receives the event.
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(5), Some(2)));
    assert_eq!(store.head().await.unwrap(), Position::new(5));
}

#[tokio::test]
async fn while_the_lease_of_an_inline_view_is_seized_appends_leave_it_to_its_runner() {
    let schema = Schema::new();
    let store = schema.options().inline_view::<Balance>().connect().await.unwrap();
    store.append(&opened("ann")).await.unwrap();
    let name = ConsumerName::new("balance").unwrap();
    let lease = store.seize_lease(&name, "the swap", Duration::from_secs(600)).await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(5), Some(2)));
    store.release_lease(&name, lease).await.unwrap();
    catch_up(&store).await;
    store.append(&deposit("ann")).await.unwrap();
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(7), Some(4)));
}

#[tokio::test]
async fn a_process_that_does_not_know_the_inline_view_leaves_it_to_the_runner() {
    let schema = Schema::new();
    let knows = schema.options().inline_view::<Balance>().connect().await.unwrap();
    let other = schema.store().await;
    knows.append(&opened("ann")).await.unwrap();
    other.append(&deposit("ann")).await.unwrap();
    knows.append(&deposit("ann")).await.unwrap();
    // It stands before what it missed, and skips nothing.
    assert_eq!((cents(&knows, "ann").await, checkpoint(&knows, "balance").await), (Some(5), Some(2)));
    catch_up(&other).await;
    assert_eq!((cents(&knows, "ann").await, checkpoint(&knows, "balance").await), (Some(7), Some(4)));
    knows.append(&deposit("ann")).await.unwrap();
    assert_eq!((cents(&knows, "ann").await, checkpoint(&knows, "balance").await), (Some(8), Some(5)));
}

#[tokio::test]
async fn transactions_of_the_callers_keep_inline_views_up_to_date_too() {
    let schema = Schema::new();
    let store = schema.options().inline_view::<Balance>().connect().await.unwrap();
    let mut unit = store.begin().await.unwrap();
    unit.append(opened("ann")).unwrap();
    unit.append(deposit("ann")).unwrap();
    unit.commit().await.unwrap();
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(6), Some(3)));

    let mut unit = store.begin().await.unwrap();
    store.append_in(unit.connection(), &deposit("ann")).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(cents(&store, "ann").await, Some(7));

    // Without a transaction there is nothing that both could be part of.
    store.append_in(&mut connection().await, &deposit("ann")).await.unwrap();
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(7), Some(4)));
}

#[tokio::test]
async fn an_append_does_not_wait_for_whoever_holds_the_checkpoint() {
    let schema = Schema::new();
    let store = schema.options().inline_view::<Balance>().connect().await.unwrap();
    store.append(&opened("ann")).await.unwrap();
    let mut runner = connection().await;
    execute(&mut runner, "BEGIN").await;
    execute(&mut runner, format!("SELECT {}.move_checkpoint('balance', 2, 2, NULL, 0)", schema.name)).await;
    let append = deposit("ann");
    tokio::time::timeout(Duration::from_secs(20), store.append(&append)).await.unwrap().unwrap();
    execute(&mut runner, "COMMIT").await;
    assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(5), Some(2)));
}

/// Counts events in a table; fails, or does what it must not, when it is told to.
struct Counter {
    table: String,
    is_failing: Arc<AtomicBool>,
    ignores_failure: bool,
    store: Arc<OnceLock<PgStore>>,
}

impl Counter {
    fn new(schema: &Schema) -> Self {
        Self {
            table: format!("{}.counter", schema.name),
            is_failing: Arc::default(),
            ignores_failure: false,
            store: Arc::default(),
        }
    }
}

impl Projection for Counter {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "counter"
    }

    async fn prepare(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        let sql = format!("CREATE TABLE IF NOT EXISTS {} (position bigint)", self.table);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    async fn apply(&self, connection: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        let sql = format!("INSERT INTO {} VALUES ($1)", self.table);
        sqlx::query(AssertSqlSafe(sql)).bind(event.position().get() as i64).execute(&mut *connection).await?;
        if self.is_failing.load(Ordering::Relaxed) {
            let failed = sqlx::raw_sql("SELECT 1 / 0").execute(connection).await;
            if !self.ignores_failure {
                failed?;
            }
        }
        if let Some(store) = self.store.get() {
            store.append(&deposit("echo")).await?;
        }
        Ok(())
    }

    async fn clear(&self, connection: &mut PgConnection) -> Result<(), HandlerError> {
        sqlx::raw_sql(AssertSqlSafe(format!("DELETE FROM {}", self.table))).execute(connection).await?;
        Ok(())
    }
}

async fn counted(schema: &Schema) -> i64 {
    number(&mut connection().await, format!("SELECT count(*) FROM {}.counter", schema.name)).await
}

#[tokio::test]
async fn a_failing_inline_handler_is_undone_and_the_append_is_stored_without_it() {
    for ignores_failure in [false, true] {
        let schema = Schema::new();
        let counter = Counter { ignores_failure, ..Counter::new(&schema) };
        let is_failing = Arc::clone(&counter.is_failing);
        let options = schema.options().inline_projection(counter).inline_view::<Balance>();
        let store = options.connect().await.unwrap();
        store.append(&opened("ann")).await.unwrap();
        is_failing.store(true, Ordering::Relaxed);
        let appended = store.append(&deposit("ann")).await.unwrap();
        assert_eq!(appended.last_position, Position::new(3));
        assert_eq!(store.head().await.unwrap(), Position::new(3));
        // Neither its row nor its checkpoint; the other one goes on.
        assert_eq!((counted(&schema).await, checkpoint(&store, "counter").await), (2, Some(2)));
        assert_eq!((cents(&store, "ann").await, checkpoint(&store, "balance").await), (Some(6), Some(3)));
        // It stays behind until a runner has caught up.
        is_failing.store(false, Ordering::Relaxed);
        store.append(&deposit("ann")).await.unwrap();
        assert_eq!((counted(&schema).await, checkpoint(&store, "counter").await), (2, Some(2)));
    }
}

/// Whether the error is the refusal to append within a handler.
fn is_refusal_of_handler(error: &(dyn std::error::Error + 'static)) -> bool {
    let refusal = error.downcast_ref::<StoreError>();
    matches!(refusal, Some(StoreError::Refused { reason }) if reason.contains("handler"))
        || error.source().is_some_and(is_refusal_of_handler)
}

#[tokio::test]
async fn a_handler_that_appends_to_its_own_store_is_refused() {
    let schema = Schema::new();
    let store = schema.store().await;
    store.append(&opened("ann")).await.unwrap();
    let counter = Counter::new(&schema);
    counter.store.set(store.clone()).unwrap();
    let projector = Projector::new(counter).unwrap();
    store.prepare_projection(&projector).await.unwrap();
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::default()).await.unwrap();
    match store
        .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
        .await
    {
        Err(ProjectionError::Handler { source, .. }) => assert!(is_refusal_of_handler(source.as_ref()), "{source}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert_eq!((counted(&schema).await, checkpoint(&store, "counter").await), (0, None));
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn an_inline_handler_that_appends_does_not_wait_for_itself() {
    let schema = Schema::new();
    let counter = Counter::new(&schema);
    let own = Arc::clone(&counter.store);
    let store = schema.options().inline_projection(counter).connect().await.unwrap();
    own.set(store.clone()).unwrap();
    store.append(&opened("ann")).await.unwrap();
    assert_eq!((counted(&schema).await, checkpoint(&store, "counter").await), (0, None));
    assert_eq!(store.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn a_handler_may_append_to_another_store() {
    let (schema, other) = (Schema::new(), Schema::new());
    let counter = Counter::new(&schema);
    let elsewhere = other.store().await;
    counter.store.set(elsewhere.clone()).unwrap();
    let store = schema.options().inline_projection(counter).connect().await.unwrap();
    store.append(&opened("ann")).await.unwrap();
    assert_eq!(elsewhere.head().await.unwrap(), Position::new(2));
}

#[tokio::test]
async fn a_handler_that_ignores_a_failed_statement_is_not_taken_for_a_success() {
    let schema = Schema::new();
    let store = schema.store().await;
    store.append(&opened("ann")).await.unwrap();
    let counter = Counter { ignores_failure: true, ..Counter::new(&schema) };
    counter.is_failing.store(true, Ordering::Relaxed);
    let projector = Projector::new(counter).unwrap();
    store.prepare_projection(&projector).await.unwrap();
    // One event, so that the ignored failure is the last thing that happens.
    let page = store.read_all(Position::ZERO, &EventFilter::all(), PageSize::new(1).unwrap()).await.unwrap();
    let error = store
        .apply_page(&projector, &Advance::new(projector.name(), Position::ZERO, page.scanned_to), &page.events)
        .await
        .unwrap_err();
    assert!(matches!(error, ProjectionError::Store(StoreError::Refused { .. })), "{error:?}");
    assert_eq!((counted(&schema).await, checkpoint(&store, "counter").await), (0, None));
}

/// A projection whose handler panics at withdrawals.
struct Panics;

impl Projection for Panics {
    type Connection = PgConnection;
    type Event = AccountEvent;

    fn name(&self) -> &str {
        "panics"
    }

    async fn apply(&self, _: &mut PgConnection, event: &Recorded<AccountEvent>) -> Result<(), HandlerError> {
        assert!(!matches!(event.event, AccountEvent::Withdrawn { .. }), "as the test wants it");
        Ok(())
    }

    async fn clear(&self, _: &mut PgConnection) -> Result<(), HandlerError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_panics_does_not_end_the_appends_of_others() {
    let schema = Schema::new();
    let store = schema.options().inline_projection(Panics).connect().await.unwrap();
    store.append(&deposit("ann")).await.unwrap();
    let withdrawn = NewEvent::of(&AccountEvent::Withdrawn { cents: 1 }).unwrap();
    let append = Append::to(stream("ann"), ExpectedVersion::Any, vec![withdrawn]).build().unwrap();
    let outcome = store.append(&append).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable { .. })), "{outcome:?}");
    let appended = store.append(&deposit("ann")).await.unwrap();
    assert_eq!(appended.last_position, Position::new(2));
}

#[tokio::test]
async fn while_anything_is_parked_an_append_leaves_the_read_model_to_its_runner() {
    let schema = Schema::new();
    let store = schema.options().inline_view::<Balance>().connect().await.unwrap();
    store.append(&opened("ann")).await.unwrap();
    let (view, key) = (ConsumerName::new("balance").unwrap(), EventKey::document("ann").unwrap());
    let here = || Advance::new(&view, Position::new(2), Position::new(2));
    let park = vec![Park::failed(key.clone(), Position::new(2), ParkFailure::new("no room", 1))];
    store.move_checkpoint(&here().with_parking(Parking::of(park))).await.unwrap();
    store.append(&append_to("ann", ExpectedVersion::Any)).await.unwrap();
    assert_eq!((checkpoint(&store, "balance").await, cents(&store, "ann").await), (Some(2), Some(5)));
    let unpark = vec![Unpark { key, position: Position::new(2) }];
    store.move_checkpoint(&here().with_parking(Parking::default().and_unpark(unpark))).await.unwrap();
    store.move_checkpoint(&Advance::new(&view, Position::new(2), Position::new(3))).await.unwrap();
    store.append(&append_to("ann", ExpectedVersion::Any)).await.unwrap();
    assert_eq!((checkpoint(&store, "balance").await, cents(&store, "ann").await), (Some(4), Some(6)));
}
